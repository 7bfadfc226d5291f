"""What one run is, before anything runs: its parts found and checked against each other, and its name."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from kdbench import __version__
from kdbench.api import Method, Teacher
from kdbench.board import DEFAULT_BOARD, Board, with_modality
from kdbench.errors import BoardError, PluginError
from kdbench.registry import Registered, Registry

LARGEST_SEED = 2**63 - 1  # what readers of a record's JSON, and tables, hold as a whole number


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What one run is: everything that decides its numbers."""

    board: Board
    student: str
    teacher: str | None = None
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fraction: float = 1.0
    seed: int = 0
    subset_seed: int = 0
    compiled: bool = False

    @property
    def method_name(self) -> str:
        """The method asked for; else the board's: one for a run with a teacher, its baseline for one without."""
        methods = self.board.methods
        return self.method or (methods.taught if self.teacher else methods.baseline)

    def command(self, teacher: str | None = None) -> str:
        """The command that repeats the run; `teacher` stands in for a spec that is a path."""
        words = ["kdbench", "run"]
        words += [] if self.board.name == DEFAULT_BOARD else ["--board", self.board.name]
        words += ["--student", self.student]
        words += ["--teacher", teacher or self.teacher] if self.teacher else []
        words += ["--method", self.method_name]
        words += [word for name, value in sorted(self.options.items()) for word in ("-o", f"{name}={value}")]
        words += ["--fraction", f"{self.fraction!r}".removesuffix(".0"), "--seed", str(self.seed)]
        words += ["--subset-seed", str(self.subset_seed)] if self.subset_seed else []
        words += ["--compile"] if self.compiled else []
        return shlex.join(words)


@dataclass(frozen=True)
class Lesson:
    """Which run a teacher comes from: a backbone, a share of the videos, and the method, None for the baseline."""

    backbone: str
    fraction: float
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def lesson(student: RunRequest, which: Lesson, modality: str = "") -> RunRequest:
    """The run on the student's board that its teacher comes from, on frames of another modality if named.

    All videos are one subset.
    """
    return RunRequest(
        board=with_modality(student.board, modality),
        student=which.backbone,
        method=which.method,
        options=which.options,
        fraction=which.fraction,
        seed=student.board.teachers.seed,
        subset_seed=0 if which.fraction == 1.0 else student.subset_seed,
    )


@dataclass(frozen=True)
class Parts:
    """The plugins of a run, checked against each other before any work is done."""

    student: Registered
    method_plugin: Registered
    method: Method
    options: dict[str, Any]


def split_spec(spec: str, board: Board) -> tuple[str, str]:
    """`KIND:ARGUMENT`, or a bare name, which is an argument for the board's own kind of teacher."""
    kind, found, argument = spec.partition(":")
    return (kind, argument) if found else (board.teachers.kind, spec)


def check(request: RunRequest, registry: Registry) -> Parts:
    """Find the plugins of a run. Raises BoardError or PluginError for anything that cannot work."""
    for option in ("student", "teacher", "method"):
        if getattr(request, option) == "":  # as an unset variable of a shell leaves it: never the default
            raise PluginError(f"--{option} is empty; give a name, or leave the option out")
    if not 0 <= request.seed <= LARGEST_SEED:
        raise BoardError(f"seed {request.seed}: a seed is a whole number from 0 to {LARGEST_SEED}")
    fractions = request.board.matrix.fractions
    if request.fraction not in fractions:
        known = ", ".join(f"{fraction:g}" for fraction in fractions)
        raise BoardError(f"fraction {request.fraction:g}: board {request.board.name} has {known}")
    if request.subset_seed and request.fraction == 1.0:
        raise BoardError(f"subset seed {request.subset_seed}: all videos are one subset; leave --subset-seed out")
    student = registry.get("backbones", request.student)
    plugin = registry.get("methods", request.method_name)
    options = plugin.options(request.options)
    method: Method = plugin.made(options)
    if "training" not in vars(method):  # what every module sets when it is made
        raise PluginError(f"method {plugin.name}: write super().__init__(options) as the first line of its __init__")
    if request.teacher:
        kind, argument = split_spec(request.teacher, request.board)
        registry.get("teachers", kind)
        if argument == request.teacher:  # a bare name is a backbone's
            registry.get("backbones", argument)
    if method.teachers and not request.teacher:
        raise PluginError(f"method {plugin.name} needs a teacher; add --teacher NAME")
    if request.teacher and not method.teachers:
        raise PluginError(f"method {plugin.name} takes no teacher; leave --teacher out or choose another --method")
    return Parts(student, plugin, method, msgspec.to_builtins(options))


