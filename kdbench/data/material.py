"""What one run learns from and is tested on: data set, frame store, subset and test list, with their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kdbench.api import VideoDataset
from kdbench.board import Board, board_names, load_board
from kdbench.data.decode import Geometry, cores
from kdbench.data.loader import VideoList
from kdbench.data.places import videos_root
from kdbench.data.prepare import prepare
from kdbench.data.store import FrameStore
from kdbench.data.subsets import list_digest, subset
from kdbench.errors import DataError
from kdbench.registry import Registry


class Watcher(Protocol):
    """Where a long job says what it does."""

    def say(self, text: str) -> None:
        """One line of news."""

    def stage(self, title: str, total: int) -> Callable[[int], None]:
        """Begin a job of `total` parts; the answer is called with the number done so far."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a run comes to its videos: plugins, folders by data set (else under the kdbench home), who is told."""

    registry: Registry
    watcher: Watcher
    videos: Mapping[str, Path] = field(default_factory=dict)
    allow_missing: bool = False
    workers: int = field(default_factory=cores)


@dataclass(frozen=True)
class Material:
    """The two sides of a split as a run uses them; digests are those of the official lists."""

    dataset: str
    split: int
    classes: tuple[str, ...]
    store: FrameStore
    train: VideoList
    test: VideoList
    training_list: tuple[str, ...]
    training_list_sha256: str
    test_list: tuple[str, ...]
    test_list_sha256: str
    missing: int

    @property
    def frames_sha256(self) -> str:
        """SHA-256 over the ids and frames of all videos that are used, training first: what was really seen."""
        used = (*self.train.ids, *self.test.ids)
        lines = "".join(f"{name} {self.store.entries[name].frames_sha256}\n" for name in used)
        return hashlib.sha256(lines.encode()).hexdigest()

    def qualified(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        """Ids that are unique over all data sets: "<data set>/<id>"."""
        return tuple(f"{self.dataset}/{name}" for name in ids)


def open_dataset(board: Board, access: Access) -> VideoDataset:
    """The data set of a board's [data] section, at the folder the user or the kdbench home gives."""
    name = board.data.dataset
    root = access.videos.get(name, videos_root(name))
    dataset: VideoDataset = access.registry.get("datasets", name).make(board.data.options, root)
    return dataset


def open_material(board: Board, fraction: float, access: Access, subset_seed: int = 0) -> Material:
    """Open what a fraction of a board needs, preparing frames where they are missing.

    Raises DataError when videos are missing or broken, unless `access.allow_missing`.
    """
    dataset = open_dataset(board, access)
    split = dataset.split(board.data.split)
    labels = {video.id: video.label for video in dataset.videos}
    _refuse_names_that_are_no_text(dataset, labels)
    chosen = subset(dataset.videos, split.train, fraction, subset_seed)
    store = _open_store(dataset, board, (*chosen, *split.test), access)
    train = [name for name in chosen if name in store.entries]
    test = [name for name in split.test if name in store.entries]
    if not train or not test:
        raise DataError(dataset.root, f"{len(train)} training and {len(test)} test videos are left; a run needs both")
    return Material(
        dataset=dataset.name,
        split=board.data.split,
        classes=dataset.classes,
        store=store,
        train=VideoList.of(store, train, labels),
        test=VideoList.of(store, test, labels),
        training_list=chosen,
        training_list_sha256=list_digest(chosen),
        test_list=split.test,
        test_list_sha256=list_digest(split.test),
        missing=len(chosen) + len(split.test) - len(train) - len(test),
    )


def _refuse_names_that_are_no_text(dataset: VideoDataset, ids: Iterable[str]) -> None:
    """An id is hashed as UTF-8, and printed; the name of a file may be any bytes."""
    for name in ids:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(dataset.root, f"the name of video {name!a} is not UTF-8; rename its file") from error


def _open_store(dataset: VideoDataset, board: Board, needed: tuple[str, ...], access: Access) -> FrameStore:
    frames = board.frames
    geometry = Geometry(frames.height, frames.width, frames.filter, frames.codec)
    try:
        store = FrameStore.open(dataset, geometry)
    except DataError:
        store = None
    if store and all(name in store.entries for name in needed):
        return store
    _bring_videos(dataset, access)
    access.watcher.say(f"preparing the frames of {dataset.name} ({frames.height} x {frames.width}); this is done once")
    tick = access.watcher.stage("decoding", len(dataset.videos))
    report = prepare(dataset, geometry, access.workers, lambda done, total, name: tick(done), access.watcher.say)
    store = FrameStore.open(dataset, geometry)
    lacking = [name for name in needed if name not in store.entries]
    if lacking and not access.allow_missing:
        raise DataError(dataset.root, _say_lacking(lacking, report.broken))
    return store


def _bring_videos(dataset: VideoDataset, access: Access) -> None:
    """Draw embedded videos; without the videos of any other data set, say how to get them."""
    if dataset.embedded:
        dataset.provide(access.watcher.say)
    elif not dataset.root.is_dir():
        easy = _board_without_download(access.registry)
        raise DataError(dataset.root, f"no videos of '{dataset.name}' here; {dataset.how_to_get}{easy}")


def _board_without_download(registry: Registry) -> str:
    boards = [load_board(name) for name in board_names()]
    embedded = [board.name for board in boards if registry.get("datasets", board.data.dataset).cls.embedded]
    return f"; --board {embedded[0]} runs without any download" if embedded else ""


def _say_lacking(lacking: list[str], broken: Sequence[tuple[str, str]]) -> str:
    shown = ", ".join(lacking[:3]) + (" and others" if len(lacking) > 3 else "")
    bad = "".join(f"; {path}: {reason}" for path, reason in broken[:3])
    return (
        f"{len(lacking)} of the videos this run needs are missing or broken ({shown}){bad}; "
        "`kdbench data verify` names them all, --allow-missing runs on the rest (its record is never ranked)"
    )
