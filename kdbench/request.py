"""What one run is, before anything runs: its parts found and checked against each other, and its name."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kdbench.api import Method
from kdbench.board import DEFAULT_BOARD, Board
from kdbench.errors import BoardError, PluginError
from kdbench.registry import Registered, Registry


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

    @property
    def method_name(self) -> str:
        """The method asked for; else the board's: one for a run with a teacher, its baseline for one without."""
        methods = self.board.methods
        return self.method or (methods.taught if self.teacher else methods.baseline)

    def command(self) -> str:
        """The command that repeats the run."""
        words = ["kdbench", "run"]
        words += [] if self.board.name == DEFAULT_BOARD else ["--board", self.board.name]
        words += ["--student", self.student]
        words += ["--teacher", self.teacher] if self.teacher else []
        words += ["--method", self.method_name]
        words += [word for name, value in sorted(self.options.items()) for word in ("-o", f"{name}={value}")]
        return shlex.join([*words, "--fraction", f"{self.fraction:g}", "--seed", str(self.seed)])


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
    fractions = request.board.matrix.fractions
    if request.fraction not in fractions:
        known = ", ".join(f"{fraction:g}" for fraction in fractions)
        raise BoardError(f"fraction {request.fraction:g}: board {request.board.name} has {known}")
    student = registry.get("backbones", request.student)
    plugin = registry.get("methods", request.method_name)
    options = plugin.options(request.options)
    method: Method = plugin.cls(options)
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


def run_id(request: RunRequest, parts: Parts, teacher: str | None, *, partial: bool) -> str:
    """A readable name with a hash of everything that decides the numbers of the run."""
    config = run_config(request, parts, teacher, partial=partial)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    names = [request.student, teacher or "alone", request.method_name, f"{request.fraction:g}", f"s{request.seed}"]
    readable = "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in name) for name in names)
    return f"{readable}-{digest[:8]}"


def run_config(request: RunRequest, parts: Parts, teacher: str | None, *, partial: bool) -> dict[str, Any]:
    """What was asked, as plain values."""
    return {
        "board": request.board.name,
        "board_digest": request.board.digest,
        "student": request.student,
        "teacher": teacher,
        "method": request.method_name,
        "options": parts.options,
        "fraction": request.fraction,
        "subset_seed": request.board.subset.seed,
        "seed": request.seed,
        "partial": partial,
    }
