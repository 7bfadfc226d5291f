"""`reported.json` of a board: numbers a paper prints. Shown in a block of their own, never beside measured ones.

    {"source": {"title": "...", "authors": "...", "venue": "...", "doi": "10....", "year": 2024},
     "note": "what is known about how the numbers came to be",
     "tables": [{"table": "Table 3", "page": "9", "caption": "in our own words",
                 "columns": ["student", "teacher", "value"],
                 "rows": [{"student": "...", "teacher": null, "fraction": 1.0, "dataset": "...",
                           "stage": "late", "value": 0.47}]}]}

`columns` names the fields of a row that are shown, in order. `value` is a share between 0 and 1, `fraction`
more than 0 and at most 1; what the paper does not say is null or left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from kdbench.errors import RecordError

Column = Literal["student", "teacher", "fraction", "dataset", "stage", "value"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One object of the file."""


class Source(_Part, frozen=True, kw_only=True):
    """The paper."""

    title: str
    authors: str
    venue: str
    doi: str
    year: int


class ReportedRow(_Part, frozen=True, kw_only=True):
    """One number of a paper's table."""

    student: str
    value: float
    teacher: str | None = None
    fraction: float | None = None
    dataset: str | None = None
    stage: str | None = None


class ReportedTable(_Part, frozen=True, kw_only=True):
    """One table of the paper: its number and page there, what it shows in our words."""

    table: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[ReportedRow, ...]
    page: str | None = None


class Reported(_Part, frozen=True, kw_only=True):
    """The whole file."""

    source: Source
    note: str
    tables: tuple[ReportedTable, ...]


def read_reported(path: Path) -> Reported | None:
    """A board's reported.json, or None where it has none. Raises RecordError."""
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Reported)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise RecordError(f"{path}: {error}; `kdbench.leaderboard.reported` describes the file") from error
