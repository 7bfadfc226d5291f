"""Backbones beside the paper's: two frame rates, channelwise convolutions, a transformer, and a 2D network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18, video

from kdbench.api import Backbone, PluginError
from kdbench.measure import Measured, describe
from kdbench.models import Network, build_network
from kdbench_plugins.backbones.slowfast import SlowFast
from kdbench_plugins.backbones.swin3d import Swin3dT
from kdbench_plugins.backbones.tsn import TsnResNet18
from kdbench_plugins.backbones.x3d import X3D, SqueezeExcitation
from tests.tiny import registry, tiny_board

BACKBONES = (SlowFast, X3D, Swin3dT, TsnResNet18)
STAGES = ("stage1", "stage2", "stage3", "stage4")
NARROW = 0.125


def on_meta(backbone: type[Backbone], width: float = 1.0) -> nn.Module:
    with torch.device("meta"):
        return backbone().build(width)


def measured(backbone: type[Backbone], frames: int, size: int = 112, width: float = 1.0) -> Measured:
    return describe(on_meta(backbone, width), (3, frames, size, size), backbone.taps)


def narrow(backbone: type[Backbone], **options: str) -> nn.Module:
    torch.manual_seed(0)
    return backbone(backbone.Options(**options)).build(NARROW)


def clips(frames: int = 10, size: int = 32) -> Tensor:
    return torch.randn(2, 3, frames, size, size, generator=torch.Generator().manual_seed(1))


def maps_and_features(module: nn.Module, taps: dict[str, str], shown: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Each tap's map, as it was when the hook read it and as it is after the forward pass, must be one."""
    early: dict[str, Tensor] = {}
    late: dict[str, Tensor] = {}

    def hook(name: str):
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            early[name], late[name] = output.detach().clone(), output

        return keep

    handles = [module.get_submodule(path).register_forward_hook(hook(name)) for name, path in taps.items()]
    features = module(shown)
    for handle in handles:
        handle.remove()
    for name in taps:
        torch.testing.assert_close(early[name], late[name].detach(), rtol=0, atol=0)
    return late, features


@pytest.mark.parametrize(
    ("backbone", "params", "features", "gmacs"),
    [
        (SlowFast, 9_183_624, 576, 5.39),
        (X3D, 937_588, 432, 0.63),
        (Swin3dT, 27_850_470, 768, 11.36),
        (TsnResNet18, 11_176_512, 512, 7.76),
    ],
)
def test_a_backbone_has_its_parameters_features_and_operations(
    backbone: type[Backbone], params: int, features: int, gmacs: float
) -> None:
    sizes = measured(backbone, 16)
    assert (sizes.params, sizes.features) == (params, features)
    assert sizes.gmacs == pytest.approx(gmacs, abs=0.01)


@pytest.mark.parametrize(("frames", "slow", "patches"), [(8, 2, 4), (10, 3, 5), (16, 4, 8)])
def test_taps_are_four_maps_whatever_the_number_of_frames(frames: int, slow: int, patches: int) -> None:
    shapes = {backbone: list(measured(backbone, frames).taps.values()) for backbone in BACKBONES}
    full, half = (56, 28, 14, 7), (28, 14, 7, 4)
    wanted = {
        SlowFast: (slow, (80, 160, 320, 576), full),
        X3D: (frames, (24, 48, 96, 432), half),
        Swin3dT: (patches, (96, 192, 384, 768), half),
        TsnResNet18: (frames, (64, 128, 256, 512), half),
    }
    for backbone, (kept, channels, sizes) in wanted.items():
        assert shapes[backbone] == [(c, kept, s, s) for c, s in zip(channels, sizes, strict=True)], backbone.name


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("size", [16, 32, 36])
def test_small_clips_of_ten_frames_pass(backbone: type[Backbone], size: int) -> None:
    assert list(measured(backbone, 10, size, width=0.25).taps) == list(STAGES)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_width_multiplies_the_channels(backbone: type[Backbone]) -> None:
    whole, quarter = measured(backbone, 8, 32), measured(backbone, 8, 32, width=0.25)
    assert [4 * shape[0] for shape in quarter.taps.values()] == [shape[0] for shape in whole.taps.values()]
    assert 4 * quarter.features == whole.features


@pytest.mark.parametrize(("backbone", "features"), [(SlowFast, 2), (X3D, 2), (Swin3dT, 24), (TsnResNet18, 1)])
def test_the_smallest_width_leaves_what_the_network_needs(backbone: type[Backbone], features: int) -> None:
    assert measured(backbone, 8, 32, width=0.001).features == features


