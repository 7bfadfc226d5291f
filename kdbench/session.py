"""One run in this process: its network, its training and its fine-tuning, built from what was asked."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from kdbench import streams
from kdbench.api import NetworkSpec, Task
from kdbench.board import with_modality
from kdbench.course import Course, CourseResult, EpochWatcher, follow
from kdbench.data.loader import TestLoader, TrainingLoader, VideoList
from kdbench.data.material import Access, Material
from kdbench.data.placement import Placed, bytes_of, place_frames, require_room
from kdbench.models import Network, build_network, place
from kdbench.objective import Objective
from kdbench.phases import Prepared, prepare
from kdbench.records import TransferResult
from kdbench.registry import Registry
from kdbench.request import Known, Parts, RunRequest, require_batch, require_networks
from kdbench.rundir import RunDir
from kdbench.teaching import Taught
from kdbench.train import Shown, Training, autocast, device_and_precision, make_optimiser
from kdbench.transfer import Transfer, fine_tune


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where runs happen: plugins and videos, folders, device, and who is told. Decides no number of a record."""

    access: Access
    watcher: EpochWatcher
    runs: Path = Path("runs")
    device: str | None = None
    placement: str = "mmap"
    untrusted_teacher: bool = False

    @property
    def registry(self) -> Registry:
        """The plugins there are."""
        return self.access.registry


@dataclass(frozen=True)
class Inputs:
    """What a run works on: its data, the data it is taken to afterwards, and its teacher."""

    material: Material
    transfer: Transfer | None = None
    taught: Taught | None = None

    @property
    def frame_bytes(self) -> int:
        """What all frames of the run take when they are copied."""
        materials = [self.material, *([self.transfer.material] if self.transfer else [])]
        return sum(bytes_of(each.store, (*each.train.ids, *each.test.ids)) for each in materials)


class Session:
    """One run in this process: what it trains, and the training of it."""

    def __init__(self, request: RunRequest, bench: Bench, parts: Parts, inputs: Inputs, rundir: RunDir) -> None:
        self.request, self.bench, self.parts, self.rundir = request, bench, parts, rundir
        self.material, self.transfer, self.taught = inputs.material, inputs.transfer, inputs.taught
        self.device, self.precision = device_and_precision(request.board, bench.device)
        require_room(bench.placement, inputs.frame_bytes, self.device)
        _reset_peak_memory(self.device)
        self.network = self._build_network()
        self.training = self._build_training()
        self.compiled = request.compiled and self._compile()

    def _build_network(self) -> Network:
        board, classes = self.request.board, len(self.material.classes)
        return place(build_network(board, self.parts.student, classes, self.request.seed, {}), self.device)

    def _build_training(self) -> Training:
        board, method, seed = self.request.board, self.parts.method, self.request.seed
        objective = Objective(board.objective, len(self.material.train), seed, method.base_weights)
        loader = self._build_loader(tuples=objective.needs_tuple or method.needs_tuple)
        teacher = place(self.taught.network, self.device) if self.taught else None
        self._check_fit(loader.batch, teacher.spec if teacher else None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(streams.stream_seed(seed, "method"))
            method.build(self.network.spec, teacher.spec if teacher else None, self._task(loader, objective))
        method.to(self.device)
        method.begin(self.network, teacher)
        shown = Shown()
        shown.watch(method)
        return Training(
            network=self.network,
            objective=objective.to(self.device),
            method=method,
            teacher=teacher,
            loader=loader,
            optimiser=make_optimiser(board.optim, self.network, method),
            optim=board.optim,
            precision=self.precision,
            seed=seed,
            shown=shown,
        )

    def _build_loader(self, *, tuples: bool) -> TrainingLoader:
        board, videos, method = self.request.board, self.material.train, self.parts.method
        loader = TrainingLoader(board, self._frames(videos), videos, self.device, self.request.seed, tuples=tuples)
        if method.teacher_modality not in ("", board.frames.modality):
            loader.second = with_modality(board, method.teacher_modality).frames
        return loader

    def _check_fit(self, batch: int, teacher: NetworkSpec | None) -> None:
        """What was checked before the teacher was loaded, and now of networks that are there."""
        mine = self.network.spec
        require_batch(self.parts.method, batch)
        require_networks(
            self.parts.method,
            Known((mine.backbone,), tuple(mine.taps)),
            Known((teacher.backbone,), tuple(teacher.taps)) if teacher else None,
        )

    def _task(self, loader: TrainingLoader, objective: Objective) -> Task:
        board, classes, seed = self.request.board, len(self.material.classes), self.request.seed
        device, precision, made = self.device, self.precision, itertools.count(1)

        def twin() -> Network:
            number = next(made)
            own = streams.stream_seed(seed, "twin" if number == 1 else f"twin {number}")
            # Laid out as the student is; it goes to the device with the method.
            return place(build_network(board, self.parts.student, classes, own, {}), torch.device("cpu"))

        return Task(
            num_classes=classes,
            num_videos=len(self.material.train),
            class_of_video=self.material.train.labels.tolist(),
            batch=loader.batch,
            epochs=board.optim.epochs,
            steps_per_epoch=loader.steps,
            twin=twin,
            arithmetic=lambda: autocast(device, precision),
            objective=dict(objective.weights),
        )

    def _frames(self, videos: VideoList) -> Placed:
        return place_frames(self.bench.placement, self.material.store, videos.ids, self.device)

    def _compile(self) -> bool:
        """Compile student and teacher for the batches of a step; one line where that cannot be done."""
        training, frames, clip = self.training, self.request.board.frames, self.request.board.clip
        views, method = clip.per_tuple if training.loader.tuples else 1, training.method
        plans = [("student", training.network, views, method.student_taps)]
        if training.teacher:
            shown = views if method.teacher_views == "tuple" else 1
            plans.append(("teacher", training.teacher, shown, method.teacher_taps))
        for who, network, clips, taps in plans:
            shape = (3, clip.length, frames.crop, frames.crop)
            size = clips * training.loader.batch
            problem = "its taps are read" if taps else network.compile_for(size, shape, self.precision)
            if problem:
                self.bench.watcher.say(f"the {who} runs uncompiled: {problem}")
        return any(network.compiled for _, network, _, _ in plans)

    def train(self) -> tuple[Prepared, CourseResult]:
        """The method's phases, then the board's epochs."""
        board, material = self.request.board, self.material
        prepared = prepare(self.training, self.rundir, self.bench.watcher)
        course = Course(
            name="train",
            training=self.training,
            test=TestLoader(board, self._frames(material.test), material.test, self.device),
            export=lambda: self.parts.method.export(self.network),
            views=board.evaluation.views,
            marks=board.stage_epochs,
            pretext=bool(self.training.objective.weights.get("pretext")),
        )
        return prepared, follow(course, self.rundir, self.bench.watcher)

    def finished(self) -> tuple[Network, bool]:
        """The network that the run leaves, and whether it is what was evaluated (see `Method.export`)."""
        evaluated = self.parts.method.export(self.network)
        return (evaluated, True) if isinstance(evaluated, Network) else (self.network, False)

    def fine_tune(self, transfer: Transfer) -> tuple[TransferResult, CourseResult]:
        """Take the finished network to the second data set; its weights change and must have been saved."""
        network, _ = self.finished()
        network.requires_grad_(True)  # an average was never trained by gradients
        where = self.bench.device, self.rundir, self.bench.watcher
        return fine_tune(transfer, network, self.request.seed, *where)


def _reset_peak_memory(device: torch.device) -> None:
    """Begin to measure anew: a process may do several runs."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # only Linux can forget the peak; elsewhere it is that of the process
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
