"""The frame store: every video of a data set decoded once, read at random ever after.

A store is a folder of three files. `frames.bin` holds the frames of all good videos, one video after another;
`index.jsonl` has one line for each video, written only after its frames are safe on disk; `header.json` says
how they were made. A store that was interrupted at any moment is continued by preparing again, and has the
same bytes however often that happened and however many workers took part.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from kdbench.data import places
from kdbench.data.decode import (
    COLOUR,
    VIDEO_SUFFIXES,
    Crew,
    Decoded,
    Geometry,
    check_video,
    cores,
    decode_into,
    fingerprint,
)
from kdbench.errors import DataError
from kdbench.records import write_atomically

if TYPE_CHECKING:
    from kdbench.api import Video, VideoDataset

FORMAT = 1
HEADER, INDEX, FRAMES = "header.json", "index.jsonl", "frames.bin"

# What is lost when the power fails: the videos of the last two seconds.
_SECONDS_BETWEEN_COMMITS = 2.0
_COPY_BYTES = 1 << 20

Progress = Callable[[int, int, str], None]
"""Called after each video with: videos done, videos in all, id of the video."""


@dataclass(frozen=True)
class Entry:
    """Where a video's frames lie in `frames.bin` (bytes), how many they are, and the digests of both sides."""

    frames: int
    offset: int
    source_bytes: int
    source_sha256: str
    frames_sha256: str


@dataclass(frozen=True)
class Report:
    """What `prepare` did. `missing` are (id, expected path), `broken` (path, reason); `bytes` of all frames."""

    path: Path
    done: int
    reused: int
    missing: tuple[tuple[str, str], ...]
    broken: tuple[tuple[str, str], ...]
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    `sound` counts the videos whose frames and file are as they were prepared. `missing` are (id, expected
    path) of videos that are neither prepared nor there; `gone` the same of prepared videos whose file has
    been removed since, which does no harm; `unprepared` are ids of good files that are not in the store.
    `broken` and `changed` are (path, reason), `damaged` (id, reason) of stored frames; `extra` are paths of
    video files that belong to no video, which does no harm either.
    """

    path: Path
    sound: int
    missing: tuple[tuple[str, str], ...] = ()
    gone: tuple[tuple[str, str], ...] = ()
    unprepared: tuple[str, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()
    changed: tuple[tuple[str, str], ...] = ()
    damaged: tuple[tuple[str, str], ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every video is prepared, and no file or frame is broken, changed or damaged."""
        return not (self.missing or self.unprepared or self.broken or self.changed or self.damaged)


def store_path(dataset: VideoDataset, geometry: Geometry) -> Path:
    """The folder of a data set's frames of one size, whether it exists or not."""
    size = f"{geometry.height}x{geometry.width}"
    return places.stores_root() / f"{dataset.name}-{size}-{_key(dataset, geometry)[:8]}"


def find_video(dataset: VideoDataset, video: Video) -> Path | None:
    """The file of a video under the data set's folder: the first of its paths that exists."""
    for path in video.paths:
        candidate = dataset.root / path
        if os.path.exists(candidate):  # noqa: PTH110 - unlike Path.exists it takes a closed folder for "no"
            return candidate
    return None


