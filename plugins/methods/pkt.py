"""Probabilistic knowledge transfer: how likely each video picks each other one as its neighbour.

Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018,
arXiv:1803.10837, section 3. With the kernel (cos + 1) / 2 between pooled features, a row over the batch divided
by its sum is a distribution p; the term is weight * mean p_t * log(p_t / p_s). Default weight 30000.

Deviations, all of the authors' code, to which the weight belongs: the mean over all B^2 pairs instead of the sum,
each video is among its own neighbours, and 1e-7 is added inside norms and logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl

EPSILON = 1e-7


def neighbours(features_BD: Tensor) -> Tensor:
    """For each video (row), the probabilities of the batch's videos to be its neighbour (B, B)."""
    length_B1: Tensor = features_BD.norm(dim=1, keepdim=True)
    unit_BD = features_BD / (length_B1 + EPSILON)
    kernel_BB = (unit_BD @ unit_BD.T + 1) / 2
    return kernel_BB / kernel_BB.sum(1, keepdim=True)


class ProbabilisticTransfer(Method):
    """Match the distribution of neighbours in a batch: weight * mean p_teacher * log(p_teacher / p_student)."""

    name = "pkt"
    source = "Passalis and Tefas, ECCV 2018, arXiv:1803.10837, section 3"
    teachers = 1
    smallest_batch = 2
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` multiplies the divergence, a mean over all pairs of the batch."""

        weight: float = 30000.0

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        student_BB, teacher_BB = neighbours(student.pooled_BD), neighbours(teacher.pooled_BD)
        divergence_BB = teacher_BB * ((teacher_BB + EPSILON) / (student_BB + EPSILON)).log()
        return {"neighbours": self.options.weight * divergence_BB.mean()}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [ProbabilisticTransfer]
