"""Whether a file ends before its container says it does, told from the structure of AVI and Matroska files.

Counting frames cannot tell: an AVI's index counts dropped frames that were never stored, and Matroska has no
count at all. Both say how many bytes their frames take, though.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_SEGMENT = b"\x18\x53\x80\x67"
_UNKNOWN = 0xFFFFFFFF


def ends_early(path: Path) -> bool:
    """Whether frames are missing at the end of a file. False where the container does not tell."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        head = stream.read(4)
        if head == b"RIFF":
            return _frames_end(stream, size) > size
        if head == b"\x1a\x45\xdf\xa3":
            return _segment_end(stream) > size
    return False


def _frames_end(stream: BinaryIO, size: int) -> int:
    """Where the last list of frames of an AVI ends (files above 1 GB have several), by its own words; else 0.

    The index may be missing: it comes after the frames, which can be read without it.
    """
    start = end = 0
    while start + 12 <= size:
        stream.seek(start + 4)
        length = int.from_bytes(stream.read(4), "little")
        if stream.read(4) not in (b"AVI ", b"AVIX") or length in (0, _UNKNOWN):
            break  # a recorder that was stopped hard never came to write the length
        following = start + 8 + length + length % 2
        end = max(end, _list_end(stream, start + 12, min(following, size)))
        start = following
    return end


def _list_end(stream: BinaryIO, start: int, stop: int) -> int:
    """The end of the chunk `LIST movi` between two places of an AVI; 0 without one."""
    while start + 12 <= stop:
        stream.seek(start)
        name, length, kind = stream.read(4), int.from_bytes(stream.read(4), "little"), stream.read(4)
        if name == b"LIST" and kind == b"movi":
            return 0 if length in (0, _UNKNOWN) else start + 8 + length
        start += 8 + length + length % 2
    return 0


def _segment_end(stream: BinaryIO) -> int:
    """The end of a Matroska file's segment, which holds everything but a short header; 0 where it is unknown."""
    stream.seek(4)
    start = _number(stream)[0]
    stream.seek(start, os.SEEK_CUR)
    if stream.read(4) != _SEGMENT:
        return 0
    length, known = _number(stream)
    return stream.tell() + length if known else 0


def _number(stream: BinaryIO) -> tuple[int, bool]:
    """EBML's number of variable length, and whether it is one: all bits set means "unknown"."""
    first = stream.read(1)
    if not first or not first[0]:
        return 0, False
    further = 8 - first[0].bit_length()
    mask = (1 << (7 * (further + 1))) - 1
    number = int.from_bytes(first + stream.read(further), "big") & mask
    return number, number != mask
