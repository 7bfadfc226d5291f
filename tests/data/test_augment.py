"""Stored frames -> network input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kdbench.board import Board, load_board
from kdbench.data import augment
from kdbench.data.augment import BRIGHTNESS, CONTRAST, HUE, SATURATION, ClipParameters

BOARD = load_board("camarena2024")
FRAMES = BOARD.frames
KEYS = np.arange(40, dtype=np.int64)


def small_board() -> Board:
    frames = msgspec.structs.replace(FRAMES, height=24, width=31, crop=16)
    return msgspec.structs.replace(BOARD, frames=frames)


def parameters(board: Board = BOARD, clips: int = 1) -> ClipParameters:
    return augment.draw_parameters(board, KEYS, clips, 0, 0)


def random_clips(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 4, 24, 24, generator=torch.Generator().manual_seed(seed))


def random_frames(board: Board, count: int, frames: int) -> Tensor:
    height, width = board.frames.height, board.frames.width
    size = height * width + 2 * ((height + 1) // 2) * ((width + 1) // 2)
    return torch.randint(0, 256, (count, frames, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


OPERATORS = {
    BRIGHTNESS: reference.adjust_brightness,
    CONTRAST: reference.adjust_contrast,
    SATURATION: reference.adjust_saturation,
    HUE: reference.adjust_hue,
}


def whole_frames(board: Board, raw_TF: Tensor) -> Tensor:
    """Stored frames of a clip -> RGB (T, 3, H, W) in float64: BT.601, limited range, each chroma byte for 2 x 2."""
    height, width = board.frames.height, board.frames.width
    luma, u, v = raw_TF.double().split([height * width, *[(height + 1) // 2 * ((width + 1) // 2)] * 2], dim=1)
    u, v = (
        plane.view(len(raw_TF), (height + 1) // 2, -1).repeat_interleave(2, 1).repeat_interleave(2, 2) - 128
        for plane in (u, v)
    )
    u, v = u[:, :height, :width] / 224, v[:, :height, :width] / 224
    luma = (luma.view(-1, height, width) - 16) / 219
    red, green, blue = luma + 1.402 * v, luma - 0.344136 * u - 0.714136 * v, luma + 1.772 * u
    return torch.stack([red, green, blue], dim=1).clamp(0, 1)


def one_clip(board: Board, raw_TF: Tensor, drawn: ClipParameters, at: int) -> Tensor:
    """What the board does to a clip, (3, T, S, S), by torchvision's operators one after the other."""
    crop = board.frames.crop
    frames = whole_frames(board, raw_TF)
    frames = reference.crop(frames, int(drawn.top_N[at]), int(drawn.left_N[at]), crop, crop)
    frames = reference.horizontal_flip(frames) if drawn.flip_N[at] else frames
    for kind, factor in zip(drawn.order_NP[at], drawn.factors_NP[at], strict=True):
        frames = OPERATORS[kind](frames, float(factor))
    frames = reference.rgb_to_grayscale(frames, num_output_channels=3) if drawn.grey_N[at] else frames
    sigma = float(drawn.sigma_N[at])
    frames = reference.gaussian_blur(frames, [11, 11], [sigma, sigma]) if sigma else frames
    frames = reference.normalize(frames, list(board.frames.mean), list(board.frames.std))
    return (frames.roll(1, dims=0) - frames if board.frames.modality == "res" else frames).transpose(0, 1)


@pytest.mark.parametrize("modality", ["res", "rgb"])
def test_the_whole_way_of_a_clip_equals_torchvisions_operators_one_after_the_other(modality: str) -> None:
    board = small_board()
    board = msgspec.structs.replace(board, frames=msgspec.structs.replace(board.frames, modality=modality))
    drawn, raw = parameters(board), random_frames(board, 40, 4)
    for each in (drawn.flip_N, drawn.grey_N, drawn.sigma_N, drawn.factors_NP[drawn.order_NP == HUE]):
        assert 0 < np.count_nonzero(each) < len(each)
    clips = augment.to_clips(board.frames, raw, drawn, board.augment.blur_kernel, None)
    wanted = torch.stack([one_clip(board, raw[at], drawn, at) for at in range(40)])
    assert (clips - wanted).abs().max() <= 1e-5


