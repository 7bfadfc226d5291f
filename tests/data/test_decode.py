from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kdbench.data.decode import COLOUR, Geometry, check_video, cores, frames_of
from kdbench.errors import DataError
from tests.data.films import barcode, counted, number_of, packed, write_film

GEOMETRY = Geometry(36, 51)


def numbers(path: Path, geometry: Geometry = GEOMETRY) -> list[int]:
    return [number_of(frame, geometry) for frame in frames_of(path, geometry)]


def reason(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        check_video(path, GEOMETRY)
    assert caught.value.place == path
    assert "\n" not in str(caught.value)
    return str(caught.value.reason)


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def noise(path: Path, **settings: Any) -> Path:
    """A film of 60 frames that compress badly, so that most of the file is frames."""
    draws = np.random.default_rng(0)
    return write_film(path, draws.integers(0, 255, (60, 72, 64), np.uint8), **settings)


def planes(frame: NDArray[np.uint8], geometry: Geometry) -> list[NDArray[np.uint8]]:
    luma = geometry.height * geometry.width
    chroma = geometry.chroma_height * geometry.chroma_width
    return [frame[:luma], frame[luma : luma + chroma], frame[luma + chroma :]]


def one_colour(path: Path, y: int, u: int, v: int, pix_fmt: str = "yuv420p", **settings: Any) -> list[float]:
    """The mean Y, U, V that are stored for a film of one colour."""
    chroma_rows = {"yuv420p": 24, "yuvj420p": 24}[pix_fmt]
    picture = np.empty((48 + chroma_rows, 64), np.uint8)
    picture[:48], picture[48 : 48 + chroma_rows // 2], picture[48 + chroma_rows // 2 :] = y, u, v
    write_film(path, [picture] * 3, pix_fmt=pix_fmt, **settings)
    first = next(frames_of(path, GEOMETRY))
    return [float(plane.mean()) for plane in planes(first, GEOMETRY)]


# --- frames ------------------------------------------------------------------------------------------------


def test_every_frame_of_a_plain_avi_is_the_one_with_its_number(tmp_path: Path) -> None:
    assert numbers(counted(tmp_path / "plain.avi", 40)) == list(range(40))


def test_every_frame_of_an_avi_with_b_frames_is_the_one_with_its_number(tmp_path: Path) -> None:
    assert numbers(counted(tmp_path / "b.avi", 40, max_b_frames=2)) == list(range(40))


def test_every_frame_of_an_avi_with_packed_b_frames_is_the_one_with_its_number(tmp_path: Path) -> None:
    assert numbers(packed(tmp_path / "packed.avi", 41)) == list(range(41))


def test_a_packed_avi_whose_last_placeholders_yield_no_frame_is_not_called_truncated(tmp_path: Path) -> None:
    assert numbers(packed(tmp_path / "packed.avi", 41, spare_placeholders=2)) == list(range(41))


def test_every_frame_of_an_mp4_with_b_frames_is_the_one_with_its_number(tmp_path: Path) -> None:
    assert numbers(counted(tmp_path / "b.mp4", 40, codec="h264")) == list(range(40))


@pytest.mark.parametrize("geometry", [Geometry(128, 171), Geometry(31, 33), Geometry(48, 64), Geometry(1, 8)])
def test_a_frame_has_the_bytes_of_its_three_planes_and_no_padding(tmp_path: Path, geometry: Geometry) -> None:
    frames = list(frames_of(counted(tmp_path / "odd.avi", 3, first=170), geometry))
    chroma = -(-geometry.height // 2) * -(-geometry.width // 2)
    assert {frame.shape for frame in frames} == {(geometry.height * geometry.width + 2 * chroma,)}
    assert [number_of(frame, geometry) for frame in frames] == [170, 171, 172]
    assert all(abs(plane.astype(int) - 128).max() <= 3 for frame in frames for plane in planes(frame, geometry)[1:])


def test_a_frame_of_the_stored_size_is_what_the_codec_decoded(tmp_path: Path) -> None:
    path = counted(tmp_path / "same.avi", 2)
    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0)).to_ndarray()
    assert (next(frames_of(path, Geometry(48, 64))) == decoded.ravel()).all()


def test_the_filter_of_the_geometry_is_used(tmp_path: Path) -> None:
    path = counted(tmp_path / "film.avi", 2, first=85)
    bilinear, area, bicubic = (
        next(frames_of(path, Geometry(36, 51, name))) for name in ("bilinear", "area", "bicubic")
    )
    assert (bilinear != area).any()
    assert (bilinear != bicubic).any()


def test_a_4k_video_is_decoded(tmp_path: Path) -> None:
    path = write_film(tmp_path / "4k.avi", [barcode(number, 2160, 3840) for number in (3, 200)])
    assert numbers(path) == [3, 200]


def test_frames_that_change_their_size_midway_are_scaled_to_the_one_size(tmp_path: Path) -> None:
    small = counted(tmp_path / "small.h264", 5, codec="h264")
    large = write_film(tmp_path / "large.h264", [barcode(5 + number, 96, 144) for number in range(5)], "h264")
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert numbers(both) == list(range(10))


# --- colour ------------------------------------------------------------------------------------------------


def test_the_colour_of_the_store_is_named() -> None:
    assert COLOUR == "limited-range BT.601"


def test_limited_range_colours_are_kept(tmp_path: Path) -> None:
    assert one_colour(tmp_path / "red.avi", 81, 90, 240) == pytest.approx([81, 90, 240], abs=1)


@pytest.mark.parametrize(("full", "limited"), [(255, 235), (0, 16), (128, 126)])
def test_full_range_sources_are_converted_to_limited_range(tmp_path: Path, full: int, limited: int) -> None:
    stored = one_colour(tmp_path / "full.avi", full, 128, 128, "yuvj420p", codec="mjpeg")
    assert stored == pytest.approx([limited, 128, 128], abs=1)


def test_a_full_range_source_of_the_stored_size_is_converted_too(tmp_path: Path) -> None:
    picture = np.full((72, 64), 255, np.uint8)
    picture[48:] = 128
    path = write_film(tmp_path / "full.avi", [picture] * 2, "mjpeg", "yuvj420p")
    assert abs(int(next(frames_of(path, Geometry(48, 64)))[0]) - 235) <= 1


def test_bt709_sources_are_converted_to_bt601(tmp_path: Path) -> None:
    red_in_bt709 = (63, 102, 240)
    stored = one_colour(tmp_path / "hd.mp4", *red_in_bt709, codec="h264", colorspace=1, color_range=1)
    assert stored == pytest.approx([81, 90, 240], abs=3)


def test_rgb_sources_are_converted_to_limited_range_bt601(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 2] = 255
    path = write_film(tmp_path / "red.avi", [red] * 3, "rawvideo", "bgr24")
    stored = [float(plane.mean()) for plane in planes(next(frames_of(path, GEOMETRY)), GEOMETRY)]
    assert stored == pytest.approx([81, 90, 240], abs=1)


# --- bad files ---------------------------------------------------------------------------------------------


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert reason(tmp_path / "no.avi") == "does not exist"


def test_a_directory_is_named(tmp_path: Path) -> None:
    assert reason(tmp_path) == "is a directory, not a video file"


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = counted(tmp_path / "mine.avi", 3)
    if os.geteuid():
        path.chmod(0)
    else:  # nothing is forbidden to root
        monkeypatch.setattr(Path, "open", refuse)
    assert reason(path) == "cannot be read: permission denied"


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.avi"
    path.touch()
    assert reason(path) == "is an empty file (0 bytes)"


@pytest.mark.parametrize("content", [b"just text\n" * 50, bytes(4000), os.urandom(4000), b"{}", b"PK\x03\x04" * 500])
@pytest.mark.parametrize("name", ["film.avi", "film.mp4", "notes.txt"])
def test_garbage_is_no_video(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert "is not a video file" in reason(path) or "no frame can be decoded" in reason(path)


def test_a_video_under_a_wrong_suffix_is_decoded_all_the_same(tmp_path: Path) -> None:
    path = counted(tmp_path / "film.avi", 4).rename(tmp_path / "film.txt")
    assert numbers(path) == [0, 1, 2, 3]


def test_a_sound_file_has_no_video_stream(tmp_path: Path) -> None:
    path = tmp_path / "sound.avi"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    assert reason(path) == "has no video stream (only audio)"


def test_an_avi_without_frames_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    assert reason(path).startswith("no frame can be decoded")


def test_a_video_of_one_frame_is_decoded_and_then_refused(tmp_path: Path) -> None:
    frames = frames_of(counted(tmp_path / "one.avi", 1, first=9), GEOMETRY)
    assert number_of(next(frames), GEOMETRY) == 9
    with pytest.raises(DataError, match="has 1 frame; motion needs at least 2"):
        next(frames)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_truncated_avi_is_named_with_its_promise(tmp_path: Path, share: float, b_frames: int) -> None:
    path = cut(noise(tmp_path / "film.avi", max_b_frames=b_frames), share)
    assert reason(path).startswith("is truncated: of 60 frames only ")


def test_a_truncated_packed_avi_is_named(tmp_path: Path) -> None:
    assert reason(cut(packed(tmp_path / "film.avi", 61), 0.7)).startswith("is truncated: of 61 frames only ")


def test_an_avi_cut_inside_its_last_frames_is_named(tmp_path: Path) -> None:
    path = counted(tmp_path / "film.avi", 60)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"idx1") - 20])
    assert reason(path).startswith("is truncated: of 60 frames only ")


