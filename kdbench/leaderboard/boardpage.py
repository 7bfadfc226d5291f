"""What a board's page shows: sections by fraction, charts, coverage, the runs without a rank."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup

from kdbench.board import Board
from kdbench.leaderboard import formats
from kdbench.leaderboard.answer import answer_of
from kdbench.leaderboard.charts import (
    STYLES,
    Axis,
    Panel,
    Series,
    fraction_axis,
    line_chart,
    share_axis,
)
from kdbench.leaderboard.reported import Reported
from kdbench.leaderboard.scoring import Estimate
from kdbench.leaderboard.standings import STAGES, Row, Standings, entry_of

Entry = tuple[str, str]


@dataclass(frozen=True)
class Legend:
    """A line of a chart's legend."""

    style: int
    label: str


@dataclass(frozen=True)
class Section:
    """All cells of one fraction: the rows by student, and a chart of the stages for each student."""

    anchor: str
    fraction: float
    note: str
    cells: tuple[tuple[str, tuple[Row, ...]], ...]
    charts: tuple[Markup, ...]


def board_context(standings: Standings, reported: Reported | None = None) -> dict[str, Any]:
    """The names that the board template uses."""
    board, styles = standings.board, entry_styles(standings.rows)
    gains = [row.gain for row in standings.rows if row.gain]
    # Two of three seeds can give an interval as wide as the page; the dots must stay readable beside it.
    reach = max([1.6 * max((abs(gain.mean) for gain in gains), default=0.0), 0.01])
    return {
        "standings": standings,
        "board": board,
        "answer": answer_of(standings),
        "facts": key_facts(board),
        "efficiency": efficiency_charts(standings, styles),
        "legend": legend(styles),
        "undrawn": sum(style is None for style in styles.values()),
        "matched": matched_with_less(standings),
        "sections": list(sections(standings, styles)),
        "reach": reach,
        "pretext": any(row.pretext for row in standings.rows),
        "devices": sorted({device for row in standings.rows for device in row.devices}),
        "goals": [f"{goal:g}" for goal in board.evaluation.milestones],
        "shares": [f"{share:g}" for share in board.evaluation.baseline_milestones],
        "pins": len(board.pins),
        "reported": reported,
    }


def key_facts(board: Board) -> list[tuple[str, str]]:
    """What a reader must know before comparing: data, clips, training, score."""
    clip, optim, views = board.clip, board.optim, board.evaluation.views
    facts = [
        ("Data set", f"{board.data.dataset}, split {board.data.split}"),
        ("Fractions", ", ".join(formats.fraction(share) for share in board.matrix.fractions)),
        ("Clips", f"{clip.length} frames of {board.frames.crop} by {board.frames.crop} pixels"),
        ("Training", f"{optim.epochs} epochs, batch {optim.batch}, learning rate {optim.lr:g}"),
        ("Score", f"top-1 over {views} views of a video, last epoch"),
        ("Seeds", ", ".join(str(seed) for seed in board.matrix.seeds)),
    ]
    if board.transfer:
        transfer = board.transfer
        facts.append(("Transfer", f"{transfer.dataset}, split {transfer.split}, {transfer.epochs} epochs"))
    return facts


# --- charts ------------------------------------------------------------------------------------------------


def entry_styles(rows: Iterable[Row]) -> dict[Entry, int | None]:
    """A line style for each teacher and method; the baseline has style 0, those beyond the last style None."""
    rows = list(rows)
    styles: dict[Entry, int | None] = dict.fromkeys(sorted({entry_of(row) for row in rows if row.is_baseline}), 0)
    for at, entry in enumerate(sorted({entry_of(row) for row in rows} - styles.keys())):
        styles[entry] = at + 1 if at + 1 < STYLES else None
    return styles


def legend(styles: dict[Entry, int | None]) -> list[Legend]:
    """The legend that all charts of a page share."""
    return [Legend(style, _label(entry)) for entry, style in styles.items() if style is not None]


def efficiency_charts(standings: Standings, styles: dict[Entry, int | None]) -> list[Markup]:
    """Accuracy against the fraction of the training videos, one chart for each student, one scale for all."""
    fractions = sorted({row.key.fraction for row in standings.rows})
    if len(fractions) < 2:
        return []
    x = fraction_axis(fractions, "training videos, % (logarithmic)")
    y = share_axis([row.accuracy.mean for row in standings.rows], "accuracy, %")
    made = []
    for student, rows in _by_student(standings.rows):
        series = []
        for entry, group in groupby(sorted(rows, key=entry_of), key=entry_of):
            spots = tuple(sorted((math.log(row.key.fraction), row.accuracy.mean) for row in group))
            series.append((entry, spots))
        made.append(_chart(student, "accuracy against the share of training videos", series, (x, y, styles)))
    return made


