"""What the frame store promises: how much faster it is read than files, and how little it costs to build.

The films are made up after UCF101's measures: 320 x 240, some 185 frames, 0.5 MB, half of them with B-frames, and
10 kB a frame as JPEGs of the stored size.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from kdbench.data.decode import Geometry
from kdbench.data.prepare import prepare
from kdbench.data.store import FrameStore
from tests.benchmarks.ratio import compare
from tests.data import shelf as shelf_module
from tests.data.films import write_film
from tests.data.shelf import film, shelf

FILMS, FRAMES, WINDOW = 8, 185, 16
COPIES = 3  # of each film, so that what a build costs once weighs little
RAW, JPEG = Geometry(128, 171), Geometry(128, 171, codec="jpeg95")


def moving(seed: int, height: int = 240, width: int = 320, frames: int = FRAMES) -> Iterator[NDArray[np.uint8]]:
    """Pictures (height * 3 / 2, width) of a texture that moves under sensor noise, with a bright square across."""
    draws = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(2 * height)[:, None], np.fft.rfftfreq(2 * width)
    spectrum = np.exp(2j * np.pi * draws.random((2 * height, width + 1))) / np.hypot(rows, columns).clip(1e-3) ** 1.4
    texture = np.fft.irfft2(spectrum, (2 * height, 2 * width))
    texture = 118 + 45 * texture / texture.std()
    noise = draws.normal(0, 2, (8, height, width))
    for number in range(frames):
        y, x = int(height / 4 * (1 + np.sin(number / 30))), int(width / 4 * (1 + np.cos(number / 25)))
        picture = np.full((height * 3 // 2, width), 128, np.uint8)
        picture[:height] = (texture[y : y + height, x : x + width] + noise[number % 8]).clip(0, 255)
        picture[number % height : number % height + 40, 100:140] = 200
        picture[height:] = texture[: height // 2, :width].clip(110, 146)
        yield picture


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("films")
    groups = (12, 12, 25, 50, 100, 250)
    for at in range(FILMS):
        settings = {"gop_size": groups[at % len(groups)], "max_b_frames": 2 * (at % 2), "bit_rate": 520_000}
        write_film(film(root, at), moving(at), **settings)
    for at in range(FILMS, COPIES * FILMS):
        shutil.copy(film(root, at % FILMS), film(root, at))
    return [film(root, at) for at in range(COPIES * FILMS)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(shelf_module, "FILMS", COPIES * FILMS)
    return tmp_path / "home"


def prepared(films: Sequence[Path], geometry: Geometry) -> FrameStore:
    dataset = shelf(films[0].parent.parent)
    assert prepare(dataset, geometry).done == len(films)
    return FrameStore.open(dataset, geometry)


def windows(seed: int = 0) -> list[tuple[int, NDArray[np.int64]]]:
    """One window of every film, drawn at random: (number of the film, numbers of the frames)."""
    starts = np.random.default_rng(seed).integers(0, FRAMES - WINDOW, FILMS)
    return [(at, np.arange(start, start + WINDOW)) for at, start in enumerate(starts.tolist())]


def from_store(store: FrameStore) -> Callable[[], None]:
    """What reads the windows from a store."""
    asked, out = windows(), np.empty((WINDOW, store.geometry.frame_bytes), np.uint8)

    def read() -> None:
        for at, frames in asked:
            store.read(f"a/{at}", frames, out)

    return read


def from_whole_files(films: Sequence[Path]) -> Callable[[], None]:
    """What reads the windows as torchvision used to: the whole file to RGB, then a slice of it."""

    def read() -> None:
        for at, numbers in windows():
            with av.open(str(films[at])) as container:
                container.streams.video[0].thread_type = "NONE"
                scaler = VideoReformatter()  # one for all frames, with one thread: its quickest way
                frames = [
                    scaler.reformat(frame, format="rgb24", threads=1).to_ndarray()
                    for frame in container.decode(video=0)
                ]
            np.stack(frames[numbers[0] : numbers[-1] + 1])

    return read


def decode_bare(films: Sequence[Path]) -> None:
    """Decode every frame of every film, and do nothing with them."""
    for path in films:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "NONE"
            for _ in container.decode(video=0):
                pass


def from_torchcodec(films: Sequence[Path]) -> Callable[[], None]:
    """What reads the windows with torchcodec, by seeking; its frames are not always the ones that were asked for."""
    from torchcodec.decoders import VideoDecoder

    def read() -> None:
        for at, frames in windows():
            VideoDecoder(str(films[at]), num_ffmpeg_threads=1).get_frames_at(frames.tolist())

    return read


def from_decord(films: Sequence[Path]) -> Callable[[], None]:
    """What reads the windows with decord, which seeks and scales; its frames are not always whole."""
    from decord import VideoReader

    def read() -> None:
        for at, frames in windows():
            VideoReader(str(films[at]), width=171, height=128, num_threads=1).get_batch(frames).asnumpy()

    return read


def from_opencv(films: Sequence[Path]) -> Callable[[], None]:
    """What reads the windows with OpenCV, by seeking."""
    import cv2

    def read() -> None:
        for at, frames in windows():
            capture = cv2.VideoCapture(str(films[at]), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            capture.set(cv2.CAP_PROP_POS_FRAMES, int(frames[0]))
            for _ in frames:
                cv2.resize(capture.read()[1], (171, 128))
            capture.release()

    return read


# --- reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("geometry", "gate"), [(RAW, 100), (JPEG, 10)], ids=["yuv420p", "jpeg95"])
def test_a_window_is_read_many_times_as_fast_as_a_whole_file(
    benchmark: BenchmarkFixture, films: list[Path], geometry: Geometry, gate: float
) -> None:
    fast = from_store(prepared(films, geometry))
    assert compare(benchmark, slow=from_whole_files(films), fast=fast, calls=8).median >= gate


@pytest.mark.parametrize("peer", [from_torchcodec, from_decord, from_opencv], ids=lambda peer: peer.__name__[5:])
def test_a_window_is_read_20_times_as_fast_as_by_a_library_that_seeks(
    benchmark: BenchmarkFixture, films: list[Path], peer: Callable[[Sequence[Path]], Callable[[], None]]
) -> None:
    try:
        slow = peer(films)
        slow()
    except Exception as error:  # the libraries raise what they like, also for missing libraries of their own
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        pytest.skip(f"NOT COMPARED, {peer.__name__[5:]} does not work here ({reason}); pip install 'kdbench[bench]'")
    assert compare(benchmark, slow=slow, fast=from_store(prepared(films, RAW)), calls=8).median >= 20


# --- building ----------------------------------------------------------------------------------------------


def test_building_a_store_takes_less_than_twice_the_time_of_decoding(
    benchmark: BenchmarkFixture, films: list[Path], home: Path
) -> None:
    """The measure of one process: on two free cores it scales, hashes and writes beside decoding.

    The disk has taken the last store, and forgotten it, before the next part is timed.
    """

    def clear() -> None:
        os.sync()
        shutil.rmtree(home, ignore_errors=True)

    measured = compare(benchmark, slow=lambda: prepared(films, RAW), fast=lambda: decode_bare(films), before=clear)
    assert measured.median <= 1.8


def test_preparing_large_videos_with_several_processes_stays_under_2_gib(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    for at in range(FILMS):
        write_film(film(tmp_path, at), moving(at, 720, 1280, 60), bit_rate=4_000_000)
    benchmark.extra_info["peak_mib"] = peak_mib = benchmark.pedantic(peak_of_preparing, args=(tmp_path, 4), rounds=1)
    assert peak_mib < 2048


def peak_of_preparing(root: Path, workers: int) -> float:
    """Prepare in a process of its own: its peak of memory and its workers' together, as if all fell on one moment."""
    program = (
        "import resource, sys\nfrom pathlib import Path\nfrom kdbench.data.decode import Geometry\n"
        "from kdbench.data.prepare import prepare\nfrom tests.data import shelf\n"
        f"shelf.FILMS, workers = {FILMS}, {workers}\n"
        "assert prepare(shelf.shelf(Path(sys.argv[1])), Geometry(128, 171), workers).done == shelf.FILMS\n"
        # Not RUSAGE_SELF: it remembers the size of the process that this one was forked from.
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "own = next(int(line.split()[1]) for line in lines if line.startswith('VmHWM:'))\n"
        "largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print((own + workers * largest) / 1024)\n"
    )
    command = [sys.executable, "-c", program, str(root)]
    repository = Path(__file__).parents[2]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=repository).stdout)
