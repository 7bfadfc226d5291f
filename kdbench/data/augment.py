"""From stored frames to network input, in whole batches on the device.

The order is: crop and flip, YUV to RGB, colour jitter, grey, blur, the pretext task's spatial transform,
normalisation, residual. Every parameter is drawn once for each clip from (seed, epoch, video, clip) on the
host, so that a clip looks the same on every device; nothing here waits for the device. Arithmetic is fp32;
the formulas are those of torchvision's functional operators.

Shape legend: N clips, C channels, T frames, H height, W width, S crop size, F bytes of a stored frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kdbench import streams
from kdbench.board import Board, Frames
from kdbench.data.devices import send
from kdbench.data.sampling import Ints

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
# ITU-R BT.601, limited range, as the frame store holds it.
_Y_SCALE, _RED_V, _GREEN_U, _GREEN_V, _BLUE_U = 255 / 219, 1.402 * 255 / 224, -0.344136, -0.714136, 1.772 * 255 / 224
_GREY = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class ClipParameters:
    """One row for each of N clips, on the host.

    `top_N`, `left_N` crop offsets in pixels; `flip_N` 0 or 1; `factors_NP` the strength at each of the four
    positions of the jitter (hue: a shift in turns), `order_NP` which adjustment stands there; a clip without
    jitter has factors that change nothing. `grey_N` 0 or 1; `sigma_N` of the blur in pixels, 0 for none.
    """

    top_N: Ints
    left_N: Ints
    flip_N: Ints
    order_NP: Ints
    factors_NP: NDArray[np.float64]
    grey_N: Ints
    sigma_N: NDArray[np.float64]


def draw_parameters(board: Board, keys_B: Ints, clips: int, seed: int, epoch: int) -> ClipParameters:
    """Draw the parameters of the clips of each video: B*V rows, the clips of a video next to each other."""
    keys_N = np.repeat(keys_B, clips)
    clip_N = np.tile(np.arange(clips), len(keys_B))

    def draw(purpose: str) -> NDArray[np.float64]:
        return streams.uniform(seed, f"augment {purpose}", epoch, keys_N, clip_N)

    frames, augment = board.frames, board.augment
    jittered = draw("jitter?") < augment.jitter
    strengths = (augment.brightness, augment.contrast, augment.saturation)
    names = ("brightness", "contrast", "saturation")
    values = [1 + strength * (2 * draw(name) - 1) for strength, name in zip(strengths, names, strict=True)]
    values.append(augment.hue * (2 * draw("hue") - 1))
    factors = np.where(jittered[:, None], np.stack(values, axis=1), np.array([1.0, 1.0, 1.0, 0.0]))
    order = np.argsort(np.stack([draw(f"order {at}") for at in range(4)], axis=1), axis=1, kind="stable")
    low, high = augment.blur_sigma
    blurred = draw("blur?") < augment.blur
    return ClipParameters(
        top_N=np.floor(draw("top") * (frames.height - frames.crop + 1)).astype(np.int64),
        left_N=np.floor(draw("left") * (frames.width - frames.crop + 1)).astype(np.int64),
        flip_N=(draw("flip") < augment.flip).astype(np.int64),
        order_NP=order.astype(np.int64),
        factors_NP=np.take_along_axis(factors, order, axis=1),
        grey_N=(draw("grey") < augment.grey).astype(np.int64),
        sigma_N=np.where(blurred, low + (high - low) * draw("sigma"), 0.0),
    )


def centre_parameters(frames: Frames, clips: int) -> ClipParameters:
    """The parameters of test clips: centre crop, nothing else."""
    zeros = np.zeros(clips, dtype=np.int64)
    return ClipParameters(
        top_N=zeros + (frames.height - frames.crop) // 2,
        left_N=zeros + (frames.width - frames.crop) // 2,
        flip_N=zeros,
        order_NP=np.tile(np.arange(4), (clips, 1)),
        factors_NP=np.tile(np.array([1.0, 1.0, 1.0, 0.0]), (clips, 1)),
        grey_N=zeros,
        sigma_N=np.zeros(clips),
    )


def to_clips(
    frames: Frames, raw_NTF: Tensor, parameters: ClipParameters, kernel: int, spatial_N: Ints | None
) -> Tensor:
    """Stored frames (N, T, F) uint8 on the device -> network input (N, 3, T, S, S) fp32."""
    return normalise(to_pixels(frames, raw_NTF, parameters, kernel, spatial_N), frames)


def to_pixels(
    frames: Frames, raw_NTF: Tensor, parameters: ClipParameters, kernel: int, spatial_N: Ints | None
) -> Tensor:
    """Stored frames (N, T, F) uint8 on the device -> augmented RGB (N, 3, T, S, S) fp32 in [0, 1]."""
    clips = to_rgb(frames, raw_NTF, parameters)
    clips = jitter(clips, parameters)
    clips = blur(clips, parameters.sigma_N, kernel)
    return clips if spatial_N is None else rearrange(clips, spatial_N)


def crop_index(frames: Frames, parameters: ClipParameters, device: torch.device) -> Tensor:
    """Positions (N, 3*S*S) of the Y, U and V bytes of the cropped (and flipped) pixels in a stored frame.

    Computed on the device from three numbers a clip: the table itself is megabytes.
    """
    places = np.stack([parameters.top_N, parameters.left_N, parameters.flip_N])
    top_N, left_N, flip_N = send(places, device)
    across = torch.arange(frames.crop, device=device)
    y_NS = (top_N[:, None] + across)[:, :, None]
    x_NS = (left_N[:, None] + torch.where(flip_N[:, None] == 1, frames.crop - 1 - across, across))[:, None, :]
    chroma_width = (frames.width + 1) // 2
    chroma = y_NS // 2 * chroma_width + x_NS // 2 + frames.height * frames.width
    chroma_bytes = chroma_width * ((frames.height + 1) // 2)
    return torch.stack([y_NS * frames.width + x_NS, chroma, chroma + chroma_bytes], dim=1).flatten(1)


def to_rgb(frames: Frames, raw_NTF: Tensor, parameters: ClipParameters) -> Tensor:
    """Crop, flip and convert: (N, T, F) uint8 -> RGB (N, 3, T, S, S) in [0, 1]."""
    clips, length, _ = raw_NTF.shape
    index = crop_index(frames, parameters, raw_NTF.device)
    picked = raw_NTF.gather(2, index[:, None].expand(-1, length, -1))
    yuv = picked.view(clips, length, 3, frames.crop, frames.crop).to(torch.float32)
    y, u, v = (yuv[:, :, plane] for plane in range(3))
    luma = (y - 16) * _Y_SCALE
    u, v = u - 128, v - 128
    rgb = torch.empty(clips, 3, length, frames.crop, frames.crop, device=raw_NTF.device)
    torch.add(luma, v, alpha=_RED_V, out=rgb[:, 0])
    torch.add(luma, u, alpha=_GREEN_U * 255 / 224, out=rgb[:, 1]).add_(v, alpha=_GREEN_V * 255 / 224)
    torch.add(luma, u, alpha=_BLUE_U, out=rgb[:, 2])
    return rgb.mul_(1 / 255).clamp_(0, 1)


def grey_of(clips: Tensor) -> Tensor:
    """Luminance (N, 1, T, S, S) of RGB clips."""
    red, green, blue = clips.unbind(1)
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2]).unsqueeze(1)


def jitter(clips: Tensor, parameters: ClipParameters) -> Tensor:
    """Brightness, contrast, saturation and hue in each clip's own order, then grey; changes `clips` in place.

    All but hue are one formula, x*f + base*(1 - f), with base 0, the frame's mean luminance or the pixel's
    luminance, and so is grey; they run on the whole batch at once. Hue, the costly one, runs once: what a clip
    has before its hue is done first, what it has after it last, so the number of operations is the same for
    any batch.
    """
    hue_NP = parameters.order_NP == HUE
    shift_N = parameters.factors_NP[hue_NP]
    kind_NA, factor_NA = (
        values[~hue_NP].reshape(len(clips), -1) for values in (parameters.order_NP, parameters.factors_NP)
    )
    # A clip whose hue stays has all its adjustments at once.
    place_N = np.where(shift_N == 0.0, len(parameters.order_NP.T), hue_NP.argmax(axis=1))
    early_NA = np.arange(kind_NA.shape[1]) < place_N[:, None]
    clips = _blend(clips, kind_NA.T, np.where(early_NA, factor_NA, 1.0).T)
    turned = np.flatnonzero(shift_N)
    if len(turned):
        clips = _on_some(clips, turned, lambda some: shift_hue(some, shift_N[turned]))
    late_NA = np.where(early_NA, 1.0, factor_NA)
    last = np.full((1, len(clips)), SATURATION)
    return _blend(clips, np.concatenate([kind_NA.T, last]), np.concatenate([late_NA.T, 1.0 - parameters.grey_N[None]]))


def _blend(clips: Tensor, kind_AN: Ints, factor_AN: NDArray[np.float64]) -> Tensor:
    """One adjustment of every clip after the other, in place; a factor of 1 changes nothing."""
    wanted = (factor_AN != 1.0).any(axis=1)
    if not wanted.any():
        return clips
    kind_AN, factor_AN = kind_AN[wanted], factor_AN[wanted]
    columns = np.stack(
        [factor_AN, (1 - factor_AN) * (kind_AN == SATURATION), (1 - factor_AN) * (kind_AN == CONTRAST)], axis=1
    )
    factors_A3N1 = send(columns, clips.device, torch.float32).view(*columns.shape, 1, 1, 1, 1)
    for factor, to_grey, to_mean in factors_A3N1:
        grey = grey_of(clips)
        base = torch.addcmul(grey.mean(dim=(3, 4), keepdim=True) * to_mean, grey, to_grey)
        clips.mul_(factor).add_(base).clamp_(0, 1)
    return clips


def _on_some(clips: Tensor, which: Ints, change: Any) -> Tensor:
    """Apply `change` to some of the clips; which ones is known on the host, so the device is not waited for."""
    index = send(which, clips.device, torch.int64)
    return clips.index_copy_(0, index, change(clips.index_select(0, index)))


def shift_hue(clips: Tensor, shift_N: NDArray[np.float64]) -> Tensor:
    """Turn the hue of RGB clips by `shift_N` full turns (HSV colour model)."""
    red, green, blue = clips.unbind(1)
    value, low = clips.amax(1), clips.amin(1)
    chroma = value - low
    safe = torch.where(chroma == 0, 1.0, chroma)  # a grey pixel has equal channels, so its hue comes out as 0
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    offset_NC = send(shift_N[:, None] * 6 + np.array([5, 3, 1]), clips.device, torch.float32)
    place = (sixth.unsqueeze(1) + offset_NC.view(-1, 3, 1, 1, 1)).remainder_(6)
    share = torch.minimum(place, 4 - place).clamp_(0, 1)
    return torch.addcmul(value.unsqueeze(1), share, chroma.unsqueeze(1), value=-1)


def blur(clips: Tensor, sigma_N: NDArray[np.float64], kernel: int) -> Tensor:
    """Gaussian blur of the clips whose sigma is not 0: `kernel` taps each way, reflected at the border."""
    which = np.flatnonzero(sigma_N)
    if not len(which):
        return clips
    taps = np.arange(kernel) - kernel // 2
    weights = np.exp(-0.5 * (taps / sigma_N[which][:, None]) ** 2)
    weights_NK = send(weights / weights.sum(1, keepdims=True), clips.device, torch.float32)
    return _on_some(clips, which, lambda some: _separable(some, weights_NK))


def _separable(clips: Tensor, weights_NK: Tensor) -> Tensor:
    count, channels, length, height, width = clips.shape
    taps = weights_NK.shape[1]
    half = taps // 2
    # Clips become the channels of a grouped convolution: each has its own kernel.
    planes = clips.reshape(count, channels * length, height, width).transpose(0, 1)
    planes = F.pad(planes, (half, half, half, half), mode="reflect")
    planes = F.conv2d(planes, weights_NK.view(count, 1, taps, 1), groups=count)
    planes = F.conv2d(planes, weights_NK.view(count, 1, 1, taps), groups=count)
    return planes.transpose(0, 1).reshape(count, channels, length, height, width)


def spatial_table(size: int) -> Ints:
    """Pixel orders (5, S*S): identity, rotation by 90, 180 and 270 degrees, diagonal swap of the quadrants."""
    grid = np.arange(size * size).reshape(size, size)
    half = size // 2
    swapped = np.roll(grid, (half, half), axis=(0, 1))
    rows = [grid, np.rot90(grid, 1), np.rot90(grid, 2), np.rot90(grid, 3), swapped]
    return np.stack([row.reshape(-1) for row in rows]).astype(np.int64)


def rearrange(clips: Tensor, spatial_N: Ints) -> Tensor:
    """Apply each clip's spatial variant of the pretext task (0 leaves it alone)."""
    which = np.flatnonzero(spatial_N)
    if not len(which):
        return clips
    count, (channels, length, size, _) = len(which), clips.shape[1:]
    index = send(spatial_table(size)[spatial_N[which]], clips.device, torch.int64)

    def change(some: Tensor) -> Tensor:
        places = index[:, None, None].expand(count, channels, length, size * size)
        return some.flatten(3).gather(3, places).view_as(some)

    return _on_some(clips, which, change)


def normalise(clips: Tensor, frames: Frames) -> Tensor:
    """Subtract the mean, divide by the deviation, and (modality "res") take residual frames.

    Residual frame t is x[t-1] - x[t] with wrap-around (pin 16); the mean cancels, and a static clip gives
    exactly 0.
    """
    scale = send(1 / np.array(frames.std), clips.device, torch.float32).view(3, 1, 1, 1)
    if frames.modality == "res":
        return (clips.roll(1, dims=2) - clips).mul_(scale)
    mean = send(np.array(frames.mean), clips.device, torch.float32).view(3, 1, 1, 1)
    return (clips - mean).mul_(scale)
