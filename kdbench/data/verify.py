"""Checking a frame store and the files it came from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.data.decode import VIDEO_SUFFIXES, Geometry, check_video, cores, fingerprint
from kdbench.data.store import Entry, FrameStore, Progress, find_video, store_path
from kdbench.errors import DataError

if TYPE_CHECKING:
    from kdbench.api import Video, VideoDataset


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
        if hashlib.sha256(store.stored(video.id).data).hexdigest() != entry.frames_sha256:
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
