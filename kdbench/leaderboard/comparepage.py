"""What the page shows that sets any rows of a board side by side.

Its script draws the rows that the address names (`#rows=ID,ID`, see `row_id`) from the JSON that `rows_json`
puts into the page. Without a script the page has the best entry of each cell beside its baseline.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup

from kdbench.board import Board
from kdbench.leaderboard import formats
from kdbench.leaderboard.charts import STYLES, Axis, Panel, Series, epoch_axis, line_chart, share_axis
from kdbench.leaderboard.definitions import definitions
from kdbench.leaderboard.scoring import NO_TEACHER, Estimate, Reached, RowKey, Run, student_t
from kdbench.leaderboard.standings import STAGES, Row, Standings, row_id

POINTS = 50  # of a curve in the page's data, about
SCALE = 10_000  # curves are whole numbers of a hundredth of a per cent


@dataclass(frozen=True)
class Pairing:
    """A cell's baseline row and the best row beside it, with their learning curves as a chart."""

    baseline: Row
    best: Row
    chart: Markup

    @property
    def label(self) -> str:
        """What the best row is called."""
        return label_of(self.best)

    @property
    def student(self) -> str:
        """The student, and the draw of its videos unless it is the first."""
        return self.best.key.student + _draw(self.best.key)

    @property
    def ids(self) -> str:
        """Both rows as the address of the page names them."""
        return f"{row_id(self.baseline.key)},{row_id(self.best.key)}"


def compare_context(standings: Standings) -> dict[str, Any]:
    """The names that the comparison template uses."""
    return {
        "standings": standings,
        "board": standings.board,
        "fractions": [(fraction, list(group)) for fraction, group in _by_fraction(pairings(standings))],
        "data": rows_json(standings),
        "most": STYLES,
        "apart": list(_apart(standings)),
    }


def _apart(standings: Standings) -> Iterator[tuple[Run, str]]:
    """The runs that are not submitted and that no row would hold, each with the reason."""
    for run in (*standings.runs.stale, *standings.runs.unranked):
        if run.record.run_id in standings.given:
            yield run, f"it was made with other {', '.join(run.stale)}" if run.stale else run.reason or ""


# --- without a script --------------------------------------------------------------------------------------


def pairings(standings: Standings) -> list[Pairing]:
    """For each cell that holds a comparison its baseline and best row, in the order of the board."""
    found = []
    for _, group in groupby(standings.rows, key=lambda row: row.key.cell):
        rows = list(group)
        baseline, best = next((row for row in rows if row.is_baseline), None), best_of(rows)
        if baseline and best:
            found.append((baseline, best))
    chosen = [row for pair in found for row in pair]
    y = share_axis([share for row in chosen for share in mean_curve(row)], "accuracy, %")
    return [Pairing(*pair, chart=_chart(standings.board, pair, y)) for pair in found]


def best_of(rows: Iterable[Row]) -> Row | None:
    """The row of the largest gain; one that has an interval goes before one that has none."""
    compared = [row for row in rows if row.gain and not row.is_baseline]
    measured = [row for row in compared if row.rank]
    return max(measured or compared, key=lambda row: row.gain.mean if row.gain else 0.0, default=None)


def mean_curve(row: Row) -> list[float]:
    """The 1-view test accuracy of each epoch, as its mean over the row's seeds."""
    curves = [[epoch.test_top1 for epoch in run.record.epochs] for run in row.runs]
    return [math.fsum(level) / len(curves) for level in zip(*curves, strict=True)]


def shown_epochs(board: Board) -> list[int]:
    """About fifty epochs, evenly chosen; the first, the last and the ends of the stages among them."""
    count = board.optim.epochs
    every = math.ceil(count / POINTS)
    return sorted({*range(1, count + 1, every), count, *board.stage_epochs})


def label_of(row: Row) -> str:
    """What a row is called within its cell."""
    return label_of_key(row.key)


def label_of_key(key: RowKey) -> str:
    """ "soft, teacher broad" or "alone, no teacher"."""
    return f"{key.method}, no teacher" if key.teacher == NO_TEACHER else f"{key.method}, teacher {key.teacher}"


def _chart(board: Board, pair: tuple[Row, Row], y: Axis) -> Markup:
    epochs = shown_epochs(board)
    series = []
    for style, row in enumerate(pair):
        curve = mean_curve(row)
        points = tuple((float(epoch), curve[epoch - 1]) for epoch in epochs)
        series.append(Series(label_of(row), points, style, markers=False))
    marks = tuple((float(epoch), stage) for epoch, stage in zip(board.stage_epochs, STAGES, strict=True))
    title = f"{pair[0].key.student}, {formats.fraction(pair[0].key.fraction)}: learning curves, mean over seeds"
    return line_chart(Panel(title, tuple(series), epoch_axis(board.optim.epochs), y, marks))


