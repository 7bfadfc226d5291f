"""What the page of one cell shows: its rows over the epochs, against each other, and against their teachers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdbench.leaderboard import formats
from kdbench.leaderboard.answer import answer_of
from kdbench.leaderboard.cellstudy import CURVE_COLUMNS, PAIR_COLUMNS, CellStudy, Likeness, curve_of
from kdbench.leaderboard.charts import STYLES, Axis, Figure, Panel, Series, epoch_axis, share_axis, thinned
from kdbench.leaderboard.comparepage import best_of
from kdbench.leaderboard.comparepage import label_of_key as label_of
from kdbench.leaderboard.definitions import Definition, definitions
from kdbench.leaderboard.pairwise import ClassGain
from kdbench.leaderboard.profiles import reached_by, staircase
from kdbench.leaderboard.scoring import EQUAL, RowKey
from kdbench.leaderboard.standings import STAGES, Row

LEVEL = 0.05  # of the corrected p, below which two rows are said to differ
MANY_CLASSES, ENDS, FEW = 24, 10, 3  # classes shown whole; else so many from either end, and of other rows
MANY_RANKS = 12
CHART_WIDTH = 380  # of the two charts that stand side by side
TESTS = ("pair-p", "corrected-p")
# The definitions behind the button of a column, by the first one's anchor; see definitions.py.
ABOUT_ROWS = (
    *(("accuracy", "interval"), ("gain", "interval"), ("rank",), ("cost",), ("cost-with-teacher",), ("run-clips",)),
    ("seeds",),
)
ABOUT_AGREEMENT = tuple((f"agreement-{name}", "kappa") for name in ("teacher", "untaught", "baseline", "seeds"))
ABOUT_CLASSES = (("class-gain",),)
ABOUT_VARIANCE = (("subset",), ("training-seed",), ("rest",))


@dataclass(frozen=True)
class Duel:
    """One field of the matrix: the row beside it against the one above, in points; `tone` is "" where unsure."""

    points: str
    p: str
    counts: str
    tone: str


@dataclass(frozen=True)
class Extremes:
    """A row's classes of the largest gains and losses."""

    label: str
    best: tuple[ClassGain, ...]
    worst: tuple[ClassGain, ...]


def cell_context(name: str, study: CellStudy) -> dict[str, Any]:
    """The names that the cell template uses; `name` is that of the cell's files."""
    board, rows, words = study.standings.board, study.rows, definitions(study.standings.board)
    answer = answer_of(replace(study.standings, rows=rows, overall=None))
    drawn = rows[:STYLES]
    differing = sum(pair.corrected < LEVEL for pair in study.pairs)
    return {
        "name": name,
        "standings": study.standings,
        "board": board,
        "given": sum(run.record.run_id in study.standings.given for row in rows for run in row.runs),
        "key": rows[0].key,
        "place": place_of(study),
        "sentence": answer.sentence,
        "basis": [*filter(None, [answer.counts]), *basis_of(rows)],
        "lines": list(enumerate(rows)),
        "styles": STYLES,
        "labels": [label_of(row.key) for row in rows],
        "drawn": len(drawn),
        "figures": figures(rows),
        "survivals": list(survival_charts(study)),
        "matrix": matrix_of(study),
        "shown": study.shown,
        "left_out": len(rows) - len(study.shown),
        "family": study.family,
        "tested": len(study.pairs),
        "differing": differing,
        "likenesses": known_likenesses(study),
        "best": best_classes(study),
        "others": list(other_classes(study)),
        "variances": study.variances,
        "subsets": sorted({key.subset_seed for key in _siblings(study)}),
        "columns": {"curves": CURVE_COLUMNS, "pairs": PAIR_COLUMNS},
        "tests": [words[anchor] for anchor in TESTS],
        "abouts": abouts(study, words),
    }


def known_likenesses(study: CellStudy) -> list[Likeness]:
    """The rows whose runs have another to be compared with."""
    return [each for each in study.likenesses if any((each.teacher, each.baseline, each.seeds))]


def abouts(study: CellStudy, words: Mapping[str, Definition]) -> dict[str, list[Definition]]:
    """What the buttons of the columns say that the page of this cell has, by the first definition's anchor."""
    wanted = (
        *ABOUT_ROWS,
        *(ABOUT_AGREEMENT if known_likenesses(study) else ()),
        *(ABOUT_CLASSES if study.classes else ()),
        *(ABOUT_VARIANCE if study.variances else ()),
    )
    return {anchors[0]: [words[anchor] for anchor in anchors] for anchors in wanted}


def place_of(study: CellStudy) -> str:
    """ "slim on 50 % of the training videos", with the subset seed where the cell has siblings."""
    key = study.rows[0].key
    several = len({each.subset_seed for each in _siblings(study)}) > 1
    drawn = f", subset seed {key.subset_seed}" if several else ""
    return f"{key.student} on {formats.fraction(key.fraction)} of the training videos{drawn}"


def _siblings(study: CellStudy) -> list[RowKey]:
    own = study.rows[0].key
    return [
        row.key for row in study.standings.rows if (row.key.student, row.key.fraction) == (own.student, own.fraction)
    ]


def basis_of(rows: Sequence[Row]) -> Iterator[str]:
    """What the answer rests on: the leading row, the baseline, and how many runs there are."""
    lead = best_of(rows)
    if lead and lead.gain:
        told = formats.half(lead.gain) or f"({formats.spread(lead.gain)})"
        larger = any(row.gain.mean > lead.gain.mean for row in rows if row.gain)
        which = "The largest mean gain with an interval" if larger else "The largest mean gain"
        rank = f", rank {lead.rank}" if lead.rank else ""
        yield f"{which} is that of {label_of(lead.key)}: {formats.points(lead.gain.mean)} {told} points{rank}."
    for row in rows:
        if row.is_baseline:
            found = f"{formats.percent(row.accuracy.mean)} {formats.half(row.accuracy)}".rstrip()
            yield f"Without a teacher the student reaches {found} %."
    yield f"{formats.counted(len(rows), 'row')} with {formats.counted(sum(len(row.runs) for row in rows), 'run')}."


