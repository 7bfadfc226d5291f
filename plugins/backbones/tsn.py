"""A 2D network on every frame, averaged over time: torchvision's ResNet-18 in a temporal segment network.

Wang, Xiong, Wang, Qiao, Lin, Tang and Van Gool, "Temporal Segment Networks", ECCV 2016, arXiv:1608.00859, with
the average as consensus; He, Zhang, Ren and Sun, CVPR 2016, arXiv:1512.03385. It is blind to the order of the
frames, and so tells what a task owes to motion. The blocks, names and initialisation are torchvision's.

Deviations: all frames of the clip are seen, where the paper draws one from each of a few segments of the video;
features are averaged, not class scores, which is the same under a linear classifier; batch normalisation is
trained throughout. `width` multiplies the channels. 11,176,512 parameters at width 1.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from kdbench.api import Backbone, hookimpl

STAGES = (64, 128, 256, 512)


class PerFrame(nn.Sequential):
    """2D modules that are given the frames of all clips as one batch."""

    def forward(self, maps_BCTHW: Tensor) -> Tensor:
        """Feature maps (B, C', T, H', W')."""
        frames_NCHW = maps_BCTHW.transpose(1, 2).flatten(0, 1)
        for module in self:
            frames_NCHW = module(frames_NCHW)
        return frames_NCHW.view(-1, maps_BCTHW.shape[2], *frames_NCHW.shape[1:]).transpose(1, 2)


class FrameNetwork(nn.Module):
    """Clips (B, C, T, H, W) to features (B, D), D = 512 * width; ResNet-18's modules under torchvision's names."""

    def __init__(self, width: float) -> None:
        super().__init__()
        one, two, three, four = (max(1, round(full * width)) for full in STAGES)
        self.conv1 = nn.Conv2d(3, one, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(one)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(one, one, 1)
        self.layer2 = _stage(one, two, 2)
        self.layer3 = _stage(two, three, 2)
        self.layer4 = _stage(three, four, 2)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Features (B, D)."""
        stem = PerFrame(self.conv1, self.bn1, self.relu, self.maxpool)
        maps = self.layer4(self.layer3(self.layer2(self.layer1(stem(clips_BCTHW)))))
        features_BD: Tensor = self.avgpool(maps).flatten(1)
        return features_BD


def _stage(channels: int, out: int, stride: int) -> PerFrame:
    # Imported here: torchvision costs a second, and most runs use another backbone.
    from torchvision.models.resnet import BasicBlock

    shortcut = None
    if stride != 1:
        shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    return PerFrame(BasicBlock(channels, out, stride, shortcut), BasicBlock(out, out))


class TsnResNet18(Backbone):
    """ResNet-18 on each frame, averaged over time. Wang et al., ECCV 2016, arXiv:1608.00859.

    Its maps keep all T frames and have half the height and width of the canonical ones.
    """

    name = "tsn_resnet18"
    source = "Wang et al., ECCV 2016, arXiv:1608.00859; blocks of torchvision.models.resnet18"
    taps: ClassVar = {"stage1": "layer1", "stage2": "layer2", "stage3": "layer3", "stage4": "layer4"}

    def build(self, width: float) -> nn.Module:
        """A fresh network, its channels multiplied by `width`."""
        return FrameNetwork(width)


@hookimpl
def kdbench_backbones() -> list[type[Backbone]]:
    return [TsnResNet18]
