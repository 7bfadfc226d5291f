"""Torchvision's Video Swin transformer, its smallest size, with a width: swin3d_t.

Liu, Ning, Cao, Wei, Zhang, Lin and Hu, "Video Swin Transformer", CVPR 2022, arXiv:2106.13230: attention inside
shifted windows of 8 x 7 x 7 tokens of 2 x 4 x 4 pixels, in four stages of 2, 2, 6 and 2 blocks. The modules are
torchvision's own, with torchvision's own initialisation, names and depth of 0.1 for dropped residuals, which
are drawn anew at each training step; only the classifier is taken off. It takes clips of any length and size:
what does not fill patches and windows is padded by zeros, and a window larger than the clip is cut to it.

Deviation: `width` multiplies the channels, by way of the channels of an attention head (32 at width 1), so that
the numbers of heads (3, 6, 12, 24) stay. Torchvision's Kinetics-400 weights fit at width 1.
27,850,470 parameters at width 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdbench.api import Backbone, PluginError, hookimpl

HEADS = (3, 6, 12, 24)
BLOCKS = (2, 2, 6, 2)
CHANNELS_OF_A_HEAD = 32


class ChannelsFirst(nn.Module):
    """Token maps (B, T, H, W, C) as feature maps (B, C, T, H, W): a place for a tap."""

    def forward(self, tokens_BTHWC: Tensor) -> Tensor:
        """The same numbers, as a view."""
        return tokens_BTHWC.permute(0, 4, 1, 2, 3)


class SwinNetwork(nn.Module):
    """Clips (B, C, T, H, W) to features (B, D), D = 768 * width; torchvision's modules under torchvision's names."""

    def __init__(self, swin: nn.Module) -> None:
        super().__init__()
        for name in ("patch_embed", "features", "norm"):
            setattr(self, name, swin.get_submodule(name))
        self.stage1, self.stage2, self.stage3, self.stage4 = (ChannelsFirst() for _ in HEADS)
        self.pool = nn.AdaptiveAvgPool3d(1)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Features (B, D). `features` alternates: blocks of a stage, then what merges patches for the next."""
        *merging, last = self.get_submodule("features").children()
        tokens = self.get_submodule("patch_embed")(clips_BCTHW)
        for tap, at in ((self.stage1, 0), (self.stage2, 2), (self.stage3, 4)):
            maps = tap(merging[at](tokens))
            tokens = merging[at + 1](maps.permute(0, 2, 3, 4, 1))
        maps = self.stage4(self.get_submodule("norm")(last(tokens)))
        features_BD: Tensor = self.pool(maps).flatten(1)
        return features_BD


class Swin3dT(Backbone):
    """Torchvision's Video Swin-T: attention in shifted windows. Liu et al., CVPR 2022, arXiv:2106.13230.

    Its maps have T/2 frames in all stages, and half the height and width of the canonical ones. The tap of
    stage 4 stands behind the last norm: the features are its mean.
    """

    name = "swin3d_t"
    source = "torchvision.models.video.swin3d_t; Liu et al., CVPR 2022, arXiv:2106.13230"
    taps: ClassVar = {stage: stage for stage in ("stage1", "stage2", "stage3", "stage4")}

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weights`: path of a local state dict (.pth); empty for torchvision's random initialisation."""

        weights: str = ""

    options: Options

    def build(self, width: float) -> nn.Module:
        """A network of a width, from the weights file of the options where one is named. Raises PluginError."""
        # Imported here: torchvision costs a second, and most runs use another backbone.
        from torchvision.models.video import SwinTransformer3d

        swin = SwinTransformer3d(
            patch_size=[2, 4, 4],
            embed_dim=HEADS[0] * max(1, round(CHANNELS_OF_A_HEAD * width)),
            depths=list(BLOCKS),
            num_heads=list(HEADS),
            window_size=[8, 7, 7],
            stochastic_depth_prob=0.1,
            num_classes=1,  # its classifier is left behind
        )
        network = SwinNetwork(swin)
        if self.options.weights:
            self._load(network)
        return network

    def _load(self, network: SwinNetwork) -> None:
        """Tensors of a local file, as data only, without the classifier's."""
        file = self.options.weights
        try:
            state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
            network.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("head.")})
        except Exception as error:  # torch raises many kinds; all of them mean that these are no weights for it
            reason = " ".join(str(error).split())[:300]
            raise PluginError(f"{file}: is no weights file for backbone '{self.name}': {reason}") from error


@hookimpl
def kdbench_backbones() -> list[type[Backbone]]:
    return [Swin3dT]
