"""R(2+1)D with one basic block per stage: every 3D convolution is a spatial one followed by a temporal one.

Tran, Wang, Torresani, Ray, LeCun and Paluri, "A Closer Look at Spatiotemporal Convolutions for Action
Recognition", CVPR 2018, arXiv:1711.11248. Unlike torchvision's 18-layer network, every convolution has its
own number of middle channels, and the stem and the shortcuts are factorised by the same rule.
14,365,303 parameters at width 1; PyTorch's default initialisation.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu

from kdbench.api import Backbone, hookimpl

STAGES = (64, 128, 256, 512)


def middle_channels(channels: int, out: int, t: int, d: int) -> int:
    """Channels between the 1 x d x d and the t x 1 x 1 convolution (section 3.5 of the paper).

    As many as keep the parameters of the full t x d x d convolution: floor(t*d*d*in*out / (d*d*in + t*out)).
    """
    return max(1, (t * d * d * channels * out) // (d * d * channels + t * out))


class FactorisedConv(nn.Sequential):
    """A t x d x d convolution as 1 x d x d, BatchNorm, ReLU, t x 1 x 1."""

    def __init__(self, channels: int, out: int, size: tuple[int, int], stride: tuple[int, int]) -> None:
        (t, d), (stride_t, stride_d) = size, stride
        middle = middle_channels(channels, out, t, d)
        super().__init__(
            nn.Conv3d(channels, middle, (1, d, d), (1, stride_d, stride_d), (0, d // 2, d // 2), bias=False),
            nn.BatchNorm3d(middle),
            nn.ReLU(inplace=True),
            nn.Conv3d(middle, out, (t, 1, 1), (stride_t, 1, 1), (t // 2, 0, 0), bias=False),
        )


class Block(nn.Module):
    """Two factorised 3x3x3 convolutions and a shortcut; the first and the shortcut halve T, H, W by `stride`."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = FactorisedConv(channels, out, (3, 3), (stride, stride))
        self.bn1 = nn.BatchNorm3d(out)
        self.conv2 = FactorisedConv(out, out, (3, 3), (1, 1))
        self.bn2 = nn.BatchNorm3d(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            conv = FactorisedConv(channels, out, (1, 1), (stride, stride))
            self.shortcut = nn.Sequential(conv, nn.BatchNorm3d(out))

    def forward(self, maps_BCTHW: Tensor) -> Tensor:
        """Feature maps (B, out, T/stride, H/stride, W/stride), rounded up."""
        inner = relu(self.bn1(self.conv1(maps_BCTHW)), inplace=True)
        # In place on the sum, never on what came in: that may be a tap, or the shortcut itself.
        return relu(self.bn2(self.conv2(inner)) + self.shortcut(maps_BCTHW), inplace=True)


class R2Plus1DNetwork(nn.Module):
    """Clips (B, C, T, H, W) to features (B, D), D = 512 * width. The stem keeps T and has no max pool."""

    def __init__(self, width: float) -> None:
        super().__init__()
        first, *rest = (max(1, round(full * width)) for full in STAGES)
        self.stem = nn.Sequential(
            FactorisedConv(3, first, (3, 7), (1, 2)), nn.BatchNorm3d(first), nn.ReLU(inplace=True)
        )
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


class R2Plus1D(Backbone):
    """Residual (2+1)D convolutions, one block per stage. Tran et al., CVPR 2018, arXiv:1711.11248."""

    name = "r2plus1d"
    source = "Tran et al., CVPR 2018, arXiv:1711.11248, section 3.5; layer sizes (1, 1, 1, 1)"
    taps: ClassVar = {stage: stage for stage in ("stage1", "stage2", "stage3", "stage4")}

    def build(self, width: float) -> nn.Module:
        """A fresh network, its channels multiplied by `width`."""
        return R2Plus1DNetwork(width)


@hookimpl
def kdbench_backbones() -> list[type[Backbone]]:
    return [R2Plus1D]
