"""The checks of a backbone: what it makes of clips of several lengths, and how it is initialised and trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property

import msgspec
import torch
from torch import Tensor, nn

from kdbench.api import PluginError
from kdbench.board import Board
from kdbench.measure import describe
from kdbench.models import Network, build_network, num_parameters
from kdbench.testing.findings import CheckError, Checks, global_randomness, require_untouched
from kdbench.testing.kit import WIDTH

LENGTHS = (8, 10, 16)  # frames
SIZE = 32  # pixels
CLASSES = 5


class BackboneChecks(Checks):
    """Whether a backbone keeps to what `kdbench.api.Backbone` says."""

    made = "it is built and takes a clip"

    def prepare(self) -> None:
        """Build it once; a network of one width alone is checked at that width."""
        taps, board = self.plugin.cls.taps, self.board
        if not isinstance(taps, Mapping):
            raise CheckError(f'taps is a {type(taps).__name__}; write taps = {{"stage1": "path.of.a.submodule"}}')
        with torch.random.fork_rng(devices=[]):
            built = self.plugin.make(self.given.options).build(board.networks.width)
        if not isinstance(built, nn.Module):
            raise CheckError(f"build() returned {type(built).__name__}; return the network, an nn.Module")
        assert self.network

    @cached_property
    def board(self) -> Board:
        """The tiny board with larger pictures, and with width 1 for a network that has no other."""
        try:
            with torch.random.fork_rng(devices=[]):
                self.plugin.make(self.given.options).build(WIDTH)
        except PluginError:
            return self._board(1.0)
        return self._board(WIDTH)

    def _board(self, width: float) -> Board:
        whole, swap = self.kit.board, msgspec.structs.replace
        frames = swap(whole.frames, height=SIZE, width=SIZE, crop=SIZE)
        return swap(whole, frames=frames, networks=swap(whole.networks, width=width))

    @cached_property
    def network(self) -> Network:
        """The backbone with heads, from seed 0; checks leave it as it is."""
        return self._network(0)

    @cached_property
    def other(self) -> Network:
        """The same from seed 1."""
        return self._network(1)

    def _network(self, seed: int) -> Network:
        return build_network(self.board, self.plugin, CLASSES, seed, dict(self.given.options))

    def check_clips_of_several_lengths_become_features_and_maps(self) -> None:
        """(B, D) with one D, and 5-D taps, whatever the length."""
        sizes = set()
        for length in LENGTHS:
            facts = describe(self.network.backbone, (3, length, SIZE, SIZE), self.plugin.cls.taps)
            sizes.add(facts.features)
        if len(sizes) > 1:
            raise CheckError(f"has {sorted(sizes)} features, depending on the length of the clip; pool over T, H and W")

    def check_a_clip_alone_and_in_a_batch_gives_the_same(self) -> None:
        """In evaluation mode, twice, with finite features, and without any buffer changing."""
        network, clips = self.network.eval(), self._clips()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        with torch.no_grad():
            both, alone = network.backbone(clips), network.backbone(clips[:1])
        if not both.isfinite().all():
            raise CheckError("gives features that are not finite for normalised clips; look at its initialisation")
        if not torch.allclose(both[:1], alone, atol=1e-4, rtol=1e-3):
            raise CheckError("gives a clip other features in a batch than alone; keep the batch dimension apart")
        for name, value in network.state_dict().items():
            if not torch.equal(before[name], value):
                raise CheckError(f"changes '{name}' in evaluation mode; update buffers under `if self.training`")

    def check_every_parameter_gets_gradient(self) -> None:
        """From the features, in training mode."""
        module = copy.deepcopy(self.network.backbone).train()
        frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
        if frozen:
            raise CheckError(f"'{frozen[0]}' does not require gradients; a student is trained whole")
        torch.autograd.backward(module(self._clips()).square().sum())
        for name, parameter in module.named_parameters():
            if parameter.grad is None:
                raise CheckError(f"'{name}' gets no gradient; use it in forward(), or leave it out")
            if not parameter.grad.isfinite().all():
                raise CheckError(f"'{name}' gets a gradient that is not finite")

    def check_the_seed_alone_decides_the_first_weights(self) -> None:
        """The same seed gives the same, another seed another; numpy and random have no part in it."""
        before = global_randomness()
        again = self._network(0)
        require_untouched(before, "initialise with torch alone, whose generator is seeded for you")
        if not _same(self.network.backbone, again.backbone):
            raise CheckError("has other first weights when it is built twice; initialise with torch's generator alone")
        if _same(self.network.backbone, self.other.backbone):
            raise CheckError("has the same first weights for two seeds; leave torch.manual_seed alone")

    def check_the_width_is_honoured(self) -> None:
        """Twice the width is more parameters, or a PluginError from a network of one width alone."""
        size = num_parameters(self.network.backbone)
        try:
            with torch.random.fork_rng(devices=[]):
                wide = num_parameters(self.plugin.make(self.given.options).build(2 * self.board.networks.width))
        except PluginError:  # it says so itself
            return
        if wide <= size:
            raise CheckError(
                f"has {size} parameters at one width and {wide} at twice that; multiply the channels by "
                "`width` in build(), or raise PluginError for a width it cannot have"
            )

    def check_its_weights_can_be_saved_and_loaded(self) -> None:
        """Into another network, which then gives the same features."""
        other, clips = copy.deepcopy(self.other), self._clips()
        other.load_state_dict(self.network.state_dict())
        with torch.no_grad():
            mine, theirs = (network.eval().backbone(clips) for network in (self.network, other))
        if not torch.equal(mine, theirs):
            raise CheckError("gives other features after its weights were loaded; keep all it knows in buffers")

    def _clips(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(2, 3, LENGTHS[0], SIZE, SIZE, generator=generator)


def _same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
