"""A small X3D: inverted bottlenecks with channelwise 3D convolutions and squeeze-and-excitation.

Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020, arXiv:2004.04730. As in
the paper: a stem of a spatial and a channelwise temporal convolution, blocks of 1x1x1, channelwise 3x3x3 and
1x1x1 convolutions whose inner width is 2.25 times the outer one, a swish behind the channelwise one with
squeeze-and-excitation (ratio 1/16, Hu et al., CVPR 2018, arXiv:1709.01507) before it in every other block, each
stage halving height and width and none the frames, and a last 1x1x1 convolution to the inner width.

Deviations: the 1, 2, 5 and 3 blocks of the network that the paper expands (its own X3D-S and -M have 3, 5, 11
and 7); without the 2,048-unit layer between pool and classifier, which would outweigh all else, so that D is
432; and at least 8 units in a squeeze.
937,588 parameters at width 1; PyTorch's default initialisation.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu

from kdbench.api import Backbone, hookimpl

STAGES = (24, 48, 96, 192)
BLOCKS = (1, 2, 5, 3)
EXPANSION = 2.25
SQUEEZE = 16
FEWEST_UNITS = 8


def inner_channels(channels: int) -> int:
    """Channels inside the bottleneck of a block that leaves `channels`."""
    return max(1, round(EXPANSION * channels))


class SqueezeExcitation(nn.Module):
    """Each channel times a share in (0, 1) that two layers read from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        units = max(FEWEST_UNITS, round(channels / SQUEEZE))
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.squeeze = nn.Conv3d(channels, units, 1)
        self.excite = nn.Conv3d(units, channels, 1)

    def forward(self, maps_BCTHW: Tensor) -> Tensor:
        """Feature maps of the same shape."""
        shares: Tensor = self.excite(relu(self.squeeze(self.pool(maps_BCTHW)), inplace=True))
        return maps_BCTHW * shares.sigmoid()


class Block(nn.Module):
    """Widen, convolve each channel by itself, narrow, and add the shortcut; `stride` is that of height and width."""

    def __init__(self, channels: int, out: int, stride: int, excited: bool) -> None:
        super().__init__()
        inner, stride_TSS = inner_channels(out), (1, stride, stride)
        self.widen = nn.Sequential(
            nn.Conv3d(channels, inner, 1, bias=False), nn.BatchNorm3d(inner), nn.ReLU(inplace=True)
        )
        self.channelwise = nn.Sequential(
            nn.Conv3d(inner, inner, 3, stride_TSS, padding=1, groups=inner, bias=False),
            nn.BatchNorm3d(inner),
            SqueezeExcitation(inner) if excited else nn.Identity(),
            nn.SiLU(),
        )
        self.narrow = nn.Sequential(nn.Conv3d(inner, out, 1, bias=False), nn.BatchNorm3d(out))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            conv = nn.Conv3d(channels, out, 1, stride_TSS, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm3d(out))

    def forward(self, maps_BCTHW: Tensor) -> Tensor:
        """Feature maps (B, out, T, H/stride, W/stride), rounded up."""
        added = self.narrow(self.channelwise(self.widen(maps_BCTHW))) + self.shortcut(maps_BCTHW)
        # In place on the sum, never on what came in: that may be a tap, or the shortcut itself.
        return relu(added, inplace=True)


def _stage(channels: int, out: int, blocks: int) -> nn.Sequential:
    first = Block(channels, out, 2, excited=True)
    return nn.Sequential(first, *(Block(out, out, 1, excited=at % 2 == 0) for at in range(1, blocks)))


class X3DNetwork(nn.Module):
    """Clips (B, C, T, H, W) to features (B, D), D = 432 * width."""

    def __init__(self, width: float) -> None:
        super().__init__()
        one, two, three, four = (max(1, round(full * width)) for full in STAGES)
        self.stem = nn.Sequential(
            nn.Conv3d(3, one, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            nn.Conv3d(one, one, (5, 1, 1), padding=(2, 0, 0), groups=one, bias=False),
            nn.BatchNorm3d(one),
            nn.ReLU(inplace=True),
        )
        self.stage1 = _stage(one, one, BLOCKS[0])
        self.stage2 = _stage(one, two, BLOCKS[1])
        self.stage3 = _stage(two, three, BLOCKS[2])
        self.stage4 = _stage(three, four, BLOCKS[3])
        last = inner_channels(four)
        self.last = nn.Sequential(nn.Conv3d(four, last, 1, bias=False), nn.BatchNorm3d(last), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool3d(1)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Features (B, D)."""
        maps = self.stage2(self.stage1(self.stem(clips_BCTHW)))
        maps = self.last(self.stage4(self.stage3(maps)))
        features_BD: Tensor = self.pool(maps).flatten(1)
        return features_BD


class X3D(Backbone):
    """Channelwise 3D convolutions in 11 inverted bottlenecks. Feichtenhofer, CVPR 2020, arXiv:2004.04730.

    Its maps keep all T frames and have half the height and width of the canonical ones. The tap of stage 4 is
    the convolution behind it, whose mean the features are.
    """

    name = "x3d"
    source = "Feichtenhofer, CVPR 2020, arXiv:2004.04730; layer sizes (1, 2, 5, 3)"
    taps: ClassVar = {"stage1": "stage1", "stage2": "stage2", "stage3": "stage3", "stage4": "last"}

    def build(self, width: float) -> nn.Module:
        """A fresh network, its channels multiplied by `width`."""
        return X3DNetwork(width)


@hookimpl
def kdbench_backbones() -> list[type[Backbone]]:
    return [X3D]
