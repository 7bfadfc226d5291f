"""Knowledge distillation with a decaying weight: the teacher first, the labels later.

Qin, Lin, Yi, Zhang, Han, Zhang, Su, Liu, Li, Sun and Zhou, "Knowledge Inheritance for Pre-trained Language
Models", NAACL 2022, arXiv:2105.13880, section 3: with a rate r that falls linearly from 1 to 0, the loss is
(1 - r) * L_self + r * tau^2 * KL(teacher || student), r = max(0, 1 - step / S). Defaults: tau = 2 and
S = 44 % of all steps (55k of 125k there).

Deviations: L_self is the action term alone. The board's pretext and contrast terms keep their weight at every
step, because a method's `base_weights` do not change during training. The board's action term is replaced by
the method's term "hard", so the weight of a board that gives it another weight than 1 is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl


class DecayingDistillation(Method):
    """Distillation that hands over to the labels: (1 - r) * CE + r * tau^2 * KL(teacher || student), r falling to 0."""

    name = "kd-decay"
    source = "Qin et al., Knowledge Inheritance, NAACL 2022, arXiv:2105.13880, section 3"
    teachers = 1
    base_weights: ClassVar[Mapping[str, float]] = {"action": 0.0}
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`temperature` tau softens both networks; the rate reaches 0 after `share` of all steps."""

        temperature: float = 2.0
        share: float = 0.44

        def __post_init__(self) -> None:
            if self.share <= 0:
                raise ValueError(f"share is {self.share}; it must be above 0")

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        tau = self.options.temperature
        rate = max(0.0, 1 - progress.fraction / self.options.share)
        divergence = F.kl_div(
            F.log_softmax(student.logits_BK / tau, dim=1),
            F.log_softmax(teacher.logits_BK / tau, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        hard = F.cross_entropy(student.logits_BK, batch.labels_B)
        return {"hard": (1 - rate) * hard, "soft": rate * tau**2 * divergence}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [DecayingDistillation]
