"""A paper's tables with our runs beside them, cell by cell. The two are shown side by side and never compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from kdbench.board import Board
from kdbench.leaderboard import formats
from kdbench.leaderboard.reported import Reported, ReportedRow, ReportedTable
from kdbench.leaderboard.scoring import NO_TEACHER, Estimate, Run, estimate
from kdbench.leaderboard.standings import STAGES, Row, Standings

LATE = STAGES[-1]


class Spot(NamedTuple):
    """What one column of a paper's table is of; None is what the paper does not say."""

    fraction: float | None
    dataset: str | None
    stage: str | None


@dataclass(frozen=True)
class Measured:
    """Our mean over seeds. `label` tells apart two tasks, the variants of a method, and several draws of a fraction."""

    label: str
    value: Estimate


@dataclass(frozen=True)
class Cell:
    """A figure of the paper, and what we measured in its place: nothing where no run has been made."""

    reported: float | None
    measured: tuple[Measured, ...]


@dataclass(frozen=True)
class Line:
    """One teacher of one student: a cell for each column, and our runs behind them."""

    teacher: str | None
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...]

    @property
    def runs_by_fraction(self) -> list[tuple[float, list[Run]]]:
        """The runs by their fraction of the training videos, as the columns are ordered."""
        return [(share, list(group)) for share, group in groupby(self.runs, key=lambda run: run.key.fraction)]


@dataclass(frozen=True)
class Table:
    """One table of the paper: its columns by name, its lines by student."""

    anchor: str
    name: str
    page: str | None
    caption: str
    columns: tuple[str, ...]
    students: tuple[tuple[str, tuple[Line, ...]], ...]


def paper_context(standings: Standings, reported: Reported) -> dict[str, Any]:
    """The names that the paper template uses."""
    tables = [table_of(standings, table) for table in reported.tables]
    cells = [cell for table in tables for _, lines in table.students for line in lines for cell in line.cells]
    figures = [cell for cell in cells if cell.reported is not None]
    return {
        "board": standings.board,
        "reported": reported,
        "tables": tables,
        "figures": len(figures),
        "filled": sum(bool(cell.measured) for cell in figures),
        "majority": next((row.majority for row in standings.rows if row.majority is not None), None),
    }


def table_of(standings: Standings, table: ReportedTable) -> Table:
    """A table of the paper with our means in its cells."""
    spots = list(dict.fromkeys(_spot(row) for row in table.rows))
    values = {(row.student, row.teacher, _spot(row)): row.value for row in table.rows}
    keys = list(dict.fromkeys((row.student, row.teacher) for row in table.rows))
    students = []
    for student, group in groupby(keys, key=lambda key: key[0]):
        lines = []
        for _, teacher in group:
            cells = [
                Cell(values.get((student, teacher, spot)), measured(standings, student, teacher, spot))
                for spot in spots
            ]
            lines.append(Line(teacher, tuple(cells), _runs(standings, student, teacher, spots)))
        students.append((student, tuple(lines)))
    return Table(
        anchor="-".join(table.table.lower().split()),
        name=table.table,
        page=table.page,
        caption=table.caption,
        columns=tuple(column_names(spots)),
        students=tuple(students),
    )


def column_names(spots: Sequence[Spot]) -> list[str]:
    """What tells the columns of a table apart: data set, stage or fraction."""
    names = []
    for spot in spots:
        parts = {
            "fraction": formats.fraction(spot.fraction) if spot.fraction is not None else formats.NOTHING,
            "dataset": spot.dataset or formats.NOTHING,
            "stage": (spot.stage or formats.NOTHING).capitalize(),
        }
        told = [part for name, part in parts.items() if len({getattr(each, name) for each in spots}) > 1]
        names.append(", ".join(told) or "Accuracy")
    return names


def measured(standings: Standings, student: str, teacher: str | None, spot: Spot) -> tuple[Measured, ...]:
    """Our means in the place of one figure: from the board's own rows, the last epoch where no stage is named."""
    found = []
    rows = matching_rows(standings, student, teacher, spot.fraction)
    redrawn = len({row.key.subset_seed for row in rows}) > 1
    for row in rows:
        scores = _scores(standings.board, row, spot)
        variant = "" if row.key.method == row.runs[0].record.method.name else row.key.method
        draw = f"subset seed {row.key.subset_seed}" if redrawn else ""
        for task, value in scores.items():
            names = (task if len(scores) > 1 else "", variant, draw)
            found.append(Measured(", ".join(filter(None, names)), value))
    return tuple(found)


def _scores(board: Board, row: Row, spot: Spot) -> dict[str, Estimate]:
    """What we scored in the place of a figure, by task; nobody says which of the two the paper means."""
    if spot.dataset in (None, board.data.dataset):
        scores = {"action": _at_stage(row, spot.stage or LATE), "pretext": _pretext_at(row, spot.stage or LATE)}
    elif board.transfer and spot.dataset == board.transfer.dataset and spot.stage in (None, LATE):
        scores = {"action": row.transfer}
    else:
        scores = {}
    return {task: value for task, value in scores.items() if value}


def matching_rows(standings: Standings, student: str, teacher: str | None, fraction: float | None) -> list[Row]:
    """The ranked rows that repeat a run of the paper: its student, teacher and fraction, the board's own methods."""
    methods = standings.board.methods
    method = methods.taught if teacher else methods.baseline
    rows = [
        row
        for row in standings.rows
        if row.runs[0].record.student.name == student
        and row.key.teacher == (teacher or NO_TEACHER)
        and row.runs[0].record.method.name == method
        and not row.runs[0].record.method.base_weights
        and row.key.fraction == (1.0 if fraction is None else fraction)
    ]
    return sorted(rows, key=lambda row: row.key)


def _at_stage(row: Row, stage: str) -> Estimate | None:
    if stage not in STAGES:
        return None
    return estimate([getattr(run.record.derived, stage) for run in row.runs])


def _pretext_at(row: Row, stage: str) -> Estimate | None:
    marks = [mark for run in row.runs for mark in run.record.stages if mark.stage == stage]
    told = [mark.pretext_top1 for mark in marks if mark.pretext_top1 is not None]
    return estimate(told) if told and len(told) == len(marks) else None


def _runs(standings: Standings, student: str, teacher: str | None, spots: Sequence[Spot]) -> tuple[Run, ...]:
    fractions = dict.fromkeys(spot.fraction for spot in spots)
    rows = [row for share in fractions for row in matching_rows(standings, student, teacher, share)]
    return tuple(run for row in rows for run in row.runs)


def _spot(row: ReportedRow) -> Spot:
    return Spot(row.fraction, row.dataset, row.stage)
