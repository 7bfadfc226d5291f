"""What the page of a method on a board shows: its code and options, its gains in every cell, how soon, at what cost."""

from __future__ import annotations

import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kdbench.board import Board
from kdbench.leaderboard import formats
from kdbench.leaderboard.boardcharts import (
    Entry,
    Styles,
    by_student,
    efficiency_charts,
    label_of,
    legend,
    over_fractions,
    over_subsets,
    points_of,
)
from kdbench.leaderboard.charts import STYLES, Figure, Panel, Series, fraction_axis, points_axis
from kdbench.leaderboard.pagenames import plugin_name, teacher_name
from kdbench.leaderboard.pluginpage import file_words, versions_of
from kdbench.leaderboard.protocolpage import value_text
from kdbench.leaderboard.scoring import Estimate, Reached, Run
from kdbench.leaderboard.standings import Coverage, Row, Standings, cell_name, entry_of
from kdbench.leaderboard.tables import standing
from kdbench.records import Record

STATES = {
    "maintainers": "reproduced by the maintainers",
    "reproduced": "reproduced by someone else",
    "disputed": "disputed",
}
MANY_SEEDS = 6  # from here on a row links to its cell's page alone
CellKey = tuple[str, int, float, int, str]


@dataclass(frozen=True)
class MethodRuns:
    """A method on a board: its rows in the board's order, all its runs, and the baseline's row of each cell."""

    name: str
    rows: tuple[Row, ...]
    runs: tuple[Run, ...]
    baselines: Mapping[CellKey, Row]

    @property
    def is_baseline(self) -> bool:
        """Whether it is the one that gains are measured against."""
        return bool(self.runs) and self.runs[0].is_baseline


@dataclass(frozen=True)
class Spot:
    """A place of a grid: the rows that stand there, or in words why there is none."""

    rows: tuple[Row, ...]
    why: str = ""


@dataclass(frozen=True)
class Grid:
    """The gains under one teacher: a line for each student, a place for each fraction."""

    teacher: str
    coverage: Coverage | None
    lines: tuple[tuple[str, tuple[Spot, ...]], ...]


@dataclass(frozen=True)
class Option:
    """An option, or a re-weighted term, with each value it had: (value, records, records whose command named it)."""

    name: str
    values: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Tally:
    """How the gains of some rows stand to zero: above, below, not to be told apart from it, without an interval."""

    above: int
    below: int
    unsure: int
    bare: int

    @property
    def total(self) -> int:
        """How many gains there are."""
        return self.above + self.below + self.unsure + self.bare


@dataclass(frozen=True)
class Speed:
    """A row and the epochs it needs beside those of its cell's baseline, by share of the baseline and by accuracy."""

    row: Row
    to_baseline: tuple[Reached | None, ...]
    to_accuracy: tuple[tuple[Reached | None, Reached | None], ...]


@dataclass(frozen=True)
class Expense:
    """What the runs of a row cost; `times` is the row's time as a multiple of its baseline's on the same device."""

    row: Row
    times: float | None
    clips: str
    params: str
    phases: str


def methods_of(standings: Standings) -> list[MethodRuns]:
    """Every method of a board by name, with or without a rank; the records are gone through once."""
    rows: dict[str, list[Row]] = defaultdict(list)
    runs: dict[str, list[Run]] = defaultdict(list)
    for row in standings.rows:
        rows[row.key.method].append(row)
    for run in (*standings.runs, *standings.runs.withdrawn):
        runs[run.key.method].append(run)
    baselines = {row.key.cell: row for row in standings.rows if row.is_baseline}
    return [MethodRuns(name, tuple(rows[name]), tuple(runs[name]), baselines) for name in sorted(runs)]


def method_context(standings: Standings, method: MethodRuns) -> dict[str, Any]:
    """The names that the method template uses."""
    board, plugin = standings.board, method.runs[0].record.method.name
    styles = styles_of(method)
    versions = versions_of((run.record.method for run in method.runs), board.name)
    return {
        "standings": standings,
        "board": board,
        "method": method,
        "plugin": plugin,
        "plugin_page": plugin_name("methods", plugin),
        "versions": versions,
        "checked": checked_words(method.runs),
        "files": file_words(versions),
        "mixed": [row for row in method.rows if len(_files(row)) > 1],
        "options": options_of([run.record for run in method.runs]),
        "weights": weights_of([run.record for run in method.runs]),
        "tally": tally(row.gain for row in method.rows),
        "teachers": sorted({row.key.teacher for row in method.rows}),
        "fractions": fractions_of(board, method.rows),
        "grids": list(grids(standings, method)),
        "many": MANY_SEEDS,
        "reach": reach_of(method.rows),
        "efficiency": efficiency_charts(charted(method), styles),
        "gains": gain_charts(method.rows, styles),
        "legend": legend(styles),
        "undrawn": sum(style is None for style in styles.values()),
        "goals": [f"{goal:g}" for goal in board.evaluation.milestones],
        "shares": [f"{share:g}" for share in board.evaluation.baseline_milestones],
        "speeds": [speed_of(board, method, row) for row in method.rows],
        "expenses": [expense_of(method, row) for row in method.rows],
        "devices": sorted({device for row in method.rows for device in row.devices}),
        "apart": apart(method.runs),
        "cell_name": cell_name,
        "teacher_page": teacher_name,
    }


