"""A small SlowFast: a wide pathway over every fourth frame, a thin one over all frames, and connections between.

Feichtenhofer, Fan, Malik and He, "SlowFast Networks for Video Recognition", ICCV 2019, arXiv:1812.03982. As in
the paper: the fast pathway has an eighth of the channels, no pathway strides in time, the slow one convolves in
time only in its last two stages and the fast one everywhere, and before each of the last four stages the slow
one is given the fast one's maps through a 5x1x1 convolution that strides in time. Here `alpha` is 4.

Deviations: one basic block per stage in place of ResNet-50's bottlenecks, as in this project's other small
networks; no max pool in the stem, so that clips of 112 pixels have the map sizes that the paper's have at 224;
and the last fast maps are averaged over the slow one's frames before the global pool, which is the paper's mean
wherever the number of frames is a multiple of 4 (of 10 frames, two count twice).
9,183,624 parameters at width 1; PyTorch's default initialisation.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool3d, relu

from kdbench.api import Backbone, hookimpl

SLOW = (64, 128, 256, 512)
FAST_SHARE = 1 / 8  # beta of the paper
ALPHA = 4  # frames of the fast pathway for one of the slow
SLOW_KERNELS = (1, 1, 3, 3)  # in time, by stage
STRIDES = (1, 2, 2, 2)  # in space, by stage


class Block(nn.Module):
    """A t x 3 x 3 and a 1 x 3 x 3 convolution and a shortcut; the first and the shortcut stride in space only."""

    def __init__(self, channels: int, out: int, t: int, stride: int) -> None:
        super().__init__()
        stride_TSS = (1, stride, stride)
        self.conv1 = nn.Conv3d(channels, out, (t, 3, 3), stride_TSS, (t // 2, 1, 1), bias=False)
        self.bn1 = nn.BatchNorm3d(out)
        self.conv2 = nn.Conv3d(out, out, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            conv = nn.Conv3d(channels, out, 1, stride_TSS, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm3d(out))

    def forward(self, maps_BCTHW: Tensor) -> Tensor:
        """Feature maps (B, out, T, H/stride, W/stride), rounded up."""
        inner = relu(self.bn1(self.conv1(maps_BCTHW)), inplace=True)
        # In place on the sum, never on what came in: that may be a tap, or the shortcut itself.
        return relu(self.bn2(self.conv2(inner)) + self.shortcut(maps_BCTHW), inplace=True)


class Lateral(nn.Module):
    """The slow maps and, behind their channels, the fast ones at twice their channels and the slow one's frames."""

    def __init__(self, fast: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(fast, 2 * fast, (5, 1, 1), (ALPHA, 1, 1), (2, 0, 0), bias=False)
        self.bn = nn.BatchNorm3d(2 * fast)

    def forward(self, slow_BCTHW: Tensor, fast_BCTHW: Tensor) -> Tensor:
        """Feature maps (B, slow + 2 fast, T/4, H, W); T/4 is rounded up, as in picking every fourth frame."""
        return torch.cat([slow_BCTHW, relu(self.bn(self.conv(fast_BCTHW)), inplace=True)], dim=1)


class Beside(nn.Module):
    """The slow maps and, behind their channels, the fast ones averaged over the slow one's frames."""

    def forward(self, slow_BCTHW: Tensor, fast_BCTHW: Tensor) -> Tensor:
        """Feature maps (B, slow + fast, T/4, H, W)."""
        frames, height, width = slow_BCTHW.shape[2:]
        return torch.cat([slow_BCTHW, adaptive_avg_pool3d(fast_BCTHW, (frames, height, width))], dim=1)


class Stage(nn.Module):
    """A block of each pathway, and what both give to the next stage's slow one."""

    def __init__(self, slow: nn.Module, fast: nn.Module, fuse: nn.Module) -> None:
        super().__init__()
        self.slow, self.fast, self.fuse = slow, fast, fuse

    def forward(self, fused_BCTHW: Tensor, fast_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Maps for the slow and for the fast pathway of the next stage."""
        fast = self.fast(fast_BCTHW)
        return self.fuse(self.slow(fused_BCTHW), fast), fast


def _stem(out: int, t: int) -> nn.Sequential:
    conv = nn.Conv3d(3, out, (t, 7, 7), (1, 2, 2), (t // 2, 3, 3), bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(out), nn.ReLU(inplace=True))


class SlowFastNetwork(nn.Module):
    """Clips (B, C, T, H, W) to features (B, D), D = (512 + 64) * width: both pathways' pools, the slow one's first."""

    def __init__(self, width: float) -> None:
        super().__init__()
        slow = [max(1, round(full * width)) for full in SLOW]
        fast = [max(1, round(full * FAST_SHARE * width)) for full in SLOW]
        self.slow_stem, self.fast_stem, self.lateral = _stem(slow[0], 1), _stem(fast[0], 5), Lateral(fast[0])
        self.stage1 = self._stage(0, slow, fast)
        self.stage2 = self._stage(1, slow, fast)
        self.stage3 = self._stage(2, slow, fast)
        self.stage4 = self._stage(3, slow, fast)
        self.pool = nn.AdaptiveAvgPool3d(1)

    @staticmethod
    def _stage(at: int, slow: list[int], fast: list[int]) -> Stage:
        before = max(0, at - 1)
        return Stage(
            Block(slow[before] + 2 * fast[before], slow[at], SLOW_KERNELS[at], STRIDES[at]),
            Block(fast[before], fast[at], 3, STRIDES[at]),
            Beside() if at == len(slow) - 1 else Lateral(fast[at]),
        )

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Features (B, D)."""
        fast = self.fast_stem(clips_BCTHW)
        fused = self.lateral(self.slow_stem(clips_BCTHW[:, :, ::ALPHA]), fast)
        for stage in (self.stage1, self.stage2, self.stage3, self.stage4):
            fused, fast = stage(fused, fast)
        features_BD: Tensor = self.pool(fused).flatten(1)
        return features_BD


class SlowFast(Backbone):
    """Two pathways at two frame rates, one block per stage. Feichtenhofer et al., ICCV 2019, arXiv:1812.03982.

    Its taps are the maps of both pathways, at the frames of the slow one: T/4, rounded up.
    """

    name = "slowfast"
    source = "Feichtenhofer et al., ICCV 2019, arXiv:1812.03982; alpha 4, beta 1/8, layer sizes (1, 1, 1, 1)"
    taps: ClassVar = {stage: f"{stage}.fuse" for stage in ("stage1", "stage2", "stage3", "stage4")}

    def build(self, width: float) -> nn.Module:
        """A fresh network, its channels multiplied by `width`."""
        return SlowFastNetwork(width)


@hookimpl
def kdbench_backbones() -> list[type[Backbone]]:
    return [SlowFast]
