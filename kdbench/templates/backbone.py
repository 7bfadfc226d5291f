"""My backbone: four plain 3x3x3 convolutions, each of which halves the picture, and a global average pool.

Write here where the network comes from, how many parameters it has, and in what it differs from its source.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from kdbench.api import Backbone, hookimpl

STAGES = (32, 64, 128, 256)  # channels at width 1


def stage(channels: int, out: int, stride: tuple[int, int, int]) -> nn.Sequential:
    """A convolution with batch normalisation and ReLU."""
    conv = nn.Conv3d(channels, out, kernel_size=3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(out), nn.ReLU(inplace=True))


class MyBackboneNetwork(nn.Module):
    """Clips (B, C, T, H, W) to features (B, D), D = 256 * width, for clips of any length."""

    def __init__(self, width: float) -> None:
        super().__init__()
        first, second, third, fourth = (max(1, round(full * width)) for full in STAGES)
        self.stage1 = stage(3, first, (1, 2, 2))
        self.stage2 = stage(first, second, (2, 2, 2))
        self.stage3 = stage(second, third, (2, 2, 2))
        self.stage4 = stage(third, fourth, (2, 2, 2))
        self.pool = nn.AdaptiveAvgPool3d(1)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Features (B, D)."""
        maps = self.stage4(self.stage3(self.stage2(self.stage1(clips_BCTHW))))
        features_BD: Tensor = self.pool(maps).flatten(1)
        return features_BD


class MyBackbone(Backbone):
    """Four 3D convolutions with strides."""

    name = "my-backbone"  # what --student, --teacher and boards call it
    source = "own work"
    # Names of feature maps -> the submodules that make them, as methods ask for them. Leave out what there is not.
    taps: ClassVar = {name: name for name in ("stage1", "stage2", "stage3", "stage4")}

    def build(self, width: float) -> nn.Module:
        """A fresh network, its channels multiplied by `width`; torch's generator is seeded by the run."""
        return MyBackboneNetwork(width)


@hookimpl
def kdbench_backbones() -> list[type[Backbone]]:
    return [MyBackbone]
