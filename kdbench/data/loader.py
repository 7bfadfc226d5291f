"""Data set + subset + board -> batches on the device: seeded, endless by epochs, the same after any resume.

A batch depends only on (seed, epoch, position in the epoch). Threads read the windows of the next batches
into a ring of reused (on CUDA: pinned) buffers and send them on while the device works on this one; frames that
lie on the device already are gathered there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdbench.api import Batch
from kdbench.board import Board, Frames
from kdbench.data import augment, sampling
from kdbench.data.decode import cores
from kdbench.data.devices import Mirror, send, side_stream
from kdbench.data.placement import FrameSource, OnDevice, Placed
from kdbench.data.sampling import Ints
from kdbench.data.store import FrameStore

# Threads read frames side by side, the more so where they are decoded; a batch more than threads is under way.
THREADS = min(cores(), 8)
AHEAD = THREADS + 1
# One seed for all runs: every network is asked about the same transforms of the same test tuples.
PRETEXT_TEST_SEED = 0


@dataclass(frozen=True)
class VideoList:
    """The videos of one side of a split that the store holds: ids, labels, lengths in frames, keys for draws."""

    ids: tuple[str, ...]
    labels: Ints
    lengths: Ints
    keys: Ints

    @classmethod
    def of(cls, store: FrameStore, ids: Sequence[str], label_of: dict[str, int]) -> VideoList:
        """The list of `ids`, all of which must be in the store."""
        return cls(
            ids=tuple(ids),
            labels=np.array([label_of[name] for name in ids], dtype=np.int64),
            lengths=np.array([store.entries[name].frames for name in ids], dtype=np.int64),
            keys=np.array([sampling.video_key(name) for name in ids], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Windows:
    """What to read for one batch: positions in the list (B,), frames (B, V, T), and what becomes of them."""

    index_B: Ints
    frames_BVT: Ints
    parameters: augment.ClipParameters
    pretext_B: Ints | None = None
    spatial_N: Ints | None = None

    @property
    def flat(self) -> Ints:
        """The frames (N, T) of all N = B * V windows, one after the other."""
        return self.frames_BVT.reshape(-1, self.frames_BVT.shape[2])


class Slot:
    """One reused buffer for raw windows, filled by a thread that also sends it on its way to the device."""

    def __init__(self, size: tuple[int, int, int], device: torch.device, beside: Any) -> None:
        self.mirror = Mirror(size, device, beside)

    def fill(self, store: FrameSource, videos: VideoList, windows: Windows) -> float:
        """Read the windows; says when the reading began, for only then the buffer was free."""
        self.mirror.wait_until_free()
        begin = time.perf_counter()
        raw, views = self.mirror.host.numpy(), windows.frames_BVT.shape[1]
        for clip, frames_T in enumerate(windows.flat):
            store.read(videos.ids[windows.index_B[clip // views]], frames_T, raw[clip])
        self.mirror.start(len(windows.flat))
        return begin


class Ring:
    """Reused buffers, filled and sent to the device by threads a few batches ahead. One reader at a time."""

    def __init__(self, store: FrameSource, clips: int, length: int, device: torch.device) -> None:
        self.store, self.device, self.wait_s = store, device, 0.0
        self.beside = side_stream(device)
        size = (clips, length, store.geometry.frame_bytes)
        self.slots = [Slot(size, device, self.beside) for _ in range(AHEAD + 1)]

    def read(self, videos: VideoList, batches: Iterator[Windows]) -> Iterator[tuple[Windows, Tensor]]:
        """Yield each batch's windows with its frames (N, T, F) on the device, in order.

        The frames are there until the next batch is asked for.
        """
        free = deque(self.slots)
        with self._beside(), ThreadPoolExecutor(THREADS) as threads:
            ahead: deque[tuple[Windows, Slot, Future[float]]] = deque()
            while True:
                while len(ahead) < AHEAD and (windows := next(batches, None)) is not None:
                    slot = free.popleft()
                    ahead.append((windows, slot, threads.submit(slot.fill, self.store, videos, windows)))
                if not ahead:
                    return
                windows, slot, filled = ahead.popleft()
                self._wait_for(filled)
                yield windows, slot.mirror.arrived(len(windows.flat))
                slot.mirror.done()
                free.append(slot)

    def _wait_for(self, filled: Future[float]) -> None:
        begin = time.perf_counter()
        reading = filled.result()
        # As long as the device held the buffer, it was the device that was behind, and not the input.
        self.wait_s += max(0.0, time.perf_counter() - max(begin, reading))

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """Order the copies after all work before the reading, and all work after it after the copies.

        The memory of the buffers may have had, and may get, other users on the computing stream.
        """
        if self.beside is None:
            yield
            return
        self.beside.wait_stream(torch.cuda.current_stream(self.device))
        try:
            yield
        finally:
            torch.cuda.current_stream(self.device).wait_stream(self.beside)


class Resident:
    """Reads frames that are on the device already: there is nothing to wait for."""

    wait_s = 0.0

    def __init__(self, store: OnDevice) -> None:
        self.store = store

    def read(self, videos: VideoList, batches: Iterator[Windows]) -> Iterator[tuple[Windows, Tensor]]:
        """What Ring.read does."""
        for windows in batches:
            views = windows.frames_BVT.shape[1]
            ids = [videos.ids[index] for index in np.repeat(windows.index_B, views)]
            yield windows, self.store.gather(ids, windows.flat)


def reader(frames: FrameSource | OnDevice, clips: int, length: int, device: torch.device) -> Ring | Resident:
    """What reads batches of at most `clips` windows of `length` frames, wherever the frames lie."""
    return Resident(frames) if isinstance(frames, OnDevice) else Ring(frames, clips, length, device)


class TrainingLoader:
    """The batches of each epoch. `tuples` decides between tuples of three clips and single clips.

    `second` names a modality that the same pixels are given in as well, for a teacher that wants another.
    """

    def __init__(
        self, board: Board, frames: Placed, videos: VideoList, device: torch.device, seed: int, *, tuples: bool
    ) -> None:
        self.second: Frames | None = None
        self.board, self.videos, self.device, self.seed, self.tuples = board, videos, device, seed, tuples
        # A subset smaller than a batch is one batch; else the last, incomplete batch is dropped.
        self.batch = min(board.optim.batch, len(videos))
        self.steps = len(videos) // self.batch
        clips = board.clip.per_tuple if tuples else 1
        self.ring = reader(frames, self.batch * clips, board.clip.length, device)
        self.labels = torch.from_numpy(videos.labels).to(device)

    @property
    def wait_s(self) -> float:
        """Seconds spent waiting for frames so far."""
        return self.ring.wait_s

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0."""
        frames, kernel = self.board.frames, self.board.augment.blur_kernel
        for windows, raw_NTF in self.ring.read(self.videos, self._windows(number)):
            pixels = augment.to_pixels(frames, raw_NTF, windows.parameters, kernel, windows.spatial_N)
            index_B = send(windows.index_B, self.device)
            pretext = windows.pretext_B
            yield Batch(
                clips_BVCTHW=self._clips(pixels, frames, len(windows.index_B)),
                labels_B=self.labels[index_B],
                index_B=index_B,
                pretext_B=None if pretext is None else send(pretext, self.device),
                teacher_clips_BVCTHW=self._clips(pixels, self.second, len(windows.index_B)) if self.second else None,
            )

    def _clips(self, pixels_NCTHW: Tensor, frames: Frames, videos: int) -> Tensor:
        clips = augment.normalise(pixels_NCTHW, frames).contiguous(memory_format=torch.channels_last_3d)
        return clips.view(videos, -1, *clips.shape[1:])

    def endless(self) -> Iterator[Batch]:
        """The batches of one epoch after the other."""
        for number in count():
            yield from self.epoch(number)

    def _windows(self, epoch: int) -> Iterator[Windows]:
        order = sampling.epoch_order(self.videos.keys, self.seed, epoch)
        for step in range(self.steps):
            yield self.windows_of(order[step * self.batch : (step + 1) * self.batch], epoch)

    def windows_of(self, index_B: Ints, epoch: int) -> Windows:
        """What one batch reads: a pure function of the seed, the epoch and the videos in it."""
        lengths_B, keys_B = self.videos.lengths[index_B], self.videos.keys[index_B]
        clips = self.board.clip.per_tuple if self.tuples else 1
        draws = augment.draw_parameters(self.board, keys_B, clips, self.seed, epoch)
        if not self.tuples:
            frames_BVT = sampling.draw_clips(self.board.clip, lengths_B, keys_B, self.seed, epoch)
            return Windows(index_B, frames_BVT, draws)
        drawn = sampling.draw_tuples(self.board, lengths_B, keys_B, self.seed, epoch)
        spatial_BV = np.zeros((len(index_B), clips), dtype=np.int64)
        spatial_BV[:, sampling.MIDDLE] = drawn.spatial_B
        return Windows(index_B, drawn.frames_BVT, draws, drawn.pretext_B, spatial_BV.reshape(-1))