def test_an_avi_that_lost_only_its_index_has_all_its_frames(tmp_path: Path) -> None:
    path = counted(tmp_path / "film.avi", 60)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"idx1")])
    assert numbers(path) == list(range(60))


def test_an_avi_cut_inside_its_header_is_named(tmp_path: Path) -> None:
    path = counted(tmp_path / "film.avi", 60)
    path.write_bytes(path.read_bytes()[:100])
    assert "truncated" in reason(path)


def test_an_mp4_that_ends_before_its_index_is_named(tmp_path: Path) -> None:
    path = cut(counted(tmp_path / "film.mp4", 60, codec="h264"), 0.5)
    assert reason(path) == "is truncated: an MP4 whose index (moov) is missing"


def test_an_mp4_that_ends_after_its_index_is_named(tmp_path: Path) -> None:
    film = noise(tmp_path / "film.mp4", codec="h264", muxing={"movflags": "faststart"})
    assert reason(cut(film, 0.6)).startswith("is truncated: of 60 frames only ")


def test_a_truncated_matroska_file_is_named(tmp_path: Path) -> None:
    assert "truncated" in reason(cut(noise(tmp_path / "film.mkv"), 0.6))


def test_an_avi_with_dropped_frames_is_not_called_truncated(tmp_path: Path) -> None:
    times = [number + 5 * (number // 10) for number in range(40)]
    assert numbers(counted(tmp_path / "gaps.avi", 40, times=times)) == list(range(40))


def test_an_avi_whose_middle_was_overwritten_is_called_damaged(tmp_path: Path) -> None:
    path = noise(tmp_path / "film.avi")
    content = bytearray(path.read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    path.write_bytes(content)
    assert reason(path).startswith("is damaged: of 60 frames only ")


def test_an_mp4_whose_packets_were_overwritten_is_called_damaged(tmp_path: Path) -> None:
    path = noise(tmp_path / "film.mp4", codec="h264", muxing={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + len(content) // 4
    content[start : start + len(content) // 2] = b"\xff" * (len(content) // 2)
    path.write_bytes(content)
    assert reason(path).startswith("is damaged: the decoder refuses ")


def test_a_bad_file_leaves_stderr_alone(tmp_path: Path) -> None:
    path = cut(counted(tmp_path / "film.avi", 60), 0.5)
    program = (
        "import sys; from pathlib import Path; from kdbench.data.packing import *; from io import BytesIO\n"
        "print(Packer(Geometry(36, 51), beside=True).pack(Path(sys.argv[1]), BytesIO()).error)"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    assert ran.stdout.startswith("is truncated")


def test_a_video_whose_title_is_no_text_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "titled.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLETITLE"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.stack([barcode(number)] * 3, 2), format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    assert b"TITLETITLE" in content
    path.write_bytes(content.replace(b"TITLETITLE", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe"))
    assert len(list(frames_of(path, GEOMETRY))) == 3


def test_at_least_one_core_is_counted() -> None:
    assert cores() >= 1
