"""Torchvision's networks as backbones: sizes, local weights, and what they refuse."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import video

from kdbench.api import PluginError
from kdbench.measure import describe
from kdbench_plugins.backbones.torchvision3d import MC318, R3D18, S3D, R2Plus1D18, TorchvisionBackbone

BACKBONES = (R3D18, R2Plus1D18, MC318, S3D)


def on_meta(backbone: type[TorchvisionBackbone]) -> nn.Module:
    with torch.device("meta"):
        return backbone().build(1.0)


def with_weights(backbone: type[TorchvisionBackbone], file: Path) -> nn.Module:
    return backbone(backbone.Options(weights=str(file))).build(1.0)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """The state dict of torchvision's smallest network, classifier and all."""
    torch.manual_seed(1)
    return video.s3d(weights=None).state_dict()


@pytest.mark.parametrize(
    ("backbone", "params", "features"),
    [(R3D18, 33_166_272, 512), (R2Plus1D18, 31_300_125, 512), (MC318, 11_490_240, 512), (S3D, 7_910_048, 1024)],
)
def test_a_network_has_torchvisions_parameters_without_the_classifier(
    backbone: type[TorchvisionBackbone], params: int, features: int
) -> None:
    sizes = describe(on_meta(backbone), (3, 16, 112, 112), backbone.taps)
    assert (sizes.params, sizes.features) == (params, features)


@pytest.mark.parametrize(("backbone", "gmacs"), [(R3D18, 40.7), (R2Plus1D18, 40.5)])
def test_a_clip_of_112_pixels_costs_the_published_operations(backbone: type[TorchvisionBackbone], gmacs: float) -> None:
    assert describe(on_meta(backbone), (3, 16, 112, 112), {}).gmacs == pytest.approx(gmacs, abs=0.1)


@pytest.mark.parametrize("backbone", [R3D18, R2Plus1D18])
def test_the_residual_networks_have_the_canonical_taps(backbone: type[TorchvisionBackbone]) -> None:
    taps = describe(on_meta(backbone), (3, 16, 112, 112), backbone.taps).taps
    assert list(taps.values()) == [(64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7)]


def test_mc3_keeps_all_frames() -> None:
    taps = describe(on_meta(MC318), (3, 16, 112, 112), MC318.taps).taps
    assert [shape[1] for shape in taps.values()] == [16, 16, 16, 16]


def test_s3d_has_maps_of_half_the_canonical_size() -> None:
    taps = describe(on_meta(S3D), (3, 16, 112, 112), S3D.taps).taps
    assert list(taps.values()) == [(192, 8, 28, 28), (480, 8, 14, 14), (832, 4, 7, 7), (1024, 2, 3, 3)]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_ten_frames_of_32_pixels_pass(backbone: type[TorchvisionBackbone]) -> None:
    assert describe(on_meta(backbone), (3, 10, 32, 32), backbone.taps).features in (512, 1024)


def test_s3d_takes_5_frames_of_17_pixels_and_not_less() -> None:
    module = on_meta(S3D)
    assert describe(module, (3, 5, 17, 17), S3D.taps).features == 1024
    for clip in ((3, 4, 17, 17), (3, 5, 16, 16)):
        with pytest.raises(PluginError, match="the backbone cannot take a clip"):
            describe(module, clip, S3D.taps)


def test_the_pool_of_s3d_is_torchvisions_at_16_frames_of_224_pixels() -> None:
    shape = describe(on_meta(S3D), (3, 16, 224, 224), S3D.taps).taps["stage4"]
    maps = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(S3D().build(1.0).avgpool(maps), video.s3d(weights=None).avgpool(maps))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_another_width_is_refused_with_the_way_out(backbone: type[TorchvisionBackbone]) -> None:
    with pytest.raises(PluginError, match=r"fixed channel counts.* networks\.width = 0\.25 .*motion-shapes.*width 1"):
        backbone().build(0.25)


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was reached for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert isinstance(S3D().build(1.0), nn.Module)


def test_local_weights_are_loaded_without_the_classifier(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "s3d.pth")
    loaded = with_weights(S3D, tmp_path / "s3d.pth").state_dict()
    assert set(state) - set(loaded) == {"classifier.1.weight", "classifier.1.bias"}
    assert all(torch.equal(state[name], tensor) for name, tensor in loaded.items())


def test_missing_tensors_are_named(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(dict(list(state.items())[1:]), tmp_path / "less.pth")
    with pytest.raises(PluginError, match=r"less\.pth: weights do not fit backbone 's3d': 1 tensors are missing: feat"):
        with_weights(S3D, tmp_path / "less.pth")


def test_weights_of_another_network_are_refused(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "s3d.pth")
    with pytest.raises(PluginError, match=r"weights do not fit backbone 'mc3_18': \d+ tensors are missing: stem"):
        with_weights(MC318, tmp_path / "s3d.pth")


def test_tensors_of_another_shape_are_named_on_one_line(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    name = next(iter(state))
    torch.save({**state, name: torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(PluginError, match=f"do not fit backbone 's3d': size mismatch for {name}") as caught:
        with_weights(S3D, tmp_path / "odd.pth")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(PluginError, match=r"gone\.pth: no such weights file; kdbench downloads none"):
        with_weights(S3D, Path("gone.pth"))


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 broken"])
def test_a_file_that_holds_no_weights_is_refused_on_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(PluginError, match=r"bad\.pth: cannot be read as a state dict") as caught:
        with_weights(S3D, tmp_path / "bad.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}])
def test_a_file_with_something_else_in_it_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(PluginError, match=r"other\.pth: holds no state dict"):
        with_weights(S3D, tmp_path / "other.pth")
