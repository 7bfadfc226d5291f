"""The charts of a board's page: accuracy with fewer videos, gains over the training, gain against cost.

A teacher and method has one style on all charts of a page. Only the best few are drawn; the tables have all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from markupsafe import Markup

from kdbench.leaderboard.answer import cost_factors
from kdbench.leaderboard.charts import (
    Axis,
    Panel,
    Series,
    fraction_axis,
    line_chart,
    plain_axis,
    points_axis,
    share_axis,
)
from kdbench.leaderboard.standings import STAGES, Row, entry_of

Entry = tuple[str, str]
Styles = Mapping[Entry, int | None]
DRAWN = 5  # lines of a chart beside the baseline's
STUDENTS = 12  # charts of a kind


@dataclass(frozen=True)
class Legend:
    """A line of a chart's legend."""

    style: int
    label: str


@dataclass(frozen=True)
class Figure:
    """A chart with what stands above it."""

    title: str
    chart: Markup


def label_of(entry: Entry) -> str:
    """Method and teacher as a reader finds them in legends and lists."""
    teacher, method = entry
    return f"{method}, teacher {teacher}" if teacher != "none" else f"{method}, no teacher"


def entry_styles(rows: Iterable[Row]) -> dict[Entry, int | None]:
    """A line style for each teacher and method: 0 for the baseline, None for those that are not drawn.

    Drawn are those with the largest gains, on the average of the cells each has; that mean picks lines and is
    shown nowhere, because two entries need not have the same cells.
    """
    rows = list(rows)
    styles: dict[Entry, int | None] = dict.fromkeys(sorted({entry_of(row) for row in rows if row.is_baseline}), 0)
    gains: dict[Entry, list[float]] = {}
    for row in rows:
        gains.setdefault(entry_of(row), []).extend([row.gain.mean] if row.gain and not row.is_baseline else [])
    taught = gains.keys() - styles.keys()
    best = sorted(taught, key=lambda entry: (-_mean_or_last(gains[entry]), entry))[:DRAWN]
    return styles | dict.fromkeys(sorted(taught)) | {entry: at + 1 for at, entry in enumerate(sorted(best))}


def legend(styles: Styles, baseline: bool = True) -> list[Legend]:
    """The legend that the charts of a page share, with or without the baseline."""
    order = sorted((style, entry) for entry, style in styles.items() if style is not None)
    return [Legend(style, label_of(entry)) for style, entry in order if style or baseline]


def efficiency_charts(rows: Iterable[Row], styles: Styles) -> list[Figure]:
    """Accuracy against the fraction of the training videos, one chart for each student, one scale for all."""
    drawn = _drawn(rows, styles)
    fractions = sorted({row.key.fraction for row in drawn})
    if len(fractions) < 2:
        return []
    x = fraction_axis(fractions, "training videos, % (logarithmic)")
    y = share_axis([row.accuracy.mean for row in drawn], "accuracy, %")
    return [
        _figure(
            Panel(f"{student}: accuracy against the share of training videos", (), x, y),
            student,
            [
                (entry, tuple(sorted((math.log(row.key.fraction), row.accuracy.mean) for row in found)))
                for entry, found in by_entry(group)
            ],
            styles,
        )
        for student, group in by_student(drawn)
    ]


def stage_charts(rows: Iterable[Row], styles: Styles) -> list[Figure]:
    """Gain at the end of the early, middle and late stage for the rows of one fraction, one chart a student.

    The baseline is the line at zero: who crosses it, and who crosses whom, is seen at once.
    """
    taught = [row for row in _drawn(rows, styles) if row.gain and not row.is_baseline]
    if not taught:
        return []
    gains = {row.key: stage_gains(row) for row in taught}
    x = Axis(-0.25, 2.25, tuple((float(at), stage) for at, stage in enumerate(STAGES)), "end of the stage")
    y = points_axis([gain for of_row in gains.values() for gain in of_row], "gain, points")
    return [
        _figure(
            Panel(f"{student}: gain at the end of each stage", (), x, y, level=0.0),
            student,
            [(entry_of(row), tuple((float(at), gain) for at, gain in enumerate(gains[row.key]))) for row in group],
            styles,
        )
        for student, group in by_student(taught)
    ]


def cost_charts(rows: Iterable[Row], styles: Styles) -> list[Figure]:
    """Gain against time with the teacher's training, as a multiple of the paired baseline's; a point for each cell."""
    rows = list(rows)
    costs = cost_factors(rows)
    taught = [row for row in _drawn(rows, styles) if row.gain and row.key in costs]
    if not taught:
        return []
    x = plain_axis([costs[row.key][1] for row in taught], "time, multiples of a run without a teacher")
    y = points_axis([row.gain.mean for row in taught if row.gain], "gain, points")
    made = []
    for student, group in by_student(taught):
        panel = Panel(f"{student}: gain against cost", (), x, y, level=0.0)
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
    lines: Sequence[tuple[Entry, tuple[tuple[float, float], ...]]],
    styles: Styles,
    joined: bool = True,
) -> Figure:
    series = [Series(label_of(entry), spots, styles[entry] or 0, joined=joined) for entry, spots in lines]
    # The baseline is drawn last, so that no other line covers it.
    order = tuple(sorted(series, key=lambda each: -each.style))
    return Figure(title, line_chart(replace(panel, series=order)))


def _mean_or_last(gains: Sequence[float]) -> float:
    return math.fsum(gains) / len(gains) if gains else -math.inf
