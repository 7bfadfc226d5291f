"""R3D with one basic block per stage: a residual network of nine 3D convolutions and a global average pool.

Tran, Wang, Torresani, Ray, LeCun and Paluri, "A Closer Look at Spatiotemporal Convolutions for Action
Recognition", CVPR 2018, arXiv:1711.11248. Half as deep as its R3D-18: layer sizes (1, 1, 1, 1).
14,361,792 parameters at width 1; PyTorch's default initialisation.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu

from kdbench.api import Backbone, hookimpl

STAGES = (64, 128, 256, 512)


class Block(nn.Module):
    """Two 3x3x3 convolutions and a shortcut; the first convolution and the shortcut halve T, H and W by `stride`."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, out, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(out)
        self.conv2 = nn.Conv3d(out, out, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            conv = nn.Conv3d(channels, out, kernel_size=1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm3d(out))

    def forward(self, maps_BCTHW: Tensor) -> Tensor:
        """Feature maps (B, out, T/stride, H/stride, W/stride), rounded up."""
        inner = relu(self.bn1(self.conv1(maps_BCTHW)), inplace=True)
        # In place on the sum, never on what came in: that may be a tap, or the shortcut itself.
        return relu(self.bn2(self.conv2(inner)) + self.shortcut(maps_BCTHW), inplace=True)


class R3DNetwork(nn.Module):
    """Clips (B, C, T, H, W) to features (B, D), D = 512 * width. The stem keeps T and has no max pool."""

    def __init__(self, width: float) -> None:
        super().__init__()
        first, *rest = (max(1, round(full * width)) for full in STAGES)
        conv = nn.Conv3d(3, first, kernel_size=(3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.stem = nn.Sequential(conv, nn.BatchNorm3d(first), nn.ReLU(inplace=True))
        self.stage1 = Block(first, first, stride=1)
        self.stage2 = Block(first, rest[0], stride=2)
        self.stage3 = Block(rest[0], rest[1], stride=2)
        self.stage4 = Block(rest[1], rest[2], stride=2)
        self.pool = nn.AdaptiveAvgPool3d(1)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Features (B, D)."""
        maps = self.stage1(self.stem(clips_BCTHW))
        maps = self.stage4(self.stage3(self.stage2(maps)))
        features_BD: Tensor = self.pool(maps).flatten(1)
        return features_BD


class R3D(Backbone):
    """Residual 3D convolutions, one block per stage. Tran et al., CVPR 2018, arXiv:1711.11248."""

    name = "r3d"
    source = "Tran et al., CVPR 2018, arXiv:1711.11248, section 3.3; layer sizes (1, 1, 1, 1)"
    taps: ClassVar = {stage: stage for stage in ("stage1", "stage2", "stage3", "stage4")}

    def build(self, width: float) -> nn.Module:
        """A fresh network, its channels multiplied by `width`."""
        return R3DNetwork(width)


@hookimpl
def kdbench_backbones() -> list[type[Backbone]]:
    return [R3D]
