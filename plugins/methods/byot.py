"""Be your own teacher: branches on the student's stages learn from its last classifier.

Zhang, Song, Gao, Chen, Bao and Ma, "Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via
Self Distillation", ICCV 2019, arXiv:1905.08094, section 3. Each of the stages 1 to 3 has a branch, a bottleneck that
makes features of the last ones' size and a linear classifier. With logits z_b and features f_b of a branch and those
of the student itself, z and f, the terms are, summed over the branches,
(1 - alpha) * CE(z_b, y) + alpha * tau^2 * KL(z || z_b) + lambda * mean over the batch of |f_b - f|^2.
Defaults: alpha = 0.3, lambda = 0.03 and tau = 3, those of MMRazor's configuration.

The board's own terms train the last classifier; it learns nothing from its branches, for z and f carry no gradient in
these terms. Branches are dropped after training.

Deviations: f and f_b are pooled, where the paper compares maps. A branch on stage l is 4 - l separable convolutions
(3x3x3 depthwise with stride 2, 1x1x1, batch normalisation, ReLU), an average pool and the classifier.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl

STAGES = ("stage1", "stage2", "stage3")


class Branch(nn.Module):
    """Maps (B, C, T, H, W) to features (B, D) and logits (B, K), over separable convolutions that halve the map."""

    def __init__(self, channels: int, features: int, classes: int, convolutions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for left in reversed(range(convolutions)):
            out = 2 * channels if left else features
            layers += [
                nn.Conv3d(channels, channels, kernel_size=3, stride=2, padding=1, groups=channels, bias=False),
                nn.Conv3d(channels, out, kernel_size=1, bias=False),
                nn.BatchNorm3d(out),
                nn.ReLU(),
            ]
            channels = out
        self.bottleneck = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.classifier = nn.Linear(features, classes)

    def forward(self, maps_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) and logits (B, K)."""
        features_BD = self.bottleneck(maps_BCTHW)
        return features_BD, self.classifier(features_BD)


class OwnTeacher(Method):
    """Branches on the stages learn labels, softened probabilities and features from the end of the same network."""

    name = "byot"
    source = "Zhang et al., ICCV 2019, arXiv:1905.08094, section 3"
    student_taps = STAGES
    smallest_batch = 2
    options: Options
    branches: nn.ModuleDict

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`alpha` moves weight from labels to the last classifier, `features` is lambda, `temperature` tau."""

        alpha: float = 0.3
        features: float = 0.03
        temperature: float = 3.0

        def __post_init__(self) -> None:
            if not 0 <= self.alpha <= 1:
                raise ValueError(f"alpha is {self.alpha}; it must be between 0 and 1")

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        self.branches = nn.ModuleDict(
            {
                stage: Branch(student.taps[stage][0], student.features, task.num_classes, len(STAGES) - place)
                for place, stage in enumerate(STAGES)
            }
        )

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        last_BD, last_BK, alpha = student.pooled_BD.detach(), student.logits_BK.detach(), self.options.alpha
        made = [self.branches[stage](student.taps[stage]) for stage in STAGES]
        hard = torch.stack([F.cross_entropy(logits_BK, batch.labels_B) for _, logits_BK in made]).sum()
        soft = torch.stack([self._divergence(last_BK, logits_BK) for _, logits_BK in made]).sum()
        square = torch.stack([(features_BD - last_BD).square().sum(1).mean() for features_BD, _ in made]).sum()
        return {
            "branches_hard": (1 - alpha) * hard,
            "branches_soft": alpha * soft,
            "branches_features": self.options.features * square,
        }

    def _divergence(self, last_BK: Tensor, branch_BK: Tensor) -> Tensor:
        """tau^2 * KL(last classifier || branch)."""
        tau = self.options.temperature
        return tau**2 * F.kl_div(
            F.log_softmax(branch_BK / tau, dim=1),
            F.log_softmax(last_BK / tau, dim=1),
            log_target=True,
            reduction="batchmean",
        )


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [OwnTeacher]