class TestLoader:
    """The test views of a list of videos, in order, `batch` clips at a time: centre crop, no augmentation."""

    __test__ = False  # the name is the vocabulary's; pytest must not collect it

    def __init__(self, board: Board, frames: Placed, videos: VideoList, device: torch.device) -> None:
        self.board, self.videos, self.device = board, videos, device
        self.batch = 4 * board.optim.batch
        self.ring = reader(frames, self.batch, board.clip.length, device)

    def clips(self, views: int) -> Iterator[Tensor]:
        """Yield clips (N, 3, T, S, S): all views of the first video, then those of the second, and so on."""
        kernel = self.board.augment.blur_kernel
        for windows, raw_NTF in self.ring.read(self.videos, self._windows(views)):
            clips = augment.to_clips(self.board.frames, raw_NTF, windows.parameters, kernel, None)
            yield clips.contiguous(memory_format=torch.channels_last_3d)

    def tuples(self) -> Iterator[tuple[Tensor, Ints]]:
        """Yield (the one tuple of each video (B, V, 3, T, S, S), its transform's label (B,)), in order."""
        kernel = self.board.augment.blur_kernel
        for windows, raw_NTF in self.ring.read(self.videos, self._tuple_windows()):
            assert windows.pretext_B is not None
            clips = augment.to_clips(self.board.frames, raw_NTF, windows.parameters, kernel, windows.spatial_N)
            clips = clips.contiguous(memory_format=torch.channels_last_3d)
            yield clips.view(len(windows.index_B), -1, *clips.shape[1:]), windows.pretext_B

    def _tuple_windows(self) -> Iterator[Windows]:
        clips, videos = self.board.clip.per_tuple, self.videos
        at_once = self.batch // clips
        for at in range(0, len(videos), at_once):
            index_B = np.arange(at, min(at + at_once, len(videos)), dtype=np.int64)
            lengths_B, keys_B = videos.lengths[index_B], videos.keys[index_B]
            drawn = sampling.draw_tuples(self.board, lengths_B, keys_B, PRETEXT_TEST_SEED, 0)
            spatial_BV = np.zeros((len(index_B), clips), dtype=np.int64)
            spatial_BV[:, sampling.MIDDLE] = drawn.spatial_B
            crops = augment.centre_parameters(self.board.frames, spatial_BV.size)
            yield Windows(index_B, drawn.frames_BVT, crops, drawn.pretext_B, spatial_BV.reshape(-1))

    def _windows(self, views: int) -> Iterator[Windows]:
        length = self.board.clip.length
        frames_NT = np.concatenate([sampling.test_views(length, int(count), views) for count in self.videos.lengths])
        index_N = np.repeat(np.arange(len(self.videos), dtype=np.int64), views)
        for at in range(0, len(index_N), self.batch):
            part = slice(at, at + self.batch)
            crops = augment.centre_parameters(self.board.frames, len(index_N[part]))
            yield Windows(index_N[part], frames_NT[part][:, None], crops)