def stage_charts(rows: Sequence[Row], styles: dict[Entry, int | None]) -> tuple[Markup, ...]:
    """Accuracy at the end of the early, middle and late stage, one chart for each student."""
    ticks = tuple((float(at), stage) for at, stage in enumerate(STAGES))
    x = Axis(-0.25, 2.25, ticks, "stage of training")
    y = share_axis([row.stages[stage] for row in rows for stage in STAGES], "accuracy, %")
    made = []
    for student, group in _by_student(rows):
        series = [
            (entry_of(row), tuple((float(at), row.stages[stage]) for at, stage in enumerate(STAGES))) for row in group
        ]
        made.append(_chart(student, "accuracy at the end of each stage", series, (x, y, styles)))
    return tuple(made)


def _chart(
    student: str,
    shows: str,
    lines: Sequence[tuple[Entry, tuple[tuple[float, float], ...]]],
    frame: tuple[Axis, Axis, dict[Entry, int | None]],
) -> Markup:
    x, y, styles = frame
    series = [Series(_label(entry), spots, style) for entry, spots in lines if (style := styles[entry]) is not None]
    # The baseline is drawn last, so that no other line covers it.
    drawn = line_chart(Panel(f"{student}: {shows}", tuple(sorted(series, key=lambda each: -each.style)), x, y))
    return Markup("<figure><figcaption>{student}</figcaption>{drawn}</figure>").format(student=student, drawn=drawn)


# --- sections ----------------------------------------------------------------------------------------------


def sections(standings: Standings, styles: dict[Entry, int | None]) -> Iterable[Section]:
    """The rows by fraction, largest first, and within it by student."""

    def group_key(row: Row) -> tuple[str, int, float, int]:
        return row.key.cell[:4]

    groups = [(key, list(rows)) for key, rows in groupby(standings.rows, key=group_key)]
    fractions = [key[2] for key, _ in groups]
    for (dataset, split, fraction, seed), rows in groups:
        # The pins fix the data set, and most boards have one subset seed, so a fraction is normally one group.
        twice = fractions.count(fraction) > 1
        anchor = f"fraction-{100 * fraction:g}" + (f"-{split}-{seed}" if twice else "")
        note = f"{dataset}, split {split}, subset seed {seed}" if twice else ""
        cells = tuple((student, tuple(group)) for student, group in _by_student(rows))
        yield Section(anchor, fraction, note, cells, stage_charts(rows, styles))


@dataclass(frozen=True)
class Match:
    """A taught row on a fraction of the videos that is as good as all of them without a teacher."""

    student: str
    label: str
    fraction: float
    accuracy: Estimate
    goal: float


def matched_with_less(standings: Standings) -> list[Match]:
    """For each student, teacher and method the smallest fraction that matches all videos untaught.

    The lower end of the row's interval must reach the mean of the student's baseline on all videos; without
    an interval the mean must, and the page says so. A student without that baseline row has no match.
    """
    found = []
    for student, rows in _by_student(standings.rows):
        goal = next((row.accuracy.mean for row in rows if row.is_baseline and row.key.fraction == 1.0), None)
        if goal is None:
            continue
        order = sorted((row for row in rows if not row.is_baseline), key=lambda row: (entry_of(row), row.key.fraction))
        for entry, group in groupby(order, key=entry_of):
            row = next((each for each in group if _surely(each.accuracy) >= goal), None)
            if row and row.key.fraction < 1.0:
                found.append(Match(student, _label(entry), row.key.fraction, row.accuracy, goal))
    return found


def _surely(accuracy: Estimate) -> float:
    return accuracy.mean if accuracy.low is None else accuracy.low


def _by_student(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    order = sorted(rows, key=lambda row: row.key.student)
    return [(student, list(group)) for student, group in groupby(order, key=lambda row: row.key.student)]


def _label(entry: Entry) -> str:
    teacher, method = entry
    return f"{method}, teacher {teacher}" if teacher != "none" else f"{method}, no teacher"
