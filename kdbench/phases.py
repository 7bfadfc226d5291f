"""Phases: epochs that a method trains before the board's own, resumable as those are, and counted in the record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from kdbench.api import Phase, PluginError
from kdbench.data.material import Watcher
from kdbench.rundir import RunDir
from kdbench.train import Training, fit, make_optimiser

FILE = "phases.pt"
# Far behind any board's last epoch, so that no epoch of a phase draws as one of the board's.
FIRST_EPOCH = 1 << 20
CHECKPOINT_EVERY_S = 20.0


@dataclass(frozen=True)
class Prepared:
    """What the phases came to: epochs trained and seconds spent."""

    epochs: int = 0
    seconds: float = 0.0


def prepare(training: Training, rundir: RunDir, watcher: Watcher) -> Prepared:
    """Go through a method's phases, from where a killed process left them. Raises PluginError, and as `fit` does."""
    phases = training.method.phases()
    if not phases:
        return Prepared()
    _check(training.method.name, phases)
    saved = rundir.load(FILE) or {"phase": 0, "epoch": 0, "seconds": 0.0}
    spent = saved["seconds"]
    for number, part in _parts(training, phases):
        if number < saved["phase"]:
            continue
        start = 0
        if number == saved["phase"] and "training" in saved:
            part.load_state(saved["training"])
            start = saved["epoch"]
        for content in _train(part, start, spent, watcher):
            spent = content["seconds"]
            if content.pop("due"):
                rundir.save(FILE, content | {"phase": number})
    return Prepared(sum(phase.epochs for phase in phases), spent)


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


def _train(part: Training, start: int, before_s: float, watcher: Watcher) -> Iterator[dict[str, Any]]:
    """After each epoch, what to save of it; `due` says whether it is time to."""
    assert part.phase is not None
    tick = watcher.stage(part.phase.name, part.optim.epochs * part.loader.steps)
    began = last_save = time.perf_counter()
    done = start

    def on_step(step: int, steps: int) -> None:
        tick(done * steps + step)

    for summary in fit(part, start=start, on_step=on_step):
        done, now = summary.epoch, time.perf_counter()
        due = summary.epoch == part.optim.epochs or now - last_save >= CHECKPOINT_EVERY_S
        last_save = now if due else last_save
        yield {
            "epoch": summary.epoch,
            "training": part.state() if due else None,
            "seconds": before_s + now - began,
            "due": due,
        }
