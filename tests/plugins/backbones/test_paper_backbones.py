"""The paper's three backbones: sizes, maps and behaviour under hooks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kdbench.api import Backbone
from kdbench.measure import Measured, describe
from kdbench_plugins.backbones.c3d import C3D
from kdbench_plugins.backbones.r2plus1d import R2Plus1D, middle_channels
from kdbench_plugins.backbones.r3d import R3D

BACKBONES = (C3D, R3D, R2Plus1D)
STAGES = ("stage1", "stage2", "stage3", "stage4")


def measured(backbone: type[Backbone], frames: int, size: int = 112, width: float = 1.0) -> Measured:
    with torch.device("meta"):
        module = backbone().build(width)
    return describe(module, (3, frames, size, size), backbone.taps)


def maps_and_features(module: nn.Module, taps: dict[str, str], clips: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Each tap's map, as it was when the hook read it and as it is after the forward pass, must be one."""
    early: dict[str, Tensor] = {}
    late: dict[str, Tensor] = {}

    def hook(name: str):
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            early[name], late[name] = output.detach().clone(), output

        return keep

    handles = [module.get_submodule(path).register_forward_hook(hook(name)) for name, path in taps.items()]
    features = module(clips)
    for handle in handles:
        handle.remove()
    for name in taps:
        torch.testing.assert_close(early[name], late[name].detach(), rtol=0, atol=0)
    return late, features


@pytest.mark.parametrize(("backbone", "params"), [(C3D, 27_661_440), (R3D, 14_361_792), (R2Plus1D, 14_365_303)])
def test_a_backbone_has_exactly_the_parameters_of_the_papers_code(backbone: type[Backbone], params: int) -> None:
    assert measured(backbone, 16).params == params


@pytest.mark.parametrize(
    ("backbone", "frames", "gmacs"),
    [(C3D, 16, 38.5), (C3D, 10, 22.9), (R3D, 16, 19.9), (R3D, 10, 13.1), (R2Plus1D, 16, 21.4), (R2Plus1D, 10, 13.9)],
)
def test_a_clip_of_112_pixels_costs_the_published_operations(
    backbone: type[Backbone], frames: int, gmacs: float
) -> None:
    assert measured(backbone, frames).gmacs == pytest.approx(gmacs, abs=0.1)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("frames", [8, 16, 24, 32])
def test_taps_have_the_canonical_shapes(backbone: type[Backbone], frames: int) -> None:
    halved = [(64, frames, 56, 56), (128, frames // 2, 28, 28), (256, frames // 4, 14, 14), (512, frames // 8, 7, 7)]
    assert dict(measured(backbone, frames).taps) == dict(zip(STAGES, halved, strict=True))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("size", [32, 112])
def test_a_clip_of_ten_frames_passes(backbone: type[Backbone], size: int) -> None:
    assert measured(backbone, 10, size).features == 512


def test_the_pools_of_c3d_round_ten_frames_down() -> None:
    assert [shape[1] for shape in measured(C3D, 10).taps.values()] == [10, 5, 2, 1]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_width_multiplies_the_channels(backbone: type[Backbone]) -> None:
    sizes = measured(backbone, 10, 32, width=0.25)
    assert [shape[0] for shape in sizes.taps.values()] == [16, 32, 64, 128]
    assert sizes.features == 128


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_smallest_width_leaves_one_channel(backbone: type[Backbone]) -> None:
    assert measured(backbone, 10, 32, width=0.001).features == 1


@pytest.mark.parametrize(
    ("channels", "out", "t", "d", "middle"),
    [
        (3, 64, 3, 7, 83),
        (64, 64, 3, 3, 144),
        (64, 128, 3, 3, 230),
        (128, 128, 3, 3, 288),
        (128, 256, 3, 3, 460),
        (256, 256, 3, 3, 576),
        (256, 512, 3, 3, 921),
        (512, 512, 3, 3, 1152),
        (64, 128, 1, 1, 42),
        (128, 256, 1, 1, 85),
        (256, 512, 1, 1, 170),
    ],
)
def test_the_middle_channels_keep_the_parameters_of_the_full_convolution(
    channels: int, out: int, t: int, d: int, middle: int
) -> None:
    assert middle_channels(channels, out, t, d) == middle


@pytest.mark.parametrize("backbone", BACKBONES)
def test_taps_are_the_maps_that_the_next_layer_reads(backbone: type[Backbone]) -> None:
    torch.manual_seed(0)
    module = backbone().build(0.125)
    maps, features = maps_and_features(module, dict(backbone.taps), torch.randn(2, 3, 8, 32, 32))
    # Were a tap overwritten in place, or not the last map, its mean would not be the feature.
    torch.testing.assert_close(maps["stage4"].mean((2, 3, 4)), features)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradients_reach_every_parameter_through_the_taps(backbone: type[Backbone]) -> None:
    torch.manual_seed(0)
    module = backbone().build(0.125)
    maps, _ = maps_and_features(module, dict(backbone.taps), torch.randn(2, 3, 8, 32, 32))
    sum(each.square().sum() for each in maps.values()).backward()
    assert [name for name, each in module.named_parameters() if each.grad is None] == []


@pytest.mark.parametrize("backbone", BACKBONES)
def test_maps_and_features_are_rectified(backbone: type[Backbone]) -> None:
    torch.manual_seed(0)
    module = backbone().build(0.125)
    maps, _ = maps_and_features(module, dict(backbone.taps), torch.randn(2, 3, 8, 32, 32))
    assert {name: bool((each >= 0).all()) for name, each in maps.items()} == dict.fromkeys(STAGES, True)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_one_seed_gives_one_network(backbone: type[Backbone]) -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(backbone().build(0.125).state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_convolutions_keep_the_default_initialisation(backbone: type[Backbone]) -> None:
    """PyTorch draws weights from U(-b, b), b = 1 / sqrt(fan_in)."""
    torch.manual_seed(0)
    for conv in (each for each in backbone().build(0.25).modules() if isinstance(each, nn.Conv3d)):
        bound = (conv.in_channels * conv.weight[0, 0].numel()) ** -0.5
        assert bound * 0.9 < conv.weight.abs().max() <= bound


def test_only_c3d_has_biases_in_its_convolutions() -> None:
    biased = {
        backbone.name: {
            conv.bias is not None for conv in backbone().build(0.1).modules() if isinstance(conv, nn.Conv3d)
        }
        for backbone in BACKBONES
    }
    assert biased == {C3D.name: {True}, R3D.name: {False}, R2Plus1D.name: {False}}
