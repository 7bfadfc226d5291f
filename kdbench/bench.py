"""What a cell of a board costs here, part by part, and what limits it. Measured in one call, so ratios hold.

Three measurements: the input alone (windows read, sent and augmented), the training step alone on a batch that
is already on the device, and both together. The rate of a large matrix product, measured in the same call,
says how much of the device's arithmetic the step uses. Then the parts of a batch, each alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kdbench.api import Batch, Progress
from kdbench.data import augment
from kdbench.data.loader import AHEAD, TrainingLoader, reader
from kdbench.train import Training, ask_student, ask_teacher, take_step

MATRIX = {"cuda": 8192, "cpu": 1024}  # rows and columns: large enough to reach the device's rate
GOES = 5
HIDDEN = 0.97  # of the step's own speed: from here on the input is called hidden


@dataclass(frozen=True)
class Part:
    """Seconds of one batch, and the videos in it."""

    seconds: float
    videos: int
    clips: int

    @property
    def clips_per_s(self) -> float:
        """Clips of training tuples in a second."""
        return self.videos * self.clips / self.seconds


@dataclass(frozen=True)
class BenchReport:
    """The three measurements, the arithmetic of a step, the matrix rate in FLOP/s, and seconds by part of a batch.

    `parts` are measured one at a time and waited for; what they share or hide in each other is in none of them.
    """

    input: Part
    step: Part
    together: Part
    step_flop: int
    matrix_flop_per_s: float
    parts: dict[str, float]

    @property
    def utilisation(self) -> float:
        """Counted arithmetic of the step alone over what the matrix product reaches in the same time."""
        return self.step_flop / self.step.seconds / self.matrix_flop_per_s

    @property
    def overlap(self) -> float:
        """Speed of input and step together over the speed of the step alone: 1 when the input is hidden."""
        return self.step.seconds / self.together.seconds

    @property
    def verdict(self) -> str:
        """One sentence: what limits a run here."""
        share = self.input.seconds / self.together.seconds
        if self.input.seconds > self.step.seconds:
            return f"limited by the input: it alone takes {share:.0%} of the time of a batch"
        if self.overlap < HIDDEN:
            return f"limited by the input running in turn with the step: it adds {1 / self.overlap - 1:.0%} to it"
        return f"limited by the step, which uses {self.utilisation:.0%} of the arithmetic of a matrix product"

    def facts(self) -> dict[str, Any]:
        """Plain values, for --json."""
        return {
            "input_clips_per_s": self.input.clips_per_s,
            "step_clips_per_s": self.step.clips_per_s,
            "together_clips_per_s": self.together.clips_per_s,
            "together_s": self.together.seconds,
            "step_s": self.step.seconds,
            "step_flop": self.step_flop,
            "matrix_flop_per_s": self.matrix_flop_per_s,
            "utilisation": self.utilisation,
            "overlap": self.overlap,
            "parts_s": self.parts,
            "verdict": self.verdict,
        }


def measure(training: Training, trace: Path | None = None) -> BenchReport:
    """Measure a training as it stands, without keeping what it learns meanwhile. Medians of several goes."""
    batches = training.loader.endless()
    resident = next(batches)
    videos, clips = resident.clips_BVCTHW.shape[:2]
    learn = Learner(training)
    with FlopCounterMode(display=False) as counter:
        learn(resident)
    if trace:
        _profile(learn, resident, training, trace)

    def part(work: Callable[[], object]) -> Part:
        return Part(median_s(work, training.device), videos, clips)

    step = part(lambda: learn(resident))
    for _ in range(AHEAD + 1):  # read meanwhile: from here on every batch costs its reading
        next(batches)
    return BenchReport(
        input=Part(mean_s(lambda: next(batches), training.device), videos, clips),
        step=step,
        together=Part(mean_s(lambda: learn(next(batches)), training.device), videos, clips),
        step_flop=counter.get_total_flops(),
        matrix_flop_per_s=matrix_rate(training.device, training.precision),
        parts=_parts(training, resident, step.seconds),
    )


def _parts(training: Training, batch: Batch, step_s: float) -> dict[str, float]:
    """Seconds of each part of a batch. The backward pass, with the losses, is what the step has beside the others."""

    def seconds(work: Callable[[], object]) -> float:
        return median_s(work, training.device)

    alone = {"student forward": seconds(lambda: ask_student(training, batch))}
    if training.teacher:
        alone["teacher forward"] = seconds(lambda: ask_teacher(training, batch))
    alone["optimiser"] = seconds(training.optimiser.step)
    reading, augmenting = _input_parts(training.loader)
    return {
        "reading": seconds(reading),
        "augmentation": seconds(augmenting),
        **alone,
        "losses and backward": max(0.0, step_s - sum(alone.values())),
    }


def _input_parts(loader: TrainingLoader) -> tuple[Callable[[], object], Callable[[], Tensor]]:
    """Reading one batch of windows in one thread, and augmenting one that is on the device."""
    board, windows = loader.board, loader.windows_of(np.arange(loader.batch, dtype=np.int64), epoch=0)
    clips, length = windows.flat.shape
    ring = reader(loader.ring.store, clips, length, loader.device)  # the loader's own is in use

    def read() -> Tensor:
        return next(raw_NTF for _, raw_NTF in ring.read(loader.videos, iter([windows])))

    on_device_NTF = read().clone()

    def augmented() -> Tensor:
        kernel = board.augment.blur_kernel
        return augment.to_clips(board.frames, on_device_NTF, windows.parameters, kernel, windows.spatial_N)

    return read, augmented


class Learner:
    """Calls the training step, counting on."""

    def __init__(self, training: Training) -> None:
        self.training, self.count = training, 0
        training.network.train()
        training.method.train()

    def __call__(self, batch: Batch) -> None:
        """One optimiser step on a batch."""
        training, steps = self.training, self.training.loader.steps
        at = Progress(self.count // steps % training.optim.epochs, self.count % steps, training.optim.epochs, steps, 0)
        take_step(training, batch, at)
        self.count += 1


def median_s(work: Callable[[], object], device: torch.device, goes: int = GOES) -> float:
    """Median seconds of a piece of work, synchronised at both ends, after one go to warm up."""
    seconds = []
    for _ in range(goes + 1):
        _wait(device)
        begin = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def mean_s(work: Callable[[], object], device: torch.device, goes: int = 2 * GOES) -> float:
    """Mean seconds of a piece of work in a row of goes: what is prepared ahead for one is paid for in another."""
    _wait(device)
    begin = time.perf_counter()
    for _ in range(goes):
        work()
    _wait(device)
    return (time.perf_counter() - begin) / goes


def matrix_rate(device: torch.device, precision: str) -> float:
    """FLOP/s of a square matrix product in the arithmetic of the run, on random data."""
    size = MATRIX["cuda" if device.type == "cuda" else "cpu"]
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    return 2 * size**3 / median_s(lambda: left @ right, device)


def _profile(learn: Learner, batch: Batch, training: Training, trace: Path) -> None:
    """Write a trace of three steps for a browser's tracing page."""
    with torch.profiler.profile(acc_events=True) as profiler:
        for _ in range(3):
            learn(batch)
        _wait(training.device)
    trace.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(trace))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
