"""Batches: the same whatever came before, and wherever their frames lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kdbench.api import Batch
from kdbench.board import Board
from kdbench.data import loader as module
from kdbench.data.loader import TestLoader, TrainingLoader, VideoList, reader
from kdbench.data.placement import InMemory, OnDevice, Placed
from kdbench.data.store import FrameStore
from tests.data.test_augment import Operations
from tests.tiny import material, tiny_board

CPU = torch.device("cpu")


def loader(board: Board | None = None, *, seed: int = 0, tuples: bool = True, fraction: float = 1.0) -> TrainingLoader:
    board = board or tiny_board()
    found = material(board, fraction)
    return TrainingLoader(board, found.store, found.train, CPU, seed, tuples=tuples)


def placed(kind: str, store: FrameStore, videos: VideoList, device: torch.device = CPU) -> Placed:
    """The frames by kind of placement; "gpu" on any device, so that what gathers there is seen on the CPU too."""
    kinds = {"mmap": lambda: store, "ram": lambda: InMemory(store, videos.ids)}
    return kinds[kind]() if kind in kinds else OnDevice(store, videos.ids, device)


def loader_from(kind: str, device: torch.device = CPU, *, tuples: bool = True) -> TrainingLoader:
    found = material()
    return TrainingLoader(
        tiny_board(), placed(kind, found.store, found.train, device), found.train, device, 0, tuples=tuples
    )


def same(one: Batch, other: Batch) -> bool:
    """Whether two batches agree in every byte."""
    pairs = [
        (one.clips_BVCTHW, other.clips_BVCTHW),
        (one.labels_B, other.labels_B),
        (one.index_B, other.index_B),
        (one.pretext_B, other.pretext_B),
    ]
    return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


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


@pytest.mark.parametrize("tuples", [True, False])
@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (2, 3), (8, 9)])
@pytest.mark.parametrize("kind", ["mmap", "ram", "gpu"])
def test_windows_and_augmentation_are_the_same_for_any_placement_ring_and_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, kind: str, threads: int, ahead: int, tuples: bool
) -> None:
    wanted = [copies(loader(tuples=tuples).epoch(number)) for number in (0, 1)]
    monkeypatch.setattr(module, "THREADS", threads)
    monkeypatch.setattr(module, "AHEAD", ahead)
    whole, resumed = loader_from(kind, tuples=tuples), loader_from(kind, tuples=tuples)
    for number in (0, 1):
        assert all(same(a, b) for a, b in zip(whole.epoch(number), wanted[number], strict=True))
    assert all(same(a, b) for a, b in zip(resumed.epoch(1), wanted[1], strict=True))


@pytest.mark.parametrize("kind", ["ram", "gpu"])
def test_test_clips_and_tuples_are_the_same_for_any_placement(kind: str) -> None:
    board, found = tiny_board(optim={"batch": 1}), material()
    one = TestLoader(board, found.store, found.test, CPU)
    other = TestLoader(board, placed(kind, found.store, found.test), found.test, CPU)
    assert all(torch.equal(a, b) for a, b in zip(one.clips(2), other.clips(2), strict=True))
    for (a, label), (b, other_label) in zip(one.tuples(), other.tuples(), strict=True):
        assert torch.equal(a, b)
        assert (label == other_label).all()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["mmap", "ram", "gpu"])
def test_batches_on_cuda_are_those_on_the_cpu(kind: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    there = loader_from(kind, torch.device("cuda"))
    for number in range(20):  # the buffers are used again many times, and the device is kept busy meanwhile
        for batch, wanted in zip(there.epoch(number), loader().epoch(number), strict=True):
            busy = torch.randn(2048, 2048, device="cuda")
            for _ in range(20):
                busy = busy @ busy / 2048
            assert torch.equal(batch.index_B.cpu(), wanted.index_B)
            assert torch.allclose(batch.clips_BVCTHW.cpu(), wanted.clips_BVCTHW, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("kind", ["mmap", "gpu"])
def test_an_epoch_on_cuda_does_not_wait_for_the_device(kind: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    there = loader_from(kind, torch.device("cuda"))
    copies(there.epoch(0))  # libraries are loaded and memory is got at first use
    try:
        torch.cuda.set_sync_debug_mode("error")
        copies(there.epoch(1))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("kind", ["mmap", "gpu"])
def test_making_a_batch_reads_no_value_back_from_the_device(kind: str) -> None:
    with Operations() as asked:
        copies(loader_from(kind).epoch(0))
    assert asked.names
    assert asked.waits == []


def test_waiting_for_frames_is_measured_and_waiting_for_the_device_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])

    class Slow(FrameStore):
        def read(self, *what: Any) -> None:
            clock[0] += 1.0
            super().read(*what)

    class Busy:
        """An event of a device that reaches it after a long time."""

        def synchronize(self) -> None:
            clock[0] += 1000.0

    used = loader()
    windows = used.windows_of(np.arange(5), 0)
    ring = reader(Slow(material().store.path), len(windows.flat), windows.flat.shape[1], CPU)
    assert isinstance(ring, module.Ring)
    for slot in ring.slots:
        slot.mirror._arrived = Busy()
    assert len(list(ring.read(used.videos, iter([windows])))) == 1
    assert ring.wait_s <= len(windows.flat)
    assert clock[0] == 1000.0 + len(windows.flat)


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
