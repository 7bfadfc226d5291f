"""The input path, as ratios of times: the ring of buffers against worker processes, and the batched augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from kdbench.board import Board, load_board
from kdbench.data import augment, jpeg
from kdbench.data.decode import Geometry
from kdbench.data.loader import Ring, VideoList, Windows
from kdbench.data.prepare import prepare
from kdbench.data.sampling import Ints
from kdbench.data.store import FrameStore
from tests.benchmarks.ratio import compare
from tests.data.films import write_film
from tests.data.shelf import FILMS, film, shelf

BOARD = load_board("camarena2024")
CPU = torch.device("cpu")
FRAMES, LENGTH, BATCH = 200, 10, 16


def moving_picture(seed: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures (yuv420p, 320 x 240) of a scene that moves: detail of many sizes, so that JPEGs are of a real size."""
    draw = np.random.default_rng(seed)
    scene = np.full((480, 640), 128.0)
    for cell, contrast in ((80, 40), (20, 14), (8, 6), (2, 3)):
        coarse = draw.normal(0, contrast, (480 // cell, 640 // cell))
        scene += np.kron(coarse, np.ones((cell, cell)))
    for at in range(FRAMES):
        part = scene[at // 2 : at // 2 + 240, at : at + 320]
        colour = 0.3 * (part[::2, ::2] - 128).reshape(60, 320)
        picture = np.concatenate([part, 128 + colour, 128 - colour])
        yield picture.clip(16, 235).astype(np.uint8)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    for at in range(FILMS):
        write_film(film(root, at), moving_picture(at))
    return root


def store_of(films: Path, codec: Any) -> FrameStore:
    frames = BOARD.frames
    geometry = Geometry(frames.height, frames.width, frames.filter, codec)
    prepare(shelf(films), geometry, workers=2)
    return FrameStore.open(shelf(films), geometry)


def windows(store: FrameStore, batches: int) -> tuple[VideoList, list[Windows]]:
    """The same windows of any video at any place, for both sides."""
    videos = VideoList.of(store, sorted(store.entries), dict.fromkeys(store.entries, 0))
    draw, crops = np.random.default_rng(0), augment.centre_parameters(BOARD.frames, BATCH)

    def one() -> Windows:
        starts_B = draw.integers(0, FRAMES - LENGTH, BATCH)
        frames_BVT = (starts_B[:, None] + np.arange(LENGTH))[:, None]
        return Windows(draw.integers(0, FILMS, BATCH), frames_BVT, crops)

    return videos, [one() for _ in range(batches)]


class ByWindow(Dataset[Tensor]):
    """The same store as a data set of torch: one window at a time."""

    def __init__(self, store: FrameStore, videos: VideoList, batches: list[Windows]) -> None:
        self.store, self.ids = store, videos.ids
        self.index = np.concatenate([each.index_B for each in batches])
        self.frames: Ints = np.concatenate([each.flat for each in batches])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, at: int) -> Tensor:
        window = torch.empty(LENGTH, self.store.geometry.frame_bytes, dtype=torch.uint8)
        self.store.read(self.ids[self.index[at]], self.frames[at], window.numpy())
        return window


class ByColourWindow(ByWindow):
    """The frames as the field keeps them, each a colour JPEG (4:2:0) of the same size and quality, read to RGB."""

    def __init__(self, store: FrameStore, videos: VideoList, batches: list[Windows]) -> None:
        super().__init__(store, videos, batches)
        self.films = {
            each: [as_colour_jpeg(frame, store.geometry) for frame in store.frames(each)] for each in self.ids
        }

    def __getitem__(self, at: int) -> Tensor:
        film, frames = self.films[self.ids[self.index[at]]], self.store.geometry
        window = torch.empty(LENGTH, frames.height, frames.width, 3, dtype=torch.uint8)
        for number, picture in zip(self.frames[at], window.numpy(), strict=True):
            jpeg.library().decode_jpeg(film[number], "RGB", buffer=picture)
        return window


def as_colour_jpeg(frame: NDArray[np.uint8], geometry: Geometry) -> bytes:
    """The planes of one frame, flat -> one JPEG."""
    height, width, half = geometry.height, geometry.width, (geometry.chroma_height, geometry.chroma_width)
    luma, blue, red = np.split(frame, [height * width, height * width + half[0] * half[1]])
    planes = luma.reshape(height, width), blue.reshape(half), red.reshape(half)
    return bytes(jpeg.library().encode_jpeg_yuv_planes(*planes, jpeg.QUALITY))


def sides(store: FrameStore, batches: int, theirs: type[ByWindow] = ByWindow) -> tuple[Any, Any]:
    """An epoch of batches by two worker processes of a DataLoader, and by the ring's threads."""
    videos, asked = windows(store, batches)
    # Workers stay, as the ring's buffers do: it is the batches that count, and not the start.
    workers = DataLoader(theirs(store, videos, asked), BATCH, num_workers=2, persistent_workers=True)
    ring = Ring(store, BATCH, LENGTH, CPU)
    for their_batch, (_, batch) in zip(workers, ring.read(videos, iter(asked)), strict=True):
        assert theirs is not ByWindow or torch.equal(their_batch, batch)

    def by_workers() -> int:
        return sum(len(batch) for batch in workers)

    def by_ring() -> int:
        return sum(len(batch) for _, batch in ring.read(videos, iter(asked)))

    return by_workers, by_ring


def as_rgb(raw_TF: Tensor) -> Tensor:
    """Any colours of the right size and kind: (T, 3, H, W) uint8."""
    frames = BOARD.frames
    luma_T1HW = raw_TF[:, : frames.height * frames.width].view(-1, 1, frames.height, frames.width)
    return torch.cat([luma_T1HW, luma_T1HW.flip(2), luma_T1HW.flip(3)], dim=1)


def by_torchvision(board: Board) -> v2.Compose:
    """The board's augmentation of one clip (T, 3, H, W) in torchvision's own transforms, with its own draws."""
    frames, strength = board.frames, board.augment
    jitter = v2.ColorJitter(strength.brightness, strength.contrast, strength.saturation, strength.hue)
    return v2.Compose(
        [
            v2.RandomCrop(frames.crop),
            v2.RandomHorizontalFlip(strength.flip),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomApply([jitter], strength.jitter),
            v2.RandomGrayscale(strength.grey),
            v2.RandomApply([v2.GaussianBlur(strength.blur_kernel, list(strength.blur_sigma))], strength.blur),
            v2.Normalize(list(frames.mean), list(frames.std)),
        ]
    )


def test_the_ring_gives_batches_at_least_3_times_as_fast_as_two_worker_processes(
    benchmark: BenchmarkFixture, films: Path
) -> None:
    by_workers, by_ring = sides(store_of(films, "yuv420p"), batches=64)
    assert compare(benchmark, slow=by_workers, fast=by_ring).median >= 3


@pytest.mark.parametrize(("theirs", "gate"), [(ByColourWindow, 1.2), (ByWindow, 1.0)], ids=["colour", "same-bytes"])
def test_the_ring_gives_batches_of_jpegs_faster_than_two_worker_processes(
    benchmark: BenchmarkFixture, films: Path, theirs: type[ByWindow], gate: float
) -> None:
    """Against colour JPEGs, as the field keeps frames, and against the very bytes of our store.

    With the same bytes decoding is nine tenths of both sides, so little is left to win.
    """
    pytest.importorskip("simplejpeg", reason="a store of JPEGs needs the extra `jpeg`")
    by_workers, by_ring = sides(store_of(films, "jpeg95"), 32, theirs)
    assert compare(benchmark, slow=by_workers, fast=by_ring).median >= gate


def test_batched_augmentation_against_torchvisions_clip_by_clip(benchmark: BenchmarkFixture, films: Path) -> None:
    """Reported without a gate: on a CPU both do the same arithmetic. The batch is for CUDA, where launches count."""
    store = store_of(films, "yuv420p")
    videos, (window, *_) = windows(store, 1)
    ring = Ring(store, BATCH, LENGTH, CPU)
    raw_NTF = next(frames for _, frames in ring.read(videos, iter([window]))).clone()
    rgb_NTCHW = [as_rgb(clip) for clip in raw_NTF]
    change = by_torchvision(BOARD)

    def clip_by_clip() -> Tensor:
        clips = torch.stack([change(clip) for clip in rgb_NTCHW])
        return clips.roll(1, dims=1) - clips

    epochs = count()  # other draws each time, as torchvision's are

    def batched() -> Tensor:
        drawn = augment.draw_parameters(BOARD, videos.keys[window.index_B], 1, 0, next(epochs))
        return augment.to_clips(BOARD.frames, raw_NTF, drawn, BOARD.augment.blur_kernel, None)

    compare(benchmark, slow=clip_by_clip, fast=batched, rounds=15)
