"""Measuring a backbone: counted by hand for small networks, and leaving no trace in the module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdbench.errors import PluginError
from kdbench.measure import describe


class Small(nn.Sequential):
    """One convolution, batch normalisation, dropout, a global pool and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm3d(4)
        self.drop = nn.Dropout(0.5)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.flat = nn.Flatten()
        self.linear = nn.Linear(4, 6)


def test_parameters_operations_features_and_taps_are_those_counted_by_hand() -> None:
    sizes = describe(Small(), (3, 5, 7, 9), {"first": "conv"})
    assert sizes.params == (3 * 4 * 27 + 4) + 2 * 4 + (4 * 6 + 6)
    assert sizes.gmacs * 1e9 == pytest.approx(3 * 4 * 27 * 5 * 7 * 9 + 4 * 6)
    assert sizes.features == 6
    assert sizes.taps == {"first": (4, 5, 7, 9)}


def test_a_clip_as_small_as_one_value_per_channel_is_measured() -> None:
    assert describe(Small(), (3, 1, 1, 1), {}).features == 6


def test_the_module_is_left_as_it_was() -> None:
    module = Small()
    module.drop.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    describe(module, (3, 5, 7, 9), {"first": "conv"})
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert (module.training, module.norm.training, module.drop.training) == (True, True, False)
    assert len(module.conv._forward_hooks) == 0
    assert module.conv.weight.device.type == "cpu"


def test_the_random_stream_is_not_touched() -> None:
    module = Small()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    describe(module, (3, 5, 7, 9), {})
    assert torch.equal(torch.get_rng_state(), state)


def test_a_clip_too_small_for_the_network_is_an_error_of_one_line() -> None:
    with pytest.raises(PluginError, match=r"cannot take a clip \(3, 1, 4, 4\) \(C, T, H, W\): ") as caught:
        describe(nn.Sequential(nn.Conv3d(3, 4, 3), nn.Flatten()), (3, 1, 4, 4), {})
    assert "\n" not in str(caught.value)


def test_an_output_that_is_no_row_of_features_is_an_error() -> None:
    with pytest.raises(
        PluginError, match=r"turns one clip \(1, 3, 4, 4, 4\) into \(1, 3, 4, 4, 4\); it must be \(1, D\)"
    ):
        describe(nn.Identity(), (3, 4, 4, 4), {})


def test_a_tap_without_a_module_is_an_error_that_names_the_modules() -> None:
    with pytest.raises(PluginError, match="tap 'late' is at 'layer9', where the backbone has no module; it has: conv,"):
        describe(Small(), (3, 4, 4, 4), {"late": "layer9"})


def test_a_tap_that_is_no_feature_map_is_an_error() -> None:
    with pytest.raises(PluginError, match=r"tap 'late' gives \(1, 6\); a tap must be a feature map"):
        describe(Small(), (3, 4, 4, 4), {"late": "linear"})


def test_a_tap_that_the_forward_pass_does_not_use_is_an_error() -> None:
    module = nn.Sequential(nn.Flatten())
    module.forward = lambda clips: clips.flatten(1)  # type: ignore[method-assign]
    with pytest.raises(PluginError, match="tap 'a' gives nothing, because the forward pass does not use it"):
        describe(module, (3, 4, 4, 4), {"a": "0"})
