"""DIST: correlate with the teacher's probabilities instead of matching them.

Huang, You, Wang, Qian and Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, arXiv:2205.10536,
section 4. With p = softmax(z / tau) and Pearson's correlation rho, the inter-class relation correlates the rows
of p (a video's classes) and the intra-class relation its columns (a class over the videos of the batch):
weight * tau^2 * (beta * (1 - mean rho_rows) + gamma * (1 - mean rho_columns)). Defaults: weight 2 with
beta = gamma = 1 (a factor of 2 for each relation in the paper) and tau = 1, as for ImageNet; the paper uses
tau = 4 on CIFAR-100.

The columns run over the videos of one batch, so the term depends on the batch size: tuned there at 64 and more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl

EPSILON = 1e-8


def pearson(one: Tensor, other: Tensor, dim: int) -> Tensor:
    """The mean of Pearson's correlations along a dimension of two matrices; 0 for one that is constant."""
    one, other = (each - each.mean(dim, keepdim=True) for each in (one, other))
    return F.cosine_similarity(one, other, dim=dim, eps=EPSILON).mean()


class CorrelationDistillation(Method):
    """Correlate probabilities over classes and over the batch: weight * tau^2 * (beta * inter + gamma * intra)."""

    name = "dist"
    source = "Huang et al., NeurIPS 2022, arXiv:2205.10536, section 4"
    teachers = 1
    smallest_batch = 2
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`beta` weighs the rows of p, `gamma` its columns, `weight` both; `temperature` is tau."""

        weight: float = 2.0
        beta: float = 1.0
        gamma: float = 1.0
        temperature: float = 1.0

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        options, tau = self.options, self.options.temperature
        student_BK, teacher_BK = (F.softmax(each.logits_BK / tau, dim=1) for each in (student, teacher))
        scale = options.weight * tau**2
        return {
            "inter": scale * options.beta * (1 - pearson(student_BK, teacher_BK, dim=1)),
            "intra": scale * options.gamma * (1 - pearson(student_BK, teacher_BK, dim=0)),
        }


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [CorrelationDistillation]
