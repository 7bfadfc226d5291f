"""What happened to the records of the boards, read from their committed files: no clock, no repository.

A record says on which day it was submitted, checked, disputed, withdrawn and put back. What happened on one day
to runs of one board in one way is one entry, however many runs there are.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kdbench.board import Board
from kdbench.leaderboard.curves import RUN_COLUMNS
from kdbench.leaderboard.scoring import Run
from kdbench.leaderboard.standings import Standings

# Of one day the end of a run's life comes first, as the newest day does.
KINDS = ("reinstated", "withdrawn", "disputed", "maintainers", "reproduced", "added")
CHANGE_COLUMNS = {
    "date": "Day on which it happened, as YYYY-MM-DD; empty where the record does not say.",
    "what": "added, reproduced (by someone else), maintainers (reproduced by them), disputed, withdrawn or reinstated.",
    **RUN_COLUMNS,
    "by": "Who did it; empty where the record does not say.",
    "note": "What was said of it, or why the run was withdrawn.",
}


@dataclass(frozen=True)
class Change:
    """One thing that happened to one run. `what` is one of KINDS, `date` a day as YYYY-MM-DD where it is known."""

    what: str
    date: str | None
    run: Run
    by: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Entry:
    """What happened in one way, on one day, to the runs of one board."""

    board: Board
    date: str | None
    what: str
    changes: tuple[Change, ...]

    @property
    def methods(self) -> int:
        """How many methods its runs are of, options told apart."""
        return len({change.run.key.method for change in self.changes})

    @property
    def digest(self) -> str:
        """Names the entry for as long as the same runs belong to it, whatever else is on the board."""
        ids = sorted(change.run.record.run_id for change in self.changes)
        facts = [self.board.name, self.date or "", self.what, *ids]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def entries_of(boards: Iterable[Standings]) -> tuple[Entry, ...]:
    """The entries of all boards, newest first and those without a day last."""
    entries = []
    for standings in boards:
        runs = (*standings.runs, *standings.runs.withdrawn)
        changes = sorted((change for run in runs for change in changes_of(run)), key=_order)
        for (date, what), group in groupby(changes, key=lambda change: (change.date, change.what)):
            entries.append(Entry(standings.board, date, what, tuple(group)))
    entries.sort(key=lambda entry: (entry.board.name, KINDS.index(entry.what)))
    return tuple(sorted(entries, key=lambda entry: entry.date or "", reverse=True))


def changes_of(run: Run) -> Iterator[Change]:
    """Everything that a run's record says of its own life."""
    said = run.record.submission
    yield Change("added", said.date, run, by=said.author)
    for event in said.earlier:
        yield Change(event.what, event.date, run, event.by, event.note)
    checked = said.verification
    if checked.state != "self-reported":
        yield Change(checked.state, checked.date, run, checked.by, checked.note)
    if said.withdrawn:
        yield Change("withdrawn", said.withdrawn.date, run, note=said.withdrawn.reason)


def changes_csv(boards: Iterable[Standings]) -> str:
    """All changes of all boards, one line for each run, newest first."""
    out = io.StringIO()
    written = csv.writer(out, lineterminator="\n")
    written.writerow(CHANGE_COLUMNS)
    for entry in entries_of(boards):
        for change in entry.changes:
            key, record = change.run.key, change.run.record
            row = (key.student, key.teacher, key.method, f"{key.fraction:.5g}", key.subset_seed, record.seed)
            place = (entry.board.name, record.run_id, *row)
            written.writerow((change.date or "", change.what, *place, change.by or "", change.note or ""))
    return out.getvalue()


def _order(change: Change) -> tuple[Any, ...]:
    """By day and kind, then as a board's page has its rows: large fractions first."""
    key, record = change.run.key, change.run.record
    row = (key.dataset, key.split, -key.fraction, key.subset_seed, key.student, key.teacher, key.method)
    told = (change.by or "", change.note or "")
    return (change.date or "", KINDS.index(change.what), row, *told, record.seed, record.run_id)
