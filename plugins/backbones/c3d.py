"""C3D with batch normalisation: eight plain 3x3x3 convolutions, then a global average pool.

Tran, Bourdev, Fergus, Torresani and Paluri, "Learning Spatiotemporal Features with 3D Convolutional
Networks", ICCV 2015, arXiv:1412.0767. The variant used for video self-supervision (Xu et al., CVPR 2019)
puts a BatchNorm behind every convolution and an average pool in place of pool5, fc6 and fc7.
27,661,440 parameters at width 1; PyTorch's default initialisation.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import nn

from kdbench.api import Backbone, hookimpl

# (name, channels at width 1); a pool follows where `POOLS` names one. Pools round down, so that 10 frames
# become 5, 2 and 1.
CONVS = (
    ("1", 64),
    ("2", 128),
    ("3a", 256),
    ("3b", 256),
    ("4a", 512),
    ("4b", 512),
    ("5a", 512),
    ("5b", 512),
)
POOLS = {"1": (1, 2, 2), "2": (2, 2, 2), "3b": (2, 2, 2), "4b": (2, 2, 2)}


class C3DNetwork(nn.Sequential):
    """Clips (B, C, T, H, W) to features (B, D), D = 512 * width."""

    def __init__(self, width: float) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = 3
        for name, full in CONVS:
            out = max(1, round(full * width))
            layers[f"conv{name}"] = nn.Conv3d(channels, out, kernel_size=3, padding=1)
            layers[f"bn{name}"] = nn.BatchNorm3d(out)
            layers[f"relu{name}"] = nn.ReLU(inplace=True)
            if name in POOLS:
                layers[f"pool{name[0]}"] = nn.MaxPool3d(POOLS[name])
            channels = out
        layers["pool"] = nn.AdaptiveAvgPool3d(1)
        layers["flatten"] = nn.Flatten()
        super().__init__(layers)


class C3D(Backbone):
    """C3D with batch normalisation, 8 convolutions. Tran et al., ICCV 2015, arXiv:1412.0767."""

    name = "c3d"
    source = "Tran et al., ICCV 2015, arXiv:1412.0767; with BatchNorm as in Xu et al., CVPR 2019"
    taps: ClassVar = {"stage1": "pool1", "stage2": "pool2", "stage3": "pool3", "stage4": "relu5b"}

    def build(self, width: float) -> nn.Module:
        """A fresh network, its channels multiplied by `width`."""
        return C3DNetwork(width)


@hookimpl
def kdbench_backbones() -> list[type[Backbone]]:
    return [C3D]
