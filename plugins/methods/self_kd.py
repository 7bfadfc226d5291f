"""Self-distillation: the student of the last epoch teaches the student of this one.

Vu, Le and Wang, "Teaching Yourself: A Self-Knowledge Distillation Approach to Action Recognition", IEEE Access 9,
2021: no other network teaches; the student's own snapshot does. The term is
weight * KL(snapshot || student) of probabilities softened by tau, without the factor tau^2.
Defaults: weight 0.1 and tau = 10, those of the authors' code.

Deviations: there the snapshot is renewed whenever the validation accuracy rises; here, without a validation list, at
the end of each epoch. The first epoch has no teacher, its term is 0. Both see clip 0 as the board augments it; the
paper's augmentation of its own is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl

if TYPE_CHECKING:
    from kdbench.models import Network


class SelfDistillation(Method):
    """Match the softened probabilities of the student as it was at the end of the last epoch."""

    name = "self-kd"
    source = "Vu, Le and Wang, IEEE Access 9, 2021"
    options: Options
    snapshot: Network
    student: tuple[Network]

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`temperature` tau softens both; `weight` multiplies the divergence."""

        temperature: float = 10.0
        weight: float = 0.1

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        self.snapshot = task.twin()
        self.snapshot.requires_grad_(False)
        self.arithmetic = task.arithmetic

    def begin(self, student: Network, teacher: Network | None) -> None:
        self.student = (student,)

    def train(self, mode: bool = True) -> Self:
        """As for any module, but the snapshot stays in evaluation mode."""
        super().train(mode)
        self.snapshot.eval()
        return self

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        if progress.epoch == 0:
            return {"self": student.logits_BK.new_zeros(())}
        with torch.no_grad(), self.arithmetic():
            taught_BK = self.snapshot(batch.clips_BVCTHW[:, 0])
        tau = self.options.temperature
        divergence = F.kl_div(
            F.log_softmax(student.logits_BK / tau, dim=1),
            F.log_softmax(taught_BK / tau, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        return {"self": self.options.weight * divergence}

    def after_step(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> None:
        if progress.step == progress.steps_per_epoch - 1:
            (network,) = self.student
            now = network.state_dict()
            for name, value in self.snapshot.state_dict().items():
                value.copy_(now[name])


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [SelfDistillation]