# --- charts ------------------------------------------------------------------------------------------------


def figures(rows: Sequence[Row]) -> list[Figure]:
    """The first rows over the epochs and over the stages."""
    return [Figure("Accuracy by epoch", curve_panel(rows)), Figure("From early to late", rank_panel(rows))]


def curve_panel(rows: Sequence[Row]) -> Panel:
    """Mean 1-view test accuracy by epoch of the first rows; the baseline is drawn last, over the others."""
    series = []
    for style, row in enumerate(rows[:STYLES]):
        points = thinned([(float(each.epoch), each.mean) for each in curve_of(row)])
        series.append(Series(label_of(row.key), points, style, markers=False))
    first = rows[0].runs[0].record
    y = share_axis([value for each in series for _, value in each.points], "accuracy, %")
    marks = tuple((float(mark.epoch), mark.stage) for mark in first.stages)
    title = "Mean 1-view test accuracy by epoch"
    return Panel(title, tuple(reversed(series)), epoch_axis(len(first.epochs)), y, marks, width=CHART_WIDTH)


def rank_panel(rows: Sequence[Row]) -> Panel:
    """The places of the first rows among all of the cell at the end of each stage, the best on top."""
    series = []
    for style, row in enumerate(rows[:STYLES]):
        places = [1 + sum(other.stages[stage] > row.stages[stage] + EQUAL for other in rows) for stage in STAGES]
        spots = tuple((float(at), float(place)) for at, place in enumerate(places))
        series.append(Series(label_of(row.key), spots, style))
    step = 1 if len(rows) <= MANY_RANKS else 5 if len(rows) <= 5 * MANY_RANKS else 20
    places = [1, *range(step, len(rows) + 1, step)] if step > 1 else list(range(1, len(rows) + 1))
    y = Axis(len(rows) + 0.4, 0.6, tuple((float(place), str(place)) for place in places), "place by accuracy")
    x = Axis(-0.25, 2.25, tuple((float(at), stage) for at, stage in enumerate(STAGES)), "stage of training")
    title = "Place by accuracy at the end of each stage"
    return Panel(title, tuple(reversed(series)), x, y, width=CHART_WIDTH)


def survival_charts(study: CellStudy) -> Iterator[Figure]:
    """For each goal that a drawn row's run has reached, the share of the runs that had reached it by an epoch."""
    drawn = study.reached[:STYLES]
    last = len(study.rows[0].runs[0].record.epochs)
    y = Axis(0.0, 1.0, tuple((share / 4, f"{25 * share}") for share in range(5)), "runs that reached it, %")
    for goal in drawn[0][1]:
        series = []
        for style, (row, goals) in enumerate(drawn):
            if steps := reached_by(goals[goal]):
                corners = staircase(steps, 1.0, float(max(2, last)))
                series.append(Series(label_of(row.key), corners, style, markers=False))
        if series:
            title = goal_title(goal)
            panel = Panel(f"Share of the runs that reached {title}", tuple(reversed(series)), epoch_axis(last), y)
            yield Figure(title[0].upper() + title[1:], panel)


def goal_title(goal: str) -> str:
    """ "0.5" -> "50 %"; "baseline 0.9" -> "90 % of the paired baseline"."""
    share = formats.fraction(float(goal.split()[-1]))
    return f"{share} of the paired baseline" if goal.startswith("baseline") else f"{share} accuracy"


# --- tables ------------------------------------------------------------------------------------------------


def matrix_of(study: CellStudy) -> list[list[Duel | None]]:
    """The shown rows against each other; None on the diagonal and where two rows cannot be compared."""
    count = len(study.shown)
    matrix: list[list[Duel | None]] = [[None] * count for _ in range(count)]
    for pair in study.pairs:
        for at, other, found in (
            (pair.first, pair.second, pair.comparison),
            (pair.second, pair.first, pair.comparison.reversed()),
        ):
            sure = pair.corrected < LEVEL and found.difference
            tone = ("up" if found.difference > 0 else "down") if sure else ""
            counts = f"{found.first_only}:{found.second_only}"
            matrix[at][other] = Duel(formats.points(found.difference), p_text(pair.corrected), counts, tone)
    return matrix


def p_text(p: float) -> str:
    """ "<0.001", "0.012", "0.35", "1"."""
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.0995 else f"{p:.2f}" if p < 0.995 else "1"


def best_classes(study: CellStudy) -> dict[str, Any] | None:
    """The classes of the row with the largest gain, all of them or those at either end."""
    if not study.classes:
        return None
    row, gains = study.classes[0]
    whole = len(gains) <= MANY_CLASSES
    return {
        "label": label_of(row.key),
        "gains": gains if whole else (*gains[:ENDS], *gains[-ENDS:]),
        "hidden": 0 if whole else len(gains) - 2 * ENDS,
        "seeds": row.gain.n if row.gain else len(row.runs),
        "reach": 1.05 * max(0.01, *(abs(gain.gain) for gain in gains)),  # else the axis cuts the farthest dot
    }


def other_classes(study: CellStudy) -> Iterator[Extremes]:
    """The largest gains and losses of the other rows that are compared with each other."""
    for row, gains in study.classes[1:]:
        best = tuple(gain for gain in gains[:FEW] if gain.gain > 0)
        worst = tuple(gain for gain in reversed(gains[-FEW:]) if gain.gain < 0)
        yield Extremes(label_of(row.key), best, worst)
