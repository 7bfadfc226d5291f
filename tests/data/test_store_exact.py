"""Whether a frame read from a store by its number is the frame of that number, in the files where seeking fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from kdbench.data.decode import Geometry
from kdbench.data.prepare import prepare
from kdbench.data.store import FrameStore
from tests.data.films import counted, number_of, packed
from tests.data.shelf import film, shelf

XVID = "libxvid" in av.codecs_available
GEOMETRIES = [Geometry(128, 171), Geometry(128, 171, codec="jpeg95")]

# What UCF101 and HMDB51 hold: MPEG-4 in AVI with and without B-frames, packed or not, and groups of any length.
FILMS: dict[str, tuple[int, Callable[[Path], Path]]] = {
    "no B-frames": (250, lambda path: counted(path, 250, gop_size=12)),
    "B-frames": (250, lambda path: counted(path, 250, gop_size=12, max_b_frames=2)),
    "packed B-frames": (253, lambda path: packed(path, 253, group=12)),
    "packed B-frames in one long group": (255, lambda path: packed(path, 255, group=300)),
    "packed pairs of B-frames": (253, lambda path: packed(path, 253, between=2, group=25)),
    "packed B-frames and spare placeholders": (201, lambda path: packed(path, 201, spare_placeholders=3)),
    "Xvid's packed B-frames": (250, lambda path: counted(path, 250, codec="libxvid", gop_size=25, max_b_frames=2)),
}


@pytest.fixture(params=FILMS)
def numbered(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, int]:
    """A shelf with one film, and how many frames it has."""
    if "Xvid" in request.param and not XVID:
        pytest.skip("this PyAV's FFmpeg has no libxvid encoder; packed films are assembled by hand instead")
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    frames, draw = FILMS[request.param]
    draw(film(tmp_path, 0))
    return tmp_path, frames


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry.codec)
def test_every_frame_is_read_by_its_number(numbered: tuple[Path, int], geometry: Geometry) -> None:
    root, frames = numbered
    assert prepare(shelf(root), geometry).done == 1
    store = FrameStore.open(shelf(root), geometry)
    assert store.entries["a/0"].frames == frames
    asked = np.random.default_rng(0).permutation(frames)
    out = np.empty((frames, geometry.frame_bytes), np.uint8)
    store.read("a/0", asked, out)
    assert [number_of(frame, geometry) for frame in out] == asked.tolist()


def test_every_window_begins_with_the_frame_of_its_number(numbered: tuple[Path, int]) -> None:
    root, frames = numbered
    prepare(shelf(root), GEOMETRIES[0])
    store = FrameStore.open(shelf(root), GEOMETRIES[0])
    out = np.empty((16, GEOMETRIES[0].frame_bytes), np.uint8)
    for start in range(frames - 15):
        store.read("a/0", np.arange(start, start + 16), out)
        assert [number_of(frame, GEOMETRIES[0]) for frame in out] == list(range(start, start + 16))
