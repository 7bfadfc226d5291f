"""The frame store: every video of a data set decoded once, read at random ever after.

A store is a folder of three files. `frames.bin` holds the frames of all good videos, one video after another, as
`kdbench.data.packing` lays them out; `index.jsonl` has one line for each video, written only after its frames are
safe on disk; `header.json` says how they were made. A store that was interrupted at any moment is continued by
preparing again, and has the same bytes however often that happened and however many workers took part.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

from kdbench.data import jpeg, places
from kdbench.data.decode import COLOUR, Geometry
from kdbench.data.packing import LENGTH
from kdbench.errors import DataError

if TYPE_CHECKING:
    from kdbench.api import Video, VideoDataset

FORMAT = 1
HEADER, INDEX, FRAMES = "header.json", "index.jsonl", "frames.bin"

Progress = Callable[[int, int, str], None]
"""Called after each video with: videos done, videos in all, id of the video."""


@dataclass(frozen=True)
class Entry:
    """Where a video's frames lie in `frames.bin` (offset and length in bytes), how many they are, both digests."""

    frames: int
    offset: int
    bytes: int
    source_bytes: int
    source_sha256: str
    frames_sha256: str


def store_path(dataset: VideoDataset, geometry: Geometry) -> Path:
    """The folder of a data set's frames of one size, whether it exists or not."""
    kind = f"{geometry.height}x{geometry.width}" + ("" if geometry.codec == "yuv420p" else f"-{geometry.codec}")
    return places.stores_root() / f"{dataset.name}-{kind}-{_key(dataset, geometry)[:8]}"


def find_video(dataset: VideoDataset, video: Video) -> Path | None:
    """The file of a video under the data set's folder: the first of its paths that exists."""
    for path in video.paths:
        candidate = dataset.root / path
        if os.path.exists(candidate):  # noqa: PTH110 - unlike Path.exists it takes a closed folder for "no"
            return candidate
    return None


