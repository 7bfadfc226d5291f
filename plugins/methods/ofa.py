"""OFA-KD: stages of the student are projected into the space of class logits, where networks of any kind compare.

Hao, Guo, Han, Tang, Hu, Wang and Xu, "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge
Distillation", NeurIPS 2023, arXiv:2310.19444, section 3. The student's logits and those of a branch on each of
its stages are compared with the teacher's logits by
OFA = -mean over the batch of sum over classes of [(p_t + 1_y)^eps - 1_y] * log p_s, p = softmax(z / tau), where
1_y is 1 for the true class. Defaults: eps = 1 and tau = 1, weights 1 for the logits and for the stages.

A branch on stage l is 4 - l separable convolutions (3x3x3 depthwise with stride 2, 1x1x1, batch normalisation, ReLU),
each of which doubles the channels, an average pool and a linear layer; nothing of it is kept for the evaluation.
Deviation: one depthwise and one pointwise convolution in each, where the authors' code has two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl

STAGES = ("stage1", "stage2", "stage3", "stage4")


class Branch(nn.Sequential):
    """Maps (B, C, T, H, W) to logits (B, K), over some separable convolutions that halve the map."""

    def __init__(self, channels: int, classes: int, convolutions: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(convolutions):
            layers += [
                nn.Conv3d(channels, channels, kernel_size=3, stride=2, padding=1, groups=channels, bias=False),
                nn.Conv3d(channels, 2 * channels, kernel_size=1, bias=False),
                nn.BatchNorm3d(2 * channels),
                nn.ReLU(),
            ]
            channels *= 2
        super().__init__(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(channels, classes))


class OneForAll(Method):
    """Match the teacher's logits with the student's and with those of a branch on each stage, by the OFA loss."""

    name = "ofa"
    source = "Hao et al., NeurIPS 2023, arXiv:2310.19444, section 3"
    teachers = 1
    student_taps = STAGES
    smallest_batch = 2
    options: Options
    branches: nn.ModuleDict

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`logits` and `stages` are weights; `eps` above 1 strengthens the true class; `temperature` is tau."""

        logits: float = 1.0
        stages: float = 1.0
        eps: float = 1.0
        temperature: float = 1.0

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        shapes = [student.taps[stage] for stage in STAGES]
        self.branches = nn.ModuleDict(
            {
                stage: Branch(shape[0], task.num_classes, convolutions=len(STAGES) - place)
                for place, (stage, shape) in enumerate(zip(STAGES, shapes, strict=True), start=1)
            }
        )

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        target_BK = self._target(teacher.logits_BK, batch.labels_B)
        branches = [self._distance(self.branches[stage](student.taps[stage]), target_BK) for stage in STAGES]
        return {
            "logits": self.options.logits * self._distance(student.logits_BK, target_BK),
            "stages": self.options.stages * torch.stack(branches).sum(),
        }

    def _target(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """The teacher's probabilities (B, K), where eps is not 1 with a stronger true class."""
        own_BK = torch.zeros_like(logits_BK).scatter_(1, labels_B[:, None], 1.0)
        p_BK = F.softmax(logits_BK / self.options.temperature, dim=1)
        return (p_BK + own_BK) ** self.options.eps - own_BK

    def _distance(self, logits_BK: Tensor, target_BK: Tensor) -> Tensor:
        return -(target_BK * F.log_softmax(logits_BK / self.options.temperature, dim=1)).sum(1).mean()


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [OneForAll]
