"""Made-up videos whose classes differ by motion alone, drawn by seeded code: no download, and a CPU is enough.

What one frame shows has the same distribution in every class. The picture is a torus (what leaves on the
right comes in on the left), so adding a uniformly drawn place to any path leaves the place uniform in every
frame; the same holds for the angle, and for the swelling of a shape, which is a point on a cycle that only
one class moves along. Two equal shapes stand half a picture apart, so that one of them is always in view of
a crop. Directions are drawn by coin, so a mirrored video belongs to the same class.

The pixels depend on nothing but the names of the world, class, group and clip. The bytes of the AVI files may
differ between versions of FFmpeg.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from kdbench.api import DataError, PluginError, Split, Video, VideoDataset, hookimpl

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 64, 48  # pixels
RATE = 25  # frames per second
SHORTEST, LONGEST = 64, 88  # frames
TEST_GROUPS, ALL_GROUPS = 7, 25  # as in UCF101: g01-g07 are tested on, g08-g25 are trained on
MOST_CLIPS = 99  # of a group, because a clip's number has two digits
DRAWING = 2  # raised whenever the same name would be drawn differently
TURN = 2 * np.pi


# --- motions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clock:
    """What a motion is computed from: the phase (T,) in radians, a sign, and uniform draws (2, T) in [-1, 1)."""

    phase_T: Floats
    sign: float
    noise_2T: Floats


@dataclass(frozen=True)
class Path2D:
    """Where a shape goes, each (T,): right and down in amplitudes, its turn and its swelling in radians."""

    x: Floats | float = 0.0
    y: Floats | float = 0.0
    turn: Floats | float = 0.0
    swelling: Floats | float = 0.0


def _slide_x(clock: Clock) -> Path2D:
    return Path2D(x=np.sin(clock.phase_T))


def _slide_y(clock: Clock) -> Path2D:
    return Path2D(y=np.sin(clock.phase_T))


def _orbit(clock: Clock) -> Path2D:
    return Path2D(x=np.cos(clock.phase_T), y=clock.sign * np.sin(clock.phase_T))


def _spin(clock: Clock) -> Path2D:
    return Path2D(turn=clock.sign * clock.phase_T)


def _pulse(clock: Clock) -> Path2D:
    return Path2D(swelling=clock.phase_T)


def _shake(clock: Clock) -> Path2D:
    return Path2D(x=0.6 * clock.noise_2T[0], y=0.6 * clock.noise_2T[1])


def _hop(clock: Clock) -> Path2D:
    share = clock.phase_T / TURN % 1.0
    return Path2D(x=clock.sign * 0.35 * clock.phase_T, y=-7.0 * share * (1.0 - share))


def _figure_eight(clock: Clock) -> Path2D:
    return Path2D(x=np.sin(clock.phase_T), y=clock.sign * np.sin(2 * clock.phase_T))


def _spiral(clock: Clock) -> Path2D:
    radius = 0.65 + 0.45 * np.sin(clock.phase_T / 3)
    return Path2D(x=radius * np.cos(clock.phase_T), y=clock.sign * radius * np.sin(clock.phase_T))


def _diagonal(clock: Clock) -> Path2D:
    return Path2D(x=np.sin(clock.phase_T), y=clock.sign * np.sin(clock.phase_T))


def _swing(clock: Clock) -> Path2D:
    arm = 1.1 * np.sin(clock.phase_T)
    return Path2D(x=1.4 * np.sin(arm), y=1.4 * np.cos(arm), turn=-arm)


def _square_path(clock: Clock) -> Path2D:
    right, down = np.cos(clock.phase_T), np.sin(clock.phase_T)
    reach = np.maximum(np.abs(right), np.abs(down))
    return Path2D(x=right / reach, y=clock.sign * down / reach)


def _stop_and_go(clock: Clock) -> Path2D:
    whole, share = np.divmod(clock.phase_T / TURN, 1.0)
    return Path2D(x=clock.sign * 2.5 * (whole + np.minimum(2.0 * share, 1.0)))


def _wobble(clock: Clock) -> Path2D:
    return Path2D(turn=0.9 * np.sin(clock.phase_T))


WORLDS: dict[int, dict[str, Callable[[Clock], Path2D]]] = {
    1: {
        "FigureEight": _figure_eight,
        "Hop": _hop,
        "Orbit": _orbit,
        "Pulse": _pulse,
        "Shake": _shake,
        "SlideX": _slide_x,
        "SlideY": _slide_y,
        "Spin": _spin,
    },
    2: {
        "Diagonal": _diagonal,
        "Spiral": _spiral,
        "SquarePath": _square_path,
        "StopAndGo": _stop_and_go,
        "Swing": _swing,
        "Wobble": _wobble,
    },
}


# --- drawing -----------------------------------------------------------------------------------------------


class Draws:
    """Uniform draws for one name. Philox is a counter, so the numbers are the same on every machine."""

    def __init__(self, *names: object) -> None:
        digest = hashlib.sha256("/".join(str(name) for name in names).encode()).digest()
        self._generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))

    def between(self, low: float, high: float, *shape: int) -> Floats:
        """Uniform draws from [low, high), of the given shape."""
        return low + (high - low) * self._generator.random(shape)

    def one(self, low: float, high: float) -> float:
        """One uniform draw from [low, high)."""
        return float(self.between(low, high))

    def choice(self, count: int) -> int:
        """One of 0, ..., count - 1."""
        return int(self.one(0, count))


def _box(u: Floats, v: Floats, half_u: float, half_v: float) -> Floats:
    return np.maximum(np.abs(u) - half_u, np.abs(v) - half_v)


def _disc(u: Floats, v: Floats) -> Floats:
    return np.asarray(np.hypot(u, v) - 1.0)


def _block(u: Floats, v: Floats) -> Floats:
    return _box(u, v, 0.85, 0.85)


def _triangle(u: Floats, v: Floats) -> Floats:
    slanted = 0.5 * u + np.sqrt(0.75) * np.abs(v)
    return np.asarray(np.maximum(slanted, -u) - 0.6)


def _cross(u: Floats, v: Floats) -> Floats:
    return np.minimum(_box(u, v, 1.1, 0.4), _box(u, v, 0.4, 1.1))


def _bar(u: Floats, v: Floats) -> Floats:
    return _box(u, v, 1.2, 0.5)


SHAPES: tuple[Callable[[Floats, Floats], Floats], ...] = (_disc, _block, _triangle, _cross, _bar)


@dataclass(frozen=True)
class Scene:
    """What the clips of a group share: the background (H, W, 3) and a palette (3, 3), RGB from 0 to 1."""

    background_HW3: Floats
    palette_33: Floats


def _scene(world: int, group: int) -> Scene:
    """Blobs of low contrast on a middle grey, and three colours that are all much brighter or much darker."""
    draws = Draws("motion_shapes", DRAWING, "scene", world, group)
    down, right = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    background = np.empty((HEIGHT, WIDTH, 3))
    background[:] = draws.between(0.42, 0.58, 3)
    for _ in range(6):
        x, y, spread = draws.one(0, WIDTH), draws.one(0, HEIGHT), draws.one(4, 14)
        blob = np.exp(-((right - x) ** 2 + (down - y) ** 2) / (2 * spread**2))
        background += blob[:, :, None] * draws.between(-0.12, 0.12, 3)
    tints = draws.between(0.0, 0.25, 3, 3)
    bright = draws.between(0.0, 1.0, 3, 1) < 0.5
    return Scene(np.clip(background, 0.0, 1.0), np.where(bright, 1.0 - tints, tints))


def draw(world: int, name: str, group: int, clip: int) -> NDArray[np.uint8]:
    """The frames (T, H, W, 3) of one video, RGB. Every random choice follows from the four arguments."""
    scene = _scene(world, group)
    draws = Draws("motion_shapes", DRAWING, "video", world, name, group, clip)
    frames = SHORTEST + draws.choice(LONGEST - SHORTEST + 1)
    path = _path(WORLDS[world][name], frames, draws)
    shape, colour = SHAPES[draws.choice(len(SHAPES))], scene.palette_33[draws.choice(3)]
    x_T = draws.one(0, WIDTH) + path.x
    y_T = draws.one(0, HEIGHT) + path.y
    video = np.broadcast_to(scene.background_HW3, (frames, HEIGHT, WIDTH, 3)).copy()
    for half in (0.0, 0.5):
        # Size and angle are drawn for each shape; the path is shared, so their distance is the same in all classes.
        angle_T = draws.one(0, TURN) + path.turn
        radius_T = draws.one(5.0, 7.0) * np.exp(0.4 * np.sin(draws.one(0, TURN) + path.swelling))
        local = _local(x_T + half * WIDTH, y_T + half * HEIGHT, np.broadcast_to(angle_T, frames), frames)
        _paint(video, local, np.broadcast_to(radius_T, frames)[:, None, None], shape, colour)
    return np.asarray(np.floor(video * 255.0 + 0.5), dtype=np.uint8)


def _path(motion: Callable[[Clock], Path2D], frames: int, draws: Draws) -> Path2D:
    """A motion with drawn period (8 to 16 frames), phase, direction and amplitude (4 to 7 pixels), in pixels."""
    period, start, amplitude = draws.one(8, 16), draws.one(0, TURN), draws.one(4, 7)
    sign = 1.0 if draws.one(0, 1) < 0.5 else -1.0
    noise = draws.between(-1, 1, 2, LONGEST)[:, :frames]
    path = motion(Clock(start + TURN / period * np.arange(frames, dtype=np.float64), sign, noise))
    return Path2D(amplitude * path.x, amplitude * path.y, path.turn, path.swelling)


def _local(x_T: Floats | float, y_T: Floats | float, angle_T: Floats, frames: int) -> tuple[Floats, Floats]:
    """Every pixel's place as the shape sees it, each (T, H, W) in pixels, the picture being a torus."""
    right = (np.arange(WIDTH) - np.broadcast_to(x_T, frames)[:, None] + WIDTH / 2) % WIDTH - WIDTH / 2
    down = (np.arange(HEIGHT) - np.broadcast_to(y_T, frames)[:, None] + HEIGHT / 2) % HEIGHT - HEIGHT / 2
    cos, sin = np.cos(angle_T)[:, None], np.sin(angle_T)[:, None]
    u = (cos * right)[:, None, :] + (sin * down)[:, :, None]
    v = (cos * down)[:, :, None] - (sin * right)[:, None, :]
    return u, v


