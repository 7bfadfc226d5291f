"""Filling a frame store: every video that is not in it yet is packed by worker processes and appended by one writer."""

from __future__ import annotations

import errno
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from kdbench.data.crew import Crew
from kdbench.data.decode import Geometry, cores
from kdbench.data.packing import Decoded, Packer
from kdbench.data.store import (
    FRAMES,
    HEADER,
    INDEX,
    Index,
    Progress,
    find_video,
    header_of,
    read_header,
    read_index,
    store_path,
)
from kdbench.errors import DataError
from kdbench.files import write_atomically

if TYPE_CHECKING:
    from kdbench.api import VideoDataset

# What is lost when the power fails: the videos of the last two seconds.
_SECONDS_BETWEEN_COMMITS = 2.0
_WAITING_POLL_S = 0.5  # between two looks at a store that another process holds
_COPY_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 16  # what is larger goes to the disk without another copy
_BYTES_BETWEEN_FLUSHES = 1 << 23


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
class _Job:
    """One video to decode."""

    id: str
    path: Path


def prepare(
    dataset: VideoDataset,
    geometry: Geometry,
    workers: int = 1,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Report:
    """Decode every video that is not in the store yet, with `workers` processes, and say what happened.

    Missing and broken videos are reported, do not stop the rest, and are tried again the next time. Raises
    DataError when the store cannot be written (the disk is full, another process holds it), and the same call
    then continues where this one stopped; or when the codec's library is not installed. Another process that
    holds the store is waited for where `say` is given, which is told so.
    """
    started = time.monotonic()
    folder, header = store_path(dataset, geometry), header_of(dataset, geometry)
    with _writing(folder), _locked(folder, say):
        writer = _Writer(folder, header, geometry)
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


def _plan(dataset: VideoDataset, index: Index) -> tuple[list[_Job], list[tuple[str, str]], int]:
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
    results = writer.pack_alone(jobs) if workers <= 1 else writer.pack_together(jobs, workers)
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
        if read_header(folder)["key"] != header["key"]:
            raise DataError(folder, "holds the frames of another data set; delete it and prepare again")
        self._remove_parts()
        self._frames = self._open(FRAMES)
        self._lines = self._open(INDEX)
        available = self._frames.seek(0, os.SEEK_END)
        self.index = read_index(folder, geometry.frame_bytes, available)
        self._cut(self.index.end)
        self._lines.truncate(self.index.size)
        self._lines.seek(self.index.size)
        self._pending: list[dict[str, Any]] = []
        self._committed_at = time.monotonic()
        self._flusher = ThreadPoolExecutor(1)
        self._flushed = self.index.end
        self._flushing: Future[Any] = self._flusher.submit(int)

    def _open(self, name: str) -> Any:
        (self._folder / name).touch()
        return (self._folder / name).open("r+b", buffering=_BUFFER_BYTES)

    def _remove_parts(self) -> None:
        for part in self._folder.glob("*.part"):
            part.unlink()

    def pack_alone(self, jobs: Iterable[_Job]) -> Iterator[tuple[_Job, Decoded]]:
        """Pack in this process, straight into the store."""
        packer = Packer(self._geometry, beside=cores() > 1)
        for job in jobs:
            yield job, self._append(job, packer.pack(job.path, self._frames))

    def pack_together(self, jobs: Iterable[_Job], workers: int) -> Iterator[tuple[_Job, Decoded]]:
        """Pack in worker processes into part files, which are appended in the order of the jobs.

        Few videos are under way at once, so part files take little room and no frames pile up in memory. The same
        few files are written again and again; their names are this process's own, for workers of one that was killed
        may still be writing to theirs.
        """
        under_way: deque[tuple[_Job, Path, Future[Decoded]]] = deque()
        rest = iter(enumerate(jobs))
        with Crew(workers, self._geometry) as crew, ThreadPoolExecutor(workers) as threads:
            try:
                while True:
                    while len(under_way) < 4 * workers and (item := next(rest, None)):
                        number, job = item
                        part = self._folder / f"{os.getpid()}-{number % (4 * workers)}.part"
                        under_way.append((job, part, threads.submit(crew.pack, job.path, part)))
                    if not under_way:
                        return
                    job, part, future = under_way.popleft()
                    yield job, self._append_part(job, part, future.result())
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def _append_part(self, job: _Job, part: Path, decoded: Decoded) -> Decoded:
        """Copy the video from its part file, behind which the rest of an earlier one may stand."""
        if decoded.error is None:
            left = decoded.bytes
            with part.open("rb") as source:
                while left:
                    block = source.read(min(left, _COPY_BYTES))
                    assert block, f"{part} lost {left} bytes"
                    left -= self._frames.write(block)
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
            if self._geometry.codec != "yuv420p":
                fields["bytes"] = decoded.bytes
        # A video that is still broken in the same way has its line already: no line twice, no other bytes.
        if decoded.error is None or self.index.broken.get(job.id) != decoded.error:
            self._pending.append(fields)
            self.index.add(fields, self._geometry.frame_bytes)
        if time.monotonic() - self._committed_at > _SECONDS_BETWEEN_COMMITS:
            self._commit()
        elif self.index.end - self._flushed > _BYTES_BETWEEN_FLUSHES and self._flushing.done():
            self._flush_aside()
        return decoded

    def _flush_aside(self) -> None:
        """Let the disk take up the frames while more are decoded, so that a commit finds little to wait for."""
        self._flushing.result()
        self._flushed = self.index.end
        self._flushing = self._flusher.submit(os.fsync, self._frames.fileno())

    def _cut(self, end: int) -> None:
        """Forget everything behind the first `end` bytes of the frames."""
        self._frames.seek(end)
        self._frames.truncate()

    def _commit(self) -> None:
        """Make the frames safe on disk, then the lines that speak of them."""
        self._flushing.result()  # the system tells of a failed write only once
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
            self._flusher.shutdown()
            for stream in (self._frames, self._lines):
                with suppress(OSError):
                    stream.close()
            self._remove_parts()


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
def _locked(folder: Path, say: Callable[[str], None] | None) -> Iterator[None]:
    """Hold the store for writing. Without `say`, raises DataError that names the process that holds it already."""
    holder = folder / "holder"
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        who = "another process"
        with suppress(OSError):
            who = f"process {holder.read_text()}"
        if say is None:
            raise DataError(folder, f"is being prepared by {who}; wait for it") from error
        say(f"{folder}: is being prepared by {who}; waiting until it has ended")
        lock.acquire(timeout=-1, poll_interval=_WAITING_POLL_S)
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()
