"""The charts of a board's page: accuracy with fewer videos, gains over the training, gain against cost.

A teacher and method has one style on all charts of a page. Only a few are drawn; the tables have all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from kdbench.leaderboard import formats
from kdbench.leaderboard.answer import cost_factors
from kdbench.leaderboard.charts import (
    Axis,
    Figure,
    Panel,
    Series,
    fraction_axis,
    plain_axis,
    points_axis,
    share_axis,
)
from kdbench.leaderboard.standings import STAGES, Row, entry_of

Entry = tuple[str, str]
Styles = Mapping[Entry, int | None]
Spots = tuple[tuple[float, float], ...]
DRAWN = 5  # lines of a chart beside the baseline's
STUDENTS = 12  # charts of a kind


@dataclass(frozen=True)
class Legend:
    """A line of a chart's legend."""

    style: int
    label: str


@dataclass(frozen=True)
class Point:
    """What a chart draws as one: the rows of a teacher and method on one fraction, one for each subset of it."""

    entry: Entry
    fraction: float
    rows: tuple[Row, ...]

    @property
    def accuracy(self) -> float:
        """The mean over the subsets."""
        return _mean([row.accuracy.mean for row in self.rows])

    @property
    def gain(self) -> float:
        """The mean over the subsets; each row must have a gain."""
        return _mean([row.gain.mean for row in self.rows if row.gain])


def label_of(entry: Entry) -> str:
    """Method and teacher as a reader finds them in legends and lists."""
    teacher, method = entry
    return f"{method}, teacher {teacher}" if teacher != "none" else f"{method}, no teacher"


def entry_styles(rows: Iterable[Row]) -> dict[Entry, int | None]:
    """A line style for each teacher and method: 0 for the baseline, None for those that are not drawn.

    Drawn are those that have a gain in the most cells, or one lucky run would push out who ran everywhere; of equals
    those with the largest gains, on the average of the cells each has. That mean picks lines and is shown nowhere,
    because two entries need not have the same cells.
    """
    rows = list(rows)
    styles: dict[Entry, int | None] = dict.fromkeys(sorted({entry_of(row) for row in rows if row.is_baseline}), 0)
    gains: dict[Entry, list[float]] = {}
    for row in rows:
        gains.setdefault(entry_of(row), []).extend([row.gain.mean] if row.gain and not row.is_baseline else [])
    taught = gains.keys() - styles.keys()
    best = sorted(taught, key=lambda entry: (-len(gains[entry]), -_mean_or_last(gains[entry]), entry))[:DRAWN]
    return styles | dict.fromkeys(sorted(taught)) | {entry: at + 1 for at, entry in enumerate(sorted(best))}


def legend(styles: Styles, baseline: bool = True) -> list[Legend]:
    """The legend that the charts of a page share, with or without the baseline."""
    order = sorted((style, entry) for entry, style in styles.items() if style is not None)
    return [
        Legend(style, label_of(entry) + ("" if style else ": the baseline"))
        for style, entry in order
        if style or baseline
    ]


def efficiency_charts(rows: Iterable[Row], styles: Styles) -> list[Figure]:
    """Accuracy against the fraction of the training videos, one chart for each student, one scale for all.

    A fraction that was drawn several times is one point: the mean over its subsets.
    """
    drawn = _drawn(rows, styles)
    fractions = sorted({row.key.fraction for row in drawn})
    if len(fractions) < 2:
        return []
    lines = [(student, points_of(group)) for student, group in by_student(drawn)]
    points = [point for _, of_student in lines for point in of_student]
    x = fraction_axis(fractions, "training videos, % (logarithmic)")
    y = share_axis([point.accuracy for point in points], f"accuracy, %{over_subsets(points)}")
    return [
        _figure(
            Panel(f"{student}: accuracy against the share of training videos", (), x, y),
            student,
            over_fractions(of_student, lambda point: point.accuracy),
            styles,
        )
        for student, of_student in lines
    ]


def stage_charts(rows: Iterable[Row], styles: Styles) -> list[Figure]:
    """Gain at the end of the early, middle and late stage for the rows of one fraction, one chart a student.

    The baseline is the line at zero: who crosses it, and who crosses whom, is seen at once. Of several subsets the
    mean is drawn.
    """
    told = [row for row in _drawn(rows, styles) if row.gain or row.is_baseline]
    lines = [
        (student, [point for point in points_of(group) if styles[point.entry]]) for student, group in by_student(told)
    ]
    lines = [(student, points) for student, points in lines if points]
    if not lines:
        return []
    gains = {(student, point.entry): _mean_gains(point.rows) for student, points in lines for point in points}
    x = Axis(-0.25, 2.25, tuple((float(at), stage) for at, stage in enumerate(STAGES)), "end of the stage")
    label = f"gain, points{over_subsets(point for _, points in lines for point in points)}"
    share = formats.fraction(lines[0][1][0].fraction)
    y = points_axis([gain for each in gains.values() for gain in each], label)
    return [
        _figure(
            Panel(f"{student}, {share}: gain at the end of each stage", (), x, y, level=0.0),
            student,
            [
                (point.entry, tuple((float(at), gain) for at, gain in enumerate(gains[student, point.entry])))
                for point in points
            ],
            styles,
        )
        for student, points in lines
    ]


