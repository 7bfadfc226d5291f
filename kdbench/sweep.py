"""The cells of a board as a plan: done, stale because, to do. Teachers come first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from kdbench.board import Board
from kdbench.checks import read_record
from kdbench.records import Record, differing_pins
from kdbench.registry import Registry
from kdbench.request import Lesson, Parts, RunRequest, check, lesson, readable_name

MODALITY = "frames.modality"  # the pin
State = Literal["done", "stale", "to do"]


@dataclass(frozen=True)
class Choice:
    """Which part of a board's matrix to fill; an empty field means all of it."""

    students: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    fractions: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    subset_seeds: tuple[int, ...] = ()
    compiled: bool = False


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan. `why` says what makes it stale, or how it failed before."""

    request: RunRequest
    state: State
    why: str = ""

    def facts(self) -> dict[str, Any]:
        """The run as plain values, for --json."""
        request = self.request
        return {
            "student": request.student,
            "teacher": request.teacher,
            "method": request.method_name,
            "fraction": request.fraction,
            "seed": request.seed,
            "subset_seed": request.subset_seed,
            "state": self.state,
            "why": self.why,
            "command": request.command(),
        }


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep, and the teachers' runs that have to stand before them."""

    teachers: tuple[PlannedRun, ...]
    cells: tuple[PlannedRun, ...]

    def waiting(self) -> Iterator[PlannedRun]:
        """What is to be done, teachers first, each run once."""
        seen = set()
        for run in (*self.teachers, *self.cells):
            key = run.request.command()
            if run.state != "done" and key not in seen:
                seen.add(key)
                yield run


@dataclass(frozen=True)
class Found:
    """What a plan is compared with: the plugins, the runs folder and the records there are."""

    registry: Registry
    runs: Path
    records: Sequence[Record]


def make_plan(board: Board, choice: Choice, found: Found) -> Plan:
    """Compare a board's matrix with the records there are. Raises BoardError or PluginError for a bad choice."""
    cells = [_planned(request, found) for request in requests(board, found.registry, choice)]
    needed = {
        request.command() for run in cells if run.state != "done" for request in _lessons(run.request, found.registry)
    }
    wanted = {request.command(): request for run in cells for request in _lessons(run.request, found.registry)}
    teachers = [_planned(wanted[key], found, weights=key in needed) for key in sorted(wanted)]
    return Plan(tuple(teachers), tuple(cells))


def _lessons(request: RunRequest, registry: Registry) -> list[RunRequest]:
    """The board's own runs that have to stand before this one.

    One in another modality belongs to no cell of the board, and is trained when its student needs it.
    """
    modality = registry.get("methods", request.method_name).cls.teacher_modality
    if not request.teacher or ":" in request.teacher or modality not in ("", request.board.frames.modality):
        return []
    fraction = 1.0 if request.board.teachers.fraction == "full" else request.fraction
    return [lesson(request, Lesson(request.teacher, fraction))]


def requests(board: Board, registry: Registry, choice: Choice) -> Iterator[RunRequest]:
    """Every run of the matrix: each student alone and with every teacher but its own kind (paper, Table 2).

    A method that needs a teacher of the student's architecture has that one alone.
    """
    matrix = board.matrix
    methods = choice.methods or (board.methods.baseline, board.methods.taught)
    for seed in choice.seeds or matrix.seeds:
        for fraction in choice.fractions or matrix.fractions:
            for student in choice.students or matrix.students:
                for method in methods:
                    for teacher in _teachers(board, registry, choice, student, method):
                        request = RunRequest(
                            board=board, student=student, teacher=teacher, method=method, fraction=fraction, seed=seed
                        )
                        request = replace(request, compiled=choice.compiled)
                        for subset_seed in _subset_seeds(board, choice, fraction):
                            yield replace(request, subset_seed=subset_seed)


def _subset_seeds(board: Board, choice: Choice, fraction: float) -> tuple[int, ...]:
    """All videos are one subset, whatever its seed."""
    return (0,) if fraction == 1.0 else choice.subset_seeds or board.matrix.subset_seeds


def _teachers(board: Board, registry: Registry, choice: Choice, student: str, method: str) -> Iterable[str | None]:
    cls = registry.get("methods", method).cls
    if not cls.teachers:
        return (None,)
    named = choice.teachers or board.matrix.teachers
    return tuple(name for name in named if (name == student) is cls.same_architecture)


def _planned(request: RunRequest, found: Found, *, weights: bool = False) -> PlannedRun:
    """The state of one run. With `weights`, a record whose weights are not here does not count as done."""
    runs, records, parts = found.runs, found.records, check(request, found.registry)
    pins = request.board.pins
    answers = [record for record in records if answers_to(record, request, parts)]
    # A teacher's run on frames of another modality is no older form of this run.
    answers = [record for record in answers if record.pins.get(MODALITY) == pins[MODALITY]]
    equal = [record for record in answers if not differing_pins(record, pins)]
    if equal:
        here = [record for record in equal if (runs / request.board.name / record.run_id / "weights.pt").exists()]
        if here or not weights:
            return PlannedRun(request, "done")
        return PlannedRun(request, "to do", "its record is there, its weights are not")
    if answers:
        changed = ", ".join(differing_pins(answers[0], pins)[:5])
        return PlannedRun(request, "stale", f"changed since: {changed}")
    return PlannedRun(request, "to do", _failure(request, runs))


def answers_to(record: Record, request: RunRequest, parts: Parts) -> bool:
    """Whether a complete record is the one this run would leave, whatever its pins."""
    return (
        record.status == "complete"
        and record.student.name == request.student
        and (record.teacher.spec if record.teacher else None) == request.teacher
        and record.method.name == request.method_name
        and record.method.options == parts.options
        and record.cell.fraction == request.fraction
        and record.cell.subset_seed == request.subset_seed
        and ("--compile" in record.command.split()) == request.compiled
        and record.seed == request.seed
    )


def _failure(request: RunRequest, runs: Path) -> str:
    """How the run failed the last time, if it did."""
    facts = {"method": request.method_name, "fraction": request.fraction}
    facts |= {"seed": request.seed, "subset_seed": request.subset_seed}
    name = readable_name(request.student, request.teacher, facts)
    for path in sorted((runs / request.board.name).glob(f"{name}-????????/failure.json")):
        try:
            return f"failed before: {json.loads(path.read_text(encoding='utf-8'))['message']}"
        except (OSError, ValueError, KeyError, TypeError):  # the file only tells; nothing depends on it
            return f"failed before; {path} cannot be read"
    return ""


def finished_records(board: Board, runs: Path, boards: Path) -> list[Record]:
    """Records on the leaderboard and in the runs folder. Raises RecordError for one that cannot be read."""
    submitted = sorted((boards / board.name / "records").glob("*.json"))
    own = sorted((runs / board.name).glob("*/record.json"))
    return [read_record(path) for path in (*submitted, *own)]
