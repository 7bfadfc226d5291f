"""A video -> its bytes in a frame store: decoded, scaled, encoded, hashed and written in one go.

With codec `yuv420p` these are the frames themselves, one after another. With `jpeg95` they are the JPEGs of the
frames, one after another, and then a table of their lengths: `jpeg.PARTS` little-endian uint32 for each frame.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from kdbench.data import jpeg
from kdbench.data.decode import Geometry, Scaler, fingerprint, pictures_of
from kdbench.errors import DataError

LENGTH = np.dtype("<u4")

# Little enough to be in the processor's cache still when it is hashed and written, and enough for two threads not
# to stand in each other's way at the lock of the interpreter.
_BLOCK_BYTES = 1 << 18
_BLOCKS = 3


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

    A packer that works `beside` decodes and scales in the caller's thread, and encodes, hashes and writes in another,
    which is faster. Where every core has its own video, one thread does everything: it costs less in all.
    """

    def __init__(self, geometry: Geometry, *, beside: bool) -> None:
        self._geometry = geometry
        size = (max(1, _BLOCK_BYTES // geometry.frame_bytes), geometry.frame_bytes)
        self._blocks = [np.empty(size, np.uint8) for _ in range(_BLOCKS if beside else 1)]
        self._thread = ThreadPoolExecutor(1) if beside else None

    def pack(self, path: Path, sink: BinaryIO) -> Decoded:
        """Write a video's bytes to `sink` and say what they are. A bad video is told in `error`, not raised.

        An OSError is about `sink`, never about the video. On an error the bytes written so far are worthless.
        """
        packed = _Packed(self._geometry, sink)
        try:
            self._pump(path, packed)
            source_bytes, source_sha256 = fingerprint(path)
        except DataError as error:
            return Decoded(error=error.reason)
        packed.finish()
        return Decoded(packed.frames, packed.bytes, source_bytes, source_sha256, packed.digest.hexdigest())

    def _pump(self, path: Path, packed: _Packed) -> None:
        """Decode a video block by block; each is taken here, or by the other thread while the next ones are filled."""
        under_way: deque[Future[None]] = deque()
        try:
            for block in self._filled_blocks(path):
                if self._thread is None:
                    packed.take(block)
                    continue
                under_way.append(self._thread.submit(packed.take, block))
                if len(under_way) == _BLOCKS:  # the block that is filled next must be free
                    under_way.popleft().result()
            while under_way:
                under_way.popleft().result()
        finally:
            wait(under_way)  # nothing may be written behind the caller's back

    def _filled_blocks(self, path: Path) -> Iterator[NDArray[np.uint8]]:
        """The frames of a video, (N, frame_bytes) at a time, in the blocks in turn. Raises DataError."""
        scaler, blocks, filled = Scaler(path, self._geometry), itertools.cycle(self._blocks), 0
        block = next(blocks)
        for picture in pictures_of(path):
            if filled == len(block):
                yield block
                block, filled = next(blocks), 0
            scaler.into(picture, block[filled])
            filled += 1
        yield block[:filled]


class _Packed:
    """The bytes of one video on their way to `sink`: encoded, counted and hashed."""

    def __init__(self, geometry: Geometry, sink: BinaryIO) -> None:
        self.frames = self.bytes = 0
        self.digest = hashlib.sha256()
        self._geometry, self._sink = geometry, sink
        self._lengths: list[int] = []

    def take(self, block: NDArray[np.uint8]) -> None:
        """Write a block of frames (N, frame_bytes). Raises OSError about the sink."""
        self.frames += len(block)
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
