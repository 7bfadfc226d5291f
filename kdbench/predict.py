"""How long the runs of a plan will take here: a short calibration, multiplied out. A forecast, never a result."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from kdbench.board import Board, transfer_board
from kdbench.data.material import Access, open_dataset
from kdbench.data.subsets import subset
from kdbench.models import Network, build_network, place
from kdbench.request import RunRequest
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


class Forecast:
    """Predicts the seconds of runs of one board; measures each backbone once, when it is first asked for."""

    def __init__(self, board: Board, access: Access, device: str | None) -> None:
        self.board, self.access = board, access
        self.device, self.precision = device_and_precision(board, device)
        self.speed = cache(self._measure)
        self.size = cache(self._count)

    def seconds(self, request: RunRequest) -> float:
        """Predicted seconds of a run without its teacher's own training. Raises DataError for unknown lists."""
        board, speed, size = self.board, self.speed(request.student), self.size(request.fraction)
        seen = board.optim.epochs * max(size.train - size.train % board.optim.batch, min(size.train, board.optim.batch))
        scored = size.test * (board.optim.epochs + board.evaluation.views * len(set(board.stage_epochs)))
        seconds = seen * speed.video_s + scored * speed.clip_s
        if request.teacher and ":" not in request.teacher:  # another kind's backbone is known only once it is loaded
            views = self.access.registry.get("methods", request.method_name).cls.teacher_views
            seconds += seen * self.speed(request.teacher).clip_s * (board.clip.per_tuple if views == "tuple" else 1)
        return seconds + self._transfer_s(speed)

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
        plugin = self.access.registry.get("backbones", backbone)
        network = place(build_network(board, plugin, CALIBRATION_CLASSES, 0, {}), self.device)
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
