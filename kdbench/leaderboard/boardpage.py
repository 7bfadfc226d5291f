"""What a board's page shows: the answer, the standings cell by cell, charts, coverage, the runs without a rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kdbench.board import Board
from kdbench.leaderboard import formats
from kdbench.leaderboard.answer import answer_of
from kdbench.leaderboard.boardcharts import (
    DRAWN,
    STUDENTS,
    Styles,
    by_student,
    cost_charts,
    efficiency_charts,
    entry_styles,
    label_of,
    legend,
    points_of,
    stage_charts,
)
from kdbench.leaderboard.charts import Figure
from kdbench.leaderboard.columns import Cell, Column, columns_of
from kdbench.leaderboard.definitions import Definition, definitions
from kdbench.leaderboard.reported import Reported
from kdbench.leaderboard.scoring import Estimate, RowKey
from kdbench.leaderboard.standings import Row, Standings, named_cells, row_id

TALL = 60  # rows from which on the table scrolls under its head


@dataclass(frozen=True)
class Line:
    """A row of the standings with what its columns say; `id` names it in an address."""

    id: str
    row: Row
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """The rows of one cell under its name; `note` says what more than student and fraction tells it from others."""

    name: str
    key: RowKey
    note: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]

    def lines(self) -> Iterator[Line]:
        """The rows with their cells, made when the page is."""
        for row in self.rows:
            yield Line(row_id(row.key), row, tuple(column.cell(row) for column in self.columns))


@dataclass(frozen=True)
class Stage:
    """The charts from early to late of one fraction."""

    fraction: float
    figures: tuple[Figure, ...]


def board_context(standings: Standings, reported: Reported | None = None) -> dict[str, Any]:
    """The names that the board template uses."""
    board, rows, styles = standings.board, standings.rows, entry_styles(standings.rows)
    columns, students = columns_of(standings), {row.key.student for row in rows}
    return {
        "standings": standings,
        "board": board,
        "answer": answer_of(standings),
        "facts": key_facts(board),
        "columns": columns,
        "abouts": abouts(board, columns),
        "column_groups": [(name, list(group)) for name, group in groupby(columns, key=lambda column: column.group)],
        "groups": list(groups(standings, columns)),
        "tall": len(rows) > TALL,
        "efficiency": efficiency_charts(rows, styles),
        "stages": stages(rows, styles),
        "costs": cost_charts(rows, styles),
        "legend": legend(styles),
        "undrawn": sum(style is None for style in styles.values()),
        "drawn": DRAWN,
        "redrawn": len({row.key.subset_seed for row in rows}) > 1,
        "undrawn_students": max(0, len(students) - STUDENTS),
        "matched": matched_with_less(standings),
        "devices": sorted({device for row in rows for device in row.devices}),
        "pins": len(board.pins),
        "reported": reported,
    }


def key_facts(board: Board) -> list[tuple[str, str]]:
    """What a reader must know before comparing: data, clips, training, score."""
    clip, optim, views, drawn = board.clip, board.optim, board.evaluation.views, board.matrix.subset_seeds
    facts = [
        ("Data set", f"{board.data.dataset}, split {board.data.split}"),
        ("Fractions", ", ".join(formats.fraction(share) for share in board.matrix.fractions)),
        ("Clips", f"{clip.length} frames of {board.frames.crop} by {board.frames.crop} pixels"),
        ("Training", f"{optim.epochs} epochs, batch {optim.batch}, learning rate {optim.lr:g}"),
        ("Score", f"top-1 over {views} views of a video, last epoch"),
        ("Seeds", _listed(board.matrix.seeds) + (f"; of subsets {_listed(drawn)}" if len(drawn) > 1 else "")),
    ]
    if board.transfer:
        transfer = board.transfer
        facts.append(("Transfer", f"{transfer.dataset}, split {transfer.split}, {transfer.epochs} epochs"))
    return facts


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(str(seed) for seed in seeds)


def abouts(board: Board, columns: Iterable[Column]) -> dict[str, list[Definition]]:
    """The definitions behind the button of each column, by the first one's anchor; columns of one kind share one."""
    words = definitions(board)
    wanted = [("row", "method", "baseline"), *(column.about for column in columns)]
    return {about[0]: [words[anchor] for anchor in about] for about in wanted}


def groups(standings: Standings, columns: tuple[Column, ...]) -> Iterator[Group]:
    """The cells of a board in its order, large fractions first."""
    cells = named_cells(standings.rows)
    places = {(rows[0].key.dataset, rows[0].key.split) for rows in cells.values()}
    draws = {rows[0].key.subset_seed for rows in cells.values()}
    for name, rows in cells.items():
        key = rows[0].key
        notes = [f"{key.dataset}, split {key.split}"] if len(places) > 1 else []
        notes += [f"subset seed {key.subset_seed}"] if len(draws) > 1 and key.fraction < 1 else []
        yield Group(name, key, ", ".join(notes), rows, columns)


def stages(rows: Iterable[Row], styles: Styles) -> list[Stage]:
    """For each fraction, the largest first, the charts from early to late."""
    order = sorted(rows, key=lambda row: -row.key.fraction)
    made = [(key, stage_charts(group, styles)) for key, group in groupby(order, key=lambda row: row.key.fraction)]
    return [Stage(fraction, tuple(figures)) for fraction, figures in made if figures]


@dataclass(frozen=True)
class Match:
    """A taught row on a fraction of the videos that is as good as all of them without a teacher.

    `privileged`: its teacher saw more of the videos, so that the fraction is not all that was needed.
    """

    student: str
    label: str
    fraction: float
    accuracy: Estimate
    goal: float
    privileged: bool


def matched_with_less(standings: Standings) -> list[Match]:
    """For each student, teacher and method the smallest fraction that matches all videos untaught.

    The lower end of the row's interval must reach the mean of the student's baseline on all videos; without
    an interval the mean must, and the page says so. Of several subsets each must, and the weakest is shown. A student
    without that baseline row has no match.
    """
    found = []
    for student, rows in by_student(standings.rows):
        goal = next((row.accuracy.mean for row in rows if row.is_baseline and row.key.fraction == 1.0), None)
        if goal is None:
            continue
        points = [point for point in points_of(rows) if not point.rows[0].is_baseline]
        for entry, group in groupby(points, key=lambda point: point.entry):
            weakest = (min(point.rows, key=lambda row: _surely(row.accuracy)) for point in group)
            row = next((row for row in weakest if _surely(row.accuracy) >= goal), None)
            if row and row.key.fraction < 1.0:
                found.append(Match(student, label_of(entry), row.key.fraction, row.accuracy, goal, row.privileged))
    return found


def _surely(accuracy: Estimate) -> float:
    return accuracy.mean if accuracy.low is None else accuracy.low