def cost_charts(rows: Iterable[Row], styles: Styles) -> list[Figure]:
    """Gain against time with the teacher's training, as a multiple of the paired baseline's; a point for each cell."""
    rows = list(rows)
    costs = cost_factors(rows)
    taught = [row for row in _drawn(rows, styles) if row.gain and row.key in costs]
    if not taught:
        return []
    x = plain_axis([1.0, *(costs[row.key][1] for row in taught)], "time, multiples of a run without a teacher")
    y = points_axis([row.gain.mean for row in taught if row.gain], "gain, points")
    made = []
    for student, group in by_student(taught):
        panel = Panel(f"{student}: gain against cost", (), x, y, marks=((1.0, ""),), level=0.0)
        spots = [
            (entry, tuple((costs[row.key][1], row.gain.mean) for row in found if row.gain))
            for entry, found in by_entry(group)
        ]
        made.append(_figure(panel, student, spots, styles, joined=False))
    return made


def stage_gains(row: Row) -> tuple[float, ...]:
    """The paired gain at the end of each stage, mean over the seeds that have a baseline run."""
    pairs = [(run.record.derived, run.baseline.derived) for run in row.runs if run.baseline]
    return tuple(
        math.fsum(getattr(own, stage) - getattr(base, stage) for own, base in pairs) / len(pairs) for stage in STAGES
    )


def points_of(rows: Iterable[Row]) -> list[Point]:
    """The points of one student, in order of the names, small fractions first.

    They are of the subsets that the baseline has there; without a baseline, of all. Who lacks one of these has no
    point: the luck of a draw would look like a gain.
    """
    rows = list(rows)
    drawn: dict[float, set[int]] = {}
    paired: dict[float, set[int]] = {}
    for row in rows:
        drawn.setdefault(row.key.fraction, set()).add(row.key.subset_seed)
        if row.is_baseline:
            paired.setdefault(row.key.fraction, set()).add(row.key.subset_seed)
    needed, found = drawn | paired, []
    for entry, group in by_entry(rows):
        for fraction, same in groupby(group, key=lambda row: row.key.fraction):
            kept = tuple(row for row in same if row.key.subset_seed in needed[fraction])
            if {row.key.subset_seed for row in kept} == needed[fraction]:
                found.append(Point(entry, fraction, kept))
    return found


def over_fractions(points: Iterable[Point], value: Callable[[Point], float]) -> list[tuple[Entry, Spots]]:
    """The line of each teacher and method on a logarithmic axis of fractions."""
    return [
        (entry, tuple((math.log(point.fraction), value(point)) for point in group))
        for entry, group in groupby(points, key=lambda point: point.entry)
    ]


def over_subsets(points: Iterable[Point]) -> str:
    """What the label of an axis adds where a point is a mean over several subsets."""
    return ", mean over subsets" if any(len(point.rows) > 1 for point in points) else ""


def by_student(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """The rows of each student, in order of the name."""
    order = sorted(rows, key=lambda row: row.key.student)
    return [(student, list(group)) for student, group in groupby(order, key=lambda row: row.key.student)]


def by_entry(rows: Iterable[Row]) -> list[tuple[Entry, list[Row]]]:
    """The rows of each teacher and method, in order of the names, small fractions first."""
    order = sorted(rows, key=lambda row: (entry_of(row), row.key.fraction))
    return [(entry, list(group)) for entry, group in groupby(order, key=entry_of)]


def _drawn(rows: Iterable[Row], styles: Styles) -> list[Row]:
    found = [row for row in rows if styles[entry_of(row)] is not None]
    kept = sorted({row.key.student for row in found})[:STUDENTS]
    return [row for row in found if row.key.student in kept]


def _figure(
    panel: Panel,
    title: str,
    lines: Sequence[tuple[Entry, Spots]],
    styles: Styles,
    joined: bool = True,
) -> Figure:
    series = [Series(label_of(entry), spots, styles[entry] or 0, joined=joined) for entry, spots in lines]
    # The baseline is drawn last, so that no other line covers it.
    order = tuple(sorted(series, key=lambda each: -each.style))
    return Figure(title, replace(panel, series=order))


def _mean_gains(rows: Sequence[Row]) -> list[float]:
    return [_mean(gains) for gains in zip(*(stage_gains(row) for row in rows), strict=True)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_or_last(gains: Sequence[float]) -> float:
    return _mean(gains) if gains else -math.inf