def checked_words(runs: Iterable[Run]) -> str:
    """Who has done the runs again: "2 reproduced by someone else, 1 disputed"; "none reproduced by others"."""
    states = Counter[str](run.record.submission.verification.state for run in runs)
    told = [f"{states[state]} {words}" for state, words in STATES.items() if states[state]]
    return ", ".join(told) or "none reproduced by others"


# --- what it was ------------------------------------------------------------------------------------------


def options_of(records: Sequence[Record]) -> list[Option]:
    """Every option of a method with its values. One that no command names has the plugin's own default."""
    values: dict[str, Counter[str]] = defaultdict(Counter)
    named: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        given = _named_in_command(record)
        for name, value in record.method.options.items():
            text = value_text(value)
            values[name][text] += 1
            named[name][text] += name in given
    return [
        Option(name, tuple((text, found[text], named[name][text]) for text in sorted(found)))
        for name, found in sorted(values.items())
    ]


def _named_in_command(record: Record) -> set[str]:
    if " -o " not in record.command:
        return set()
    try:
        words = shlex.split(record.command)
    except ValueError:  # a record's text may be anything
        return set()
    return {word.partition("=")[0] for flag, word in pairwise(words) if flag == "-o"}


def weights_of(records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """The board's terms that a method weighs anew: term, its weight here, the board's weight."""
    found = {
        (term, f"{weight:g}", value_text(record.pins.get(f"objective.{term}", formats.NOTHING)))
        for record in records
        for term, weight in record.method.base_weights.items()
    }
    return sorted(found)


def _files(row: Row) -> set[str]:
    return {run.record.method.sha256 for run in row.runs}


# --- gains ------------------------------------------------------------------------------------------------


def tally(gains: Iterable[Estimate | None]) -> Tally:
    """Gains counted by where their intervals stand to zero."""
    counts: Counter[str] = Counter()
    for gain in gains:
        if gain is None:
            continue
        if gain.low is None or gain.high is None:
            counts["bare"] += 1
        else:
            counts["above" if gain.low > 0 else "below" if gain.high < 0 else "unsure"] += 1
    return Tally(counts["above"], counts["below"], counts["unsure"], counts["bare"])


def grids(standings: Standings, method: MethodRuns) -> Iterator[Grid]:
    """For each teacher of a method the students by the fractions; what the board asks for and is missing is said."""
    covered = {entry.teacher: entry for entry in standings.coverage if entry.method == method.name}
    of_teacher: dict[str, list[Row]] = defaultdict(list)
    for row in method.rows:
        of_teacher[row.key.teacher].append(row)
    for teacher, rows in sorted(of_teacher.items()):
        yield Grid(teacher, covered.get(teacher), tuple(_lines(standings.board, method, rows)))


def _lines(board: Board, method: MethodRuns, rows: Sequence[Row]) -> Iterator[tuple[str, tuple[Spot, ...]]]:
    places: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in rows:
        places[row.key.student, row.key.fraction].append(row)
    asked = {(student, share) for student in board.matrix.students for share in board.matrix.fractions}
    others = sorted({row.key.student for row in rows} - set(board.matrix.students))
    # Some methods need a teacher of the student's own architecture; all others need one of another.
    own_kind = all(row.key.student == row.key.teacher for row in rows)
    for student in (*board.matrix.students, *others):
        spots = []
        for share in fractions_of(board, method.rows):
            found = tuple(places[student, share])
            fits = (student == rows[0].key.teacher) == own_kind
            why = "missing" if fits else "not its own kind" if own_kind else "its own kind"
            spots.append(Spot(found, "" if found else why if (student, share) in asked else formats.NOTHING))
        yield student, tuple(spots)


def fractions_of(board: Board, rows: Iterable[Row]) -> list[float]:
    """The board's fractions and those of the rows, large ones first."""
    return sorted({*board.matrix.fractions, *(row.key.fraction for row in rows)}, reverse=True)


def reach_of(rows: Iterable[Row]) -> float:
    """The end of the axis of a page's whiskers: its dots must stay readable beside an interval as wide as the page."""
    return max([1.6 * abs(row.gain.mean) for row in rows if row.gain] + [0.01])


# --- charts -----------------------------------------------------------------------------------------------


def charted(method: MethodRuns) -> list[Row]:
    """The rows of a method and the baseline's of the same students."""
    students = {row.key.student for row in method.rows}
    baselines = [row for row in method.baselines.values() if row.key.student in students]
    return [*(row for row in method.rows if not row.is_baseline), *baselines]


def styles_of(method: MethodRuns) -> Styles:
    """A line style for each teacher of a method, 0 for the baseline; None for those beyond the last style."""
    entries = {entry_of(row): row.is_baseline for row in charted(method)}
    styles: dict[Entry, int | None] = dict.fromkeys(sorted(entry for entry, is_base in entries.items() if is_base), 0)
    for at, entry in enumerate(sorted(entries.keys() - styles.keys())):
        styles[entry] = at + 1 if at + 1 < STYLES else None
    return styles


def gain_charts(rows: Iterable[Row], styles: Styles) -> list[Figure]:
    """Gain against the fraction of the training videos, one chart for each student, one scale for all.

    A fraction that was drawn several times is one point: the mean over its subsets.
    """
    drawn = [row for row in rows if row.gain and styles.get(entry_of(row))]
    fractions = sorted({row.key.fraction for row in drawn})
    if len(fractions) < 2:
        return []
    x = fraction_axis(fractions, "training videos, % (logarithmic)")
    lines = [(student, points_of(group)) for student, group in by_student(drawn)]
    points = [point for _, of_student in lines for point in of_student]
    y = points_axis([point.gain for point in points], f"gain, points{over_subsets(points)}")
    made = []
    for student, of_student in lines:
        spots = over_fractions(of_student, lambda point: point.gain)
        series = tuple(Series(label_of(entry), each, styles[entry] or 0) for entry, each in spots)
        panel = Panel(f"{student}: gain against the share of training videos", series, x, y, level=0.0)
        made.append(Figure(student, panel))
    return made


# --- speed and cost ---------------------------------------------------------------------------------------


def speed_of(board: Board, method: MethodRuns, row: Row) -> Speed:
    """The epochs of a row to each accuracy beside those of its cell's baseline."""
    base = method.baselines.get(row.key.cell)
    goals = [f"{goal:g}" for goal in board.evaluation.milestones]
    return Speed(
        row,
        tuple(row.to_baseline.get(f"{share:g}") for share in board.evaluation.baseline_milestones),
        tuple((row.milestones.get(goal), base.milestones.get(goal) if base else None) for goal in goals),
    )


def expense_of(method: MethodRuns, row: Row) -> Expense:
    """The cost of a row's runs. Seconds are compared only where row and baseline ran on one class of device."""
    base, records = method.baselines.get(row.key.cell), [run.record for run in row.runs]
    alike = base is not None and len(row.devices) == 1 and row.devices == base.devices
    times = row.cost_s / base.cost_s if base and alike and row.cost_s is not None and base.cost_s else None
    epochs = span([record.method.phase_epochs for record in records])
    seconds = math.fsum(record.cost.phases_s for record in records) / len(records)
    spent = f", {formats.seconds(seconds)}" if len(row.devices) == 1 else ""
    return Expense(
        row,
        times=None if row.is_baseline else times,
        clips=span([record.method.teacher_clips_per_step for record in records]),
        params=span([record.method.extra_params for record in records]),
        phases="none" if epochs == "0" else f"{epochs} epochs{spent}",
    )


def span(numbers: Sequence[int]) -> str:
    """ "1,024", or "8 to 16" where runs differ."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def apart(runs: Iterable[Run]) -> list[tuple[Run, str, str]]:
    """The runs that take part in no comparison: what they are, and why, by run id."""
    found = []
    for run in runs:
        withdrawn = run.record.submission.withdrawn is not None
        kind = "withdrawn" if withdrawn else standing(run)
        if kind != "ranked":
            why = f"other {', '.join(run.stale)}" if run.stale and not withdrawn else run.reason or ""
            found.append((run, kind, why))
    return sorted(found, key=lambda each: each[0].record.run_id)
