"""A video file -> frames: one sequential decode, frame-exact, to planar YUV 4:2:0 of one size.

No file is ever sought in: random access into AVIs with B-frames returns the wrong frames. Every frame is the
flat bytes of its planes without line padding: Y (H*W), then U and V (ceil(H/2)*ceil(W/2) each), limited range,
BT.601, whatever the source was. Worker processes import this module, so it must not import torch.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kdbench.data.truncation import ends_early
from kdbench.errors import DataError

COLOUR = "limited-range BT.601"
VIDEO_SUFFIXES = frozenset(
    {".avi", ".mp4", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp", ".ts"}
)

# Without these two flags swscale's pixels depend on the CPU's vector unit.
# Odd bytes in a title must not keep a video from being read; from PyAV 19 on they never do.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
_SAME_ON_EVERY_CPU = Interpolation.ACCURATE_RND | Interpolation.BITEXACT

# FFmpeg's numbers of a frame's colour matrix -> swscale's; an untagged frame is taken for BT.601.
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}

# Formats that FFmpeg reads into pictures though they are no video files: text, and lists of other files.
_NO_VIDEO_FORMATS = frozenset({"tty", "concat", "hls", "dash", "sdp", "rtsp"})

av.logging.set_level(None)  # FFmpeg's chatter on damaged files would drown our one line


@dataclass(frozen=True)
class Geometry:
    """Size of a stored frame in pixels, the swscale filter that makes it, and how it is stored.

    The codec changes what lies on the disk; what is read is planar YUV 4:2:0 of `frame_bytes` either way.
    """

    height: int
    width: int
    filter: str = "bilinear"
    codec: Literal["yuv420p", "jpeg95"] = "yuv420p"

    @property
    def chroma_height(self) -> int:
        """Rows of the U and of the V plane."""
        return (self.height + 1) // 2

    @property
    def chroma_width(self) -> int:
        """Columns of the U and of the V plane."""
        return (self.width + 1) // 2

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame: the Y plane, then U, then V."""
        return self.height * self.width + 2 * self.chroma_height * self.chroma_width

    def fields(self) -> dict[str, Any]:
        """What keys and headers of stores are made of. The first codec is not named: old stores keep their keys."""
        fields = asdict(self)
        return fields if self.codec != "yuv420p" else {key: fields[key] for key in ("height", "width", "filter")}


@dataclass
class _Tally:
    """What a decode saw of a file: frames its header promises, packets in its index, read and refused."""

    promised: int
    indexed: int
    packets: int = 0
    refused: int = 0
    decoded: int = 0
    torn: bool = False
    complaint: str = ""


def pictures_of(path: Path) -> Iterator[av.VideoFrame]:
    """Every picture of a video in order of display, as it was coded.

    Raises DataError(path, reason) before the first one when the file is no video, and after the last one when the
    file is truncated or too short: pictures count only once the iterator has ended.
    """
    _refuse_unreadable(path)
    with _open(path) as container:
        stream = _video_stream(container, path)
        tally = _Tally(stream.frames, indexed=sum(entry.size > 0 for entry in stream.index_entries))
        yield from _sequential(container, stream, tally)
    problem = _problem(tally, path)
    if problem:
        raise DataError(path, problem)


class Scaler:
    """The pictures of one video -> frames of one size, format and colour."""

    def __init__(self, path: Path, geometry: Geometry) -> None:
        self._path, self._count = path, 0
        self._reformatter = VideoReformatter()
        self._size = {"width": geometry.width, "height": geometry.height}
        self._filter = Interpolation[geometry.filter.upper()] | _SAME_ON_EVERY_CPU
        luma, chroma = (geometry.height, geometry.width), (geometry.chroma_height, geometry.chroma_width)
        ends = np.cumsum([rows * columns for rows, columns in (luma, chroma, chroma)]).tolist()
        self._planes = tuple(zip((luma, chroma, chroma), [0, *ends], strict=False))

    def into(self, picture: av.VideoFrame, flat: NDArray[np.uint8]) -> None:
        """Write one picture into `geometry.frame_bytes` flat bytes. Raises DataError where it cannot be scaled."""
        self._count += 1
        try:
            scaled = self._scaled(picture)
        except av.FFmpegError as error:
            what = f"a {picture.width} x {picture.height} '{picture.format.name}' picture"
            problem = f"frame {self._count} ({what}) cannot be scaled: {error.strerror}"
            raise DataError(self._path, problem) from error
        for plane, (shape, start) in zip(scaled.planes, self._planes, strict=True):
            padded = np.ndarray(shape, np.uint8, cast(memoryview, plane), strides=(plane.line_size, 1))
            np.copyto(np.ndarray(shape, np.uint8, flat.data, start), padded)

    def _scaled(self, picture: av.VideoFrame) -> av.VideoFrame:
        return self._reformatter.reformat(
            picture,
            **self._size,
            format="yuv420p",
            src_colorspace=_MATRICES.get(int(picture.colorspace), _untagged(picture)),
            dst_colorspace=Colorspace.ITU601,
            src_color_range=_range_of(picture),
            dst_color_range=ColorRange.MPEG,
            interpolation=self._filter,
            threads=1,
        )


