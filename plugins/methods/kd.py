"""Knowledge distillation: match the teacher's softened class probabilities.

Hinton, Vinyals and Dean, 2015, arXiv:1503.02531; Camarena et al., J. Imaging 2024, 10(4), 85, Eq. 6 and 7.

Deviations from the paper's text: Eq. 6 lacks the minus sign and omits the teacher's entropy, which changes
the value and no gradient; the weight (lambda of Eq. 7) is not given there, and is 1 here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl


class Distillation(Method):
    """Match the teacher's softened class probabilities: weight * tau^2 * KL(teacher || student)."""

    name = "kd"
    source = "Hinton, Vinyals and Dean, 2015, arXiv:1503.02531; Camarena et al., 2024, Eq. 6 and 7"
    teachers = 1
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`temperature` tau softens both networks' probabilities; `weight` is lambda of Eq. 7."""

        temperature: float = 4.0
        weight: float = 1.0

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        tau = self.options.temperature
        divergence = F.kl_div(
            F.log_softmax(student.logits_BK / tau, dim=1),
            F.log_softmax(teacher.logits_BK / tau, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        # tau^2 keeps the size of the gradient independent of the temperature.
        return {"soft": self.options.weight * tau**2 * divergence}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [Distillation]