def _key(dataset: VideoDataset, geometry: Geometry) -> str:
    """SHA-256 over what decides a store's frames: data set, options, identity and geometry."""
    parts = [dataset.name, asdict(dataset.options), geometry.fields(), dataset.identity()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def header_of(dataset: VideoDataset, geometry: Geometry) -> dict[str, Any]:
    """What `header.json` says: the key of the store, and what its frames were made with."""
    versions = {name: ".".join(map(str, number)) for name, number in sorted(av.library_versions.items())}
    return {
        "format": FORMAT,
        "key": _key(dataset, geometry),
        "dataset": dataset.name,
        "options": asdict(dataset.options),
        "geometry": geometry.fields(),
        "codec": geometry.codec,
        "colour": COLOUR,
        "pyav": av.__version__,
        "ffmpeg": versions,
        **({} if geometry.codec == "yuv420p" else {"simplejpeg": jpeg.library().__version__}),
    }


def describe(dataset: VideoDataset, geometry: Geometry) -> dict[str, Any]:
    """A data set in plain values: what it is, where its files belong, how many are there and are prepared."""
    path = store_path(dataset, geometry)
    store = FrameStore(path) if path.is_dir() else None
    return {
        "name": dataset.name,
        "options": asdict(dataset.options),
        "source": dataset.source,
        "classes": len(dataset.classes),
        "videos": len(dataset.videos),
        "splits": _splits(dataset),
        "how_to_get": dataset.how_to_get,
        "videos_root": str(dataset.root),
        "files_found": sum(find_video(dataset, video) is not None for video in dataset.videos),
        "frame_size": f"{geometry.height} x {geometry.width}, {geometry.filter}",
        "codec": geometry.codec,
        "store": str(path),
        "prepared": len(store.entries) if store else 0,
        "frames": sum(entry.frames for entry in store.entries.values()) if store else 0,
        "digest": store.digest if store else None,
    }


def _splits(dataset: VideoDataset) -> dict[str, str]:
    """The official splits by number, each as its count of training and test videos."""
    splits: dict[str, str] = {}
    for number in itertools.count(1):
        try:
            split = dataset.split(number)
        except DataError:
            return splits
        splits[str(number)] = f"{len(split.train)} + {len(split.test)}"
    raise AssertionError("a data set has endless splits")


# --- the index ---------------------------------------------------------------------------------------------


@dataclass
class Index:
    """The lines of `index.jsonl`: the last line of a video counts. `end` is where the next frames begin."""

    entries: dict[str, Entry] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    end: int = 0
    size: int = 0

    def add(self, fields: Mapping[str, Any], frame_bytes: int) -> None:
        """Take up one line."""
        video, rest = fields["id"], {key: value for key, value in fields.items() if key != "id"}
        self.entries.pop(video, None)
        self.broken.pop(video, None)
        if "error" in rest:
            self.broken[video] = rest["error"]
        else:
            entry = Entry(**{**rest, "bytes": _bytes_in(rest, frame_bytes)})
            self.entries[video] = entry
            self.end = entry.offset + entry.bytes


def _bytes_in(fields: Mapping[str, Any], frame_bytes: int) -> int:
    """What a video takes of `frames.bin`; a line says it only where that does not follow from its frames."""
    return int(fields.get("bytes", fields["frames"] * frame_bytes))


def read_index(folder: Path, frame_bytes: int, available: int | None = None) -> Index:
    """Read the index up to a torn last line, or to the first video that ends beyond `available` bytes."""
    index = Index()
    raw = (folder / INDEX).read_bytes() if (folder / INDEX).exists() else b""
    lines = raw.split(b"\n")[:-1]  # what follows the last newline is a torn line, or nothing
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            end = fields["offset"] + _bytes_in(fields, frame_bytes) if "offset" in fields else 0
            if available is not None and end > available:
                break
            index.add(fields, frame_bytes)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(folder / INDEX, f"line {number} is damaged; delete the folder and prepare again") from error
        index.size += len(line) + 1
    return index


def read_header(folder: Path) -> dict[str, Any]:
    """What `header.json` says. Raises DataError where it is missing, damaged or of another format."""
    try:
        header: dict[str, Any] = json.loads((folder / HEADER).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            folder, "is no frame store (header.json is missing or damaged); delete it and prepare again"
        ) from error
    if header.get("format") != FORMAT:
        raise DataError(folder, f"has store format {header.get('format')!r}, not {FORMAT}; delete it and prepare again")
    return header


# --- reading -----------------------------------------------------------------------------------------------


class FrameStore:
    """A prepared store, open for reading. Any number of threads may read at once.

    `entries` maps the id of each good video to its Entry, `broken` the id of each bad one to the reason.
    """

    def __init__(self, path: Path) -> None:
        header = read_header(path)
        self.path = path
        self.header = header
        self.geometry = Geometry(**header["geometry"])
        index = read_index(path, self.geometry.frame_bytes)
        self.entries = index.entries
        self.broken = index.broken
        frames = path / FRAMES
        if index.end > (frames.stat().st_size if frames.exists() else 0):
            raise DataError(frames, "is shorter than its index says; prepare the data set again")
        if self.geometry.codec == "jpeg95":
            jpeg.library()  # its absence is told now, not in a thread that reads ahead
        self._stored: NDArray[np.uint8] = (
            np.memmap(frames, np.uint8, "r", shape=(index.end,)) if index.end else np.empty(0, np.uint8)
        )

    @classmethod
    def open(cls, dataset: VideoDataset, geometry: Geometry) -> FrameStore:
        """The store of a data set. Raises DataError when it was never prepared."""
        path = store_path(dataset, geometry)
        if not path.is_dir():
            raise DataError(path, f"no frames here yet; run `kdbench data prepare {dataset.name}`")
        return cls(path)

    def stored(self, video_id: str) -> NDArray[np.uint8]:
        """The bytes of a video as they lie on the disk, read-only. Raises DataError."""
        if video_id not in self.entries:
            reason = self.broken.get(video_id, "it is not prepared; run `kdbench data prepare`")
            raise DataError(self.path, f"no frames of '{video_id}': {reason}")
        entry = self.entries[video_id]
        return self._stored[entry.offset : entry.offset + entry.bytes]

    def frames(self, video_id: str) -> NDArray[np.uint8]:
        """All frames of a video, (frames, frame_bytes), read-only: mapped from disk, or decoded. Raises DataError."""
        stored = self.stored(video_id)
        if self.geometry.codec == "yuv420p":
            return stored.reshape(-1, self.geometry.frame_bytes)
        count = self.entries[video_id].frames
        frames = np.empty((count, self.geometry.frame_bytes), np.uint8)
        self._decode(video_id, np.arange(count), frames)
        frames.flags.writeable = False
        return frames

    def read(self, video_id: str, frame_indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Copy or decode frames of a video, given by their numbers (T,), into `out` (T, frame_bytes).

        Raises DataError for a video that is not in the store, IndexError for a frame it does not have.
        """
        stored, count = self.stored(video_id), self.entries[video_id].frames
        numbers = frame_indices.tolist()  # a list of this length is looked through faster than an array
        if not numbers:
            return
        low, high = min(numbers), max(numbers)
        if low < 0 or high >= count:
            raise IndexError(f"'{video_id}' has {count} frames; asked for {numbers}")
        if self.geometry.codec == "jpeg95":
            self._decode(video_id, frame_indices, out)
            return
        frames = stored.reshape(count, -1)
        # Runs of consecutive frames are copied whole: one memcpy, and the lock of the interpreter is free.
        if numbers == list(range(low, high + 1)):
            out[:] = frames[low : high + 1]
            return
        breaks = (np.flatnonzero(np.diff(frame_indices) != 1) + 1).tolist()
        for start, end in zip([0, *breaks], [*breaks, len(numbers)], strict=True):
            first = numbers[start]
            out[start:end] = frames[first : first + end - start]

    def _decode(self, video_id: str, frame_indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """`read` from JPEGs. Raises DataError for a damaged one."""
        stored, count = self.stored(video_id), self.entries[video_id].frames
        lengths = stored[len(stored) - count * jpeg.PARTS * LENGTH.itemsize :].view(LENGTH).astype(np.int64)
        ends = np.cumsum(lengths)
        starts = (ends - lengths).reshape(count, jpeg.PARTS)[frame_indices].tolist()
        stops = ends.reshape(count, jpeg.PARTS)[frame_indices].tolist()
        content = stored.data
        for row, number in enumerate(frame_indices.tolist()):
            parts = tuple(content[a:b] for a, b in zip(starts[row], stops[row], strict=True))
            try:
                jpeg.decode(parts, self.geometry, out[row])
            except ValueError as error:
                problem = f"frame {number} of '{video_id}' is damaged ({error}); delete the store and prepare again"
                raise DataError(self.path, problem) from error

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted pairs (id, digest of the video's frames): equal stores, equal digest."""
        lines = (f"{video}\t{entry.frames_sha256}\n" for video, entry in sorted(self.entries.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
