"""Knowledge review: late stages of the student, fused into the earlier ones, learn the teacher's earlier stages.

Chen, Liu, Zhao and Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021, arXiv:2104.09044, sections 3.3 and
3.4. Levels are stages 1 to 4 and the pooled features. From the last level to the first, attention-based fusion
mixes a level with what came from above, by two gates for each position; a 3x3x3 convolution turns the mixture into
the teacher's channels. The hierarchical context loss compares maps as they are (weight 1) and
average-pooled to at most 4, 2 and 1 cells along each of T, H and W (weights 1/2, 1/4, 1/8; skipped where nothing
would be pooled), as a weighted mean. Defaults: weight 5, rising over 20 epochs, at most 512 channels inside.

Deviations: the taps are behind the last ReLU of each stage, where the authors tap before it on CIFAR-100;
what comes from above is resized by nearest neighbours along T too. Over T, the 512 channels inside make the
first level dearer than many a student's whole forward pass: `channels` lowers that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl

STAGES = ("stage1", "stage2", "stage3", "stage4")
CELLS = (4, 2, 1)


class Fusion(nn.Module):
    """One level: mix the student's maps with what comes from above, and map the mixture to the teacher's channels."""

    def __init__(self, channels: int, middle: int, out: int, *, top: bool) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.Conv3d(channels, middle, kernel_size=1, bias=False), nn.BatchNorm3d(middle))
        self.gates = None if top else nn.Sequential(nn.Conv3d(2 * middle, 2, kernel_size=1), nn.Sigmoid())
        self.widen = nn.Sequential(nn.Conv3d(middle, out, kernel_size=3, padding=1, bias=False), nn.BatchNorm3d(out))

    def forward(self, maps_BCTHW: Tensor, above_BCTHW: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The mixture, for the level below, and maps of the teacher's channels, both of `size` (T, H, W)."""
        mixture_BCTHW = self.narrow(maps_BCTHW)
        if self.gates is not None and above_BCTHW is not None:
            above_BCTHW = F.interpolate(above_BCTHW, list(mixture_BCTHW.shape[2:]))
            gates_B2THW = self.gates(torch.cat([mixture_BCTHW, above_BCTHW], dim=1))
            mixture_BCTHW = mixture_BCTHW * gates_B2THW[:, :1] + above_BCTHW * gates_B2THW[:, 1:]
        mixture_BCTHW = F.interpolate(mixture_BCTHW, list(size))
        return mixture_BCTHW, self.widen(mixture_BCTHW)


def context_distance(student_BCTHW: Tensor, teacher_BCTHW: Tensor) -> Tensor:
    """The hierarchical context loss of two maps of one shape: a scalar."""
    size = tuple(student_BCTHW.shape[2:])
    total, weight, weights = F.mse_loss(student_BCTHW, teacher_BCTHW), 1.0, 1.0
    for cells in CELLS:
        frames, height, width = (min(cells, length) for length in size)
        if (frames, height, width) == size:
            continue
        weight /= 2
        weights += weight
        mine, theirs = (F.adaptive_avg_pool3d(maps, (frames, height, width)) for maps in (student_BCTHW, teacher_BCTHW))
        total = total + weight * F.mse_loss(mine, theirs)
    return total / weights


def levels(outputs: Outputs) -> list[Tensor]:
    """The maps of the levels from the last to the first."""
    return [outputs.pooled_BD[:, :, None, None, None], *(outputs.taps[stage] for stage in reversed(STAGES))]


class KnowledgeReview(Method):
    """Compare fused maps of the student with the teacher's, at each level: warm-up * weight * context loss."""

    name = "reviewkd"
    source = "Chen, Liu, Zhao and Jia, CVPR 2021, arXiv:2104.09044, sections 3.3 and 3.4"
    teachers = 1
    student_taps = STAGES
    teacher_taps = STAGES
    options: Options
    fusions: nn.ModuleList

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` rises over `warmup_epochs` epochs; fused maps have at most `channels` channels."""

        weight: float = 5.0
        warmup_epochs: int = 20
        channels: int = 512

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        middle = min(self.options.channels, student.features)
        mine, theirs = (
            [spec.features, *(spec.taps[stage][0] for stage in reversed(STAGES))] for spec in (student, teacher)
        )
        self.fusions = nn.ModuleList(
            Fusion(channels, middle, out, top=not place)
            for place, (channels, out) in enumerate(zip(mine, theirs, strict=True))
        )

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        above: Tensor | None = None
        distances = []
        for fusion, mine, theirs in zip(self.fusions, levels(student), levels(teacher), strict=True):
            above, fused = fusion(mine, above, theirs.shape[2:])
            distances.append(context_distance(fused, theirs))
        warm = min((progress.epoch + 1) / max(self.options.warmup_epochs, 1), 1.0)
        return {"review": self.options.weight * warm * torch.stack(distances).sum()}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [KnowledgeReview]
