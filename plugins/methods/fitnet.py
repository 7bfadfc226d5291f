"""FitNets: the student's hint layer is regressed onto the teacher's.

Romero, Ballas, Kahou, Chassang, Gatta and Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015,
arXiv:1412.6550, Eq. 3, on the feature maps of one stage. Defaults: stage 2, and weight 100 on the mean squared
distance, that of mdistiller.

Deviations: one phase instead of two (the hint is trained together with the board's terms, as in mdistiller), the
mean instead of half the sum, and a regressor of a 1x1x1 convolution, batch normalisation and ReLU instead of a
larger convolution. Maps that differ in T, H or W are average-pooled to the smaller of both in each of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl


class FitNet(Method):
    """Regress the student's maps of a stage onto the teacher's: weight * mean (r(F_student) - F_teacher)^2."""

    name = "fitnet"
    source = "Romero et al., ICLR 2015, arXiv:1412.6550, Eq. 3"
    teachers = 1
    options: Options
    size: tuple[int, int, int]
    regressor: nn.Module

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` multiplies the mean squared distance of the maps at `tap`."""

        weight: float = 100.0
        tap: str = "stage2"

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.student_taps = self.teacher_taps = (self.options.tap,)

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        mine, theirs = student.taps[self.options.tap], teacher.taps[self.options.tap]
        frames, height, width = map(min, mine[1:], theirs[1:])
        self.size = (frames, height, width)
        self.regressor = nn.Sequential(
            nn.Conv3d(mine[0], theirs[0], kernel_size=1, bias=False), nn.BatchNorm3d(theirs[0]), nn.ReLU()
        )

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        student_BCTHW, teacher_BCTHW = (
            F.adaptive_avg_pool3d(each.taps[self.options.tap], self.size) for each in (student, teacher)
        )
        return {"hint": self.options.weight * F.mse_loss(self.regressor(student_BCTHW), teacher_BCTHW)}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [FitNet]
