from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from kdbench.data.decode import Geometry, fingerprint, frames_of
from kdbench.data.packing import Decoded, Packer
from tests.data.films import counted, packed

RAW, JPEG = Geometry(36, 51), Geometry(36, 51, codec="jpeg95")


class FullDisk(BytesIO):
    """Takes some bytes and then no more."""

    def write(self, content: object) -> int:
        if self.tell() > 20_000:
            raise OSError(28, "No space left on device")
        return super().write(content)  # type: ignore[arg-type]


@pytest.fixture(params=[True, False], ids=["beside", "alone"])
def beside(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("frames", [2, 3, 4, 5, 8, 31, 96, 97])
def test_what_is_packed_are_the_frames_and_their_digest(tmp_path: Path, frames: int, beside: bool) -> None:
    path, sink = counted(tmp_path / "film.avi", frames), BytesIO()
    told = Packer(RAW, beside=beside).pack(path, sink)
    expected = np.concatenate(list(frames_of(path, RAW))).tobytes()
    assert sink.getvalue() == expected
    assert told == Decoded(frames, len(expected), *fingerprint(path), hashlib.sha256(expected).hexdigest())


@pytest.mark.parametrize("geometry", [RAW, JPEG], ids=["yuv420p", "jpeg95"])
def test_one_thread_and_two_pack_the_same_bytes(tmp_path: Path, geometry: Geometry) -> None:
    path, sinks = packed(tmp_path / "film.avi", 61), (BytesIO(), BytesIO())
    told = [Packer(geometry, beside=beside).pack(path, sink) for beside, sink in zip((True, False), sinks, strict=True)]
    assert told[0] == told[1]
    assert sinks[0].getvalue() == sinks[1].getvalue()


def test_a_packer_packs_one_video_after_another_whatever_became_of_the_last(tmp_path: Path, beside: bool) -> None:
    good, bad = counted(tmp_path / "good.avi", 40), counted(tmp_path / "bad.avi", 40)
    bad.write_bytes(bad.read_bytes()[:5000])
    packer, first, second = Packer(RAW, beside=beside), BytesIO(), BytesIO()
    told = packer.pack(good, first)
    assert (packer.pack(bad, BytesIO()).error or "").startswith("is truncated")
    assert packer.pack(good, second) == told
    assert first.getvalue() == second.getvalue()


def test_a_sink_that_is_full_is_no_fault_of_the_video(tmp_path: Path, beside: bool) -> None:
    packer, path = Packer(RAW, beside=beside), counted(tmp_path / "film.avi", 200)
    with pytest.raises(OSError, match="No space left"):
        packer.pack(path, FullDisk())
    assert packer.pack(path, BytesIO()).frames == 200
