"""How long the runs of a plan will take here: a short calibration, multiplied out. A forecast, never a result."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from kdbench.api import Batch, PluginError, Task
from kdbench.board import Board, transfer_board
from kdbench.data.material import Access, open_dataset
from kdbench.data.subsets import subset
from kdbench.models import Network, build_network, place
from kdbench.request import RunRequest, check, known_teacher
from kdbench.train import autocast, device_and_precision

ENOUGH_S = 2.0  # of timing for one kind of work
CALIBRATION_CLASSES = 10  # the size of the last layer is of no weight in the time of a step


@dataclass(frozen=True)
class Speed:
    """Seconds of one network on this machine: a training video (whole tuple, forward and backward), a test clip."""

    video_s: float
    clip_s: float


@dataclass(frozen=True)
class Size:
    """Training and test videos of one side of a run."""

    train: int
    test: int


@dataclass(frozen=True)
class Demand:
    """What a method asks for beside the board's own step.

    Epochs of phases in which the student learns, and in which the method's modules alone do; further clips of each
    video, and networks like the student that are shown one clip of each video.
    """

    learning: int = 0
    looking: int = 0
    views: int = 0
    twins: int = 0


class Forecast:
    """Predicts the seconds of runs of one board; measures each backbone once, when it is first asked for."""

    def __init__(self, board: Board, access: Access, device: str | None) -> None:
        self.board, self.access = board, access
        self.device, self.precision = device_and_precision(board, device)
        self.speed = cache(self._measure)
        self.size = cache(self._count)
        self.network = cache(self._build)

    def seconds(self, request: RunRequest) -> float:
        """Predicted seconds of a run without its teacher's own training. Raises DataError for unknown lists."""
        board, speed, size = self.board, self.speed(request.student), self.size(request.fraction)
        demand, clips, epochs = self.demand(request), board.clip.per_tuple, board.optim.epochs
        seen = max(size.train - size.train % board.optim.batch, min(size.train, board.optim.batch))
        scored = size.test * (epochs + board.evaluation.views * len(set(board.stage_epochs)))
        beside_s = demand.twins * speed.clip_s + self._teacher_s(request, demand)
        learning_s = speed.video_s * (1 + demand.views / clips) + beside_s
        looking_s = speed.clip_s * (clips + demand.views) + beside_s
        seconds = seen * ((epochs + demand.learning) * learning_s + demand.looking * looking_s)
        return seconds + scored * speed.clip_s + self._transfer_s(speed)

    def _teacher_s(self, request: RunRequest, demand: Demand) -> float:
        """Of one video in a step. What a teacher is that names no backbone is known only once it is loaded."""
        registry = self.access.registry
        teacher = known_teacher(request.teacher, self.board, registry) if request.teacher else None
        views = registry.get("methods", request.method_name).cls.teacher_views
        clips = demand.views + (self.board.clip.per_tuple if views == "tuple" else 1)
        return sum(clips * self.speed(name).clip_s for name in (teacher.backbones if teacher else ()))

    def demand(self, request: RunRequest) -> Demand:
        """What the method of a run asks for; to find out it is built, for two networks like the student.

        Where it cannot be built for these, that is what the phases say alone.
        """
        method = check(request, self.access.registry).method
        phases = method.phases()
        learning = sum(phase.epochs for phase in phases if phase.trains == "all")
        demand = Demand(learning, sum(phase.epochs for phase in phases) - learning)
        network, made = self.network(request.student), list[Network]()
        if not {*method.student_taps, *method.teacher_taps} <= network.spec.taps.keys():
            return demand

        def twin() -> Network:
            made.append(copy.deepcopy(network))
            return made[-1]

        try:
            with torch.random.fork_rng(devices=[]):
                method.build(network.spec, network.spec if request.teacher else None, self._task(request, twin))
            views = method.views(self._batch(2))
        except PluginError:
            return demand
        return replace(demand, views=0 if views is None else views.shape[1], twins=len(made))

    def _task(self, request: RunRequest, twin: Callable[[], Network]) -> Task:
        size, batch = self.size(request.fraction), self.board.optim.batch
        return Task(
            num_classes=CALIBRATION_CLASSES,
            num_videos=size.train,
            class_of_video=[at % CALIBRATION_CLASSES for at in range(size.train)],
            batch=min(batch, size.train),
            epochs=self.board.optim.epochs,
            steps_per_epoch=max(1, size.train // batch),
            twin=twin,
            objective={"action": 1.0, "pretext": 1.0, "contrast": 1.0},
        )

    def _batch(self, videos: int) -> Batch:
        """Videos of the board's clips, all black."""
        board, index_B = self.board, torch.arange(videos)
        size = (videos, board.clip.per_tuple, 3, board.clip.length, board.frames.crop, board.frames.crop)
        return Batch(torch.zeros(size), index_B, index_B, index_B)

    def _build(self, backbone: str) -> Network:
        plugin = self.access.registry.get("backbones", backbone)
        return build_network(self.board, plugin, CALIBRATION_CLASSES, 0, {})

    def _transfer_s(self, speed: Speed) -> float:
        if self.board.transfer is None:
            return 0.0
        second, size = self.board.transfer, self.size(None)
        scored = size.test * (second.epochs + self.board.evaluation.views)
        return second.epochs * size.train * speed.video_s / self.board.clip.per_tuple + scored * speed.clip_s

    def _count(self, fraction: float | None) -> Size:
        """The lists of a fraction; None stands for the second data set."""
        board = transfer_board(self.board) if fraction is None else self.board
        dataset = open_dataset(board, self.access)
        split = dataset.split(board.data.split)
        return Size(len(subset(dataset.videos, split.train, fraction or 1.0)), len(split.test))

    def _measure(self, backbone: str) -> Speed:
        """Time a few steps on noise. On a CPU one video stands for a batch: its time grows with the number."""
        board = self.board
        network = place(copy.deepcopy(self.network(backbone)), self.device)
        videos = board.optim.batch if self.device.type == "cuda" else 1
        size = (videos, board.clip.per_tuple, 3, board.clip.length, board.frames.crop, board.frames.crop)
        clips = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(self.device)
        return Speed(
            video_s=self._time(lambda: self._learn(network, clips)) / videos,
            clip_s=self._time(lambda: self._answer(network, clips)) / videos,
        )

    def _learn(self, network: Network, clips: torch.Tensor) -> None:
        network.train()
        with autocast(self.device, self.precision):
            outputs = network.outputs(clips)
        assert outputs.pretext_BK is not None
        assert outputs.embedding_BVE is not None
        parts: Sequence[torch.Tensor] = (outputs.logits_BK, outputs.pretext_BK, outputs.embedding_BVE)
        torch.autograd.backward(torch.stack([part.sum() for part in parts]).sum())

    def _answer(self, network: Network, clips: torch.Tensor) -> None:
        network.eval()
        with torch.no_grad(), autocast(self.device, self.precision):
            network(clips[:, 0])

    def _time(self, work: Callable[[], None]) -> float:
        """Median seconds of up to three goes after one to warm up; a slow machine is not asked for more."""
        seconds: list[float] = []
        while len(seconds) < 4 and sum(seconds) < ENOUGH_S:
            begin = time.perf_counter()
            work()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds[1:] or seconds)
