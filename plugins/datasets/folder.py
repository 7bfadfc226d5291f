"""Any folder of videos, one folder for each class; the options say which videos are held out for testing."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kdbench.api import DataError, PluginError, Split, Video, VideoDataset, hookimpl

LAYOUT = "lay the videos out as <class>/<clip>"


class Folder(VideoDataset):
    """A `<class>/<clip>` tree. Ids are "<class>/<file name without extension>", labels alphabetical.

    The one split holds out either whole groups (`test_groups`) or the videos of a list (`train_list`,
    `test_list`). Folders without videos are no classes; files and folders that begin with a dot are left out.
    """

    name = "folder"
    source = "your own videos"
    how_to_get = f"{LAYOUT} in a folder and name it with --videos"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """How videos are grouped and split.

        `group` is a regular expression, searched for in the file name without extension; its group called
        `group`, or else its only group, is the video's group (an actor, a recording). Without it every video
        is a group of its own, called by its id. `test_groups` are the groups to hold out. `train_list` and
        `test_list` are files with one id a line, relative to the folder. `extensions` are those of videos.
        """

        group: str = ""
        test_groups: tuple[str, ...] = ()
        train_list: str = ""
        test_list: str = ""
        extensions: tuple[str, ...] = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".wmv", ".m4v")

    options: Options

    def __init__(self, root: Path, options: Options | None = None) -> None:
        super().__init__(root, options)
        self._group = _compiled(self.options.group) if self.options.group else None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the folders that hold videos. Raises DataError when there are none."""
        return tuple(dict.fromkeys(path.parent.name for path in self._files))

    @cached_property
    def videos(self) -> tuple[Video, ...]:
        """All videos, by id. Raises DataError when two share an id or the regular expression fits one not."""
        labels = {name: label for label, name in enumerate(self.classes)}
        videos: dict[str, Video] = {}
        for path in self._files:
            video_id = f"{path.parent.name}/{path.stem}"
            if video_id in videos:
                raise DataError(path, f"has the same id as {videos[video_id].paths[0]}; rename one of the two files")
            place = path.relative_to(self.root).as_posix()
            videos[video_id] = Video(video_id, labels[path.parent.name], self._group_of(path, video_id), (place,))
        return tuple(videos[video_id] for video_id in sorted(videos))

    def split(self, number: int) -> Split:
        """The one split, its lists in the order of the ids or of the files. Raises DataError when it is not clear."""
        if number != 1:
            raise DataError(self.root, f"there is no split {number}; a folder has one split, number 1")
        lists = (self.options.train_list, self.options.test_list)
        if bool(self.options.test_groups) == any(lists):
            found = "both are" if any(lists) else "neither is"
            raise DataError(self.root, f"give either test_groups or train_list and test_list; {found} given")
        if any(lists) and not all(lists):
            missing = "test_list" if lists[0] else "train_list"
            raise DataError(self.root, f"{missing} is not given; train_list and test_list go together")
        split = self._split_by_lists() if any(lists) else self._split_by_groups()
        for side, ids in (("training", split.train), ("test", split.test)):
            if not ids:
                raise DataError(self.root, f"the split leaves no {side} video; hold out other groups or videos")
        return split

    def identity(self) -> str:
        """SHA-256 over the sorted paths and sizes of the videos."""
        listing = sorted(f"{path.relative_to(self.root).as_posix()}\t{path.stat().st_size}" for path in self._files)
        return hashlib.sha256("\n".join(listing).encode("utf-8", "surrogateescape")).hexdigest()

    @cached_property
    def _files(self) -> tuple[Path, ...]:
        if not self.root.is_dir():
            raise DataError(self.root, f"no such folder; {self.how_to_get}")
        extensions = {extension.lower() for extension in self.options.extensions}
        folders = sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        files = tuple(
            path
            for folder in folders
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in extensions and path.is_file() and not path.name.startswith(".")
        )
        if not files:
            raise DataError(self.root, f"no class folder with videos ({' '.join(sorted(extensions))}); {LAYOUT}")
        return files

    def _group_of(self, path: Path, video_id: str) -> str:
        if self._group is None:
            return video_id
        match = self._group.search(path.stem)
        group = match and match.group("group" if "group" in self._group.groupindex else 1)
        if not group:
            raise DataError(path, f"option group '{self.options.group}' does not match '{path.stem}'; widen it")
        return group

    def _split_by_groups(self) -> Split:
        known = sorted({video.group for video in self.videos})
        for group in self.options.test_groups:
            if group not in known:
                raise DataError(self.root, f"no video is in group '{group}' of test_groups; {_suggest(group, known)}")
        held_out = set(self.options.test_groups)
        return Split(
            train=tuple(video.id for video in self.videos if video.group not in held_out),
            test=tuple(video.id for video in self.videos if video.group in held_out),
        )

    def _split_by_lists(self) -> Split:
        train, test = self._list(self.options.train_list), self._list(self.options.test_list)
        groups = {video.id: video.group for video in self.videos}
        tested_ids, tested = set(test), {groups[video_id] for video_id in test}
        for video_id in train:
            if video_id in tested_ids:
                raise DataError(self.root, f"'{video_id}' is in train_list and in test_list; take it out of one")
            if groups[video_id] in tested:
                raise DataError(self.root, f"group '{groups[video_id]}' is in train_list and test_list; move it whole")
        return Split(train, test)

    def _list(self, place: str) -> tuple[str, ...]:
        path = self.root / place
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(path, f"cannot be read as a list of ids: {error}; correct the option") from error
        known = {video.id for video in self.videos}
        ids: dict[str, int] = {}
        for number, video_id in enumerate((line.strip() for line in lines), start=1):
            if video_id and video_id not in known:
                raise DataError(path, f"line {number}: no video is called '{video_id}'; {_suggest(video_id, known)}")
            if video_id in ids:
                raise DataError(path, f"lines {ids[video_id]} and {number} both name '{video_id}'; keep one")
            if video_id:
                ids[video_id] = number
        return tuple(ids)


def _compiled(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise PluginError(f"folder: option group '{text}' is no regular expression: {error}") from error
    if "group" not in pattern.groupindex and pattern.groups != 1:
        raise PluginError(f"folder: option group '{text}' needs one group in brackets, or one called (?P<group>...)")
    return pattern


def _suggest(name: str, known: Iterable[str]) -> str:
    names: Sequence[str] = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names[:10])}{', ...' if names[10:] else ''}"


@hookimpl
def kdbench_datasets() -> list[type[VideoDataset]]:
    """The data set of this file."""
    return [Folder]
