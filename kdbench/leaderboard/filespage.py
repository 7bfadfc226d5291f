"""The page that says what the site's files hold, column by column. The words stand beside what makes the columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from kdbench.leaderboard import curves, history, tables


@dataclass(frozen=True)
class TableFile:
    """A kind of file: its place on the page, its names, what a line of it is, and its columns with their meaning."""

    anchor: str
    names: tuple[str, ...]
    text: str
    columns: Mapping[str, str]


FILES = (
    TableFile(
        "all-results",
        ("all-results.csv.gz",),
        "All runs of all boards that are not withdrawn: one line for each run and epoch.",
        curves.LONG_COLUMNS,
    ),
    TableFile(
        "leaderboard",
        ("BOARD/leaderboard.csv", "BOARD/leaderboard.json"),
        "The rows of a board: one line for each student, teacher, method and cell.",
        tables.COLUMNS,
    ),
    TableFile(
        "milestones",
        ("BOARD/milestones.csv", "BOARD/milestones.json"),
        "How soon each ranked run reached an accuracy: one line for each run and milestone. In the JSON, one object "
        "for each run, with the list of its milestones.",
        {**curves.RUN_COLUMNS, **curves.MILESTONE_COLUMNS},
    ),
    TableFile(
        "curve",
        ("BOARD/runs/RUN.csv",),
        "The curve of one run: one line for each epoch. Loss terms come last.",
        curves.EPOCH_COLUMNS,
    ),
    TableFile(
        "changes",
        ("changes.csv",),
        "What happened to the runs of all boards, newest first: one line for each run that was added, checked, "
        "disputed, withdrawn or put back.",
        history.CHANGE_COLUMNS,
    ),
)

CHARTS = {
    "BOARD/efficiency.svg": "Accuracy against the share of the training videos, a chart for each student; where runs "
    "are on two shares or more.",
    "BOARD/stages.svg": "Gain at the end of each stage, a chart for each student and share; where there is a gain.",
    "BOARD/cells/CELL.svg": "The first rows of a cell: accuracy by epoch, and the place by accuracy from stage to "
    "stage. The numbers are in BOARD/cells/CELL.csv.",
}


def files_context() -> dict[str, Any]:
    """The names that the files template uses."""
    return {"files": FILES, "charts": CHARTS}


def meaning(file: TableFile, column: str) -> str | None:
    """What a column of a file means; `*` in a documented name stands for a value that the board or the run sets."""
    if column in file.columns:
        return file.columns[column]
    return next((text for name, text in file.columns.items() if fnmatchcase(column, name)), None)
