from __future__ import annotations

from pathlib import Path

import pytest

from kdbench.data.truncation import ends_early
from tests.data.films import counted


@pytest.fixture(params=["film.avi", "film.mkv"])
def film(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return counted(tmp_path / request.param, 20)


def test_a_whole_file_does_not_end_early(film: Path) -> None:
    assert not ends_early(film)


def test_a_file_that_lost_its_second_half_ends_early(film: Path) -> None:
    content = film.read_bytes()
    start = content.index(b"movi") if film.suffix == ".avi" else 0
    film.write_bytes(content[: (start + len(content)) // 2])
    assert ends_early(film)


def test_an_avi_that_lost_only_its_index_has_all_its_frames(tmp_path: Path) -> None:
    film = counted(tmp_path / "film.avi", 20)
    content = film.read_bytes()
    film.write_bytes(content[: content.index(b"idx1") + 20])
    assert not ends_early(film)


@pytest.mark.parametrize("length", [bytes(4), b"\xff\xff\xff\xff"])
def test_an_avi_whose_recorder_was_stopped_is_not_judged(tmp_path: Path, length: bytes) -> None:
    film = counted(tmp_path / "film.avi", 20)
    content = bytearray(film.read_bytes())
    start = content.index(b"movi") - 4
    content[4:8] = content[start : start + 4] = length
    film.write_bytes(content[: len(content) * 3 // 4])
    assert not ends_early(film)


def test_a_matroska_stream_of_unknown_length_is_not_judged(tmp_path: Path) -> None:
    film = counted(tmp_path / "film.mkv", 20, muxing={"live": "1"})
    film.write_bytes(film.read_bytes()[:-100])
    assert not ends_early(film)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\xff\xff", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\x01", b"x" * 50]
)
def test_scraps_of_a_header_do_not_tell(tmp_path: Path, content: bytes) -> None:
    scrap = tmp_path / "scrap.avi"
    scrap.write_bytes(content)
    assert not ends_early(scrap)


def test_every_list_of_frames_of_a_long_avi_counts(tmp_path: Path) -> None:
    def riff(kind: bytes, frames: bytes, length: int) -> bytes:
        movi = b"LIST" + (4 + length).to_bytes(4, "little") + b"movi" + frames
        return b"RIFF" + (4 + len(movi)).to_bytes(4, "little") + kind + movi

    film = tmp_path / "long.avi"
    film.write_bytes(riff(b"AVI ", bytes(100), 100) + riff(b"AVIX", bytes(100), 100))
    assert not ends_early(film)
    film.write_bytes(riff(b"AVI ", bytes(100), 100) + riff(b"AVIX", bytes(60), 100))
    assert ends_early(film)
