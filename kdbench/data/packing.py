"""A video -> its bytes in a frame store: decoded in one thread, encoded, hashed and written by another one.

With codec `yuv420p` these are the frames themselves, one after another. With `jpeg95` they are the JPEGs of the
frames, one after another, and then a table of their lengths: `jpeg.PARTS` little-endian uint32 for each frame.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from kdbench.data import jpeg
from kdbench.data.decode import Geometry, fingerprint, frames_of
from kdbench.errors import DataError

LENGTH = np.dtype("<u4")

# Four blocks stay in the processor's cache; fewer, larger ones would be fetched from memory again to be hashed.
_BLOCK_BYTES = 1 << 19
_BLOCKS = 4


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
    """Packs one video at a time. Its few blocks are used again for every video: fresh memory would cost more."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        rows = max(1, _BLOCK_BYTES // geometry.frame_bytes)
        self._blocks = [np.empty((rows, geometry.frame_bytes), np.uint8) for _ in range(_BLOCKS)]
        self._thread = ThreadPoolExecutor(1)

    def pack(self, path: Path, sink: BinaryIO) -> Decoded:
        """Write a video's bytes to `sink` and say what they are. A bad video is told in `error`, not raised.

        An OSError is about `sink`, never about the video. On an error the bytes written so far are worthless.
        """
        packed = _Packed(self.geometry, sink)
        try:
            frames = self._pump(path, packed)
            source_bytes, source_sha256 = fingerprint(path)
        except DataError as error:
            return Decoded(error=error.reason)
        packed.finish()
        return Decoded(frames, packed.bytes, source_bytes, source_sha256, packed.digest.hexdigest())

    def _pump(self, path: Path, packed: _Packed) -> int:
        """Decode here while the other thread takes the blocks that are full; returns the number of frames."""
        rows, frames = len(self._blocks[0]), 0
        slots = (row for block in itertools.cycle(self._blocks) for row in block)
        under_way: deque[Future[None]] = deque()
        try:
            for frames, _ in enumerate(frames_of(path, self.geometry, slots), 1):
                if frames % rows == 0:
                    under_way.append(self._thread.submit(packed.take, self._blocks[(frames // rows - 1) % _BLOCKS]))
                if len(under_way) == _BLOCKS:  # the block that is filled next must be free
                    under_way.popleft().result()
            if rest := frames % rows:
                under_way.append(self._thread.submit(packed.take, self._blocks[frames // rows % _BLOCKS][:rest]))
            for future in under_way:
                future.result()
        finally:
            wait(under_way)  # nothing may be written behind the caller's back
        return frames


class _Packed:
    """The bytes of one video on their way to `sink`: encoded, counted and hashed."""

    def __init__(self, geometry: Geometry, sink: BinaryIO) -> None:
        self.bytes = 0
        self.digest = hashlib.sha256()
        self._geometry, self._sink = geometry, sink
        self._lengths: list[int] = []

    def take(self, block: NDArray[np.uint8]) -> None:
        """Write a block of frames (N, frame_bytes)."""
        if self._geometry.codec == "yuv420p":
            self._write(block.reshape(-1).data)
            return
        parts = [part for frame in block for part in jpeg.encode(frame, self._geometry)]
        self._lengths += map(len, parts)
        self._write(b"".join(parts))

    def finish(self) -> None:
        """Write what follows the frames."""
        if self._lengths:
            self._write(np.array(self._lengths, LENGTH).tobytes())

    def _write(self, content: bytes | memoryview) -> None:
        self._sink.write(content)
        self.digest.update(content)
        self.bytes += len(content)
