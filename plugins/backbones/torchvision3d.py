"""Torchvision's video networks: r3d_18, r2plus1d_18, mc3_18 and s3d, fresh or from a local weights file.

Tran et al., CVPR 2018, arXiv:1711.11248 (R3D, R(2+1)D, MC3 with 18 layers) and Xie, Sun, Huang, Tu and
Murphy, ECCV 2018, arXiv:1712.04851 (S3D). The networks are torchvision's own, with torchvision's own
initialisation; only the classifier is taken off. Nothing is ever downloaded: `weights` is the path of a file
that is there already, for example one of torchvision's Kinetics-400 checkpoints.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kdbench.api import Backbone, PluginError, hookimpl


class TorchvisionBackbone(Backbone):
    """A torchvision network whose classifier, the submodule `classifier`, is replaced by the identity."""

    classifier: ClassVar[str] = "fc"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weights`: path of a local state dict (.pth); empty for torchvision's random initialisation."""

        weights: str = ""

    options: Options

    def build(self, width: float) -> nn.Module:
        """The network from (B, C, T, H, W) to (B, D). Raises PluginError for widths other than 1 and bad weights."""
        if width != 1:
            raise PluginError(
                f"backbone '{self.name}' has torchvision's fixed channel counts, but the board asks for networks.width "
                f"= {width} (as motion-shapes does); use it on a board of width 1, or another backbone here"
            )
        network = self.network()
        if self.options.weights:
            self._load(network, Path(self.options.weights))
        return network

    def network(self) -> nn.Module:
        """Torchvision's network, freshly initialised, without its classifier."""
        # Imported here: torchvision costs a second, and most runs use another backbone.
        from torchvision.models import video

        network: nn.Module = getattr(video, self.name)(weights=None)
        setattr(network, self.classifier, nn.Identity())
        return network

    def _load(self, network: nn.Module, file: Path) -> None:
        state = self._read(file)
        try:
            fit = network.load_state_dict(state, strict=False)
        except RuntimeError as error:  # a tensor of another shape
            first = str(error).strip().split("\n")[1:2] or [str(error)]
            raise PluginError(f"{file}: weights do not fit backbone '{self.name}': {first[0].strip()}") from error
        for keys, problem in ((fit.missing_keys, "are missing"), (fit.unexpected_keys, "do not belong to it")):
            if keys:
                some = f"{', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}"
                raise PluginError(
                    f"{file}: weights do not fit backbone '{self.name}': {len(keys)} tensors {problem}: {some}"
                )

    def _read(self, file: Path) -> dict[str, Tensor]:
        """The tensors of a weights file by name, without the classifier's."""
        try:
            state: Any = torch.load(file, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise PluginError(f"{file}: no such weights file; kdbench downloads none, fetch it first") from None
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise PluginError(f"{file}: cannot be read as a state dict of tensors: {reason}") from error
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise PluginError(f"{file}: holds no state dict; save the network's state_dict() alone")
        return {name: value for name, value in state.items() if not name.startswith(f"{self.classifier}.")}


class ResNetBackbone(TorchvisionBackbone):
    """One of torchvision's 18-layer residual video networks."""

    taps: ClassVar = {"stage1": "layer1", "stage2": "layer2", "stage3": "layer3", "stage4": "layer4"}


class R3D18(ResNetBackbone):
    """Torchvision's R3D-18: residual 3D convolutions. Tran et al., CVPR 2018, arXiv:1711.11248."""

    name = "r3d_18"
    source = "torchvision.models.video.r3d_18; Tran et al., CVPR 2018, arXiv:1711.11248"


class R2Plus1D18(ResNetBackbone):
    """Torchvision's R(2+1)D-18: factorised 3D convolutions. Tran et al., CVPR 2018, arXiv:1711.11248."""

    name = "r2plus1d_18"
    source = "torchvision.models.video.r2plus1d_18; Tran et al., CVPR 2018, arXiv:1711.11248"


class MC318(ResNetBackbone):
    """Torchvision's MC3-18: 3D convolutions first, 2D above. Tran et al., CVPR 2018, arXiv:1711.11248.

    Its maps keep all T frames of the clip.
    """

    name = "mc3_18"
    source = "torchvision.models.video.mc3_18; Tran et al., CVPR 2018, arXiv:1711.11248"


class S3D(TorchvisionBackbone):
    """Torchvision's S3D: separable 3D inception, D = 1024. Xie et al., ECCV 2018, arXiv:1712.04851.

    Its maps have half the height and width of the canonical ones. The last pool is global, so that clips
    smaller than 224 x 224 pass; at 16 frames of 224 x 224 it is the same pool. It needs 5 frames of 17 x 17.
    Its batch normalisation has momentum 0.001: running statistics need thousands of steps from a fresh start.
    """

    name = "s3d"
    source = "torchvision.models.video.s3d; Xie et al., ECCV 2018, arXiv:1712.04851"
    classifier = "classifier"
    taps: ClassVar = {
        "stage1": "features.3",
        "stage2": "features.6",
        "stage3": "features.12",
        "stage4": "features.15",
    }

    def network(self) -> nn.Module:
        """Torchvision's network with a global pool, without its classifier."""
        network = super().network()
        network.avgpool = nn.AdaptiveAvgPool3d(1)
        return network


@hookimpl
def kdbench_backbones() -> list[type[Backbone]]:
    return [R3D18, R2Plus1D18, MC318, S3D]
