"""Logit regression: the squared distance of the action logits.

Ba and Caruana, "Do Deep Nets Really Need to be Deep?", NeurIPS 2014, arXiv:1312.6184, Eq. 1. Default weight
0.1, that of Knowledge-Distillation-Zoo beside cross-entropy; the paper trains on the distance alone.

Deviations: the mean over classes too, and no factor 1/2 (Eq. 1 has 1/(2B) times the sum).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl


class LogitRegression(Method):
    """Match the teacher's logits themselves: weight * mean (z_student - z_teacher)^2."""

    name = "logit-mse"
    source = "Ba and Caruana, NeurIPS 2014, arXiv:1312.6184, Eq. 1"
    teachers = 1
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` multiplies the mean squared distance."""

        weight: float = 0.1

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        return {"logits": self.options.weight * F.mse_loss(student.logits_BK, teacher.logits_BK)}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [LogitRegression]
