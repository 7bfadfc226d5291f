"""SimKD: the student's features are made the teacher's, and the teacher's own classifier reads them.

Chen, Mei, Zhang, Wang, Feng and Chen, "Knowledge Distillation with the Reused Teacher Classifier", CVPR 2022,
arXiv:2203.14001, section 3.2. A projector P, a 1x1x1, a 3x3x3 and a 1x1x1 convolution, each with batch normalisation
and ReLU, turns the student's last maps into the teacher's; the term is weight * mean (P(F_s) - F_t)^2. What is
evaluated is the student's backbone, P, the average pool and the teacher's classifier. Defaults: weight 1, and 1/2 of
the teacher's channels inside P (factor 2).

The board's action term is left out, as in the paper: the student has no classifier of its own. What stands in the
record as training accuracy is that of its untrained head.

Deviations: the board's pretext and contrastive terms stay. Maps that differ in T, H or W are average-pooled to the
smaller of both in each of these (in the paper in H and W, by H alone).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, PluginError, Progress, Task, hookimpl

if TYPE_CHECKING:
    from kdbench.models import Network


class Projector(nn.Sequential):
    """Maps of the student (B, C, T, H, W) to the teacher's channels, positions kept."""

    def __init__(self, channels: int, middle: int, out: int) -> None:
        layers: list[nn.Module] = []
        for width, size in ((middle, 1), (middle, 3), (out, 1)):
            layers += [
                nn.Conv3d(channels, width, kernel_size=size, padding=size // 2, bias=False),
                nn.BatchNorm3d(width),
                nn.ReLU(),
            ]
            channels = width
        super().__init__(*layers)


class Reading(nn.Module):
    """Clips (B, C, T, H, W) to logits (B, K): the student's maps, the projector, the teacher's classifier."""

    def __init__(self, student: Network, method: ReusedClassifier) -> None:
        super().__init__()
        self.student, self.projector, self.classifier = student, method.projector, method.borrowed[0]
        self.tap, self.size = method.options.tap, method.size

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """The projector and the classifier are fp32 under any autocast, as they are in training."""
        maps_BCTHW = self.student.outputs(clips_BCTHW[:, None], (self.tap,)).taps[self.tap]
        with torch.autocast(clips_BCTHW.device.type, enabled=False):
            projected_BCTHW = self.projector(F.adaptive_avg_pool3d(maps_BCTHW, self.size))
            logits_BK: Tensor = self.classifier(projected_BCTHW.mean((2, 3, 4)))
        return logits_BK


class ReusedClassifier(Method):
    """Project the student's last maps onto the teacher's, and evaluate with the teacher's classifier."""

    name = "simkd"
    source = "Chen et al., CVPR 2022, arXiv:2203.14001, section 3.2"
    teachers = 1
    base_weights: ClassVar[Mapping[str, float]] = {"action": 0.0}
    smallest_batch = 2
    options: Options
    size: tuple[int, int, int]
    projector: nn.Module
    borrowed: tuple[nn.Module]

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` of the distance; `factor` divides the channels inside the projector; `tap` is the last stage."""

        weight: float = 1.0
        factor: int = 2
        tap: str = "stage4"

        def __post_init__(self) -> None:
            if self.factor < 1:
                raise ValueError(f"factor is {self.factor}; it must be at least 1")

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.student_taps = self.teacher_taps = (self.options.tap,)

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        mine, theirs = student.taps[self.options.tap], teacher.taps[self.options.tap]
        if theirs[0] != teacher.features:
            raise PluginError(
                f"method {self.name}: {teacher.backbone} does not classify the averages of its {self.options.tap} "
                f"({theirs[0]} channels, {teacher.features} features); name its last tap (-o tap=...)"
            )
        frames, height, width = map(min, mine[1:], theirs[1:])
        self.size = (frames, height, width)
        self.projector = Projector(mine[0], max(1, theirs[0] // self.options.factor), theirs[0])
        # In a tuple, so that the teacher's classifier is neither saved nor counted as this method's own.
        self.borrowed = (teacher.classifier,)

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        student_BCTHW, teacher_BCTHW = (
            F.adaptive_avg_pool3d(each.taps[self.options.tap], self.size) for each in (student, teacher)
        )
        return {"maps": self.options.weight * F.mse_loss(self.projector(student_BCTHW), teacher_BCTHW)}

    def export(self, student: Network) -> nn.Module:
        return Reading(student, self).train(student.training)


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [ReusedClassifier]