def _by_fraction(pairs: Sequence[Pairing]) -> Iterable[tuple[float, Iterable[Pairing]]]:
    return groupby(pairs, key=lambda pair: pair.best.key.fraction)


# --- for the script ----------------------------------------------------------------------------------------


def rows_json(standings: Standings) -> Markup:
    """Every row for the page's script, as JSON that may stand inside a <script> element.

    Numbers that are only shown come as texts, so that they read as on the other pages; the accuracy of each run
    comes whole, so that differences are exact. `t` are Student's t for 1, 2, ... degrees of freedom. A run is
    [seed, accuracy, run id]; rows of one `place` have the same student and training videos.
    """
    board = standings.board
    most = max((row.accuracy.n for row in standings.rows), default=2)
    data = {
        "epochs": shown_epochs(board),
        "stages": list(zip(board.stage_epochs, STAGES, strict=True)),
        "columns": _heads(standings),
        "t": [student_t(freedom) for freedom in range(1, max(2, most))],
        "start": [row_id(row.key) for row in first_shown(standings)],
        "rows": [_row_data(standings, row) for row in standings.rows],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)  # noqa: S704 - no mark of HTML is left in it


def first_shown(standings: Standings) -> list[Row]:
    """The rows that the page begins with: of the reader's first cell the baseline and the reader's own; else the best.

    Without rows of the reader it is the first cell that holds a comparison: its baseline and its best row.
    """
    own = sorted((row for row in standings.rows if standings.holds_given(row)), key=lambda row: row.is_baseline)
    if not own:
        pair = next(iter(pairings(standings)), None)
        return [pair.baseline, pair.best] if pair else list(standings.rows[:2])
    cell = [row for row in standings.rows if row.key.cell == own[0].key.cell]
    chosen = [row for row in cell if row.is_baseline or row in own]
    best = best_of(cell)
    return chosen[:STYLES] if len(chosen) > 1 or best is None or best in chosen else [*chosen, best]


def _row_data(standings: Standings, row: Row) -> dict[str, Any]:
    curve, key = mean_curve(row), row.key
    data: dict[str, Any] = {
        "id": row_id(key),
        "place": f"{key.student}, {formats.fraction(key.fraction)}{_draw(key)}",
        "label": label_of(row),
        "curve": [round(SCALE * curve[epoch - 1]) for epoch in shown_epochs(standings.board)],
        "cells": [shown for _, _, shown in _columns(standings, row)],
        "runs": [[run.record.seed, run.record.derived.top1, run.record.run_id] for run in row.runs],
    }
    marks = {"own": standings.holds_given(row), "more": row.privileged}
    return data | {mark: True for mark, holds in marks.items() if holds}


def _draw(key: RowKey) -> str:
    return f", subset seed {key.subset_seed}" if key.subset_seed else ""


def _columns(standings: Standings, row: Row) -> Iterator[tuple[str, str, str]]:
    """The cells of a row in the table: head, the definition that says what it means, text."""
    evaluation = standings.board.evaluation
    yield "Early", "stages", formats.percent(row.stages["early"])
    yield "Middle", "stages", formats.percent(row.stages["middle"])
    yield "Accuracy", "accuracy", _share(row.accuracy)
    yield "Gain", "gain", _gain(row)
    yield "Rank", "rank", row.rank or formats.NOTHING
    for share in evaluation.baseline_milestones:
        yield f"{formats.fraction(share)} of baseline", "of-baseline", _epochs(row.to_baseline[f"{share:g}"])
    for goal in evaluation.milestones:
        yield formats.fraction(goal), "milestones", _epochs(row.milestones.get(f"{goal:g}"))
    yield "One run", "cost", formats.seconds(row.cost_s)
    yield "With teacher", "cost-with-teacher", formats.seconds(row.cost_with_teacher_s)
    if len({device for each in standings.rows for device in each.devices}) > 1:
        yield "Device", "device", "; ".join(row.devices)


def _heads(standings: Standings) -> list[tuple[str, str]]:
    """The heads of the table with what they mean."""
    words = definitions(standings.board)
    return [(head, words[anchor].text) for row in standings.rows[:1] for head, anchor, _ in _columns(standings, row)]


def _share(value: Estimate) -> str:
    return f"{formats.percent(value.mean)} {formats.half(value) or f'({formats.spread(value)})'}"


def _gain(row: Row) -> str:
    if row.gain is None:
        return "reference" if row.is_baseline else "no paired run"
    spread = formats.half(row.gain) or f"({formats.spread(row.gain)})"
    return f"{formats.points(row.gain.mean)} {spread}" + (f", {row.unpaired} unpaired" if row.unpaired else "")


def _epochs(reached: Reached | None) -> str:
    text = formats.epochs(reached)
    return f"{text} ({reached.reached} of {reached.n})" if reached and reached.reached < reached.n else text
