"""What a check says of a plugin, and what the checks of every kind have in common."""

from __future__ import annotations

import inspect
import random
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from kdbench.errors import KdbenchError
from kdbench.registry import Registered
from kdbench.testing.kit import Kit

PREFIX = "check_"
LONGEST = 400  # characters of a reason: torch can write a page
OWN_INIT = "leave __init__ out, or begin it with super().__init__ and all that it was given"


class CheckError(Exception):
    """What is wrong with a plugin and what to change, on one line."""


class NotApplicableError(Exception):
    """Why a check says nothing of this plugin."""


@dataclass(frozen=True)
class Finding:
    """What one check found: nothing, a problem, or the reason why it was skipped."""

    check: str
    seconds: float = 0.0
    problem: str = ""
    skipped: str = ""

    @property
    def status(self) -> str:
        """In one word."""
        return "failed" if self.problem else "skipped" if self.skipped else "passed"


@dataclass(frozen=True)
class Report:
    """Everything that was found of one plugin."""

    plugin: Registered
    findings: tuple[Finding, ...]

    @property
    def seconds(self) -> float:
        """How long the checks took."""
        return sum(finding.seconds for finding in self.findings)

    @property
    def problems(self) -> list[str]:
        """One line for each check that failed."""
        return [f"{finding.check}: {finding.problem}" for finding in self.findings if finding.problem]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the caller says of a plugin: options, a teacher's argument, the folder of a data set's videos."""

    options: Mapping[str, Any] = field(default_factory=dict)
    argument: str | None = None
    videos: Path | None = None


class Checks:
    """The checks of one plugin: the methods whose names begin with `check_`, in the order in which they stand."""

    made: ClassVar[str] = "it can be made"
    decisive: ClassVar[str] = ""  # the check whose failure the later ones would only repeat in other words

    def __init__(self, plugin: Registered, kit: Kit, given: Given) -> None:
        self.plugin, self.kit, self.given = plugin, kit, given

    def prepare(self) -> None:
        """Make what the other checks work on; they are skipped where that fails."""

    def run(self) -> Iterator[Finding]:
        """Do every check. What a plugin raises is a finding, whatever it is."""
        common = [name for name in vars(Checks) if name.startswith(PREFIX)]
        for name in common:
            yield self._find(_title(name), getattr(self, name))
        made = self._made()
        yield made
        skipped = "as above" if made.skipped else "it could not be made" if made.problem else ""
        for name in (name for name in vars(type(self)) if name.startswith(PREFIX)):
            if skipped:
                yield Finding(_title(name), skipped=skipped)
                continue
            finding = self._find(_title(name), getattr(self, name))
            yield finding
            if name == self.decisive and finding.problem:
                skipped = "mend what failed above first"

    def _made(self) -> Finding:
        """Whether it could be made; an __init__ of its own that does not fit is told how."""
        made = self._find(self.made, self.prepare)
        if "__init__" in vars(self.plugin.cls) and made.problem.startswith(("TypeError", "AttributeError")):
            return replace(made, problem=f"{made.problem}; {OWN_INIT}")
        return made

    def _find(self, title: str, check: Callable[[], None]) -> Finding:
        begin = time.perf_counter()
        problem = skipped = ""
        try:
            check()
        except NotApplicableError as reason:
            skipped = str(reason)
        except (Exception, SystemExit) as error:
            problem = _reason(error, self.plugin.origin.file) + _signature(error, self.plugin.cls)
        return Finding(title, time.perf_counter() - begin, problem, skipped)

    def check_it_says_what_it_is_and_where_it_comes_from(self) -> None:
        """A docstring of the class's own, and a source."""
        if not (self.plugin.cls.__dict__.get("__doc__") or "").strip():
            raise CheckError(f"class {self.plugin.cls.__name__} has no docstring; say in one line what it does")
        if not self.plugin.cls.source.strip():
            raise CheckError('source is empty; write source = "authors, venue, year, link, equation", or "own work"')

    def check_every_option_is_documented(self) -> None:
        """Each option has a type, without which it is none, and stands in backticks in the docstring of Options."""
        options = self.plugin.cls.Options
        for name, value in _untyped(options).items():
            raise CheckError(
                f"Options.{name} has no type, so it is no option; write {name}: {type(value).__name__} = {value!r}"
            )
        silent = [each.name for each in fields(options) if not re.search(rf"`{each.name}`", options.__doc__ or "")]
        if silent:
            named = ", ".join(f"`{name}`" for name in silent)
            raise CheckError(f"the docstring of Options does not name {named}; say in backticks what each does")


def _untyped(options: type[Any]) -> dict[str, Any]:
    """What stands in a class of options like an option, without a type."""
    typed, plain = inspect.get_annotations(options), (bool, int, float, str, tuple, list, type(None))
    found = {name: value for name, value in vars(options).items() if not name.startswith("_") and name not in typed}
    return {name: value for name, value in found.items() if isinstance(value, plain)}


def _title(name: str) -> str:
    return name.removeprefix(PREFIX).replace("_", " ")


def _reason(error: BaseException, file: Path) -> str:
    """Why a check failed, on one line, with the plugin's own line where it came so far."""
    text = " ".join(str(error).split())
    if isinstance(error, CheckError | KdbenchError):
        return text
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ..."
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).resolve() == file]
    # A line of torch or of kdbench would send the author to a file that is not theirs.
    return f"{what} ({file.name}, line {own[-1].lineno}: {own[-1].line})" if own else what


def _signature(error: BaseException, cls: type[Any]) -> str:
    """How `kdbench.api` writes what was called with other arguments than a plugin's class takes; else nothing."""
    called = re.match(r"(?:\S*\.)?(\w+)\(\) (?:takes|missing|got)", str(error))
    if not isinstance(error, TypeError) or not called or called[1] == "__init__":
        return ""
    for base in cls.__mro__:
        if base.__module__ == "kdbench.api" and called[1] in vars(base):
            return f"; write def {called[1]}({', '.join(inspect.signature(vars(base)[called[1]]).parameters)})"
    return ""


def global_randomness() -> dict[str, bytes]:
    """The states of the three random generators that everything in a process shares."""
    _, words, position, *_ = np.random.get_state()
    return {
        "torch": torch.random.get_rng_state().numpy().tobytes(),
        "numpy": np.asarray(words).tobytes() + repr(position).encode(),
        "random": repr(random.getstate()).encode(),
    }


def require_untouched(before: Mapping[str, bytes], way_out: str) -> None:
    """Raise CheckError where a shared generator is not in the state it was in before."""
    after = global_randomness()
    moved = [name for name, state in before.items() if after[name] != state]
    if moved:
        raise CheckError(f"moves the global random state of {' and '.join(moved)}; {way_out}")
