"""Runs that are not submitted, set among those of their board: where each would stand, and what it lacks for a rank.

Nothing of the board is written. A run counts here as it would after `kdbench submit`: self-reported, and one run
for each row and seed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import msgspec

from kdbench.board import BOARDS, Board
from kdbench.checks import read_finished
from kdbench.errors import RecordError
from kdbench.leaderboard.scoring import (
    WITHDRAWN,
    RowKey,
    Run,
    load_records,
    pair_key,
    place_runs,
    refuse_contradictions,
    withdrawn_in,
)
from kdbench.leaderboard.standings import Row, Standings, read_board, standings_of
from kdbench.records import PluginRef, Record, Submission, measured_json

Given = Sequence[tuple[Path, Record]]


@dataclass(frozen=True)
class Landing:
    """The given runs of one row, and the row as it would be with them; no row where they would not be ranked.

    `place` of `compared` is its place by mean gain among the cell's rows that have one: an order, and no rank.
    `missing` names what it needs for a rank, each with the way out; it is empty for a row that has one.
    """

    board: Board
    key: RowKey
    runs: tuple[Run, ...]
    row: Row | None
    place: int | None
    compared: int
    submitted: bool
    missing: tuple[str, ...]


# --- reading -----------------------------------------------------------------------------------------------


def read_given(paths: Iterable[Path]) -> dict[str, Given]:
    """The records of finished runs, given as run folders or files, by the name of their board.

    Raises RecordError for a run that has not finished or has failed, another folder, and an unsound record.
    """
    boards: dict[str, dict[str, tuple[Path, Record]]] = {}
    for path in paths:
        source, record = read_finished(path)
        first, known = boards.setdefault(record.board.name, {}).setdefault(record.run_id, (source, record))
        if measured_json(known) != measured_json(record):
            raise RecordError(f"{source}: another record of {record.run_id} is {first}; give one of the two")
    return {name: list(given.values()) for name, given in boards.items()}


def standings_with(name: str, given: Given, boards: Path = BOARDS) -> Standings:
    """The standings of a board as they would be with the given runs, which `given` of the result names.

    A run that is on the board already stays as it is. Raises RecordError for a run that the board could not take:
    one that was withdrawn, that would replace another, or that is a copy of one of another seed; BoardError for an
    unknown board.
    """
    board = read_board(name, boards)
    committed, withdrawn = load_records(board, boards), withdrawn_in(boards / board.name / WITHDRAWN, board)
    known, gone = _by_id(committed), _by_id(withdrawn)
    fresh = []
    for path, record in given:
        if record.run_id in gone:
            raise RecordError(f"{path}: was withdrawn from the board, see {gone[record.run_id][0]}; leave it out")
        if record.run_id not in known:
            fresh.append((path, msgspec.structs.replace(record, submission=Submission())))
        elif measured_json(known[record.run_id][1]) != measured_json(record):
            place = known[record.run_id][0]
            raise RecordError(f"{path}: another record of this run is at {place}; run it again, or leave it out")
    refuse_contradictions([*committed, *fresh])
    standings = standings_of(board, place_runs(board, [*committed, *fresh], withdrawn))
    return replace(standings, given=frozenset(record.run_id for _, record in fresh))


def _by_id(records: Given) -> dict[str, tuple[Path, Record]]:
    return {record.run_id: (path, record) for path, record in records}


# --- where they would stand --------------------------------------------------------------------------------


def landings(standings: Standings, given: Given, boards: Path = BOARDS) -> list[Landing]:
    """One landing for each row that given runs belong to, in the board's order; then the runs without a rank.

    `boards` is the folder that the board is from: the commands for what is missing say so where it is not kdbench's.
    """
    place = "" if boards.resolve() == BOARDS.resolve() else str(boards / standings.board.name / "board.toml")
    wanted = _by_id(given)
    runs = [run for run in standings.runs if run.record.run_id in wanted]
    ranked = [run for run in runs if not (run.stale or run.reason)]
    rows = {row.key: row for row in standings.rows}
    groups = {key: tuple(group) for key, group in groupby(sorted(ranked, key=_place), key=lambda run: run.key)}
    found = [_landing(standings, groups[key], row, place) for key, row in rows.items() if key in groups]
    return found + [_landing(standings, (run,), None, place) for run in runs if run.stale or run.reason]


def _landing(standings: Standings, runs: tuple[Run, ...], row: Row | None, place: str) -> Landing:
    cell = [other for other in standings.rows if row and other.key.cell == row.key.cell and not other.is_baseline]
    gains = [other.gain.mean for other in cell if other.gain]
    gain = row.gain if row else None
    return Landing(
        board=standings.board,
        key=runs[0].key,
        runs=runs,
        row=row,
        place=1 + sum(other > gain.mean for other in gains) if gain else None,
        compared=len(gains),
        submitted=not any(run.record.run_id in standings.given for run in runs),
        missing=tuple(_missing(standings, runs[0], row, place)),
    )


def _missing(standings: Standings, run: Run, row: Row | None, place: str) -> Iterable[str]:
    if run.stale:
        again = again_with(run.record, run.record.seed, place)
        yield f"the board's pins; it was made with other {', '.join(run.stale)}. Run it again with this board: {again}"
    elif row and not (row.is_baseline or row.rank):
        yield from _missing_runs(standings, row, place)


def _missing_runs(standings: Standings, row: Row, place: str) -> Iterable[str]:
    """The baseline runs of a row's seeds, and one more seed where fewer than two differ."""
    board, baselines = standings.board, {pair_key(run) for run in standings.runs.ranked if run.is_baseline}
    named = place or board.name
    for run in row.runs:
        if run.baseline is None:
            yield f"a baseline run with seed {run.record.seed}: {baseline_command(named, run.record, run.record.seed)}"
    gain, last = row.gain, row.runs[-1]
    if len(row.runs) > 1 and not (gain and gain.n == len(row.runs)):
        return  # with their baselines these may be enough
    taken = {run.record.seed for run in row.runs}
    free = [seed for seed in board.matrix.seeds if seed not in taken] or [max(taken) + 1]
    paired = [seed for seed in free if _with_seed(last, seed) in baselines]
    seed = (paired or free)[0]
    equal = (
        f"{gain.n} seeds gave the same gain, which tells nothing about how much they vary: "
        if gain and gain.n > 1
        else ""
    )
    yield f"{equal}a run with another seed: {again_with(last.record, seed, place)}"
    if not paired:
        yield f"its baseline run: {baseline_command(named, last.record, seed)}"


