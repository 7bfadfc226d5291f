"""Small video files whose frames carry their own number, and what reads the number back from stored frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from kdbench.data.decode import Geometry

BITS = 8
RATE = 25


def barcode(number: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A yuv420p picture (height * 3 / 2, width) of 8 grey bars: the bits of `number`, lowest first."""
    picture = np.full((height * 3 // 2, width), 128, np.uint8)
    bits = (number >> (np.arange(width) * BITS // width)) & 1
    picture[:height] = np.where(bits, 200, 50)
    return picture


def number_of(frame: NDArray[np.uint8], geometry: Geometry) -> int:
    """The number that a stored frame shows."""
    luma = frame[: geometry.height * geometry.width].reshape(geometry.height, geometry.width)
    middles = ((np.arange(BITS) + 0.5) * geometry.width / BITS).astype(int)
    return int(((luma[geometry.height // 2, middles] > 125) << np.arange(BITS)).sum())


def write_film(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    codec: str = "mpeg4",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    **settings: Any,
) -> Path:
    """Encode pictures of one pixel format (yuv420p arrays for the default) and return the path.

    `times` gives each picture another place in time than 0, 1, 2, ...; `settings` are set on the encoder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=settings.pop("muxing", {})) as container:
        stream: Any = None
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, pix_fmt)
            if stream is None:
                stream = container.add_stream(codec, RATE, settings.pop("options", {}))
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
                stream.codec_context.bit_rate = 2_000_000
                for key, value in settings.items():
                    setattr(stream.codec_context, key, value)
            frame.pts, frame.time_base = (times[number] if times else number), Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def counted(path: Path, frames: int, first: int = 0, **settings: Any) -> Path:
    """A film of `frames` barcodes, numbered from `first`."""
    return write_film(path, (barcode(first + number) for number in range(frames)), **settings)


def packed(path: Path, frames: int, spare_placeholders: int = 0, between: int = 1, group: int = 100) -> Path:
    """An AVI with packed B-frames, as DivX and Xvid wrote it: [I0] [P2 B1] [-] [P4 B3] [-] ...

    One chunk holds a P-frame and the first of the `between` B-frames that are shown before it, then come the
    others, then a placeholder ("not coded"). There is a keyframe every `group` frames at least. `frames` is one
    more than a multiple of `between + 1`. Spare placeholders at the end make the index promise more than there is.
    """
    assert frames % (between + 1) == 1
    coded = _coded_with_b_frames(frames, between, group)
    chunks = [_marked_as_packed(coded[0])]
    for at in range(1, frames, between + 1):
        reference, first, *others = coded[at : at + between + 1]
        chunks += [reference + first, *others]
        chunks.append(_not_coded(len(chunks)))
    chunks += [_not_coded(len(chunks) + extra) for extra in range(spare_placeholders)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
        for number, chunk in enumerate(chunks):
            packet = av.Packet(chunk)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, RATE), number == 0
            packet.pts = packet.dts = number
            container.mux(packet)
    return path


def _coded_with_b_frames(frames: int, between: int, group: int) -> list[bytes]:
    """I0 P2 B1 P4 B3 ...: the encoder's packets, in the order of coding."""
    context: Any = av.CodecContext.create("mpeg4", "w")
    context.width, context.height, context.pix_fmt = 64, 48, "yuv420p"
    context.time_base, context.framerate = Fraction(1, RATE), Fraction(RATE)
    context.bit_rate, context.gop_size, context.max_b_frames = 2_000_000, group, between
    context.options = {"flags": "+bitexact"}
    packets = []
    for number in range(frames):
        frame = av.VideoFrame.from_ndarray(barcode(number), "yuv420p")
        frame.pts = number
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets + [bytes(packet) for packet in context.encode(None)]


def _marked_as_packed(first: bytes) -> bytes:
    """The first chunk with DivX's mark ("p" for packed) before its picture."""
    picture = first.index(b"\x00\x00\x01\xb6")
    return first[:picture] + b"\x00\x00\x01\xb2DivX503b1393p" + first[picture:]


def _not_coded(tick: int) -> bytes:
    """A P-frame that says nothing but its time (5 bits for 25 ticks a second)."""
    bits = f"0101{tick % RATE:05b}10".ljust(16, "1")
    return b"\x00\x00\x01\xb6" + int(bits, 2).to_bytes(2, "big") + b"\x7f"
