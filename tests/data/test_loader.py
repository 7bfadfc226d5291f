"""Batches: the same whatever came before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kdbench.api import Batch
from kdbench.board import Board
from kdbench.data.loader import TestLoader, TrainingLoader, VideoList
from kdbench.data.store import FrameStore
from tests.tiny import material, tiny_board

CPU = torch.device("cpu")


def loader(board: Board | None = None, *, seed: int = 0, tuples: bool = True, fraction: float = 1.0) -> TrainingLoader:
    board = board or tiny_board()
    found = material(board, fraction)
    return TrainingLoader(board, found.store, found.train, CPU, seed, tuples=tuples)


def copies(batches: object) -> list[Batch]:
    return list(batches)  # type: ignore[call-overload, no-any-return]


def test_a_batch_holds_tuples_of_three_clips_with_their_labels() -> None:
    batch = next(loader().epoch(0))
    assert batch.clips_BVCTHW.shape == (5, 3, 3, 8, 16, 16)
    assert batch.clips_BVCTHW.dtype == torch.float32
    assert batch.labels_B.tolist() == loader().videos.labels[batch.index_B].tolist()
    assert batch.pretext_B is not None


def test_without_tuples_a_batch_holds_one_clip_a_video() -> None:
    batch = next(loader(tuples=False).epoch(0))
    assert batch.clips_BVCTHW.shape == (5, 1, 3, 8, 16, 16)
    assert batch.pretext_B is None


def test_an_epoch_is_the_same_whichever_epochs_came_before() -> None:
    used = loader()
    for epoch in range(3):
        seen = copies(used.epoch(epoch))
    fresh = copies(loader().epoch(2))
    assert all(torch.equal(a.clips_BVCTHW, b.clips_BVCTHW) for a, b in zip(seen, fresh, strict=True))


def test_an_epoch_that_was_left_early_does_not_disturb_the_next() -> None:
    left = loader()
    next(left.epoch(0))
    assert torch.equal(next(left.epoch(1)).clips_BVCTHW, next(loader().epoch(1)).clips_BVCTHW)


def test_another_seed_gives_other_batches() -> None:
    assert not torch.equal(next(loader(seed=1).epoch(0)).clips_BVCTHW, next(loader().epoch(0)).clips_BVCTHW)


def test_a_video_is_cut_and_augmented_alike_in_every_subset_that_holds_it() -> None:
    whole, half = loader(), loader(fraction=0.5)
    name = half.videos.ids[3]
    here, there = whole.videos.ids.index(name), half.videos.ids.index(name)
    a, b = whole.windows_of(np.array([here]), 1), half.windows_of(np.array([there]), 1)
    assert (a.frames_BVT == b.frames_BVT).all()
    assert (a.parameters.factors_NP == b.parameters.factors_NP).all()


@pytest.mark.parametrize(("batch", "steps", "size"), [(5, 3, 5), (15, 1, 15), (64, 1, 16), (16, 1, 16)])
def test_the_last_incomplete_batch_is_dropped_and_a_small_subset_is_one_batch(
    batch: int, steps: int, size: int
) -> None:
    board = tiny_board(optim={"batch": batch})  # 16 videos: 16 mod 5 and 16 mod 15 are 1
    batches = copies(loader(board).epoch(0))
    assert len(batches) == steps
    assert all(len(item.labels_B) == size for item in batches)


def test_test_clips_come_in_the_order_of_the_list_with_all_views_of_a_video_together() -> None:
    board, found = tiny_board(optim={"batch": 1}), material()
    together = torch.cat(list(TestLoader(board, found.store, found.test, CPU).clips(3)))
    assert together.shape == (3 * len(found.test), 3, 8, 16, 16)
    for place, (name, label) in enumerate(zip(found.test.ids, found.test.labels, strict=True)):
        alone = VideoList.of(found.store, [name], {name: int(label)})
        views = torch.cat(list(TestLoader(board, found.store, alone, CPU).clips(3)))
        assert torch.equal(views, together[3 * place : 3 * place + 3])


def test_test_clips_are_the_same_every_time() -> None:
    board, found = tiny_board(), material()
    test = TestLoader(board, found.store, found.test, CPU)
    first, second = (list(test.clips(1)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_training_reads_no_frame_of_a_test_video(monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    original = FrameStore.read

    def watched(self: FrameStore, video_id: str, *rest: Any) -> None:
        read.add(video_id)
        original(self, video_id, *rest)

    monkeypatch.setattr(FrameStore, "read", watched)
    for epoch in range(3):
        copies(loader().epoch(epoch))
    found = material()
    assert read == set(found.train.ids)
    assert not read & set(found.test.ids)
