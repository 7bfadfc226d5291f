"""My data set: a bright square that stands still, blinks, or moves sideways or up and down, drawn by this file.

Write here where the videos come from, who may use them, and how they are split. For videos that lie in a folder or
come from elsewhere leave `embedded` and `provide` out, and say in `how_to_get` how to get them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from kdbench.api import DataError, Split, Video, VideoDataset, hookimpl

CLASSES = ("Blink", "Sideways", "Still", "UpAndDown")
HEIGHT, WIDTH, FRAMES = 48, 64, 60
SIDE = 12  # of the square, in pixels


class MyDataset(VideoDataset):
    """A bright square in four kinds of motion."""

    name = "my-dataset"  # what a board's [data] section calls it
    source = "own work"
    how_to_get = "nothing to get: the videos are drawn when they are first needed"
    embedded = True
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`train_per_class` and `test_per_class` are numbers of videos."""

        train_per_class: int = 8
        test_per_class: int = 4

    @property
    def classes(self) -> tuple[str, ...]:
        """The four motions; a label is a position here."""
        return CLASSES

    @property
    def videos(self) -> tuple[Video, ...]:
        """All videos, in the order of their ids. Each is a group of its own: no two share a recording."""
        return tuple(
            Video(video_id := _id(name, number), label, video_id, (f"{video_id}.avi",))
            for label, name in enumerate(CLASSES)
            for number in range(self.options.test_per_class + self.options.train_per_class)
        )

    def split(self, number: int) -> Split:
        """The first videos of each class are tested on."""
        if number != 1:
            raise DataError(self.root, f"there is no split {number}; there is one, number 1")
        held_out = self.options.test_per_class
        return Split(
            train=tuple(
                _id(name, at) for name in CLASSES for at in range(held_out, held_out + self.options.train_per_class)
            ),
            test=tuple(_id(name, at) for name in CLASSES for at in range(held_out)),
        )

    def provide(self, say: Callable[[str], None]) -> None:
        """Draw the videos that are missing."""
        for video in self.videos:
            path = self.root / video.paths[0]
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(_draw(video), path)


def _id(name: str, number: int) -> str:
    return f"{name}/{number:04d}"


def _draw(video: Video) -> NDArray[np.uint8]:
    """Frames (T, H, W, 3). What is drawn depends on the video's id alone, so that all machines draw the same."""
    draws = np.random.Generator(np.random.Philox([*video.id.encode()]))
    left, top = draws.integers(0, WIDTH), draws.integers(0, HEIGHT)
    start, period = draws.uniform(0, 2 * np.pi), draws.uniform(8, 16)
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    for at, frame in enumerate(frames):
        swing = np.sin(start + 2 * np.pi * at / period)
        right = int(8 * swing) if CLASSES[video.label] == "Sideways" else 0
        down = int(8 * swing) if CLASSES[video.label] == "UpAndDown" else 0
        if CLASSES[video.label] != "Blink" or swing > 0:
            rows = (top + down + np.arange(SIDE)) % HEIGHT
            columns = (left + right + np.arange(SIDE)) % WIDTH
            frame[np.ix_(rows, columns)] = 230
    return frames


def _write(frames_THW3: NDArray[np.uint8], path: Path) -> None:
    """An AVI file, renamed when it is whole."""
    part = path.with_suffix(".part")
    with av.open(str(part), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in frames_THW3:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    part.replace(path)


@hookimpl
def kdbench_datasets() -> list[type[VideoDataset]]:
    return [MyDataset]
