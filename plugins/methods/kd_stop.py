"""Knowledge distillation that stops: the teacher is switched off after a share of the epochs.

Cho and Hariharan, "On the Efficacy of Knowledge Distillation", ICCV 2019, arXiv:1910.01348: a teacher that is
much better than its student helps early and harms late, so the distillation term is dropped before the end.
The term itself is that of Hinton, Vinyals and Dean, 2015, arXiv:1503.02531. Defaults: tau = 4 and weight 1 as
in the method `kd`; half of the epochs (the paper tunes the epoch for each pair and gives no share).
Once it is switched off the teacher is not asked any more, and its time is saved.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl


class StoppedDistillation(Method):
    """Distillation in the first epochs only: weight * tau^2 * KL(teacher || student), then nothing."""

    name = "kd-stop"
    source = "Cho and Hariharan, ICCV 2019, arXiv:1910.01348; Hinton, Vinyals and Dean, 2015, arXiv:1503.02531"
    teachers = 1
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`temperature` tau softens both networks; the `weight` becomes 0 after `share` of the epochs."""

        temperature: float = 4.0
        weight: float = 1.0
        share: float = 0.5

        def __post_init__(self) -> None:
            if not 0 <= self.share <= 1:
                raise ValueError(f"share is {self.share}; it must be between 0 and 1")

    def wants_teacher(self, progress: Progress) -> bool:
        return progress.epoch < self.options.share * progress.epochs

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        if teacher is None:
            return {"soft": student.logits_BK.new_zeros(())}
        tau = self.options.temperature
        divergence = F.kl_div(
            F.log_softmax(student.logits_BK / tau, dim=1),
            F.log_softmax(teacher.logits_BK / tau, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        return {"soft": self.options.weight * tau**2 * divergence}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [StoppedDistillation]