@pytest.mark.parametrize("backbone", BACKBONES)
def test_features_are_the_mean_of_the_last_tap_which_nothing_overwrites(backbone: type[Backbone]) -> None:
    maps, features = maps_and_features(narrow(backbone), dict(backbone.taps), clips())
    torch.testing.assert_close(maps["stage4"].mean((2, 3, 4)), features)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradients_reach_every_parameter_and_every_tap_from_the_features(backbone: type[Backbone]) -> None:
    module = narrow(backbone)
    maps, features = maps_and_features(module, dict(backbone.taps), clips())
    gradients = torch.autograd.grad(
        features.square().sum(), [*maps.values(), *module.parameters()], allow_unused=True, materialize_grads=False
    )
    names = [*maps, *(name for name, _ in module.named_parameters())]
    assert [name for name, each in zip(names, gradients, strict=True) if each is None] == []


def built(backbone: type[Backbone], seed: int) -> Network:
    return build_network(tiny_board(), registry().get("backbones", backbone.name), 8, seed, {})


@pytest.mark.parametrize("backbone", BACKBONES)
def test_initial_weights_follow_from_the_seed_alone_and_draw_nothing_elsewhere(backbone: type[Backbone]) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = built(backbone, 0).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    second, other = built(backbone, 0).state_dict(), built(backbone, 1).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


# --- two pathways ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "slow"), [(8, 2), (10, 3), (16, 4)])
def test_the_slow_pathway_sees_every_fourth_frame_and_the_fast_one_all(frames: int, slow: int) -> None:
    module, seen = narrow(SlowFast), {}
    for name in ("slow_stem", "fast_stem"):
        module.get_submodule(name).register_forward_hook(lambda _m, inputs, _o, name=name: seen.update({name: inputs}))
    shown = clips(frames, 16)
    module(shown)
    assert torch.equal(seen["slow_stem"][0], shown[:, :, 0::4])
    assert seen["slow_stem"][0].shape[2] == slow
    assert torch.equal(seen["fast_stem"][0], shown)


def test_the_fast_pathway_has_an_eighth_of_the_channels() -> None:
    module = on_meta(SlowFast)
    inside = [module.get_submodule(f"{stage}.{path}.conv2") for stage in STAGES for path in ("slow", "fast")]
    assert [conv.out_channels for conv in inside] == [64, 8, 128, 16, 256, 32, 512, 64]


# --- channelwise convolutions ------------------------------------------------------------------------------


def test_every_other_block_of_x3d_excites_its_channels() -> None:
    module = on_meta(X3D)
    excited = [
        [any(isinstance(part, SqueezeExcitation) for part in block.modules()) for block in module.get_submodule(stage)]
        for stage in STAGES
    ]
    assert excited == [[True], [True, False], [True, False, True, False, True], [True, False, True]]


# --- torchvision's modules ---------------------------------------------------------------------------------


def test_the_transformer_is_torchvisions_without_the_classifier() -> None:
    with torch.device("meta"):
        theirs = video.swin3d_t(weights=None).state_dict()
    assert {name for name in theirs if not name.startswith("head.")} == on_meta(Swin3dT).state_dict().keys()
    module = narrow(Swin3dT).eval()
    reference = video.SwinTransformer3d([2, 4, 4], 12, [2, 2, 6, 2], [3, 6, 12, 24], [8, 7, 7], num_classes=2).eval()
    reference.load_state_dict(module.state_dict(), strict=False)
    reference.head = nn.Identity()
    torch.testing.assert_close(module(clips()), reference(clips()))


def test_the_2d_network_is_torchvisions_mean_over_the_frames() -> None:
    torch.manual_seed(0)
    module, reference = TsnResNet18().build(1.0).eval(), resnet18(weights=None).eval()
    fit = reference.load_state_dict(module.state_dict(), strict=False)
    assert (fit.missing_keys, fit.unexpected_keys) == (["fc.weight", "fc.bias"], [])
    reference.fc = nn.Identity()
    shown = clips(3)
    each = torch.stack([reference(shown[:, :, frame]) for frame in range(3)])
    torch.testing.assert_close(module(shown), each.mean(0), rtol=1e-4, atol=1e-5)


def test_the_2d_network_is_blind_to_the_order_of_the_frames() -> None:
    module, shown = narrow(TsnResNet18).eval(), clips(8, 16)
    torch.testing.assert_close(module(shown), module(shown.flip(2)))


def test_local_weights_of_the_transformer_are_loaded_without_the_classifier(tmp_path: Path) -> None:
    state = {name: tensor + 1 for name, tensor in narrow(Swin3dT).state_dict().items()}
    torch.save({**state, "head.weight": torch.zeros(2, 2)}, tmp_path / "own.pth")
    loaded = narrow(Swin3dT, weights=str(tmp_path / "own.pth")).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in state.items())


@pytest.mark.parametrize("content", [[1, 2], {"norm.weight": torch.zeros(1)}, None])
def test_a_file_without_weights_for_the_transformer_is_refused_in_one_line(content: object, tmp_path: Path) -> None:
    if content is not None:
        torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(PluginError, match=r"odd\.pth: is no weights file for backbone 'swin3d_t': ") as caught:
        narrow(Swin3dT, weights=str(tmp_path / "odd.pth"))
    assert "\n" not in str(caught.value)
