"""A course: fit, score after each epoch, keep checkpoints. Training and fine-tuning are both courses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec
from torch import nn

from kdbench.data.loader import TestLoader
from kdbench.data.material import Watcher
from kdbench.evaluate import Evaluation, evaluate, evaluate_pretext
from kdbench.models import Network
from kdbench.records import Epoch, Predictions, PretextResult, Seconds
from kdbench.rundir import CHECKPOINT_EVERY_S, RunDir
from kdbench.train import EpochSummary, Training, fit


class EpochWatcher(Watcher, Protocol):
    """A watcher that is also told of every finished epoch."""

    def epoch(self, row: Epoch, total: int) -> None:
        """One epoch of `total` has ended."""


@dataclass(frozen=True)
class Course:
    """One training with its test: `marks` are the epochs after which all `views` are scored, `pretext` as well."""

    name: str
    training: Training
    test: TestLoader
    export: Callable[[], nn.Module]
    views: int
    marks: tuple[int, ...]
    pretext: bool = False


@dataclass
class CourseResult:
    """What a course has come to so far."""

    rows: list[Epoch]
    marks: dict[int, Evaluation]
    elapsed_s: float = 0.0
    checkpoint_s: float = 0.0
    resumes: int = 0

    def to_builtins(self) -> dict[str, Any]:
        """Plain values, for the checkpoint."""
        marks = {
            str(epoch): [mark.top1, mark.top5, *map(msgspec.to_builtins, (mark.predictions, mark.pretext))]
            for epoch, mark in self.marks.items()
        }
        return {
            "rows": [msgspec.to_builtins(row) for row in self.rows],
            "marks": marks,
            "elapsed_s": self.elapsed_s,
            "checkpoint_s": self.checkpoint_s,
            "resumes": self.resumes,
        }

    @classmethod
    def from_builtins(cls, values: dict[str, Any]) -> CourseResult:
        """The inverse of `to_builtins`."""
        return cls(
            rows=msgspec.convert(values["rows"], list[Epoch]),
            marks={
                int(epoch): Evaluation(
                    top1,
                    top5,
                    msgspec.convert(predictions, Predictions),
                    msgspec.convert(pretext, PretextResult | None),
                )
                for epoch, (top1, top5, predictions, pretext) in values["marks"].items()
            },
            elapsed_s=values["elapsed_s"],
            checkpoint_s=values["checkpoint_s"],
            resumes=values["resumes"],
        )


def follow(course: Course, rundir: RunDir, watcher: EpochWatcher) -> CourseResult:
    """Run a course to its end, from its checkpoint where there is one."""
    file = f"{course.name}.pt"
    result = CourseResult([], {})
    saved = rundir.load(file, ("training", "result"))
    if saved:
        course.training.load_state(saved["training"])
        result = CourseResult.from_builtins(saved["result"])
        # A kill while fine-tuning finds the training whole.
        result.resumes += len(result.rows) < course.training.optim.epochs
        watcher.say(f"continuing {course.name} after epoch {len(result.rows)}")
    if course.name == "train":
        rundir.rewrite_epochs(result.rows)
    clock = Clock(result)
    total = course.training.optim.epochs
    tick = watcher.stage(course.name, total * course.training.loader.steps)
    done = len(result.rows) * course.training.loader.steps

    def on_step(step: int, steps: int) -> None:
        tick(done + step)

    for summary in fit(course.training, start=len(result.rows), on_step=on_step):
        row = _score(course, summary, result, clock)
        result.rows.append(row)
        done = summary.steps
        if course.name == "train":
            rundir.append_epoch(row)
        watcher.epoch(row, total)
        if summary.epoch == total or clock.due():
            clock.stop()
            rundir.save(file, {"training": course.training.state(), "result": result.to_builtins()})
            clock.saved()
    clock.stop()
    return result


class Clock:
    """Adds the seconds of this process to those of the processes before it."""

    def __init__(self, result: CourseResult) -> None:
        self.result = result
        self.last = self.last_save = time.perf_counter()
        self.unbooked_s = 0.0

    def stop(self) -> None:
        """Book the time since the last stop."""
        now = time.perf_counter()
        self.result.elapsed_s += now - self.last
        self.last = now

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another."""
        return time.perf_counter() - self.last_save >= CHECKPOINT_EVERY_S

    def saved(self) -> None:
        """Book what a checkpoint cost; the next epoch's row carries it."""
        now = time.perf_counter()
        self.result.checkpoint_s += now - self.last
        self.unbooked_s += now - self.last
        self.last_save = now


def _score(course: Course, summary: EpochSummary, result: CourseResult, clock: Clock) -> Epoch:
    begin = time.perf_counter()
    module, precision = course.export(), course.training.precision
    single = evaluate(module, course.test, precision, 1)
    if summary.epoch in course.marks:
        mark = evaluate(module, course.test, precision, course.views)
        network = module if isinstance(module, Network) else course.training.network
        told = evaluate_pretext(network, course.test, precision) if course.pretext else None
        result.marks[summary.epoch] = replace(mark, pretext=told)
    checkpoint_s, clock.unbooked_s = clock.unbooked_s, 0.0
    return Epoch(
        epoch=summary.epoch,
        steps=summary.steps,
        samples=summary.samples,
        lr=summary.lr,
        losses=summary.losses,
        train_top1=summary.train_top1,
        pretext_top1=summary.pretext_top1,
        test_top1=single.top1,
        seconds=Seconds(
            train=summary.train_s,
            data_wait=summary.data_wait_s,
            evaluate=time.perf_counter() - begin,
            checkpoint=checkpoint_s,
        ),
    )
