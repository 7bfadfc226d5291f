"""A network: backbone, heads and taps. A frozen teacher is frozen here and nowhere else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench import streams
from kdbench.api import NetworkSpec, Outputs, ViewOutputs
from kdbench.board import Board
from kdbench.measure import describe
from kdbench.registry import Registered

PRETEXT_CLASSES = 5


class Network(nn.Module):
    """Backbone (N, 3, T, S, S) -> features (N, D), with three heads that are fp32 under any autocast.

    `action`: linear to K classes. `pretext`: linear from the three clips' features, concatenated, to the five
    transforms. `projection`: D-D, ReLU, D-E, L2-normalised, for the contrastive term. Heads as in
    Pretext-Contrastive Learning; sizes for D = 512 are 512 x K, 7,685 and 328,320 parameters.
    """

    def __init__(self, backbone: nn.Module, spec: NetworkSpec, clips: int, embedding: int) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone
        self.probed = False
        self.compiled: tuple[torch.Size, bool, Callable[[Tensor], Tensor]] | None = None
        self.action = spec.classifier
        self.pretext = nn.Linear(clips * spec.features, PRETEXT_CLASSES)
        self.projection = nn.Sequential(
            nn.Linear(spec.features, spec.features), nn.ReLU(), nn.Linear(spec.features, embedding)
        )

    def probe(self) -> None:
        """From now on the backbone is a fixed feature extractor: no gradients, no batch statistics."""
        self.probed = True
        self.backbone.requires_grad_(False)
        self.backbone.eval()

    def train(self, mode: bool = True) -> Network:
        """As for any module, but a probed backbone stays in evaluation mode."""
        super().train(mode)
        if self.probed:
            self.backbone.eval()
        return self

    def compile_for(self, clips: int, shape: tuple[int, int, int, int], precision: str) -> str | None:
        """Let the compiler fuse the backbone for batches of `clips` clips (C, T, H, W), and for no other size.

        Returns the first line of the compiler's complaint, and leaves all as it was, where it fails on a copy.
        """
        device = next(self.parameters()).device
        batch_NCTHW = torch.zeros(clips, *shape, device=device).contiguous(memory_format=torch.channels_last_3d)
        learns = any(parameter.requires_grad for parameter in self.backbone.parameters())
        trial = torch.compile(copy.deepcopy(self.backbone).forward, dynamic=False)
        try:
            half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
            with half, torch.set_grad_enabled(learns):
                pooled_ND = trial(batch_NCTHW)
            if learns:
                torch.autograd.backward(pooled_ND.float().sum())
        except Exception as error:  # the compiler, its backends and the C++ compiler raise many kinds
            return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        self.compiled = batch_NCTHW.shape, self.backbone.training, torch.compile(self.backbone.forward, dynamic=False)
        return None

    def _features(self, clips_NCTHW: Tensor, tapped: bool) -> Tensor:
        """Pooled features (N, D) in fp32, from the compiled backbone where it was compiled for this size and mode."""
        run: Callable[[Tensor], Tensor] = self.backbone
        fitting = (clips_NCTHW.shape, self.backbone.training)
        if self.compiled and self.compiled[:2] == fitting and not tapped:  # a tap hangs on a module's call
            run = self.compiled[2]
        return run(clips_NCTHW).float()

    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        """Action logits (N, K) of single clips: what evaluation and fine-tuning use."""
        pooled_ND = self.backbone(clips_NCTHW).float()
        with _full_precision(pooled_ND):
            logits_NK: Tensor = self.action(pooled_ND)
        return logits_NK

    def look(self, views_BXCTHW: Tensor) -> ViewOutputs:
        """What the network makes of further clips, in a forward pass (and batch statistics) of their own."""
        videos, clips = views_BXCTHW.shape[:2]
        pooled_ND = self._features(views_BXCTHW.flatten(0, 1), tapped=False)
        with _full_precision(pooled_ND):
            logits_NK = self.action(pooled_ND)
        return ViewOutputs(logits_NK.view(videos, clips, -1), pooled_ND.view(videos, clips, -1))

    def outputs(self, clips_BVCTHW: Tensor, taps: Sequence[str] = (), *, detach_action: bool = False) -> Outputs:
        """Everything a loss may look at. All clips pass the backbone at once (and share batch statistics).

        `detach_action` trains the action head on detached features: an online probe.
        """
        videos, clips = clips_BVCTHW.shape[:2]
        with self._tapped(taps) as caught:
            pooled_ND = self._features(clips_BVCTHW.flatten(0, 1), tapped=bool(taps))
        pooled_BVD = pooled_ND.view(videos, clips, -1)
        pooled_BD = pooled_BVD[:, 0]
        whole = clips * self.spec.features == self.pretext.in_features
        with _full_precision(pooled_ND):
            return Outputs(
                logits_BK=self.action(pooled_BD.detach() if detach_action else pooled_BD),
                pooled_BD=pooled_BD,
                pooled_BVD=pooled_BVD,
                taps={name: maps.view(videos, clips, *maps.shape[1:])[:, 0].float() for name, maps in caught.items()},
                pretext_BK=self.pretext(pooled_BVD.flatten(1)) if whole else None,
                embedding_BVE=F.normalize(self.projection(pooled_BVD), dim=2) if whole else None,
            )

    @contextmanager
    def _tapped(self, taps: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        caught: dict[str, Tensor] = {}
        hooks = []
        for name in taps:
            module = self.backbone.get_submodule(self.spec.tap_paths[name])

            def catch(_module: nn.Module, _inputs: object, result: Tensor, name: str = name) -> None:
                caught[name] = result

            hooks.append(module.register_forward_hook(catch))
        try:
            yield caught
        finally:
            for hook in hooks:
                hook.remove()


def _full_precision(like: Tensor) -> torch.autocast:
    """The heads are fp32 whatever the backbone's arithmetic is (pin 6): their logits are compared and softened."""
    return torch.autocast(like.device.type, enabled=False)


def build_network(board: Board, backbone: Registered, classes: int, seed: int, options: dict[str, object]) -> Network:
    """A network of the board's width and clip shape, initialised from (seed, "initialisation") alone.

    The global generator is left as it was found.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams.stream_seed(seed, "initialisation"))
        plugin = backbone.make(options)
        module = plugin.build(board.networks.width)
        shape = (3, board.clip.length, board.frames.crop, board.frames.crop)
        facts = describe(module, shape, plugin.taps)
        spec = NetworkSpec(
            backbone=backbone.name,
            features=facts.features,
            classes=classes,
            taps=facts.taps,
            tap_paths=plugin.taps,
            classifier=nn.Linear(facts.features, classes),
            gmacs=facts.gmacs,
        )
        return Network(module, spec, board.clip.per_tuple, board.objective.projection)


def freeze(network: Network) -> Network:
    """Make a teacher of a network: evaluation mode, no gradients, buffers fixed.

    Its forward runs under `no_grad`, not `inference_mode`: a loss saves teacher outputs for its backward.
    """
    network.eval()
    network.requires_grad_(False)
    return network


def place(network: Network, device: torch.device) -> Network:
    """Move a network to its device, its 5-D weights channels-last: the layout that 3-D convolutions are fast in."""
    network.to(device)
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def num_parameters(module: nn.Module) -> int:
    """Trainable and frozen parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
