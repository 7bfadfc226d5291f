"""Which frames make a training tuple, a training clip and the test views: pure index arithmetic.

Every draw is a pure function of (seed, epoch, video), so it does not matter who asks, in which order, or
after which interruption. Shape legend: B videos, V clips of a video, T frames of a clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kdbench import streams
from kdbench.board import Board, Clip

Ints = NDArray[np.int64]

# The five pretext labels (protocol of Pretext-Contrastive Learning); the transform hits the middle clip.
NONE, ROTATION, QUADRANTS, SEGMENTS, REMOTE = range(5)
MIDDLE = 1

# Spatial variants of a clip, as rows of `augment.spatial_table`: identity, three rotations, quadrant swap.
NUM_SPATIAL = 5


@dataclass(frozen=True)
class TupleDraw:
    """The frames to read (B, V, T), the pretext label (B,) and the middle clip's spatial variant (B,).

    The temporal transforms (swapped segments, remote clip) are already in the frame indices: they commute
    with everything that is drawn once for a whole clip.
    """

    frames_BVT: Ints
    pretext_B: Ints
    spatial_B: Ints


def video_key(video_id: str) -> int:
    """A 63-bit number for a video id: the counter that stands for the video in every random draw."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big") >> 1


def epoch_order(keys: Ints, seed: int, epoch: int) -> Ints:
    """Positions of the training list in the order of one epoch: a seeded shuffle without a generator."""
    return np.argsort(streams.bits(seed, "order", epoch, keys), kind="stable").astype(np.int64)


def draw_tuples(board: Board, lengths_B: Ints, keys_B: Ints, seed: int, epoch: int) -> TupleDraw:
    """Draw one tuple of three clips for each video.

    Clip i starts at s + i*(length + interval), s uniform over the video; videos shorter than the tuple are
    looped. The pretext label is uniform over five; `REMOTE` needs room for a clip on both sides of the tuple
    and is otherwise drawn again from the other four.
    """
    clip, span = board.clip, board.clip_span

    def draw(high: int | Ints, purpose: str) -> Ints:
        return streams.integers(high, seed, purpose, epoch, keys_B)

    padded_B = np.maximum(lengths_B, span)
    start_B = draw(padded_B - span + 1, "tuple start")
    left_B = start_B - clip.length - clip.remote_distance + 1
    first_right_B = start_B + span + clip.remote_distance
    right_B = padded_B - clip.length - first_right_B + 1
    fits_B = (left_B > 0) & (right_B > 0)
    label_B = draw(5, "pretext label")
    label_B = np.where((label_B == REMOTE) & ~fits_B, draw(4, "pretext label again"), label_B)
    remote_B = np.where(
        draw(2, "remote side") == 0,
        draw(np.maximum(left_B, 1), "remote left"),
        first_right_B + draw(np.maximum(right_B, 1), "remote right"),
    )
    starts_BV = start_B[:, None] + np.arange(clip.per_tuple) * (clip.length + clip.interval)
    starts_BV[:, MIDDLE] = np.where(label_B == REMOTE, remote_B, starts_BV[:, MIDDLE])
    frames_BVT = starts_BV[:, :, None] + np.arange(clip.length)
    orders = segment_swaps(clip.segments)
    order_BT = orders[np.where(label_B == SEGMENTS, draw(len(orders) - 1, "segment pair") + 1, 0)]
    frames_BVT[:, MIDDLE] = np.take_along_axis(frames_BVT[:, MIDDLE], order_BT, axis=1)
    spatial_B = np.select([label_B == ROTATION, label_B == QUADRANTS], [draw(3, "rotation") + 1, NUM_SPATIAL - 1], 0)
    return TupleDraw(frames_BVT % lengths_B[:, None, None], label_B, spatial_B)


def segment_swaps(segments: Sequence[int]) -> Ints:
    """Frame orders (7, T): row 0 keeps the clip, rows 1-6 swap two different of the four temporal segments."""
    bounds = np.concatenate([[0], np.cumsum(segments)])
    parts = [np.arange(bounds[at], bounds[at + 1]) for at in range(len(segments))]
    orders = [np.concatenate(parts)]
    for first, second in combinations(range(len(parts)), 2):
        swapped = list(parts)
        swapped[first], swapped[second] = parts[second], parts[first]
        orders.append(np.concatenate(swapped))
    return np.stack(orders).astype(np.int64)


def draw_clips(clip: Clip, lengths_B: Ints, keys_B: Ints, seed: int, epoch: int) -> Ints:
    """One random clip of each video, (B, 1, T): what supervised training and fine-tuning read."""
    room_B = np.maximum(lengths_B - clip.length, 0) + 1
    start_B = streams.integers(room_B, seed, "clip start", epoch, keys_B)
    return (start_B[:, None] + np.arange(clip.length))[:, None] % lengths_B[:, None, None]


def test_views(clip_length: int, num_frames: int, views: int) -> Ints:
    """Frames (V, T) of the test clips: centres evenly from length/2 to num_frames - length/2; one view: the middle."""
    room = max(num_frames - clip_length, 0)
    starts = np.floor(np.linspace(0, room, views) + 0.5) if views > 1 else np.array([room // 2])
    return (starts.astype(np.int64)[:, None] + np.arange(clip_length)) % num_frames
