"""The embedded videos: drawn once, the same everywhere, and told apart by motion and by nothing else."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdbench.api import DataError, PluginError
from kdbench_plugins.datasets.motion_shapes import DRAWING, WORLDS, MotionShapes, draw, kdbench_datasets

CLASSES = 8
Material = list[tuple[NDArray[np.uint8], int]]


def small(root: Path, world: int = 1, train: int = 2, test: int = 1) -> MotionShapes:
    options = MotionShapes.Options(world=world, train_per_class=train, test_per_class=test)
    return MotionShapes(root, options)


def decoded(path: Path) -> NDArray[np.uint8]:
    """Frames (T, 24, 32, 3): half the size of the files, as small as a board would ever look at them."""
    with av.open(str(path)) as container:
        images = [frame.reformat(32, 24, "rgb24").to_ndarray() for frame in container.decode(video=0)]
    return np.stack(images)


def provide(dataset: MotionShapes) -> None:
    dataset.provide(lambda line: None)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Material, Material]:
    """Training and test videos of world 1, decoded from their files, with labels."""
    dataset = small(tmp_path_factory.mktemp("motion_shapes"), train=16, test=10)
    provide(dataset)
    videos = {video.id: video for video in dataset.videos}
    split = dataset.split(1)
    train, test = (
        [(decoded(dataset.root / videos[i].paths[0]), videos[i].label) for i in ids]
        for ids in (split.train, split.test)
    )
    return train, test


def fitted_accuracy(net: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], epochs: int) -> float:
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(train[0])).split(64):
            loss = nn.functional.cross_entropy(net(train[0][batch]), train[1][batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    with torch.no_grad():
        return float((net(test[0]).argmax(1) == test[1]).float().mean())


def single_frames(material: Material) -> tuple[Tensor, Tensor]:
    """Six frames of each video (N, 3, 24, 32), and their labels."""
    images = np.stack([video[t] for video, _ in material for t in np.linspace(0, len(video) - 1, 6).astype(int)])
    labels = np.repeat([label for _, label in material], 6)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5, torch.from_numpy(labels)


def motion_statistics(material: Material) -> tuple[Tensor, Tensor]:
    """Of ten successive frames from anywhere in each video: how they differ over time and along both axes."""
    grey = [video.astype(np.float64).mean(3) for video, _ in material]
    table = np.stack([_statistics(video[start : start + 10]) for video in grey for start in (0, 15, 30)])
    labels = np.repeat([label for _, label in material], 3)
    return torch.from_numpy((table - table.mean(0)) / table.std(0)).float(), torch.from_numpy(labels)


def _statistics(clip: NDArray[np.float64]) -> NDArray[np.float64]:
    change = np.diff(clip, axis=0)
    down, right = np.gradient(clip[1:], axis=(1, 2))
    size = np.abs(change).mean()
    lags = [np.log(np.abs(clip[lag:] - clip[:-lag]).mean() / size) for lag in range(2, 8)]
    axes = [np.abs(change * right).mean(), np.abs(change * down).mean(), change.mean((1, 2)).std()]
    profiles = [np.abs(change.mean(1)).mean(), np.abs(change.mean(2)).mean()]
    return np.array([*lags, *[value / size for value in axes + profiles]])


def test_one_frame_does_not_tell_the_class(material: tuple[Material, Material]) -> None:
    # Chance is 0.125; with 80 independent test videos its deviation is 0.037, so 0.25 lies three of them away.
    # A network that found any trace (edges, sizes, coding noise) in 768 frames would soon be beyond it.
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 6 * 8, CLASSES),
    )
    train, test = (single_frames(part) for part in material)
    assert fitted_accuracy(net, train, test, epochs=6) < 0.25


def test_ten_successive_frames_tell_the_class(material: tuple[Material, Material]) -> None:
    torch.manual_seed(0)
    train, test = (motion_statistics(part) for part in material)
    assert fitted_accuracy(nn.Linear(train[0].shape[1], CLASSES), train, test, epochs=60) > 5 / CLASSES


def test_each_video_has_64_to_88_frames_at_twenty_five_a_second(tmp_path: Path) -> None:
    dataset = small(tmp_path)
    provide(dataset)
    for video in dataset.videos:
        with av.open(str(tmp_path / video.paths[0])) as container:
            stream = container.streams.video[0]
            assert 64 <= sum(1 for _ in container.decode(stream)) <= 88
            assert (stream.average_rate, stream.width, stream.height) == (25, 64, 48)


def test_a_file_holds_what_was_drawn(tmp_path: Path) -> None:
    provide(small(tmp_path))
    with av.open(str(next(tmp_path.rglob("v_Orbit_g08_c01.avi")))) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
        read = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)
    # Colour is stored at half the resolution, so edges of coloured shapes differ by a few of 255 steps.
    assert np.abs(read - draw(1, "Orbit", 8, 1)).mean() < 4


@pytest.mark.parametrize(("world", "name"), [(world, name) for world, names in WORLDS.items() for name in names])
def test_a_name_is_always_drawn_the_same(world: int, name: str) -> None:
    first, second = draw(world, name, 3, 2), draw(world, name, 3, 2)
    assert first.tobytes() == second.tobytes()


def test_the_drawing_is_pinned() -> None:
    frames = draw(1, "SlideX", 8, 1)
    digest = hashlib.sha256(frames.tobytes()).hexdigest()
    assert frames.shape == (77, 48, 64, 3)
    assert digest == "d550184f61e33bf4f3203b398ad7832f6d81cf2d7fba66de9b298b36ffcecbd7"


def test_videos_of_an_older_drawing_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    dataset = small(tmp_path)
    assert all(f"drawing{DRAWING}" in video.paths[0] for video in dataset.videos)
    assert str(DRAWING) in dataset.identity()


def test_the_background_stands_still() -> None:
    frames = draw(1, "SlideX", 8, 1).astype(int)
    assert (np.ptp(frames, axis=0).max(-1) == 0).mean() > 0.3


def test_every_class_moves_between_any_two_frames_or_soon_after() -> None:
    for world, names in WORLDS.items():
        for name in names:
            frames = draw(world, name, 8, 1).astype(int)
            moved = np.abs(np.diff(frames, axis=0)).max((1, 2, 3)) > 40
            assert moved.mean() > 0.4, name


def test_a_group_shares_its_background_over_all_classes() -> None:
    slide, spin = draw(1, "SlideX", 8, 1), draw(1, "Spin", 8, 1)
    assert (np.median(slide, 0) == np.median(spin, 0)).mean() > 0.3


def test_providing_again_writes_nothing(tmp_path: Path) -> None:
    dataset = small(tmp_path)
    provide(dataset)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.avi")}
    said: list[str] = []
    dataset.provide(said.append)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.avi")} == before
    assert said == []


def test_a_missing_video_is_drawn_again_with_the_same_bytes(tmp_path: Path) -> None:
    dataset = small(tmp_path)
    provide(dataset)
    path = tmp_path / dataset.videos[0].paths[0]
    before = path.read_bytes()
    path.unlink()
    provide(dataset)
    assert path.read_bytes() == before


def test_two_writers_at_once_leave_whole_files_and_nothing_else(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(provide, [small(tmp_path), small(tmp_path)]))
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {video.paths[0] for video in small(tmp_path).videos}
    assert all(len(decoded(tmp_path / path)) >= 40 for path in left)


def test_more_videos_per_class_keep_the_earlier_ones() -> None:
    few, many = small(Path("x")), small(Path("x"), train=40, test=20)
    assert set(few.videos) < set(many.videos)


def test_groups_one_to_seven_are_tested_on_and_the_others_trained_on() -> None:
    dataset = MotionShapes(Path("x"))
    groups = {video.id: video.group for video in dataset.videos}
    split = dataset.split(1)
    assert {groups[i] for i in split.test} == {f"g{n:02d}" for n in range(1, 8)}
    assert {groups[i] for i in split.train} == {f"g{n:02d}" for n in range(8, 26)}
    assert (len(split.train), len(split.test)) == (400, 200)


def test_the_worlds_share_no_class() -> None:
    assert not set(small(Path("x"), world=1).classes) & set(small(Path("x"), world=2).classes)


def test_videos_come_in_the_order_of_their_ids() -> None:
    for world in WORLDS:
        ids = [video.id for video in MotionShapes(Path("x"), MotionShapes.Options(world=world)).videos]
        assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (MotionShapes.Options(world=3), "worlds 1 and 2"),
        (MotionShapes.Options(train_per_class=0), "from 1 to 1782"),
        (MotionShapes.Options(test_per_class=694), "from 1 to 693"),
    ],
)
def test_an_option_out_of_range_is_refused(options: MotionShapes.Options, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        MotionShapes(Path("x"), options)


def test_there_is_no_second_split() -> None:
    with pytest.raises(DataError, match="no split 2"):
        small(Path("x")).split(2)


def test_the_hook_offers_the_data_set() -> None:
    assert kdbench_datasets() == [MotionShapes]
