"""AuxSKD: before the board's epochs, the student learns from its own running average which videos are alike.

Dadashzadeh, Whone and Mirmehdi, "Auxiliary Learning for Self-Supervised Video Representation via Similarity-based
Knowledge Distillation", CVPR Workshops 2022, arXiv:2112.04011; the term is that of Tejankar, Koohpayegani, Pillai,
Favaro and Pirsiavash, "ISD: Self-Supervised Learning by Iterative Similarity Distillation", ICCV 2021,
arXiv:2012.09259. A queue Q holds embeddings the average network made of earlier videos. For two clips of a video, the
average's embedding k of one and the student's, through a predictor, q of the other, the term is
KL(softmax(k . Q / 0.02) || softmax(q . Q / 0.1)). Defaults: 25 epochs, embeddings of 128 dimensions, at most 15,360
in the queue, momentum 0.999, those of the authors' code. Then the board's terms train alone.

Deviations: the two clips are the first and the last of the board's tuple, at one pace; in the paper they differ in
pace. The rate, constant, and the weight decay are the board's. The queue is no longer than the training list and a
multiple of the batch. The average runs in evaluation mode, its running statistics averaged like weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Phase, Progress, Task, hookimpl

if TYPE_CHECKING:
    from kdbench.models import Network

PHASE = "similarities"


def head(inputs: int, outputs: int) -> nn.Module:
    """A linear layer, batch normalisation, ReLU and a linear layer."""
    return nn.Sequential(nn.Linear(inputs, inputs), nn.BatchNorm1d(inputs), nn.ReLU(), nn.Linear(inputs, outputs))


class AuxiliarySimilarity(Method):
    """A phase in which the student matches its running average in how alike a clip is to a queue of others."""

    name = "auxskd"
    source = "Dadashzadeh, Whone and Mirmehdi, 2022, arXiv:2112.04011; Tejankar et al., ICCV 2021, arXiv:2012.09259"
    needs_tuple = True
    smallest_batch = 2
    options: Options
    average: Network
    projection: nn.Module
    average_projection: nn.Module
    predictor: nn.Module
    queue_QE: Tensor
    student: tuple[Network]

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`epochs` of the phase; a queue of (`entries`, `dimensions`); `momentum` of the average.

        `sharp` is the temperature of the average, `soft` that of the student.
        """

        epochs: int = 25
        dimensions: int = 128
        entries: int = 15360
        momentum: float = 0.999
        sharp: float = 0.02
        soft: float = 0.1

        def __post_init__(self) -> None:
            if self.epochs < 1:
                raise ValueError(f"epochs is {self.epochs}; the method is nothing without its phase")

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(PHASE, self.options.epochs),)

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        size = self.options.dimensions
        self.average = task.twin()
        self.projection, self.average_projection = head(student.features, size), head(student.features, size)
        self.predictor = head(size, size)
        self.requires_grad_(False)  # but the projection and the predictor in the phase
        rows = max(1, min(self.options.entries, task.num_videos) // task.batch) * task.batch
        self.register_buffer("queue_QE", F.normalize(torch.randn(rows, size), dim=1))
        self.arithmetic = task.arithmetic
        self.keys: tuple[Tensor, ...] = ()

    def begin(self, student: Network, teacher: Network | None) -> None:
        self.student = (student,)
        self._move(0.0)

    def train(self, mode: bool = True) -> Self:
        """As for any module, but the average stays in evaluation mode."""
        super().train(mode)
        self.average.eval()
        self.average_projection.eval()
        return self

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        in_phase = progress.phase == PHASE
        for learning in (self.projection, self.predictor):
            learning.requires_grad_(in_phase)
        if not in_phase:
            return {}
        key_BE, query_BE = self._key(batch), self.predictor(self.projection(student.pooled_BVD[:, 0]))
        self.keys = (key_BE,)
        divergence = F.kl_div(
            F.log_softmax(F.normalize(query_BE, dim=1) @ self.queue_QE.T / self.options.soft, dim=1),
            F.log_softmax(key_BE @ self.queue_QE.T / self.options.sharp, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        return {"similarities": divergence}

    def after_step(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> None:
        if progress.phase != PHASE:
            return
        (key_BE,) = self.keys
        start = progress.global_step * len(key_BE) % len(self.queue_QE)
        self.queue_QE[start : start + len(key_BE)] = key_BE
        self._move(self.options.momentum)

    @torch.no_grad()
    def _key(self, batch: Batch) -> Tensor:
        """What the average makes of the last clip: unit vectors (B, E)."""
        with self.arithmetic():
            pooled_BD = self.average.look(batch.clips_BVCTHW[:, -1:]).pooled_BXD[:, 0]
        return F.normalize(self.average_projection(pooled_BD), dim=1)

    @torch.no_grad()
    def _move(self, momentum: float) -> None:
        """Make the average momentum * average + (1 - momentum) * student; counters become the student's."""
        average_of = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
        (network,) = self.student
        for average, learning in ((self.average, network), (self.average_projection, self.projection)):
            mine, now = average.state_dict(), learning.state_dict()
            drifting = [name for name, value in mine.items() if value.is_floating_point()]
            average_of([mine[name] for name in drifting], [now[name] for name in drifting], 0)
            for name in mine.keys() - set(drifting):
                mine[name].copy_(now[name])


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [AuxiliarySimilarity]
