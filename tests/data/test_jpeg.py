from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from kdbench.data import jpeg
from kdbench.data.decode import Geometry
from kdbench.errors import DataError

GEOMETRIES = [Geometry(128, 171), Geometry(31, 33), Geometry(1, 8), Geometry(2, 1)]


def smooth(geometry: Geometry) -> NDArray[np.uint8]:
    """A frame whose planes are waves, each another one."""
    sizes = [(geometry.height, geometry.width), *[(geometry.chroma_height, geometry.chroma_width)] * 2]
    planes = [
        128 + 60 * np.sin((at + 1) * np.add.outer(np.arange(rows) / 19, np.arange(columns) / 23))
        for at, (rows, columns) in enumerate(sizes)
    ]
    return np.concatenate([plane.astype(np.uint8).ravel() for plane in planes])


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_frame_comes_back_nearly_as_it_was(geometry: Geometry) -> None:
    frame, back = smooth(geometry), np.zeros(geometry.frame_bytes, np.uint8)
    jpeg.decode(jpeg.encode(frame, geometry), geometry, back)
    assert abs(back.astype(int) - frame).max() <= 6


@pytest.mark.parametrize("level", [0, 16, 128, 235, 255])
def test_no_plane_is_converted_or_clipped(level: int) -> None:
    geometry = Geometry(32, 48)
    frame, back = np.full(geometry.frame_bytes, level, np.uint8), np.zeros(geometry.frame_bytes, np.uint8)
    frame[geometry.height * geometry.width :] = 255 - level
    jpeg.decode(jpeg.encode(frame, geometry), geometry, back)
    assert (back == frame).all()


def test_the_decoded_pixels_are_the_same_everywhere() -> None:
    geometry = Geometry(8, 16)
    frame, back = np.arange(geometry.frame_bytes).astype(np.uint8), np.zeros(geometry.frame_bytes, np.uint8)
    parts = jpeg.encode(frame, geometry)
    jpeg.decode(parts, geometry, back)
    assert back[:8].tolist() == [0, 0, 1, 2, 3, 5, 6, 6]
    assert [len(part) for part in parts] == [361, 342]


@pytest.mark.parametrize("content", [b"", b"no picture", bytes(400)])
def test_bytes_that_are_no_jpeg_are_an_error(content: bytes) -> None:
    geometry = Geometry(32, 48)
    with pytest.raises(ValueError, match=r"."):
        jpeg.decode((content, content), geometry, np.zeros(geometry.frame_bytes, np.uint8))


def test_a_jpeg_of_another_size_is_an_error() -> None:
    small, large = Geometry(16, 24), Geometry(32, 48)
    with pytest.raises(ValueError, match="another size"):
        jpeg.decode(jpeg.encode(smooth(small), small), large, np.zeros(large.frame_bytes, np.uint8))
    with pytest.raises(ValueError, match=r"."):
        jpeg.decode(jpeg.encode(smooth(large), large), small, np.zeros(small.frame_bytes, np.uint8))


def test_a_missing_library_is_one_line_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(DataError, match=r"'jpeg95': needs simplejpeg; run `pip install 'kdbench\[jpeg\]'`"):
        jpeg.library()