@dataclass(frozen=True)
class Known:
    """What is known of a network: its backbone, or those that are joined in it, and its taps."""

    backbones: tuple[str, ...]
    taps: Collection[str]

    @property
    def title(self) -> str:
        """As a card names it."""
        return "+".join(self.backbones)


def check_networks(request: RunRequest, parts: Parts, registry: Registry) -> None:
    """Refuse, before its videos and its teacher are there, a run whose networks are not what its method needs.

    Raises PluginError. What a teacher is that names no backbone is seen only when it is loaded.
    """
    teacher = known_teacher(request.teacher, request.board, registry) if request.teacher else None
    require_networks(parts.method, Known((request.student,), parts.student.cls.taps), teacher)


def known_teacher(spec: str, board: Board, registry: Registry) -> Known | None:
    """What a teacher's name says of its network; None where it names no backbone. Several joined have no taps."""
    kind, argument = split_spec(spec, board)
    teacher: Teacher = registry.get("teachers", kind).make({})
    names = (argument,) if kind == board.teachers.kind else teacher.backbones(argument)
    taps = [registry.get("backbones", name).cls.taps for name in names]
    return Known(names, taps[0] if len(taps) == 1 else ()) if names else None


def require_batch(method: Method, batch: int) -> None:
    """Raise PluginError where a batch has fewer videos than the method needs."""
    if batch < method.smallest_batch:
        raise PluginError(
            f"method {method.name}: needs batches of {method.smallest_batch} videos or more, this run has "
            f"{batch}; choose a larger fraction or another method"
        )


def require_networks(method: Method, student: Known, teacher: Known | None) -> None:
    """Raise PluginError where a network lacks a tap, or the teacher is of another architecture than is needed."""
    for network, taps in ((student, method.student_taps), (teacher, method.teacher_taps)):
        lacking = sorted(set(taps) - set(network.taps)) if network else []
        if network and lacking:
            known = ", ".join(network.taps) or "none"
            raise PluginError(f"method {method.name}: {network.title} has no tap '{lacking[0]}'; it has: {known}")
    if method.same_architecture and teacher and teacher.backbones != student.backbones:
        raise PluginError(
            f"method {method.name}: needs a teacher of the student's own architecture, {student.title}, and this one "
            f"is {teacher.title}; name {student.title} as the teacher, or choose another method"
        )


@dataclass(frozen=True)
class Setting:
    """What decides a run's record beside its request: the teacher's weights and card, the frames, the arithmetic."""

    teacher: str | None
    teacher_weights_sha256: str | None
    frames_sha256: str
    precision: str
    partial: bool
    teacher_card_sha256: str | None = None


def run_config(request: RunRequest, parts: Parts, setting: Setting) -> dict[str, Any]:
    """Everything that decides the record of a run, as plain values; files of plugins by their digests."""
    decided = asdict(setting)
    if setting.teacher_card_sha256 is None:
        del decided["teacher_card_sha256"]  # runs without one keep the names they had before cards were named
    return {
        "board": request.board.name,
        "board_digest": request.board.digest,
        "student": request.student,
        "method": request.method_name,
        "options": parts.options,
        "fraction": request.fraction,
        "seed": request.seed,
        "subset_seed": request.subset_seed,
        "compiled": request.compiled,
        "kdbench": __version__,
        "files": {"student": parts.student.origin.sha256, "method": parts.method_plugin.origin.sha256},
        **decided,
    }


def run_id(config: dict[str, Any]) -> str:
    """A readable name with a hash of the configuration, so that an edited plugin never continues an old run."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return f"{readable_name(config['student'], config['teacher'], config)}-{digest[:8]}"


def readable_name(student: str, teacher: str | None, facts: dict[str, Any]) -> str:
    """The part of a run's name that people read: student, teacher, method, fraction, seed, subset seed if not 0."""
    names = [student, teacher or "alone", facts["method"], f"{facts['fraction']:g}", f"s{facts['seed']}"]
    names += [f"subset{facts['subset_seed']}"] if facts["subset_seed"] else []
    return "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in name) for name in names)
