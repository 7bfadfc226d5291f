"""Placed runs -> the rows of a leaderboard: paired gains, ranks, milestones, costs, coverage.

Rows are ranked by paired gain, only within their cell. Nothing is averaged over cells unless all are filled.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kdbench.board import BOARDS, Board, Matrix, board_path, is_path, load_board
from kdbench.errors import BoardError
from kdbench.leaderboard.scoring import (
    NO_TEACHER,
    RECORDS,
    WITHDRAWN,
    Estimate,
    Reached,
    RowKey,
    Run,
    Runs,
    device_class,
    estimate,
    median_epoch,
    place_runs,
    records_in,
    withdrawn_in,
)
from kdbench.records import Record

STAGES = ("early", "middle", "late")
Place = tuple[str, float, int]  # student, fraction and subset seed: a cell of a board's matrix
NAME_LENGTH = 60  # characters of a student's name in the name of a file


@dataclass(frozen=True)
class Row:
    """One line of a leaderboard: the ranked runs of one student, teacher, method and cell.

    `unpaired` counts seeds without a baseline run; they are left out of `gain`. `rank` is "2" or "1-3" for
    rows whose gains cannot be told apart, None for the baseline and without an interval. Costs are mean seconds
    of one run, None where the runs come from more than one class of device or a cost is not known. `pretext`
    is the accuracy of the pretext task on the test videos, `majority` that of always naming one transform;
    `teacher_clips` is how many clips the teacher, and networks of the method's own, were shown at most in one run,
    on average; None where there are no such networks.
    """

    key: RowKey
    runs: tuple[Run, ...]
    accuracy: Estimate
    stages: Mapping[str, float]
    milestones: Mapping[str, Reached]
    to_baseline: Mapping[str, Reached | None]
    gain: Estimate | None
    unpaired: int
    gap_closed: float | None
    transfer: Estimate | None
    cost_s: float | None
    cost_with_teacher_s: float | None
    devices: tuple[str, ...]
    is_baseline: bool
    privileged: bool
    rank: str | None = None
    pretext: Estimate | None = None
    majority: float | None = None
    teacher_clips: float | None = None


@dataclass(frozen=True)
class Coverage:
    """How much of a board's matrix one teacher and method fill; `gain` only when it is all of it.

    `cells` leaves out those whose student is the teacher's own kind: no run fills them.
    """

    teacher: str
    method: str
    filled: int
    cells: int
    gain: Estimate | None


@dataclass(frozen=True)
class Standings:
    """A board with its rows in order, its other runs, and how much of the matrix is filled.

    `overall` is the mean gain of the board's taught method over all teachers, students and fractions of the
    matrix; None while one of these comparisons is missing. `given` names the runs that somebody sets among the
    board's own to see where they would stand: they are not submitted.
    """

    board: Board
    runs: Runs
    rows: tuple[Row, ...]
    coverage: tuple[Coverage, ...]
    filled: int
    cells: int
    overall: Estimate | None = None
    given: frozenset[str] = frozenset()

    def holds_given(self, row: Row) -> bool:
        """Whether a row has a run that is not submitted."""
        return any(run.record.run_id in self.given for run in row.runs)

    @cached_property
    def withdrawn_teachers(self) -> Mapping[str, tuple[str, ...]]:
        """The withdrawn records that a teacher's weights come from, by the digest of the weights.

        A run that names no record of its teacher is found by the weights that another one names.
        """
        gone = {run.record.run_id for run in self.runs.withdrawn}
        found: dict[str, set[str]] = {}
        for run in (*self.runs, *self.runs.withdrawn) if gone else ():
            teacher = run.record.teacher
            if teacher and teacher.run_id and (sources := gone.intersection(teacher.run_id.split("+"))):
                found.setdefault(teacher.weights_sha256, set()).update(sources)
        return {digest: tuple(sorted(sources)) for digest, sources in found.items()}

    def lost_teachers(self, runs: Iterable[Run]) -> tuple[str, ...]:
        """The withdrawn records that the teachers of these runs come from; a page says so, no rank changes."""
        digests = {run.record.teacher.weights_sha256 for run in runs if run.record.teacher}
        return tuple(sorted({name for digest in digests for name in self.withdrawn_teachers.get(digest, ())}))


# --- from runs to rows -------------------------------------------------------------------------------------


def read_standings(name: str, boards: Path = BOARDS) -> Standings:
    """The standings of one board, named by its folder or by the path of its file. Raises BoardError and RecordError."""
    board = read_board(name, boards)
    folder = board_path(name).parent if is_path(name) else boards / board.name
    records, withdrawn = records_in(folder / RECORDS, board), withdrawn_in(folder / WITHDRAWN, board)
    return standings_of(board, place_runs(board, records, withdrawn))


def read_board(name: str, boards: Path = BOARDS) -> Board:
    """A board of a folder of boards, or one given by the path of its file.

    Raises BoardError when there is none, or when one of the folder calls itself otherwise.
    """
    if is_path(name):
        return load_board(name)
    path = boards / name / "board.toml"
    if name not in folders(boards):
        near = difflib.get_close_matches(name, folders(boards), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise BoardError(
            f"{boards}: no board is called '{name}'; {hint}known boards: {', '.join(folders(boards)) or 'none'}"
        )
    board = load_board(str(path))
    if board.name != name:
        raise BoardError(f"{path}: board.name is '{board.name}'; call it '{name}' like its folder, or move the folder")
    return board


def folders(boards: Path = BOARDS) -> list[str]:
    """The folders that hold a board, in order of the name."""
    return sorted(path.parent.name for path in boards.glob("*/board.toml"))


def standings_of(board: Board, runs: Runs) -> Standings:
    """Rows with ranks, and coverage, from placed runs."""
    devices = {run.record.run_id: device_class(run.record) for run in runs}
    by_row = [_row(board, key, tuple(group), devices) for key, group in groupby(runs.ranked, key=lambda run: run.key)]
    rows: list[Row] = []
    for _, cell in groupby(sorted(by_row, key=_page_order), key=lambda row: row.key.cell):
        rows += rank_cell(list(cell))
    matrix = board.matrix
    cells = matrix_cells(matrix)
    open_cells = {cell for teacher in matrix.teachers for cell in cells_of(teacher, cells)} or cells
    taught = {_cell(row) for row in rows if row.gain and row.key.teacher != NO_TEACHER} & cells
    return Standings(
        board=board,
        runs=runs,
        rows=tuple(rows),
        coverage=coverage_of(rows, cells),
        filled=len(taught),
        cells=len(open_cells | taught),
        overall=overall_of(board, rows, cells),
    )


def _row(board: Board, key: RowKey, runs: tuple[Run, ...], devices: Mapping[str, str]) -> Row:
    records = [run.record for run in runs]
    is_baseline = runs[0].is_baseline
    gains = [] if is_baseline else [run.gain for run in runs if run.gain is not None]
    accuracy = estimate([record.derived.top1 for record in records])
    assert accuracy is not None, "a row is a group of at least one run"
    cost, with_teacher = _costs(records, devices)
    told = [record.pretext for record in records if record.pretext]
    return Row(
        key=key,
        runs=runs,
        accuracy=accuracy,
        stages={stage: _mean([getattr(record.derived, stage) for record in records]) for stage in STAGES},
        milestones=_milestones(records),
        to_baseline={f"{share:g}": _to_baseline(runs, share) for share in board.evaluation.baseline_milestones},
        gain=estimate(gains),
        unpaired=0 if is_baseline else len(runs) - len(gains),
        gap_closed=None if is_baseline else gap_closed(runs),
        transfer=estimate([record.transfer.top1 for record in records if record.transfer]),
        cost_s=cost,
        cost_with_teacher_s=with_teacher,
        devices=tuple(sorted({device_class(record) for record in records})),
        is_baseline=is_baseline,
        privileged=any(record.teacher is not None and record.teacher.privileged is True for record in records),
        pretext=estimate([result.top1 for result in told]),
        majority=_mean([result.majority for result in told]) if told else None,
        teacher_clips=_mean([_teacher_clips(record) for record in records]) or None,
    )


def gap_closed(runs: Sequence[Run]) -> float | None:
    """Sum of the paired gains over the sum of (teacher - baseline); None unless the teacher is the better one."""
    pairs = [
        (run.gain, run.record.teacher.top1 - run.baseline.derived.top1)
        for run in runs
        if run.gain is not None and run.baseline and run.record.teacher and run.record.teacher.top1 is not None
    ]
    gap = math.fsum(distance for _, distance in pairs)
    return math.fsum(gain for gain, _ in pairs) / gap if gap > 0 else None


def rank_cell(rows: Sequence[Row]) -> list[Row]:
    """The rows of one cell in order: baseline, then by gain; each with its rank among those that have one.

    A row is behind another only when their intervals do not meet, so its rank runs from one more than the
    rows surely ahead of it to the number of rows not surely behind it.
    """
    known = [row.gain for row in rows if row.gain]
    lows = sorted(gain.low for gain in known if gain.low is not None)
    highs = sorted(gain.high for gain in known if gain.high is not None)
    ranked = []
    for row in sorted(rows, key=_by_gain):
        rank = None
        if row.gain and row.gain.low is not None and row.gain.high is not None:
            ahead = len(lows) - bisect_right(lows, row.gain.high)
            behind = bisect_left(highs, row.gain.low)
            best, worst = 1 + ahead, len(lows) - behind
            rank = f"{best}" if best == worst else f"{best}-{worst}"
        ranked.append(_with_rank(row, rank))
    return ranked


def cell_name(key: RowKey) -> str:
    """The name of a cell's files: student, fraction in per cent, and the subset seed unless it is 0, as run ids say it.

    Safe in a file name and an address, and no two cells of a board share one: a student's name that cannot stand as
    it is carries a digest behind a dot, which no other name contains. Data set and split are the board's own.
    """
    plain = re.sub(r"[^a-z0-9_-]+", "-", key.student.lower()).strip("-")[:NAME_LENGTH]
    if not plain or plain != key.student:
        plain = f"{plain.rstrip('-') or 'student'}.{_digest(key.student)}"
    percent = f"{(100 * Decimal(repr(key.fraction))).normalize():f}"
    if len(percent) > NAME_LENGTH:
        percent = _digest(percent)
    return f"{plain}-{percent}pct" + (f"-subset{key.subset_seed}" if key.subset_seed else "")


def named_cells(rows: Iterable[Row]) -> dict[str, tuple[Row, ...]]:
    """The rows of each cell by its name, in the order they have on the board."""
    cells = (tuple(group) for _, group in groupby(rows, key=lambda row: row.key.cell))
    return {cell_name(cell[0].key): cell for cell in cells}


def matrix_cells(matrix: Matrix) -> set[Place]:
    """Every cell of a matrix: each fraction is drawn with each subset seed, but all videos are one subset."""
    return {
        (student, fraction, drawn)
        for student in matrix.students
        for fraction in matrix.fractions
        for drawn in ((0,) if fraction == 1 else matrix.subset_seeds)
    }


def coverage_of(rows: Iterable[Row], cells: set[Place]) -> tuple[Coverage, ...]:
    """For each teacher and method the cells of the matrix they fill; the mean gain where that is all of them."""
    entries = []
    taught = sorted((row for row in rows if row.gain and not row.is_baseline), key=entry_of)
    for (teacher, method), rows_of in groupby(taught, key=entry_of):
        group = list(rows_of)
        fillable = cells_of(teacher, cells)
        if all(row.key.student == teacher for row in group):  # a method for a teacher of the student's own kind
            fillable = cells - fillable
        inside = [row for row in group if _cell(row) in fillable]
        filled = {_cell(row) for row in inside}
        gain = _mean_over_cells(inside) if filled == fillable else None
        entries.append(Coverage(teacher, method, len(filled), len(fillable), gain))
    return tuple(sorted(entries, key=lambda entry: (-entry.filled, entry.method, entry.teacher)))


def cells_of(teacher: str, cells: set[Place]) -> set[Place]:
    """The cells a teacher can fill: a student is not taught by its own kind (paper, Table 2).

    The kind is known where the teacher is given by the bare name of a backbone; `source:...` keeps all cells.
    """
    return {cell for cell in cells if cell[0] != teacher}


def overall_of(board: Board, rows: Iterable[Row], cells: set[Place]) -> Estimate | None:
    """The mean gain of the board's taught method over every comparison of its matrix; None while one is open."""
    wanted = {(teacher, *cell) for teacher in board.matrix.teachers for cell in cells_of(teacher, cells)}
    made = {(row.key.teacher, *_cell(row)): row for row in rows if row.gain and row.key.method == board.methods.taught}
    return _mean_over_cells([made[each] for each in sorted(wanted)]) if wanted and wanted <= made.keys() else None


