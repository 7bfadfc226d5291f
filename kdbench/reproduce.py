"""A record's run done again: the same configuration on this machine, and how well the two agree."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kdbench.board import Board
from kdbench.checks import read_record
from kdbench.data.material import open_material
from kdbench.errors import BoardError, DataError, PluginError, RecordError, RunFailed
from kdbench.files import write_atomically
from kdbench.leaderboard.formats import percent, points
from kdbench.leaderboard.reference import FEWEST, Band, band_of, row_of
from kdbench.leaderboard.scoring import EQUAL
from kdbench.records import Epoch, PluginRef, Record, differing_pins
from kdbench.registry import Registered, Registry
from kdbench.request import RunRequest, check, split_spec
from kdbench.run import Bench, execute

REPORT = "reproduction.json"
SHOWN_VALUES = 6  # the report has them all


@dataclass(frozen=True)
class Repetition:
    """What is to be done again, and which plugins' files are not the record's."""

    record: Record
    request: RunRequest
    edited: tuple[str, ...]

    def own_run(self, runs: Path) -> bool:
        """Whether the run that the record comes from lies in a folder of runs: it would be taken for the repetition."""
        path = runs / self.record.board.name / self.record.run_id / "record.json"
        return path.is_file() and read_record(path).cost == self.record.cost


@dataclass(frozen=True)
class Agreement:
    """How a repetition compares with the record. Accuracies are shares.

    `epoch` is the first in which a measured value differs (0 for the method's phases), None where the curves are
    equal; `values` names what differs there, or after the last epoch. `band` is where a further seed of the record's
    row would lie, None where it has too few. `settings` are the circumstances in which the two runs differ.
    """

    record: Record
    again: Record
    epoch: int | None
    values: tuple[str, ...]
    band: Band | None
    settings: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether every measured value is equal."""
        return not self.values

    @property
    def difference(self) -> float:
        """Top-1 of the repetition minus that of the record."""
        return self.again.derived.top1 - self.record.derived.top1

    @property
    def agrees(self) -> bool:
        """Whether the accuracies are equal, or the repetition's lies in the band."""
        return abs(self.difference) < EQUAL or (self.band is not None and self.band.holds(self.again.derived.top1))

    def facts(self) -> dict[str, Any]:
        """The outcome as plain values."""
        band = self.band and {"low": self.band.low, "high": self.band.high, "seeds": self.band.n}
        return {
            "run_id": self.record.run_id,
            "repeated_as": self.again.run_id,
            "agrees": self.agrees,
            "exact": self.exact,
            "top1": self.record.derived.top1,
            "repeated_top1": self.again.derived.top1,
            "band": band,
            "first_differing_epoch": self.epoch,
            "differing_values": list(self.values),
            "differing_settings": list(self.settings),
        }


# --- before ------------------------------------------------------------------------------------------------


def plan_repetition(record: Record, board: Board, registry: Registry, teacher: str | None = None) -> Repetition:
    """The run that a record asks for; `teacher` stands in for one that lay in a file.

    Raises BoardError where the board has changed, PluginError for a plugin that is not here, RecordError for a
    record that cannot be repeated.
    """
    if record.status != "complete":
        raise RecordError(f"{record.run_id}: is {record.status}; only a complete run can be repeated")
    _refuse_other_pins(record, board)
    request = RunRequest(
        board=board,
        student=record.student.name,
        teacher=_teacher_of(record, board, registry, teacher),
        method=record.method.name,
        options=record.method.options,
        fraction=record.cell.fraction,
        seed=record.seed,
        subset_seed=record.cell.subset_seed,
        compiled="--compile" in shlex.split(record.command),
    )
    edited = tuple(_edited(record, registry))
    check(request, registry)
    return Repetition(record, request, edited)


def _refuse_other_pins(record: Record, board: Board) -> None:
    differing = differing_pins(record, board.pins)
    if differing:
        there, here = (values.get(differing[0], "nothing") for values in (record.pins, board.pins))
        others = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        commit = f" at commit {record.code.commit[:12]}" if record.code.commit else ""
        raise BoardError(
            f"{record.run_id}: {differing[0]} was {there!r}, board {board.name} has {here!r} today{others}; "
            f"repeat it with the kdbench {record.code.version}{commit} that made it"
        )


def _teacher_of(record: Record, board: Board, registry: Registry, given: str | None) -> str | None:
    if record.teacher is None:
        return None
    kind, _ = split_spec(record.teacher.spec, board)
    if given or kind == board.teachers.kind or registry.get("teachers", kind).cls.portable:
        return given or record.teacher.spec
    raise RecordError(
        f"{record.run_id}: its teacher {record.teacher.spec} came from a file with the sha256 "
        f"{record.teacher.weights_sha256}; name that file with --teacher {kind}:PATH"
    )


def _edited(record: Record, registry: Registry) -> Iterator[str]:
    """The plugins of a record whose files have changed since."""
    used: list[tuple[str, PluginRef]] = [("backbones", record.student), ("methods", record.method)]
    used += [("teachers", record.teacher.plugin)] if record.teacher else []
    for kind, plugin in used:
        here = _registered(registry, kind, plugin).origin
        if here.sha256 != plugin.sha256:
            yield f"{plugin.name} (sha256 {plugin.sha256[:12]} in the record, {here.sha256[:12]} here: {here})"


def _registered(registry: Registry, kind: str, plugin: PluginRef) -> Registered:
    try:
        return registry.get(kind, plugin.name)
    except PluginError as error:
        way_out = "give its file with --plugin" if plugin.distribution == "file" else "install it"
        raise PluginError(f"{error}; the record's is of {plugin.distribution} {plugin.version}: {way_out}") from error


# --- the run -----------------------------------------------------------------------------------------------


def repeat(repetition: Repetition, bench: Bench) -> Record:
    """Do the run, its teacher's first where that is missing; a repetition that was interrupted is continued.

    Raises RunFailed where the record's own run lies in the folder, DataError where the lists are not the record's,
    and as `execute` does.
    """
    record, request = repetition.record, repetition.request
    if repetition.own_run(bench.runs):
        raise RunFailed(
            f"{bench.runs}: holds the run {record.run_id} itself, which would only be read again; "
            "name another folder with --runs"
        )
    material = open_material(request.board, request.fraction, bench.access, request.subset_seed)
    for name in ("training_list_sha256", "test_list_sha256"):
        there, here = getattr(record.cell, name), getattr(material, name)
        if there != here:
            which = name.removesuffix("_sha256").replace("_", " ")
            raise DataError(
                record.cell.dataset,
                f"the {which} has sha256 {here[:12]} here, {there[:12]} in the record: these are other videos; "
                "use the version of the data set that the record names",
            )
    return execute(request, bench)


# --- after -------------------------------------------------------------------------------------------------


def compare(record: Record, again: Record, board: Board, committed: Sequence[tuple[Path, Record]]) -> Agreement:
    """A record and its repetition, beside the committed seeds of the record's row."""
    epoch, values = first_difference(record, again)
    band = band_of([run.record.derived.top1 for run in row_of(record, board, committed)])
    return Agreement(record, again, epoch, values, band, tuple(_differing_settings(record, again)))


def first_difference(record: Record, again: Record) -> tuple[int | None, tuple[str, ...]]:
    """The first epoch in which two runs differ and the values that do; None and what differs after the last one.

    Epoch 0 stands for the phases of the method, before the first. Seconds, memory and learning rates are no
    measurements of the network.
    """
    phases = tuple(_differing_phases(record, again))
    if phases:
        return 0, phases
    for one, other in zip(record.epochs, again.epochs, strict=False):
        here, there = _measured(one), _measured(other)
        if here != there:
            return one.epoch, tuple(sorted(name for name in here | there if here.get(name) != there.get(name)))
    ours, theirs = _results(record), _results(again)
    return None, tuple(name for name in ours if ours[name] != theirs[name])


def _results(record: Record) -> dict[str, object]:
    timeless = record.transfer and msgspec.structs.replace(record.transfer, seconds=0.0)
    results = {name: getattr(record, name) for name in ("stages", "predictions", "pretext")}
    return results | {"transfer": timeless}


def _differing_phases(record: Record, again: Record) -> Iterator[str]:
    """The terms of the phases that differ; older records do not hold their phases."""
    for one, other in zip(record.phases, again.phases, strict=False):
        for term in sorted(one.losses.keys() | other.losses.keys()):
            if one.losses.get(term) != other.losses.get(term):
                yield f"loss {term} in epoch {one.epoch} of {one.phase}"


def _measured(row: Epoch) -> dict[str, float | None]:
    losses = {f"loss {term}": value for term, value in row.losses.items()}
    return {"test top-1": row.test_top1, "training top-1": row.train_top1, "pretext top-1": row.pretext_top1} | losses


def _differing_settings(record: Record, again: Record) -> Iterator[str]:
    there, here = _settings(record), _settings(again)
    for name in sorted(there.keys() & here.keys()):
        if there[name] != here[name]:
            yield f"{name} ({there[name]} in the record, {here[name]} here)"


def _settings(record: Record) -> dict[str, str]:
    """What a difference between two runs of one configuration may come from, as far as the record tells."""
    digests = {
        f"file of {record.student.name}": record.student.sha256,
        f"file of {record.method.name}": record.method.sha256,
        "frames": record.cell.frames_sha256,
    }
    if record.teacher:
        digests["weights of the teacher"] = record.teacher.weights_sha256
    environment = record.environment
    facts = {name: environment.get(name) for name in ("precision", "threads", "compiled", "python")}
    facts |= {"device": _within(environment.get("device"), "name")}
    facts |= {"torch": _within(environment.get("packages"), "torch"), "kdbench": record.code.version}
    facts |= {name: digest and digest[:12] for name, digest in digests.items()}
    return {name: str(fact) for name, fact in facts.items() if fact is not None}


def _within(facts: object, name: str) -> object:
    return facts.get(name) if isinstance(facts, Mapping) else None


# --- the outcome -------------------------------------------------------------------------------------------


def write_report(agreement: Agreement, runs: Path) -> Path:
    """The outcome as a file beside the repetition; returns its path."""
    path = runs / agreement.again.board.name / agreement.again.run_id / REPORT
    write_atomically(path, (json.dumps(agreement.facts(), indent=1, sort_keys=True) + "\n").encode())
    return path


def lines_of(agreement: Agreement) -> Iterator[str]:
    """The outcome in words."""
    record, again, band = agreement.record, agreement.again, agreement.band
    if agreement.exact:
        yield f"{record.run_id}: every measured value is equal (top-1 {percent(record.derived.top1)} %)"
    else:
        word = "agrees" if agreement.agrees else "does not agree"
        yield (
            f"{record.run_id}: {word}: top-1 {percent(again.derived.top1)} % here, {percent(record.derived.top1)} % "
            f"in the record ({points(agreement.difference)} points)"
        )
        if band:
            yield f"  a further seed of its row lies at {band} (95 %, by {band.n} committed seeds)"
        else:
            yield f"  its row has no band: that takes {FEWEST} committed seeds that differ"
        places = {None: "after the last epoch", 0: "before the first epoch"}
        place = places.get(agreement.epoch, f"first in epoch {agreement.epoch}")
        yield f"  the runs differ {place}: {', '.join(agreement.values[:SHOWN_VALUES])}"
    if agreement.settings:
        yield f"  not the same: {', '.join(agreement.settings)}"


def mark_command(agreement: Agreement) -> str:
    """The `kdbench mark` line that writes the outcome into the record."""
    state = "reproduced" if agreement.agrees else "disputed"
    note = (
        "every measured value is equal"
        if agreement.exact
        else f"top-1 {percent(agreement.again.derived.top1)} % on {agreement.again.environment['device']['name']}"
    )
    return f"{shlex.join(['kdbench', 'mark', agreement.record.run_id, state, '--note', note])} --by NAME"
