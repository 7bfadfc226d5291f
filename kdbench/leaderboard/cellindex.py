"""What the list of a board's cells shows: each cell with its leading row, and performance profiles over all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from kdbench.leaderboard import formats
from kdbench.leaderboard.boardcharts import label_of
from kdbench.leaderboard.cellstudy import csv_line
from kdbench.leaderboard.charts import STYLES, Axis, Panel, Series, line_chart
from kdbench.leaderboard.comparepage import best_of
from kdbench.leaderboard.comparepage import label_of as row_label
from kdbench.leaderboard.definitions import definitions
from kdbench.leaderboard.profiles import Profile, epochs_needed, performance_profiles, staircase
from kdbench.leaderboard.scoring import RowKey
from kdbench.leaderboard.standings import Row, Standings, entry_of, named_cells
from kdbench.leaderboard.tables import DIGITS

FACTORS = (1.0, 1.1, 1.25, 1.5, 2.0, 4.0)  # how far from the best the table says
FARTHEST = 4.0  # where a chart ends at the latest, as in the source of the profiles
COLUMNS = ("measure", "teacher", "method", "cells", "of_cells", "factor", "share")
Entry = tuple[str, str]


@dataclass(frozen=True)
class Place:
    """A cell with its leading row, its baseline, how many runs it has, and whether some are not submitted."""

    name: str
    key: RowKey
    lead: Row | None
    baseline: Row | None
    rows: int
    runs: int
    given: bool


@dataclass(frozen=True)
class Measure:
    """What the profiles compare: its name in files, on the page, and its profiles with the best entry first."""

    name: str
    title: str
    profiles: tuple[Profile, ...]


def cells_context(standings: Standings) -> dict[str, Any]:
    """The names that the template of the list of cells uses."""
    measures = measures_of(standings)
    styles = profile_styles(standings, measures)
    return {
        "board": standings.board,
        "places": places_of(standings),
        "redrawn": len({row.key.subset_seed for row in standings.rows}) > 1,
        "label_of": row_label,
        "profile": definitions(standings.board)["profile"],
        "measures": measures,
        "charts": [profile_chart(measure, styles) for measure in measures],
        "legend": [(style, label_of(entry)) for entry, style in styles.items()],
        "factors": FACTORS,
        "labels": [[label_of((each.teacher, each.method)) for each in measure.profiles] for measure in measures],
        "columns": COLUMNS,
    }


def places_of(standings: Standings) -> list[Place]:
    """Every cell in the board's order; the leading row is its best one, see `best_of`."""
    found = []
    for name, rows in named_cells(standings.rows).items():
        baseline = next((row for row in rows if row.is_baseline), None)
        runs, given = sum(len(row.runs) for row in rows), any(map(standings.holds_given, rows))
        found.append(Place(name, rows[0].key, best_of(rows), baseline, len(rows), runs, given))
    return found


def measures_of(standings: Standings) -> list[Measure]:
    """The error after the last epoch, and the epochs to each share of the paired baseline run."""
    costs: list[tuple[str, str, Callable[[Row], float | None]]] = [
        ("error", "Share of the test videos that are wrong", lambda row: 1 - row.accuracy.mean)
    ]
    for share in standings.board.evaluation.baseline_milestones:
        title = f"Epochs to {formats.fraction(share)} of the paired baseline"
        costs.append((f"epochs_to_baseline_{share:g}", title, _epochs_to(f"{share:g}")))
    found = (Measure(name, title, tuple(performance_profiles(standings.rows, cost))) for name, title, cost in costs)
    return [measure for measure in found if measure.profiles]


def _epochs_to(share: str) -> Callable[[Row], float | None]:
    return lambda row: epochs_needed(row.to_baseline.get(share))


def profile_styles(standings: Standings, measures: Sequence[Measure]) -> dict[Entry, int]:
    """A line style for the baseline and for the first entries of the first profile, in this order."""
    if not measures:
        return {}
    alone = {entry_of(row) for row in standings.rows if row.is_baseline}
    order = [(each.teacher, each.method) for each in measures[0].profiles]
    taught = [entry for entry in order if entry not in alone]
    return {entry: 0 for entry in order if entry in alone} | dict(zip(taught, range(1, STYLES), strict=False))


def profile_chart(measure: Measure, styles: dict[Entry, int]) -> Markup:
    """The share of its cells in which each entry is within a factor of the best, by the factor."""
    drawn = [(each, styles[entry]) for each in measure.profiles if (entry := (each.teacher, each.method)) in styles]
    finite = [ratio for each, _ in drawn for ratio in each.ratios if ratio < math.inf]
    end = min(FARTHEST, 1 + max(0.1, math.ceil(10 * (max(finite, default=1.0) - 1)) / 10))
    step = next(step for step in (0.02, 0.05, 0.1, 0.25, 0.5, 1.0) if (end - 1) / step <= 5.001)
    ticks = tuple((1 + at * step, f"{1 + at * step:g}") for at in range(int((end - 1) / step + 1.001)))
    series = [
        Series(label_of((each.teacher, each.method)), _corners(each, end), style, markers=False)
        for each, style in sorted(drawn, key=lambda pair: -pair[1])
    ]
    x = Axis(1.0, end, ticks, "times as much as the best of the cell")
    y = Axis(0.0, 1.0, tuple((share / 4, f"{25 * share}") for share in range(5)), "cells, %")
    return line_chart(Panel(f"{measure.title}: performance profiles", tuple(series), x, y))


def _corners(profile: Profile, end: float) -> tuple[tuple[float, float], ...]:
    return staircase([step for step in profile.steps if step[0] <= end], 1.0, end)


def profiles_csv(standings: Standings) -> bytes:
    """One line per measure, entry and factor: the share of the entry's cells in which it is within the factor."""
    return "".join(f"{csv_line(line)}\n" for line in (COLUMNS, *_profile_lines(standings))).encode()


def _profile_lines(standings: Standings) -> Iterator[tuple[object, ...]]:
    for measure in measures_of(standings):
        for each in measure.profiles:
            start = (measure.name, each.teacher, each.method, len(each.ratios), each.cells)
            for factor, share in each.steps or ((1.0, 0.0),):
                yield (*start, f"{factor:.{DIGITS}g}", f"{share:.{DIGITS}g}")