class Operations(TorchDispatchMode):
    """Names what this thread asks of the device, and what of it needs a value or a size back, so that the host waits.

    Pure views are left out: they start nothing on a device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.waits: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name
        aliases = [each.alias_info for each in function._schema.returns]
        if not any(alias and not alias.is_write for alias in aliases):
            self.names.append(name)
        # An index of truth values is counted out inside the operation, where no mode sees it.
        indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else []
        masked = any(isinstance(each, Tensor) and each.dtype is torch.bool for each in indices)
        if masked or name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::item", "aten::masked_select"):
            self.waits.append(name)
        return function(*args, **(kwargs or {}))


def every_change(clips: int) -> ClipParameters:
    """Parameters with which each kind of change happens to some clips: each adjustment before a hue and after one."""
    drawn = augment.centre_parameters(small_board().frames, clips)
    odd = np.arange(clips) % 2
    return replace(
        drawn,
        flip_N=odd,
        order_NP=np.where(odd[:, None], [HUE, SATURATION, CONTRAST, BRIGHTNESS], np.arange(4)),
        factors_NP=np.where(odd[:, None], [0.1, 1.2, 0.8, 1.3], [0.7, 1.2, 0.8, -0.1]),
        grey_N=odd,
        sigma_N=np.where(odd, 1.5, 0.0),
    )


def operations_of(videos: int) -> Operations:
    """What a batch of tuples of three clips asks of the device from stored frames to network input."""
    board, clips = small_board(), 3 * videos
    raw = random_frames(board, clips, 2)
    with Operations() as asked:
        done = augment.to_clips(board.frames, raw, every_change(clips), 11, np.arange(clips) % 5)
        done.contiguous(memory_format=torch.channels_last_3d)
    return asked


def test_a_batch_is_augmented_in_at_most_180_operations_however_many_videos_it_has() -> None:
    assert len(operations_of(2).names) == len(operations_of(32).names) <= 180


def test_augmentation_reads_no_value_back_from_the_device() -> None:
    assert operations_of(2).waits == []


def test_an_operation_that_waits_for_the_device_would_be_seen() -> None:
    with Operations() as asked:
        torch.ones(2)[torch.tensor([True, False])].sum().item()
    assert asked.waits == ["aten::index", "aten::_local_scalar_dense"]


def test_jitter_and_grey_equal_torchvisions_operators_for_the_same_parameters() -> None:
    drawn, clips = parameters(), random_clips(40)
    result = augment.jitter(clips.clone(), drawn)
    for clip, mine, order, factors, grey in zip(
        clips, result, drawn.order_NP, drawn.factors_NP, drawn.grey_N, strict=True
    ):
        frames = clip.transpose(0, 1)
        for kind, factor in zip(order, factors, strict=True):
            frames = OPERATORS[kind](frames, float(factor))
        if grey:
            frames = reference.rgb_to_grayscale(frames, num_output_channels=3)
        assert (frames.transpose(0, 1) - mine).abs().max() <= 1e-5


def test_blur_equals_torchvisions_operator_and_leaves_the_other_clips_alone() -> None:
    drawn, clips = parameters(), random_clips(40)
    result = augment.blur(clips.clone(), drawn.sigma_N, 11)
    for clip, mine, sigma in zip(clips, result, drawn.sigma_N, strict=True):
        frames = clip.transpose(0, 1)
        wanted = reference.gaussian_blur(frames, [11, 11], [float(sigma)] * 2) if sigma else frames
        assert (wanted.transpose(0, 1) - mine).abs().max() <= 1e-5


def test_all_four_adjustments_come_at_all_four_positions() -> None:
    drawn = augment.draw_parameters(BOARD, np.arange(500), 1, 0, 0)
    assert all(set(column) == {0, 1, 2, 3} for column in drawn.order_NP.T)


def test_a_static_video_has_a_residual_of_exactly_zero_after_augmentation() -> None:
    board = small_board()
    still = random_frames(board, 40, 1).expand(-1, 10, -1).contiguous()
    clips = augment.to_clips(board.frames, still, parameters(board), 11, np.tile(np.arange(5), 8))
    assert clips.abs().max() == 0


def test_all_frames_of_a_clip_get_the_same_crop_flip_jitter_and_blur() -> None:
    board = small_board()
    rgb = msgspec.structs.replace(board.frames, modality="rgb")
    still = random_frames(board, 40, 1).expand(-1, 5, -1).contiguous()
    clips = augment.to_clips(rgb, still, parameters(board), 11, None)
    assert (clips == clips[:, :, :1]).all()


def test_clips_of_one_video_have_draws_of_their_own() -> None:
    drawn = parameters(clips=3)
    assert (drawn.top_N.reshape(-1, 3)[:, 0] != drawn.top_N.reshape(-1, 3)[:, 2]).any()


def test_parameters_depend_on_seed_epoch_video_and_clip_and_on_nothing_else() -> None:
    whole = parameters(clips=3)
    part = augment.draw_parameters(BOARD, KEYS[[5, 2]], 3, 0, 0)
    rows = [15, 16, 17, 6, 7, 8]
    assert (part.sigma_N == whole.sigma_N[rows]).all()
    assert (part.factors_NP == whole.factors_NP[rows]).all()


def test_probabilities_and_ranges_are_those_of_the_board() -> None:
    drawn = augment.draw_parameters(BOARD, np.arange(20_000), 1, 0, 0)
    jittered = (np.sort(drawn.factors_NP, axis=1) != np.array([0, 1, 1, 1])).any(axis=1)
    for found, wanted in [(jittered, 0.8), (drawn.grey_N, 0.2), (drawn.sigma_N > 0, 0.5), (drawn.flip_N, 0.5)]:
        assert abs(found.mean() - wanted) < 0.015
    assert drawn.top_N.max() == 16
    assert drawn.left_N.max() == 59
    blurred = drawn.sigma_N[drawn.sigma_N > 0]
    assert 0.1 <= blurred.min() < 0.11
    assert 1.99 < blurred.max() < 2.0


def test_cropping_takes_the_pixels_at_the_drawn_place_and_mirrors_them() -> None:
    board = small_board()
    height, width, crop = 24, 31, 16
    raw = random_frames(board, 1, 2)
    raw[:, :, height * width :] = 128  # no colour: every channel is the luma
    drawn = augment.centre_parameters(board.frames, 1)
    placed = replace(drawn, top_N=np.array([3]), left_N=np.array([7]), flip_N=np.array([1]))
    luma = raw[0, :, : height * width].view(2, height, width)[:, 3 : 3 + crop, 7 : 7 + crop].flip(2).float()
    wanted = ((luma - 16) / 219).clamp(0, 1)
    found = augment.to_rgb(board.frames, raw, placed)
    assert torch.allclose(found[0, 0], wanted, atol=1e-6)
    assert torch.allclose(found[0, 2], wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("rgb", "yuv"), [((1, 0, 0), (81, 90, 240)), ((0, 1, 0), (145, 54, 34)), ((0, 0, 1), (41, 240, 110))]
)
def test_colours_are_converted_as_bt601_says(rgb: tuple[int, int, int], yuv: tuple[int, int, int]) -> None:
    board = small_board()
    raw = random_frames(board, 1, 1)
    luma, chroma = 24 * 31, 12 * 16
    raw[..., :luma], raw[..., luma : luma + chroma], raw[..., luma + chroma :] = yuv
    found = augment.to_rgb(board.frames, raw, augment.centre_parameters(board.frames, 1))[0, :, 0, 0, 0]
    assert torch.allclose(found, torch.tensor(rgb, dtype=torch.float32), atol=0.01)


def test_rotations_are_counter_clockwise_quarter_turns_and_invert() -> None:
    clips = random_clips(3)
    for quarter in (1, 2, 3):
        turned = augment.rearrange(clips.clone(), np.full(3, quarter))
        assert torch.equal(turned, torch.rot90(clips, quarter, (3, 4)))
        assert torch.equal(augment.rearrange(turned, np.full(3, 4 - quarter)), clips)


def test_swapping_quadrants_is_diagonal_and_inverts() -> None:
    clips = random_clips(2)
    swapped = augment.rearrange(clips.clone(), np.full(2, 4))
    assert torch.equal(swapped[..., :12, :12], clips[..., 12:, 12:])
    assert torch.equal(swapped[..., :12, 12:], clips[..., 12:, :12])
    assert torch.equal(augment.rearrange(swapped, np.full(2, 4)), clips)


def test_a_spatial_variant_touches_only_its_own_clip() -> None:
    clips = random_clips(3)
    result = augment.rearrange(clips.clone(), np.array([0, 1, 0]))
    assert torch.equal(result[0], clips[0])
    assert torch.equal(result[2], clips[2])
    assert not torch.equal(result[1], clips[1])


def test_residual_frames_are_the_one_before_minus_this_one_with_wrap_around() -> None:
    clips = random_clips(2)
    residual = augment.normalise(clips, FRAMES)
    scale = torch.tensor(FRAMES.std).view(3, 1, 1)
    assert torch.allclose(residual[:, :, 2], (clips[:, :, 1] - clips[:, :, 2]) / scale, atol=1e-5)
    assert torch.allclose(residual[:, :, 0], (clips[:, :, 3] - clips[:, :, 0]) / scale, atol=1e-5)


def test_rgb_frames_are_normalised_by_mean_and_deviation() -> None:
    clips = random_clips(1)
    rgb = msgspec.structs.replace(FRAMES, modality="rgb")
    wanted = reference.normalize(clips[0].transpose(0, 1), list(FRAMES.mean), list(FRAMES.std)).transpose(0, 1)
    assert torch.allclose(augment.normalise(clips, rgb)[0], wanted, atol=1e-5)