def frames_of(path: Path, geometry: Geometry) -> Iterator[NDArray[np.uint8]]:
    """Every frame of a video in order of display, each as `geometry.frame_bytes` flat bytes. Raises DataError.

    As with `pictures_of`, frames count only once the iterator has ended.
    """
    scaler = Scaler(path, geometry)
    for picture in pictures_of(path):
        flat = np.empty(geometry.frame_bytes, np.uint8)
        scaler.into(picture, flat)
        yield flat


def check_video(path: Path, geometry: Geometry) -> None:
    """Decode a video and keep nothing. Raises DataError(path, reason) where the store would refuse it."""
    for _ in frames_of(path, geometry):
        pass


def fingerprint(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file. Raises DataError when it cannot be read."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return stream.tell(), digest
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error


def _refuse_unreadable(path: Path) -> None:
    try:
        if path.is_dir():
            raise DataError(path, "is a directory, not a video file")
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except FileNotFoundError as error:
        raise DataError(path, "does not exist") from error
    except PermissionError as error:
        raise DataError(path, "cannot be read: permission denied") from error
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    if empty:
        raise DataError(path, "is an empty file (0 bytes)")


def _open(path: Path) -> InputContainer:
    try:
        container: InputContainer = av.open(str(path), mode="r", **_LENIENT)
    except av.FFmpegError as error:
        if getattr(error, "errno", None) in (errno.EIO, errno.EMFILE, errno.ENFILE):
            raise DataError(path, f"cannot be read: {error.strerror}") from error
        raise DataError(path, _why_not_opened(path)) from error
    if container.format.name in _NO_VIDEO_FORMATS:
        container.close()
        raise DataError(path, f"is not a video file (it looks like '{container.format.name}')")
    return container


def _why_not_opened(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(12)
    if head[4:8] == b"ftyp":
        return "is truncated: an MP4 whose index (moov) is missing"
    if head[:4] == b"RIFF" or head[:4] == b"\x1a\x45\xdf\xa3":
        return "is truncated or damaged: its header ends too early"
    return "is not a video file (FFmpeg knows no format that begins like this)"


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        kinds = ", ".join(sorted({stream.type for stream in container.streams}))
        raise DataError(path, f"has no video stream (only {kinds or 'an empty container'})")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise DataError(path, "has a video codec that FFmpeg cannot decode; re-encode it")
    stream.thread_type = "NONE"  # one thread a worker: decoder threads only add cost on small frames
    return stream


def _sequential(container: InputContainer, stream: VideoStream, tally: _Tally) -> Iterator[av.VideoFrame]:
    """Decode every packet in file order; a packet the decoder refuses is tallied, not fatal."""
    try:
        for packet in container.demux(stream):
            if packet.size or packet.dts is not None:  # else it is the flush at the end
                tally.packets += 1
                tally.torn |= packet.is_corrupt
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                tally.refused += 1
                continue
            for frame in frames:
                tally.decoded += 1
                yield frame
    except av.FFmpegError as error:
        tally.complaint = error.strerror or type(error).__name__


def _problem(tally: _Tally, path: Path) -> str | None:
    """Why the frames of a file cannot be used; None when they can.

    A truncated file ends inside a packet (the demuxer marks it) or earlier than its container says. A file is
    damaged when more packets stand in its index than can be read, or the decoder refuses them: two are
    forgiven, and two percent, so that one bad spot does not cost an official video. The number of frames in
    the header is no measure, because it counts dropped frames too; nor is the number of decoded frames,
    because packed B-frames, common in UCF101 and HMDB51, end with placeholders that yield none.
    """
    forgiven = max(2, tally.packets // 50)
    if tally.torn or ends_early(path):
        told = f"of {tally.promised} frames " if tally.promised else ""
        return f"is truncated: {told}only {tally.decoded} can be decoded; get the file again"
    if tally.indexed - tally.packets > forgiven:
        return f"is damaged: of {tally.indexed} frames only {tally.packets} can be read; get the file again"
    if tally.decoded == 0:
        return "no frame can be decoded" + (f": {tally.complaint}" if tally.complaint else "")
    if tally.complaint:
        return f"is damaged after frame {tally.decoded}: {tally.complaint}; get the file again"
    if tally.refused > forgiven:
        return f"is damaged: the decoder refuses {tally.refused} of {tally.packets} packets; get the file again"
    if tally.decoded == 1:
        return "has 1 frame; motion needs at least 2"
    return None


def _untagged(frame: av.VideoFrame) -> Colorspace | None:
    return None if frame.format.is_rgb else Colorspace.ITU601


def _range_of(frame: av.VideoFrame) -> ColorRange:
    """Full range for RGB, for the yuvj formats and where tagged; limited otherwise."""
    if frame.format.is_rgb or frame.format.name.startswith("yuvj"):
        return ColorRange.JPEG
    return ColorRange.JPEG if int(frame.color_range) == ColorRange.JPEG else ColorRange.MPEG


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
