"""The running average of the student teaches the student.

Tarvainen and Valpola, "Mean teachers are better role models", NIPS 2017, arXiv:1703.01780: the teacher's weights are
an exponential moving average of the student's, with momentum min(1 - 1 / (step + 1), m), and the student is made
consistent with it. Here the consistency is that of Hinton, Vinyals and Dean, 2015, arXiv:1503.02531:
weight * tau^2 * KL(average || student). Defaults: m = 0.999; tau = 4 and weight 1 as in the method `kd`.

Deviations: the paper compares probabilities by their squared distance, ramps the weight up and shows the teacher other
noise; here the average sees clip 0 as the student does, in evaluation mode, at full weight from the first step. The
paper evaluates the average; here the student is evaluated, as with every method, unless `evaluate` says "average".
Running statistics of batch normalisation are averaged like weights, so that they fit the averaged weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl

if TYPE_CHECKING:
    from kdbench.models import Network


class AverageDistillation(Method):
    """Match the student's own running average: weight * tau^2 * KL(average || student)."""

    name = "ema-kd"
    source = "Tarvainen and Valpola, NIPS 2017, arXiv:1703.01780; Hinton, Vinyals and Dean, 2015, arXiv:1503.02531"
    options: Options
    average: Network
    student: tuple[Network]

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`temperature` tau softens both; `weight` of the term; `momentum` m of the average.

        `evaluate` is "student" or "average": which of the two is evaluated, saved and fine-tuned.
        """

        temperature: float = 4.0
        weight: float = 1.0
        momentum: float = 0.999
        evaluate: str = "student"

        def __post_init__(self) -> None:
            if self.evaluate not in ("student", "average"):
                raise ValueError(f"evaluate is '{self.evaluate}'; it must be 'student' or 'average'")
            if not 0 <= self.momentum < 1:
                raise ValueError(f"momentum is {self.momentum}; it must be at least 0 and below 1")

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        self.average = task.twin()
        self.average.requires_grad_(False)
        self.arithmetic = task.arithmetic

    def begin(self, student: Network, teacher: Network | None) -> None:
        self.student = (student,)
        self._move(0.0)

    def train(self, mode: bool = True) -> Self:
        """As for any module, but the average stays in evaluation mode."""
        super().train(mode)
        self.average.eval()
        return self

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        if self.options.weight == 0:  # the average is kept, and not asked
            return {"average": student.logits_BK.new_zeros(())}
        with torch.no_grad(), self.arithmetic():
            taught_BK = self.average(batch.clips_BVCTHW[:, 0])
        tau = self.options.temperature
        divergence = F.kl_div(
            F.log_softmax(student.logits_BK / tau, dim=1),
            F.log_softmax(taught_BK / tau, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        return {"average": self.options.weight * tau**2 * divergence}

    def after_step(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> None:
        self._move(min(1 - 1 / (progress.global_step + 1), self.options.momentum))

    def export(self, student: Network) -> nn.Module:
        return self.average if self.options.evaluate == "average" else student

    @torch.no_grad()
    def _move(self, momentum: float) -> None:
        """Make the average momentum * average + (1 - momentum) * student; counters become the student's."""
        average_of = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
        (network,) = self.student
        now = network.state_dict()
        mine = self.average.state_dict()
        drifting = [name for name, value in mine.items() if value.is_floating_point()]
        average_of([mine[name] for name in drifting], [now[name] for name in drifting], 0)
        for name in mine.keys() - set(drifting):
            mine[name].copy_(now[name])


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [AverageDistillation]
