"""Variational information distillation: maximise a bound of the information that stages of both networks share.

Ahn, Hu, Damianou, Lawrence and Dai, "Variational Information Distillation for Knowledge Transfer", CVPR 2019,
arXiv:1904.05835, Eq. 5: the teacher's map is a Gaussian around mu(student's map), three 1x1x1 convolutions with
ReLU between them, with one variance softplus(alpha_c) for each channel; the term is its negative log likelihood
without the constant, 0.5 * mean ((F_t - mu)^2 / variance + log variance), summed over the stages. It may be
negative. Defaults: weight 1 and an initial variance of 5.

Deviations: the mean over positions and channels instead of the sum, and 1e-5 is added to the variance, both as
in RepDistiller. Maps that differ in T, H or W are average-pooled to the smaller of both in each of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl

STAGES = ("stage1", "stage2", "stage3", "stage4")
EPSILON = 1e-5


class Likelihood(nn.Module):
    """The negative log likelihood of a teacher's maps under a Gaussian that the student's maps set the mean of."""

    def __init__(self, mine: tuple[int, ...], theirs: tuple[int, ...], variance: float) -> None:
        super().__init__()
        channels, out = mine[0], theirs[0]
        frames, height, width = map(min, mine[1:], theirs[1:])
        self.size = (frames, height, width)
        self.mean = nn.Sequential(
            nn.Conv3d(channels, out, kernel_size=1, bias=False),
            nn.ReLU(),
            nn.Conv3d(out, out, kernel_size=1, bias=False),
            nn.ReLU(),
            nn.Conv3d(out, out, kernel_size=1, bias=False),
        )
        self.alpha_C = nn.Parameter(torch.full((out,), math.log(math.expm1(variance - EPSILON))))

    def forward(self, student_BCTHW: Tensor, teacher_BCTHW: Tensor) -> Tensor:
        """A scalar, the mean over videos, channels and positions."""
        mean_BCTHW = self.mean(F.adaptive_avg_pool3d(student_BCTHW, self.size))
        square_BCTHW = (F.adaptive_avg_pool3d(teacher_BCTHW, self.size) - mean_BCTHW).square()
        variance_C111 = (F.softplus(self.alpha_C) + EPSILON)[:, None, None, None]
        nll: Tensor = 0.5 * (square_BCTHW / variance_C111 + variance_C111.log()).mean()
        return nll


class VariationalDistillation(Method):
    """Make the teacher's maps likely given the student's: weight * sum over stages of a Gaussian's -log likelihood."""

    name = "vid"
    source = "Ahn et al., CVPR 2019, arXiv:1904.05835, Eq. 5"
    teachers = 1
    options: Options
    likelihoods: nn.ModuleDict

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` multiplies the sum over `taps`; `variance` is that of every channel before training."""

        weight: float = 1.0
        variance: float = 5.0
        taps: tuple[str, ...] = STAGES

        def __post_init__(self) -> None:
            if not self.taps:
                raise ValueError("taps is empty; name at least one")
            if self.variance <= EPSILON:
                raise ValueError(f"variance is {self.variance}; it must be above {EPSILON}")

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.student_taps = self.teacher_taps = self.options.taps

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        taps, variance = self.options.taps, self.options.variance
        self.likelihoods = nn.ModuleDict(
            {tap: Likelihood(student.taps[tap], teacher.taps[tap], variance) for tap in taps}
        )

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        terms = [self.likelihoods[stage](student.taps[stage], teacher.taps[stage]) for stage in self.options.taps]
        return {"likelihood": self.options.weight * torch.stack(terms).sum()}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [VariationalDistillation]
