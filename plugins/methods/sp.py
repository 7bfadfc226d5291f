"""Similarity-preserving distillation: videos that are alike to the teacher become alike to the student.

Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv:1907.09682, section 3: with the
flattened maps F of the last stage and G = F F^T, each row divided by its norm, the term is
weight * |G_s - G_t|^2 / B^2 (Frobenius norm). Default weight 3000.

G is (B, B) whatever the sizes of the maps are: nothing is pooled and nothing is projected. The weight was tuned
at a batch of 64 or more; it needs a batch of at least 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl

TAP = "stage4"


def similarities(maps_BCTHW: Tensor) -> Tensor:
    """The products of each two videos' maps (B, B), each row of unit length."""
    flat_BF = maps_BCTHW.flatten(1)
    return F.normalize(flat_BF @ flat_BF.T, dim=1)


class SimilarityPreserving(Method):
    """Match which videos of a batch are alike: weight * |G_student - G_teacher|^2 / B^2."""

    name = "sp"
    source = "Tung and Mori, ICCV 2019, arXiv:1907.09682, section 3"
    teachers = 1
    student_taps = (TAP,)
    teacher_taps = (TAP,)
    smallest_batch = 2
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` multiplies the mean squared distance of the similarities."""

        weight: float = 3000.0

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        distance = F.mse_loss(similarities(student.taps[TAP]), similarities(teacher.taps[TAP]))
        return {"similarity": self.options.weight * distance}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [SimilarityPreserving]