def baseline_command(board: str, record: Record, seed: int) -> str:
    """The command of the run without a teacher, on a board by its name or file, that a record is measured against."""
    cell = record.cell
    words = ["kdbench", "run", "--board", board, "--student", record.student.name]
    words += ["--fraction", f"{cell.fraction!r}".removesuffix(".0"), "--seed", str(seed)]
    words += ["--subset-seed", str(cell.subset_seed)] if cell.subset_seed else []
    return shlex.join(words + _plugin_words(record.student))


def again_with(record: Record, seed: int, board: str = "") -> str:
    """A record's own command with another seed, and another board if named, on one line whatever the record says."""
    try:
        words = shlex.split(record.command)
    except ValueError:
        words = record.command.split()
    for option, value in (("--board", board), ("--seed", str(seed))):
        at = words.index(option) if option in words else len(words)
        words[at : at + 2] = [option, value] if value else words[at : at + 2]
    words += _plugin_words(record.student, record.method, *([record.teacher.plugin] if record.teacher else []))
    return "".join(letter if letter.isprintable() else "?" for letter in shlex.join(words))


def _plugin_words(*plugins: PluginRef) -> list[str]:
    """The option for plugins that came from a file: a record does not say where it lies."""
    return ["--plugin", "FILE"] if any(plugin.distribution == "file" for plugin in plugins) else []


def _with_seed(run: Run, seed: int) -> tuple[object, ...]:
    *cell, _, training_list, test_list, classes = pair_key(run)
    return (*cell, seed, training_list, test_list, classes)


def _place(run: Run) -> tuple[RowKey, int]:
    return (run.key, run.record.seed)
