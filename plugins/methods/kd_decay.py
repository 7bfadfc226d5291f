"""Knowledge distillation with a decaying weight: the teacher first, the labels later.

Qin, Lin, Yi, Zhang, Han, Zhang, Su, Liu, Li, Sun and Zhou, "Knowledge Inheritance for Pre-trained Language
Models", NAACL 2022, arXiv:2105.13880, section 3: with a rate r that falls linearly from 1 to 0, the loss is
(1 - r) * L_self + r * tau^2 * KL(teacher || student), r = max(0, 1 - step / S). L_self is the board's whole
objective, each term with the board's weight. Defaults: tau = 2 and S = 44 % of all steps (55k of 125k there).
Once r is 0 the teacher is not asked any more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl


class DecayingDistillation(Method):
    """Distillation that hands over to the board: (1 - r) * L_board + r * tau^2 * KL(teacher || student), r to 0."""

    name = "kd-decay"
    source = "Qin et al., Knowledge Inheritance, NAACL 2022, arXiv:2105.13880, section 3"
    teachers = 1
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`temperature` tau softens both networks; the rate reaches 0 after `share` of all steps."""

        temperature: float = 2.0
        share: float = 0.44

        def __post_init__(self) -> None:
            if self.share <= 0:
                raise ValueError(f"share is {self.share}; it must be above 0")

    def rate(self, progress: Progress) -> float:
        """The teacher's weight r, from 1 to 0."""
        return max(0.0, 1 - progress.fraction / self.options.share)

    def wants_teacher(self, progress: Progress) -> bool:
        return self.rate(progress) > 0

    def objective_share(self, progress: Progress) -> float:
        return 1 - self.rate(progress)

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
        return {"soft": self.rate(progress) * tau**2 * divergence}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [DecayingDistillation]