def _key(dataset: VideoDataset, geometry: Geometry) -> str:
    """SHA-256 over what decides a store's frames: data set, options, identity and geometry."""
    parts = [dataset.name, asdict(dataset.options), asdict(geometry), dataset.identity()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _header(dataset: VideoDataset, geometry: Geometry) -> dict[str, Any]:
    versions = {name: ".".join(map(str, number)) for name, number in sorted(av.library_versions.items())}
    return {
        "format": FORMAT,
        "key": _key(dataset, geometry),
        "dataset": dataset.name,
        "options": asdict(dataset.options),
        "geometry": asdict(geometry),
        "codec": "yuv420p",
        "colour": COLOUR,
        "pyav": av.__version__,
        "ffmpeg": versions,
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
class _Index:
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
            entry = Entry(**rest)
            self.entries[video] = entry
            self.end = entry.offset + entry.frames * frame_bytes


def _read_index(folder: Path, frame_bytes: int, available: int | None = None) -> _Index:
    """Read the index up to a torn last line, or to the first video that ends beyond `available` bytes."""
    index = _Index()
    raw = (folder / INDEX).read_bytes() if (folder / INDEX).exists() else b""
    lines = raw.split(b"\n")[:-1]  # what follows the last newline is a torn line, or nothing
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            end = fields["offset"] + fields["frames"] * frame_bytes if "offset" in fields else 0
            if available is not None and end > available:
                break
            index.add(fields, frame_bytes)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(folder / INDEX, f"line {number} is damaged; delete the folder and prepare again") from error
        index.size += len(line) + 1
    return index


def _read_header(folder: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads((folder / HEADER).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(folder, "is no frame store (header.json is missing or damaged); prepare it again") from error
    if header.get("format") != FORMAT:
        raise DataError(folder, f"has store format {header.get('format')!r}, not {FORMAT}; delete it and prepare again")
    return header


# --- reading -----------------------------------------------------------------------------------------------


class FrameStore:
    """A prepared store, open for reading. Any number of threads may read at once.

    `entries` maps the id of each good video to its Entry, `broken` the id of each bad one to the reason.
    """

    def __init__(self, path: Path) -> None:
        header = _read_header(path)
        self.path = path
        self.header = header
        self.geometry = Geometry(**header["geometry"])
        size = self.geometry.frame_bytes
        index = _read_index(path, size)
        self.entries = index.entries
        self.broken = index.broken
        frames = path / FRAMES
        if index.end > (frames.stat().st_size if frames.exists() else 0):
            raise DataError(frames, "is shorter than its index says; prepare the data set again")
        self._frames: NDArray[np.uint8] = (
            np.memmap(frames, np.uint8, "r", shape=(index.end // size, size))
            if index.end
            else np.empty((0, size), np.uint8)
        )

    @classmethod
    def open(cls, dataset: VideoDataset, geometry: Geometry) -> FrameStore:
        """The store of a data set. Raises DataError when it was never prepared."""
        path = store_path(dataset, geometry)
        if not path.is_dir():
            raise DataError(path, f"no frames here yet; run `kdbench data prepare {dataset.name}`")
        return cls(path)

    def frames(self, video_id: str) -> NDArray[np.uint8]:
        """All frames of a video, (frames, frame_bytes), mapped from disk and read-only. Raises DataError."""
        if video_id not in self.entries:
            reason = self.broken.get(video_id, "it is not prepared; run `kdbench data prepare`")
            raise DataError(self.path, f"no frames of '{video_id}': {reason}")
        entry = self.entries[video_id]
        first = entry.offset // self.geometry.frame_bytes
        return self._frames[first : first + entry.frames]

    def read(self, video_id: str, frame_indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Copy frames of a video, given by their numbers (T,), into `out` (T, frame_bytes).

        Raises DataError for a video that is not in the store, IndexError for a frame it does not have.
        """
        frames = self.frames(video_id)
        if len(frame_indices) == 0:
            return
        if frame_indices.min() < 0 or frame_indices.max() >= len(frames):
            raise IndexError(f"'{video_id}' has {len(frames)} frames; asked for {frame_indices.tolist()}")
        # Runs of consecutive frames are copied whole: one memcpy, and the lock of the interpreter is free.
        breaks = (np.flatnonzero(np.diff(frame_indices) != 1) + 1).tolist()
        for start, end in zip([0, *breaks], [*breaks, len(frame_indices)], strict=True):
            first = int(frame_indices[start])
            out[start:end] = frames[first : first + end - start]

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted pairs (id, digest of the video's frames): equal stores, equal digest."""
        lines = (f"{video}\t{entry.frames_sha256}\n" for video, entry in sorted(self.entries.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


# --- writing -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """One video to decode."""

    id: str
    path: Path


def prepare(dataset: VideoDataset, geometry: Geometry, workers: int = 1, progress: Progress | None = None) -> Report:
    """Decode every video that is not in the store yet, with `workers` processes, and say what happened.

    Missing and broken videos are reported, do not stop the rest, and are tried again the next time. Raises
    DataError when the store cannot be written (the disk is full, another process holds it); the same call
    then continues where this one stopped.
    """
    started = time.monotonic()
    folder = store_path(dataset, geometry)
    with _writing(folder), _locked(folder):
        writer = _Writer(folder, _header(dataset, geometry), geometry)
        try:
            jobs, missing, reused = _plan(dataset, writer.index)
            broken = _fill(writer, jobs, workers, progress)
        finally:
            writer.close()
        return Report(
            path=folder,
            done=len(jobs) - len(broken),
            reused=reused,
            missing=tuple(missing),
            broken=tuple(broken),
            seconds=time.monotonic() - started,
            bytes=writer.index.end,
        )


def _plan(dataset: VideoDataset, index: _Index) -> tuple[list[_Job], list[tuple[str, str]], int]:
    """What is to decode, what is missing, and how many videos are done: prepared, and their file not replaced."""
    jobs: list[_Job] = []
    missing: list[tuple[str, str]] = []
    reused = 0
    for video in dataset.videos:
        path = find_video(dataset, video)
        entry = index.entries.get(video.id)
        if entry and (path is None or path.stat().st_size == entry.source_bytes):
            reused += 1
        elif path is None:
            missing.append((video.id, str(dataset.root / video.paths[0])))
        else:
            jobs.append(_Job(video.id, path))
    return jobs, missing, reused


def _fill(writer: _Writer, jobs: list[_Job], workers: int, progress: Progress | None) -> list[tuple[str, str]]:
    """Decode the jobs into the store in their order; returns the broken ones as (path, reason)."""
    broken = []
    workers = min(workers, len(jobs))
    results = writer.decode_alone(jobs) if workers <= 1 else writer.decode_together(jobs, workers)
    for number, (job, decoded) in enumerate(results, 1):
        if decoded.error is not None:
            broken.append((str(job.path), decoded.error))
        if progress:
            progress(number, len(jobs), job.id)
    return broken


class _Writer:
    """The one writer of a store: frames first, then their line in the index."""

    def __init__(self, folder: Path, header: dict[str, Any], geometry: Geometry) -> None:
        self._folder, self._geometry = folder, geometry
        if not (folder / HEADER).exists():
            write_atomically(folder / HEADER, (json.dumps(header, indent=1, sort_keys=True) + "\n").encode())
        if _read_header(folder)["key"] != header["key"]:
            raise DataError(folder, "holds the frames of another data set; delete it and prepare again")
        for part in folder.glob("*.part"):
            part.unlink()
        self._frames = self._open(FRAMES)
        self._lines = self._open(INDEX)
        available = self._frames.seek(0, os.SEEK_END)
        self.index = _read_index(folder, geometry.frame_bytes, available)
        self._cut(self.index.end)
        self._lines.truncate(self.index.size)
        self._lines.seek(self.index.size)
        self._pending: list[dict[str, Any]] = []
        self._committed_at = time.monotonic()

    def _open(self, name: str) -> Any:
        (self._folder / name).touch()
        return (self._folder / name).open("r+b", buffering=_COPY_BYTES)

    def decode_alone(self, jobs: Iterable[_Job]) -> Iterator[tuple[_Job, Decoded]]:
        """Decode in this process, straight into the store."""
        for job in jobs:
            yield job, self._append(job, decode_into(job.path, self._geometry, self._frames))

    def decode_together(self, jobs: Iterable[_Job], workers: int) -> Iterator[tuple[_Job, Decoded]]:
        """Decode in worker processes into part files, which are appended in the order of the jobs.

        Few videos are under way at once, so part files take little room and no frames pile up in memory.
        """
        under_way: deque[tuple[_Job, Path, Future[Decoded]]] = deque()
        rest = iter(enumerate(jobs))
        with Crew(workers, self._geometry) as crew, ThreadPoolExecutor(workers) as threads:
            try:
                while True:
                    while len(under_way) < 4 * workers and (item := next(rest, None)):
                        number, job = item
                        part = self._folder / f"{number}.part"
                        under_way.append((job, part, threads.submit(crew.decode, job.path, part)))
                    if not under_way:
                        return
                    job, part, future = under_way.popleft()
                    yield job, self._append_part(job, part, future.result())
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def _append_part(self, job: _Job, part: Path, decoded: Decoded) -> Decoded:
        if decoded.error is None:
            with part.open("rb") as source:
                while block := source.read(_COPY_BYTES):
                    self._frames.write(block)
        part.unlink(missing_ok=True)
        return self._append(job, decoded)

    def _append(self, job: _Job, decoded: Decoded) -> Decoded:
        """Take up the line of a video whose frames were just written, and commit when it is time."""
        fields: dict[str, Any] = {"id": job.id}
        if decoded.error is not None:
            self._cut(self.index.end)
            fields["error"] = decoded.error
        else:
            fields["frames"], fields["offset"] = decoded.frames, self.index.end
            fields["source_bytes"], fields["source_sha256"] = decoded.source_bytes, decoded.source_sha256
            fields["frames_sha256"] = decoded.frames_sha256
        # A video that is still broken in the same way has its line already: no line twice, no other bytes.
        if decoded.error is None or self.index.broken.get(job.id) != decoded.error:
            self._pending.append(fields)
            self.index.add(fields, self._geometry.frame_bytes)
        if time.monotonic() - self._committed_at > _SECONDS_BETWEEN_COMMITS:
            self._commit()
        return decoded

    def _cut(self, end: int) -> None:
        """Forget everything behind the first `end` bytes of the frames."""
        self._frames.seek(end)
        self._frames.truncate()

    def _commit(self) -> None:
        """Make the frames safe on disk, then the lines that speak of them."""
        _flush(self._frames)
        self._lines.write(b"".join(json.dumps(fields).encode() + b"\n" for fields in self._pending))
        _flush(self._lines)
        self._pending.clear()
        self._committed_at = time.monotonic()

    def close(self) -> None:
        """Commit what is whole. After a failed write this may fail again; the lines then stay unwritten."""
        try:
            self._cut(self.index.end)
            self._commit()
        finally:
            for stream in (self._frames, self._lines):
                with suppress(OSError):
                    stream.close()


def _flush(stream: Any) -> None:
    stream.flush()
    os.fsync(stream.fileno())


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what the disk complains about into one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        again = "run the same command again, it goes on where it stopped"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(folder, f"the disk is full; free some space and {again}") from error
        raise DataError(folder, f"cannot be written ({error.strerror}); put that right and {again}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the store for writing. Raises DataError that names the process that holds it already."""
    holder = folder / "holder"
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        with suppress(OSError):
            raise DataError(folder, f"is being prepared by process {holder.read_text()}; wait for it") from error
        raise DataError(folder, "is being prepared by another process; wait for it") from error
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


# --- verifying ---------------------------------------------------------------------------------------------


def verify(dataset: VideoDataset, geometry: Geometry, progress: Progress | None = None) -> Verification:
    """Hash all stored frames and all files again, try what is not prepared, and name whatever is wrong."""
    path = store_path(dataset, geometry)
    store = FrameStore(path) if path.is_dir() else None
    found: dict[str, list[Any]] = {}
    sound = 0
    with ThreadPoolExecutor(cores()) as threads:
        findings = threads.map(lambda video: list(_findings(dataset, geometry, store, video)), dataset.videos)
        for number, (video, problems) in enumerate(zip(dataset.videos, findings, strict=True), 1):
            sound += not problems
            for kind, problem in problems:
                found.setdefault(kind, []).append(problem)
            if progress:
                progress(number, len(dataset.videos), video.id)
    lists = {kind: tuple(problems) for kind, problems in found.items()}
    return Verification(path=path, sound=sound, extra=tuple(_extra(dataset)), **lists)


def _findings(
    dataset: VideoDataset, geometry: Geometry, store: FrameStore | None, video: Video
) -> Iterator[tuple[str, Any]]:
    """What is wrong with one video, as (field of Verification, what to add to it)."""
    path = find_video(dataset, video)
    entry = store.entries.get(video.id) if store else None
    expected = (video.id, str(dataset.root / video.paths[0]))
    if store and entry:
        if hashlib.sha256(store.frames(video.id).data).hexdigest() != entry.frames_sha256:
            yield "damaged", (video.id, "its stored frames changed on disk; delete the store and prepare again")
        if path is None:
            yield "gone", expected
        elif problem := _changed(path, entry):
            yield "changed", (str(path), problem)
    elif path is None:
        yield "missing", expected
    else:
        try:
            check_video(path, geometry)
            yield "unprepared", video.id
        except DataError as error:
            yield "broken", (str(path), error.reason)


def _changed(path: Path, entry: Entry) -> str | None:
    try:
        size, digest = fingerprint(path)
    except DataError as error:
        return error.reason
    if size != entry.source_bytes:
        return f"has {size} bytes; it had {entry.source_bytes} when it was prepared"
    return None if digest == entry.source_sha256 else "has other content than when it was prepared"


def _extra(dataset: VideoDataset) -> Iterator[str]:
    """Video files under the data set's folder that belong to no video."""
    if dataset.embedded:  # sets with other options are drawn into the same folder
        return
    known = {os.path.normpath(path) for video in dataset.videos for path in video.paths}
    for path in sorted(dataset.root.rglob("*")) if dataset.root.is_dir() else ():
        if path.suffix.lower() in VIDEO_SUFFIXES and str(path.relative_to(dataset.root)) not in known:
            yield str(path)
