"""Softmax regression representation learning: the student's features must serve the teacher's classifier.

Yang, Martinez, Bulat and Tzimiropoulos, "Knowledge distillation via softmax regression representation learning",
ICLR 2021. A connector r maps the student's pooled features to the teacher's; the terms are mean (r(f_s) - f_t)^2
and, with both fed to the teacher's frozen classifier, mean (z(r(f_s)) - z(f_t))^2, the paper's L2 form. Both
weights default to 1.

Deviation: r is a linear layer, batch normalisation and ReLU on the pooled features; in the paper it is a
convolution before the pool.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl


class SoftmaxRegression(Method):
    """Match the teacher's features, and its logits through its own classifier."""

    name = "srrl"
    source = "Yang, Martinez, Bulat and Tzimiropoulos, ICLR 2021"
    teachers = 1
    smallest_batch = 2
    options: Options
    connector: nn.Module
    borrowed: tuple[nn.Module]

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`features` and `logits` weigh the distances of features and of logits."""

        features: float = 1.0
        logits: float = 1.0

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        self.connector = nn.Sequential(
            nn.Linear(student.features, teacher.features, bias=False), nn.BatchNorm1d(teacher.features), nn.ReLU()
        )
        # In a tuple, so that the teacher's classifier is neither saved nor counted as this method's own.
        self.borrowed = (teacher.classifier,)

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        (classifier,) = self.borrowed
        mapped_BD = self.connector(student.pooled_BD)
        return {
            "features": self.options.features * F.mse_loss(mapped_BD, teacher.pooled_BD),
            "regression": self.options.logits * F.mse_loss(classifier(mapped_BD), teacher.logits_BK),
        }


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [SoftmaxRegression]