def _paint(
    video: Floats,
    local: tuple[Floats, Floats],
    radius: Floats,
    shape: Callable[[Floats, Floats], Floats],
    colour: Floats,
) -> None:
    """Lay a shape with soft edges over the frames (T, H, W, 3), and on it an inverse mark that shows its turning."""
    near = np.hypot(*local) < 1.5 * radius + 1.0  # no shape reaches farther than 1.5 radii
    scale = np.broadcast_to(radius, near.shape)[near]
    u, v = local[0][near] / scale, local[1][near] / scale
    body = np.clip(0.5 - shape(u, v) * scale, 0.0, 1.0)[:, None]
    mark = np.clip(0.5 - (np.hypot(u - 0.55, v) - 0.32) * scale, 0.0, 1.0)[:, None]
    pixels = video[near]
    pixels += body * (colour - pixels)
    pixels += np.minimum(body, mark) * ((1.0 - colour) - pixels)
    video[near] = pixels


# --- files -------------------------------------------------------------------------------------------------


def _encode(frames_THW3: NDArray[np.uint8], path: Path) -> None:
    """Write an AVI file (MPEG-4, finest quantiser). A part file is renamed, so that two writers do no harm."""
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with av.open(str(part), "w", format="avi", options={"fflags": "bitexact"}) as container:
            stream = container.add_stream("mpeg4", rate=RATE, options={"qmin": "1", "qmax": "2", "threads": "1"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.bit_rate = 8_000_000
            for image in frames_THW3:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class MotionShapes(VideoDataset):
    """Two shapes on a still background. Eight motions in world 1; six others in world 2, for transfer."""

    name = "motion_shapes"
    source = "drawn by this plugin"
    embedded = True
    how_to_get = "nothing to get: the videos are drawn when they are first needed"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`world` is 1 or 2; `train_per_class` and `test_per_class` are the videos of each class on either side."""

        world: int = 1
        train_per_class: int = 50
        test_per_class: int = 25

    options: Options

    def __init__(self, root: Path, options: Options | None = None) -> None:
        super().__init__(root, options)
        if self.options.world not in WORLDS:
            raise PluginError(f"motion_shapes: world is {self.options.world}; there are worlds 1 and 2")
        limits = {
            "train_per_class": (ALL_GROUPS - TEST_GROUPS) * MOST_CLIPS,
            "test_per_class": TEST_GROUPS * MOST_CLIPS,
        }
        for option, limit in limits.items():
            count = getattr(self.options, option)
            if not 1 <= count <= limit:
                raise PluginError(f"motion_shapes: {option} is {count}; it must be from 1 to {limit}")

    @property
    def classes(self) -> tuple[str, ...]:
        """The motions of the world, by name."""
        return tuple(WORLDS[self.options.world])

    @cached_property
    def videos(self) -> tuple[Video, ...]:
        """All videos in the order of their ids; the group counts for all classes, which share its background."""
        return tuple(
            Video(_id(name, group, clip), label, f"g{group:02d}", (_file(_id(name, group, clip)),))
            for label, name in enumerate(self.classes)
            for group, clip in sorted([*self._places(test=True), *self._places(test=False)])
        )

    def split(self, number: int) -> Split:
        """The one split: groups 1-7 are tested on, 8-25 trained on. Raises DataError for any other number."""
        if number != 1:
            raise DataError("motion_shapes", f"there is no split {number}; the only one is 1")
        return Split(self._ids(test=False), self._ids(test=True))

    def identity(self) -> str:
        """The version of the drawing."""
        return f"drawing {DRAWING}"

    def provide(self, say: Callable[[str], None]) -> None:
        """Draw the videos that are missing under `root`; what is there is left alone."""
        missing = [
            (name, group, clip, path)
            for name in self.classes
            for group, clip in [*self._places(test=True), *self._places(test=False)]
            if not (path := self.root / _file(_id(name, group, clip))).is_file()
        ]
        if not missing:
            return
        say(f"motion_shapes: drawing {len(missing)} videos in {self.root}")
        for name, group, clip, path in missing:
            path.parent.mkdir(parents=True, exist_ok=True)
            _encode(draw(self.options.world, name, group, clip), path)

    def _ids(self, *, test: bool) -> tuple[str, ...]:
        places = sorted(self._places(test=test))
        return tuple(_id(name, group, clip) for name in self.classes for group, clip in places)

    def _places(self, *, test: bool) -> Iterator[tuple[int, int]]:
        """(group, clip) of each video of a class, both from 1; the videos are dealt to the groups in turn."""
        first, groups = (1, TEST_GROUPS) if test else (TEST_GROUPS + 1, ALL_GROUPS - TEST_GROUPS)
        for index in range(self.options.test_per_class if test else self.options.train_per_class):
            yield first + index % groups, index // groups + 1


def _id(name: str, group: int, clip: int) -> str:
    return f"{name}/v_{name}_g{group:02d}_c{clip:02d}"


def _file(video_id: str) -> str:
    """Where a video lies under the root: videos of an older drawing are not taken for those of this one."""
    return f"drawing{DRAWING}/{video_id}.avi"


@hookimpl
def kdbench_datasets() -> list[type[VideoDataset]]:
    """The data set of this file."""
    return [MotionShapes]
