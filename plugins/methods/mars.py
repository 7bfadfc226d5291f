"""MARS: features of a network that sees one modality are made like those of a teacher that sees another.

Crasto, Weinzaepfel, Alahari and Schmid, "MARS: Motion-Augmented RGB Stream for Action Recognition", CVPR 2019,
section 3: beside the action term, weight * mean (f_student - f_teacher)^2 of the pooled features. Default weight 50,
that of the authors' code.

Deviations: in the paper the student sees RGB and the teacher optical flow. Here the student sees what the board shows
all students (on the boards of this repository, frame differences), and the teacher, which was trained on them, the
RGB values of the very same pixels. Where the networks' features differ in size, a linear layer maps the student's;
the paper's networks are of one architecture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl


class MotionAugmented(Method):
    """Match the pooled features of a teacher that sees the same pixels as RGB: weight * mean (f_s - f_t)^2."""

    name = "mars"
    source = "Crasto, Weinzaepfel, Alahari and Schmid, CVPR 2019, section 3"
    teachers = 1
    teacher_modality = "rgb"
    options: Options
    connector: nn.Module

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` multiplies the mean squared distance of the features."""

        weight: float = 50.0

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        alike = student.features == teacher.features
        self.connector = nn.Identity() if alike else nn.Linear(student.features, teacher.features)

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        mapped_BD = self.connector(student.pooled_BD)
        return {"features": self.options.weight * F.mse_loss(mapped_BD, teacher.pooled_BD)}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [MotionAugmented]