def _mean_over_cells(rows: Sequence[Row]) -> Estimate | None:
    """The mean over cells for each seed that all cells share, then its interval over the seeds.

    What several subset seeds gave is averaged first, or the fractions that are drawn would outweigh all videos.
    """
    draws: dict[tuple[str, str, float], list[dict[int, float]]] = {}
    for row in rows:
        of_seed = {run.record.seed: run.gain for run in row.runs if run.gain is not None}
        draws.setdefault((row.key.teacher, row.key.student, row.key.fraction), []).append(of_seed)
    gains = [of_seed for drawn in draws.values() for of_seed in drawn]
    shared = set.intersection(*(set(of_seed) for of_seed in gains)) if gains else set()
    return estimate(
        [_mean([_mean([of_seed[seed] for of_seed in drawn]) for drawn in draws.values()]) for seed in sorted(shared)]
    )


def _milestones(records: Sequence[Record]) -> dict[str, Reached]:
    goals = records[0].derived.epochs_to
    found = {goal: median_epoch([record.derived.epochs_to[goal] for record in records]) for goal in goals}
    return {goal: reached for goal, reached in sorted(found.items(), key=lambda item: float(item[0])) if reached}


def _to_baseline(runs: Sequence[Run], share: float) -> Reached | None:
    return median_epoch([epoch for run in runs if (epoch := run.epochs_to_baseline(share)) is not None])


