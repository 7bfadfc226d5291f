"""Where a further run would lie, by the committed runs of its row: for repetitions, and for a changed protocol.

A baseline outside the band of the committed baselines says that something of the protocol is not what it was
(the reference convergence check of MLPerf training does this for times to an accuracy).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from kdbench.board import BOARDS, Board
from kdbench.errors import KdbenchError
from kdbench.leaderboard.formats import percent
from kdbench.leaderboard.scoring import (
    EQUAL,
    Run,
    is_baseline,
    load_records,
    place_runs,
    row_key,
    shared_options,
    student_t,
)
from kdbench.leaderboard.standings import read_board
from kdbench.records import Record, differing_pins

FEWEST = 3


@dataclass(frozen=True)
class Band:
    """The 95 % interval of one more accuracy, after n of them."""

    low: float
    high: float
    n: int

    def holds(self, share: float) -> bool:
        """Whether an accuracy lies in the band."""
        return self.low - EQUAL <= share <= self.high + EQUAL

    def __str__(self) -> str:
        """As messages name it: "30.1 to 38.0 %"."""
        return f"{percent(max(self.low, 0.0))} to {percent(min(self.high, 1.0))} %"


def band_of(values: Sequence[float]) -> Band | None:
    """Mean +- t s sqrt(1 + 1/n), the interval of a new observation; None for fewer than three values or equal ones."""
    n = len(values)
    if n < FEWEST or max(values) - min(values) < EQUAL:
        return None
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = student_t(n - 1) * math.sqrt(variance * (1 + 1 / n))
    return Band(mean - half, mean + half, n)


def row_of(record: Record, board: Board, committed: Sequence[tuple[Path, Record]]) -> list[Run]:
    """The ranked runs of the row that a record stands in, or would stand in if it were committed."""
    shared = shared_options([*(known for _, known in committed), record])
    return [run for run in place_runs(board, committed).ranked if run.key == row_key(record, shared)]


def baseline_notes(records: Mapping[Path, Record], boards: Path = BOARDS) -> dict[Path, str]:
    """One line for each baseline run that lies outside the band of the committed baselines of its cell."""
    notes: dict[Path, str] = {}
    by_board = sorted(records.items(), key=lambda item: (item[1].board.name, item[0]))
    for name, group in groupby(by_board, key=lambda item: item[1].board.name):
        with suppress(KdbenchError):  # a board that cannot be read has no band, and other commands say what is wrong
            board = read_board(name, boards)
            notes |= dict(_notes(list(group), board, load_records(board, boards)))
    return notes


def _notes(
    given: Sequence[tuple[Path, Record]], board: Board, committed: Sequence[tuple[Path, Record]]
) -> Iterator[tuple[Path, str]]:
    for path, record in given:
        if record.status != "complete" or not is_baseline(record) or differing_pins(record, board.pins):
            continue
        row = [run.record for run in row_of(record, board, committed)]
        band = band_of([other.derived.top1 for other in row if other.run_id != record.run_id])
        if band and not band.holds(record.derived.top1):
            yield (
                path,
                f"this baseline reaches {percent(record.derived.top1)} % top-1; by the {band.n} other committed "
                f"baselines of its cell a further one lies at {band} (95 %): the protocol may have changed on your "
                "machine",
            )
