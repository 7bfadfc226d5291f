"""Knowledge distillation of the pretext task: match the teacher's softened guess at the transform.

Camarena et al., J. Imaging 2024, 10(4), 85, Eq. 6 and 7, as their experiments were probably run: nothing in
the code family they built on computes action probabilities during the self-supervised training, so that the
probabilities at hand were those of the five transforms. Hinton, Vinyals and Dean, 2015, arXiv:1503.02531.

Deviations from the paper's text: it speaks of action classes, which are what the method `kd` matches; Eq. 6
lacks the minus sign and omits the teacher's entropy, which changes the value and no gradient; the weight
(lambda of Eq. 7) is not given there, and is 1 here.

The teacher is given the student's whole tuple, the transformed middle clip included, and so sees three clips
where `kd` shows it one. It must have a trained pretext head: a teacher from a board without the pretext term
has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl


class PretextDistillation(Method):
    """Match the teacher's softened probabilities of the five transforms: weight * tau^2 * KL(teacher || student)."""

    name = "kd-pretext"
    source = "Camarena et al., J. Imaging 2024, 10(4), 85, Eq. 6 and 7, read as distilling the pretext task"
    teachers = 1
    needs_tuple = True
    teacher_views = "tuple"
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`temperature` tau softens both networks' probabilities; `weight` is lambda of Eq. 7."""

        temperature: float = 4.0
        weight: float = 1.0

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        assert student.pretext_BK is not None
        assert teacher.pretext_BK is not None
        tau = self.options.temperature
        divergence = F.kl_div(
            F.log_softmax(student.pretext_BK / tau, dim=1),
            F.log_softmax(teacher.pretext_BK / tau, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        # tau^2 keeps the size of the gradient independent of the temperature.
        return {"soft_pretext": self.options.weight * tau**2 * divergence}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [PretextDistillation]