def _costs(records: Sequence[Record], devices: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Mean seconds of a run without and with its teacher's training; `devices` are those of the board's runs by id."""
    classes = {device_class(record) for record in records}
    if len(classes) > 1:
        return None, None
    own = _mean([record.cost.wall_s for record in records])
    sources = [name for record in records if record.teacher for name in (record.teacher.run_id or "").split("+")]
    if any(name in devices and devices[name] not in classes for name in sources):
        return own, None
    lessons = [record.teacher.train_s if record.teacher else 0.0 for record in records]
    known = [seconds for seconds in lessons if seconds is not None]
    return own, own + _mean(known) if len(known) == len(lessons) else None


def _teacher_clips(record: Record) -> float:
    """Clips shown to other networks than the student in a run's steps; those of a method's phases are not recorded."""
    return float(record.method.teacher_clips_per_step * record.epochs[-1].steps)


def _with_rank(row: Row, rank: str | None) -> Row:
    return Row(**{**row.__dict__, "rank": rank})


def _by_gain(row: Row) -> tuple[Any, ...]:
    gain = row.gain.mean if row.gain else -math.inf
    return (not row.is_baseline, -gain, -row.accuracy.mean, row.key)


def _page_order(row: Row) -> tuple[Any, ...]:
    """Large fractions first, then the students."""
    key = row.key
    return (key.dataset, key.split, -key.fraction, key.subset_seed, key.student)


def row_id(key: RowKey) -> str:
    """What names a row in an address and in `data-row`: `student~fraction~subset seed~teacher~method`, each encoded.

    Data set and split are the board's own. No part holds a bare tilde or comma, so that these may join parts and rows.
    """
    parts = (key.student, f"{key.fraction:.12g}", str(key.subset_seed), key.teacher, key.method)
    return "~".join(quote(part, safe="").replace("~", "%7E") for part in parts)


def entry_of(row: Row) -> tuple[str, str]:
    """Teacher and method: what fills the cells of a board."""
    return (row.key.teacher, row.key.method)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cell(row: Row) -> Place:
    return (row.key.student, row.key.fraction, row.key.subset_seed)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
