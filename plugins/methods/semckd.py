"""SemCKD: every stage of the student learns from all stages of the teacher, weighted by a learnt attention.

Chen, Mei, Zhang, Wang, Wang, Feng and Chen, "Cross-Layer Distillation with Semantic Calibration", AAAI 2021,
arXiv:2012.03236. For each video, student stage s attends to teacher stage t by
alpha(s, t) = softmax over t of Q_s . K_t; Q_s and K_t are embeddings, by a small perceptron for each stage, of the
video's row of the similarities F F^T of the batch. The term is
weight / S * sum over s and t of mean over the batch of alpha(s, t) * mean (P_st(F_s) - F_t)^2. P_st is a 1x1x1, a
3x3x3 and a 1x1x1 convolution, with batch normalisation and ReLU between them. Default weight 400.

The perceptrons take a row of B similarities: the batch size is fixed, which the training loop keeps.
The rows are brought to unit length, as are Q and K, whose size is B / 4. Deviation: maps that differ in T, H or W
are average-pooled to the smaller of both in each of these, before P_st. At width 1 the sixteen P_st have about 40
million parameters, more than the student.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl

STAGES = ("stage1", "stage2", "stage3", "stage4")


class Projection(nn.Sequential):
    """Maps of the student to the channels of a teacher's stage, positions kept."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(
            nn.Conv3d(channels, out, kernel_size=1, bias=False),
            nn.BatchNorm3d(out),
            nn.ReLU(),
            nn.Conv3d(out, out, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm3d(out),
            nn.ReLU(),
            nn.Conv3d(out, out, kernel_size=1),
        )


class Embedding(nn.Module):
    """Each video's row of the similarities of a batch as a unit vector."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        size = max(1, batch // 4)
        self.layers = nn.Sequential(nn.Linear(batch, 2 * size), nn.ReLU(), nn.Linear(2 * size, size))

    def forward(self, maps_BCTHW: Tensor) -> Tensor:
        """Unit vectors (B, E)."""
        flat_BF = maps_BCTHW.flatten(1)
        return F.normalize(self.layers(F.normalize(flat_BF @ flat_BF.T, dim=1)), dim=1)


class SemanticCalibration(Method):
    """Match projected maps of each student stage with every teacher stage, by learnt attention over these."""

    name = "semckd"
    source = "Chen et al., AAAI 2021, arXiv:2012.03236"
    teachers = 1
    student_taps = STAGES
    teacher_taps = STAGES
    smallest_batch = 2
    options: Options
    queries: nn.ModuleDict
    keys: nn.ModuleDict
    projections: nn.ModuleDict

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` multiplies the mean over student stages."""

        weight: float = 400.0

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        self.queries = nn.ModuleDict({stage: Embedding(task.batch) for stage in STAGES})
        self.keys = nn.ModuleDict({stage: Embedding(task.batch) for stage in STAGES})
        self.projections = nn.ModuleDict(
            {f"{s}_{t}": Projection(student.taps[s][0], teacher.taps[t][0]) for s in STAGES for t in STAGES}
        )

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        queries_BSE = torch.stack([self.queries[s](student.taps[s]) for s in STAGES], dim=1)
        keys_BSE = torch.stack([self.keys[t](teacher.taps[t]) for t in STAGES], dim=1)
        attention_BST = (queries_BSE @ keys_BSE.transpose(1, 2)).softmax(dim=2)
        distances = [self._distance(s, t, student.taps[s], teacher.taps[t]) for s in STAGES for t in STAGES]
        distance_BST = torch.stack(distances, dim=1).view_as(attention_BST)
        return {"calibrated": self.options.weight * (attention_BST * distance_BST).sum(2).mean()}

    def _distance(self, s: str, t: str, student_BCTHW: Tensor, teacher_BCTHW: Tensor) -> Tensor:
        """The mean squared distance of one pair of stages for each video (B,)."""
        frames, height, width = map(min, student_BCTHW.shape[2:], teacher_BCTHW.shape[2:])
        size = (frames, height, width)
        projected_BCTHW = self.projections[f"{s}_{t}"](F.adaptive_avg_pool3d(student_BCTHW, size))
        gap_BCTHW: Tensor = projected_BCTHW - F.adaptive_avg_pool3d(teacher_BCTHW, size)
        return gap_BCTHW.square().flatten(1).mean(1)


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [SemanticCalibration]
