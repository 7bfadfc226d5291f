"""Which frames are read."""

from __future__ import annotations

import numpy as np
import pytest

from kdbench.board import load_board
from kdbench.data import sampling
from kdbench.data.sampling import NONE, QUADRANTS, REMOTE, ROTATION, SEGMENTS

BOARD = load_board("camarena2024")
KEYS = np.arange(4000, dtype=np.int64)


def drawn(length: int, epoch: int = 0) -> sampling.TupleDraw:
    return sampling.draw_tuples(BOARD, np.full(len(KEYS), length), KEYS, 0, epoch)


def test_clip_starts_differ_by_clip_length_plus_interval() -> None:
    draw = drawn(187)
    plain = draw.pretext_B == NONE
    starts = draw.frames_BVT[plain][:, :, 0]
    assert (np.diff(starts, axis=1) == 18).all()


def test_frames_of_a_clip_are_consecutive() -> None:
    draw = drawn(187)
    plain = draw.pretext_B == NONE
    assert (np.diff(draw.frames_BVT[plain], axis=2) == 1).all()


def test_every_tuple_lies_inside_its_video() -> None:
    draw = drawn(187)
    assert draw.frames_BVT.min() >= 0
    assert draw.frames_BVT.max() <= 186


def test_a_video_shorter_than_the_tuple_is_looped() -> None:
    draw = drawn(30)
    plain = draw.pretext_B == NONE
    assert (draw.frames_BVT[plain][:, 0] == np.arange(10)).all()
    assert (draw.frames_BVT[plain][:, 2] == np.arange(36, 46) % 30).all()


def test_the_five_labels_are_equally_likely_where_a_remote_clip_always_fits() -> None:
    counts = np.bincount(drawn(100_000).pretext_B, minlength=5) / len(KEYS)
    assert np.abs(counts - 0.2).max() < 0.03


def test_a_remote_clip_that_does_not_fit_is_drawn_again_from_the_other_four() -> None:
    counts = np.bincount(drawn(60).pretext_B, minlength=5) / len(KEYS)
    assert counts[REMOTE] == 0
    assert np.abs(counts[:4] - 0.25).max() < 0.03


def test_a_remote_clip_keeps_its_distance_from_the_tuple() -> None:
    draw = drawn(300)
    remote = draw.frames_BVT[draw.pretext_B == REMOTE]
    start, end, clip = remote[:, 0, 0], remote[:, 2, -1], remote[:, 1]
    before = clip[:, -1] + 16 < start
    after = clip[:, 0] > end + 16
    assert (before | after).all()
    assert before.any()
    assert after.any()


def test_swapped_segments_show_the_same_frames_in_another_order() -> None:
    draw = drawn(187)
    swapped = draw.frames_BVT[draw.pretext_B == SEGMENTS][:, 1]
    assert (np.diff(np.sort(swapped, axis=1), axis=1) == 1).all()
    assert (np.diff(swapped, axis=1) != 1).any(axis=1).all()


def test_ten_frames_are_cut_into_segments_of_3_3_2_and_2_frames() -> None:
    orders = sampling.segment_swaps(BOARD.clip.segments)
    assert orders[0].tolist() == list(range(10))
    assert orders[1].tolist() == [3, 4, 5, 0, 1, 2, 6, 7, 8, 9]
    assert orders[6].tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 6, 7]
    assert len({tuple(order) for order in orders.tolist()}) == 7


def test_swapping_segments_of_equal_length_twice_restores_the_clip() -> None:
    for order in sampling.segment_swaps((4, 4, 4, 4)):
        assert order[order].tolist() == list(range(16))


def test_only_rotations_and_quadrants_have_a_spatial_variant() -> None:
    draw = drawn(187)
    assert set(draw.spatial_B[draw.pretext_B == ROTATION]) == {1, 2, 3}
    assert set(draw.spatial_B[draw.pretext_B == QUADRANTS]) == {4}
    others = ~np.isin(draw.pretext_B, [ROTATION, QUADRANTS])
    assert (draw.spatial_B[others] == 0).all()


def test_a_draw_depends_on_seed_epoch_and_video_and_on_nothing_else() -> None:
    whole = drawn(187)
    some = np.array([7, 3, 99])
    part = sampling.draw_tuples(BOARD, np.full(3, 187), KEYS[some], 0, 0)
    assert (part.frames_BVT == whole.frames_BVT[some]).all()
    assert (drawn(187, epoch=1).frames_BVT != whole.frames_BVT).any()


def test_an_epoch_visits_every_video_once_in_an_order_of_its_own() -> None:
    first, second = (sampling.epoch_order(KEYS, 0, epoch) for epoch in (0, 1))
    assert sorted(first) == list(range(len(KEYS)))
    assert (first != second).any()


@pytest.mark.parametrize(("frames", "starts"), [(100, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]), (10, [0] * 10)])
def test_ten_views_reach_evenly_from_the_first_frame_to_the_last(frames: int, starts: list[int]) -> None:
    views = sampling.test_views(10, frames, 10)
    assert views[:, 0].tolist() == starts
    assert views[-1, -1] == frames - 1


def test_one_view_is_the_middle_of_the_video() -> None:
    assert sampling.test_views(10, 100, 1)[0].tolist() == list(range(45, 55))


def test_a_view_of_a_short_video_loops() -> None:
    assert sampling.test_views(10, 4, 1)[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_a_random_clip_is_anywhere_in_the_video() -> None:
    clips = sampling.draw_clips(BOARD.clip, np.full(len(KEYS), 20), KEYS, 0, 0)
    assert set(clips[:, 0, 0]) == set(range(11))
    assert clips.shape == (len(KEYS), 1, 10)
