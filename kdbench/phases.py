"""Phases: epochs that a method trains before the board's own, resumable as those are, and counted in the record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from kdbench.api import Phase, PluginError
from kdbench.data.material import Watcher
from kdbench.records import PhaseEpoch
from kdbench.rundir import CHECKPOINT_EVERY_S, RunDir
from kdbench.train import EpochSummary, Training, fit, make_optimiser

FILE = "phases.pt"
# Far behind any board's last epoch, so that no epoch of a phase draws as one of the board's.
FIRST_EPOCH = 1 << 20


@dataclass
class Prepared:
    """What the phases have come to: a row for each epoch, seconds spent, and how often a kill was survived in them."""

    rows: list[PhaseEpoch]
    seconds: float = 0.0
    resumes: int = 0

    @property
    def epochs(self) -> int:
        """How many were trained."""
        return len(self.rows)

    def to_builtins(self) -> dict[str, Any]:
        """Plain values, for the checkpoint."""
        return {"rows": msgspec.to_builtins(self.rows), "seconds": self.seconds, "resumes": self.resumes}


def prepare(training: Training, rundir: RunDir, watcher: Watcher) -> Prepared:
    """Go through a method's phases, from where a killed process left them. Raises PluginError, and as `fit` does."""
    phases = training.method.phases()
    if not phases:
        return Prepared([])
    _check(training.method.name, phases)
    total = sum(phase.epochs for phase in phases)
    prepared, saved = _before(rundir)
    rundir.rewrite_phases(prepared.rows)
    if prepared.epochs < total:
        watcher.say(f"{training.method.name}: {total} epochs of its own, then the board's {training.optim.epochs}")
    for number, part in _parts(training, phases):
        if number < saved["phase"]:
            continue
        if number == saved["phase"] and "training" in saved:
            part.load_state(saved["training"])
        start = sum(row.phase == phases[number].name for row in prepared.rows)
        for due in _train(part, start, (prepared, rundir), watcher):
            if due:
                content = {"phase": number, "training": part.state(), "result": prepared.to_builtins()}
                rundir.save(FILE, content)
    return prepared


def _before(rundir: RunDir) -> tuple[Prepared, dict[str, Any]]:
    """What processes before this one came to, and their last checkpoint; a resume is counted before it can be lost."""
    saved = rundir.load(FILE, ("phase", "training", "result"))
    if saved is None:
        return Prepared([]), {"phase": 0}
    result = saved["result"]
    prepared = Prepared(msgspec.convert(result["rows"], list[PhaseEpoch]), result["seconds"], result["resumes"])
    if not (rundir.path / "train.pt").exists():  # with it, the training counts the resume
        prepared.resumes += 1
        rundir.save(FILE, saved | {"result": prepared.to_builtins()})
    return prepared, saved


def _check(method: str, phases: tuple[Phase, ...]) -> None:
    """A phase's draws are told from those of others by its name; the board's own epochs have none."""
    names = [phase.name for phase in phases]
    for at, phase in enumerate(phases):
        if not phase.name:
            raise PluginError(f"method {method}: a phase needs a name")
        if phase.name in names[:at]:
            raise PluginError(f"method {method}: two phases are called '{phase.name}'; rename one")
        if phase.trains not in ("all", "method"):
            raise PluginError(
                f"method {method}: phase '{phase.name}' trains '{phase.trains}'; it must be 'all' or 'method'"
            )


def _parts(training: Training, phases: tuple[Phase, ...]) -> Iterator[tuple[int, Training]]:
    """Each phase as a training: a constant learning rate, a fresh optimiser, epochs that no other counts."""
    first = FIRST_EPOCH
    for number, phase in enumerate(phases):
        optim = msgspec.structs.replace(training.optim, epochs=phase.epochs, milestones=())
        part = replace(training, optim=optim, phase=phase, first_epoch=first)
        modules = (training.network, training.method) if part.student_learns else (training.method,)
        if not any(True for module in modules for _ in module.parameters()):
            raise PluginError(f"method {training.method.name}: phase '{phase.name}' trains a method without weights")
        yield number, replace(part, optimiser=make_optimiser(optim, *modules))
        first += phase.epochs


def _train(part: Training, start: int, told: tuple[Prepared, RunDir], watcher: Watcher) -> Iterator[bool]:
    """Train a phase and tell of each epoch; yield after it whether it is time for a checkpoint."""
    assert part.phase is not None
    prepared, rundir = told
    tick = watcher.stage(part.phase.name, part.optim.epochs * part.loader.steps)
    last = last_save = time.perf_counter()
    done = start

    def on_step(step: int, steps: int) -> None:
        tick(done * steps + step)

    for summary in fit(part, start=start, on_step=on_step):
        done, now = summary.epoch, time.perf_counter()
        prepared.rows.append(_row(part.phase.name, summary))
        prepared.seconds += now - last
        rundir.append_epoch(prepared.rows[-1])
        due = summary.epoch == part.optim.epochs or now - last_save >= CHECKPOINT_EVERY_S
        last, last_save = now, now if due else last_save
        yield due


def _row(phase: str, summary: EpochSummary) -> PhaseEpoch:
    return PhaseEpoch(
        phase=phase,
        epoch=summary.epoch,
        lr=summary.lr,
        losses=summary.losses,
        train_s=summary.train_s,
        data_wait_s=summary.data_wait_s,
    )
