"""A video -> its bytes in a frame store: decoded, scaled, encoded, hashed and written in one go.

With codec `yuv420p` these are the frames themselves, one after another. With `jpeg95` they are the JPEGs of the
frames, one after another, and then a table of their lengths: `jpeg.PARTS` little-endian uint32 for each frame.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from kdbench.data import jpeg
from kdbench.data.decode import Geometry, Scaler, fingerprint, pictures_of
from kdbench.errors import DataError

LENGTH = np.dtype("<u4")

# Few enough that their frames are in the processor's cache still when they are hashed and written, and enough for
# two threads not to stand in each other's way at the lock of the interpreter.
_PICTURES = 8
_UNDER_WAY = 3


@dataclass(frozen=True)
class Decoded:
    """What became of one video: its frames, stored bytes and digests, or the reason why there are none."""

    frames: int = 0
    bytes: int = 0
    source_bytes: int = 0
    source_sha256: str = ""
    frames_sha256: str = ""
    error: str | None = None


class Packer:
    """Packs one video after another.

    A packer that works `beside` decodes in the caller's thread, and scales, encodes, hashes and writes in another:
    that is about half of the work each. Where every core has its own video, one thread does everything, which costs
    less in all.
    """

    def __init__(self, geometry: Geometry, *, beside: bool) -> None:
        self._geometry = geometry
        self._thread = ThreadPoolExecutor(1) if beside else None

    def pack(self, path: Path, sink: BinaryIO) -> Decoded:
        """Write a video's bytes to `sink` and say what they are. A bad video is told in `error`, not raised.

        An OSError is about `sink`, never about the video. On an error the bytes written so far are worthless.
        """
        packed = _Packed(Scaler(path, self._geometry), self._geometry, sink)
        try:
            self._pump(path, packed)
            source_bytes, source_sha256 = fingerprint(path)
        except DataError as error:
            return Decoded(error=error.reason)
        packed.finish()
        return Decoded(packed.frames, packed.bytes, source_bytes, source_sha256, packed.digest.hexdigest())

    def _pump(self, path: Path, packed: _Packed) -> None:
        """Decode a video; a few pictures at a time are taken here, or by the other thread while decoding goes on."""
        under_way: deque[Future[None]] = deque()
        try:
            pictures = pictures_of(path)
            while batch := list(itertools.islice(pictures, _PICTURES)):
                if self._thread is None:
                    packed.take(batch)
                    continue
                under_way.append(self._thread.submit(packed.take, batch))
                if len(under_way) == _UNDER_WAY:  # decoded pictures are large, and must not pile up
                    under_way.popleft().result()
            while under_way:
                under_way.popleft().result()
        finally:
            wait(under_way)  # nothing may be written behind the caller's back


class _Packed:
    """The bytes of one video on their way to `sink`: scaled, encoded, counted and hashed."""

    def __init__(self, scaler: Scaler, geometry: Geometry, sink: BinaryIO) -> None:
        self.frames = self.bytes = 0
        self.digest = hashlib.sha256()
        self._scaler, self._geometry, self._sink = scaler, geometry, sink
        self._block = np.empty((_PICTURES, geometry.frame_bytes), np.uint8)
        self._lengths: list[int] = []

    def take(self, pictures: Sequence[av.VideoFrame]) -> None:
        """Write the frames of a few pictures. Raises OSError about the sink, DataError about a picture."""
        self.frames += len(pictures)
        block = self._block[: len(pictures)]
        for picture, flat in zip(pictures, block, strict=True):
            self._scaler.into(picture, flat)
        if self._geometry.codec == "yuv420p":
            self._write(block.reshape(-1).data)
            return
        parts = [part for frame in block for part in jpeg.encode(frame, self._geometry)]
        self._lengths += map(len, parts)
        self._write(b"".join(parts))

    def finish(self) -> None:
        """Write what follows the frames."""
        if self._geometry.codec == "jpeg95":
            self._write(np.array(self._lengths, LENGTH).tobytes())

    def _write(self, content: bytes | memoryview) -> None:
        self._sink.write(content)
        self.digest.update(content)
        self.bytes += len(content)
