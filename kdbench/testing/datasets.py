"""The checks of a data set: its lists, and its videos where it draws them itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from kdbench.api import DataError, Split, Video, VideoDataset
from kdbench.data.store import find_video
from kdbench.testing.findings import (
    CheckError,
    Checks,
    NotApplicableError,
    global_randomness,
    require_untouched,
)
from kdbench.testing.kit import few_videos

MOST_SPLITS = 20


class DatasetChecks(Checks):
    """Whether a data set keeps to what `kdbench.api.VideoDataset` says."""

    made = "its lists can be read"

    def prepare(self) -> None:
        """Read the lists once. A data set that lists what lies in its folder needs the folder."""
        try:
            for name in ("classes", "videos"):
                if callable(getattr(self.dataset, name)):
                    raise CheckError(f"{name} is a method; write @property above its def")
        except DataError as error:
            if self.plugin.cls.embedded or self.given.videos is not None:
                raise
            raise NotApplicableError(f"its videos are not here; name their folder with --videos ({error})") from None

    @cached_property
    def root(self) -> Path:
        """Where the videos lie, or may be drawn."""
        return self.given.videos or self.kit.new_folder() / "videos"

    @cached_property
    def dataset(self) -> VideoDataset:
        """The data set with its defaults, or with the options given."""
        return self._again()

    def _again(self) -> VideoDataset:
        made: VideoDataset = self.plugin.make(self.given.options, self.root)
        return made

    def check_each_class_is_named_once_and_has_a_video(self) -> None:
        """Labels are positions among the classes."""
        classes, labels = self.dataset.classes, {video.label for video in self.dataset.videos}
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise CheckError(f"has the classes {', '.join(classes)}; name two or more, each once")
        for label in sorted(labels - set(range(len(classes)))):
            raise CheckError(f"has a video of label {label}; labels are positions among the {len(classes)} classes")
        for label in sorted(set(range(len(classes))) - labels):
            raise CheckError(f"has no video of class '{classes[label]}'; leave the class out")

    def check_ids_are_unique_and_in_order_and_paths_relative(self) -> None:
        """And every video is in a group."""
        ids = [video.id for video in self.dataset.videos]
        if len(set(ids)) < len(ids):
            twice = next(name for name in ids if ids.count(name) > 1)
            raise CheckError(f"has two videos called '{twice}'; ids are unique")
        if ids != sorted(ids):
            raise CheckError("lists its videos in another order than that of their ids; sort them by id")
        for video in self.dataset.videos:
            _require_places(video)

    def check_no_video_or_group_is_on_both_sides_of_a_split(self) -> None:
        """In any of the splits, which name known videos, each once."""
        known = {video.id: video for video in self.dataset.videos}
        for number, split in self._splits():
            place = f"split {number}"
            for side, ids in (("training", split.train), ("test", split.test)):
                _require_list(f"{place}, {side} list", ids, known)
            groups = [{known[name].group for name in ids} for ids in (split.train, split.test)]
            for name in sorted(set(split.train) & set(split.test)):
                raise CheckError(f"{place} has '{name}' on both sides; take it out of one")
            for group in sorted(groups[0] & groups[1]):
                raise CheckError(f"{place} has group '{group}' on both sides; hold whole groups out")
            untaught = {known[name].label for name in split.test} - {known[name].label for name in split.train}
            for label in sorted(untaught):
                raise CheckError(f"{place} tests class '{self.dataset.classes[label]}' and has no training video of it")

    def _splits(self) -> Iterator[tuple[int, Split]]:
        """The splits there are, the first of which must be."""
        yield 1, self.dataset.split(1)
        for number in range(2, MOST_SPLITS):
            try:
                split = self.dataset.split(number)
            except DataError:
                return
            yield number, split

    def check_a_split_that_does_not_exist_is_refused(self) -> None:
        """With a DataError that says which there are."""
        for number in (0, 10**6):
            try:
                self.dataset.split(number)
            except DataError:
                continue
            raise CheckError(f"split({number}) gives a split; raise DataError for every number that does not exist")

    def check_its_lists_are_the_same_every_time(self) -> None:
        """For two objects, which move no global random state."""
        before = global_randomness()
        other = self._again()
        for name in ("classes", "videos"):
            if getattr(other, name) != getattr(self.dataset, name):
                raise CheckError(f"gives other {name} the second time; sort what you list, and draw from fixed seeds")
        if (other.split(1), other.identity()) != (self.dataset.split(1), self.dataset.identity()):
            raise CheckError("gives another split or identity the second time; draw from fixed seeds")
        require_untouched(before, "draw from a generator of your own (numpy.random.Generator) with a fixed seed")

    def check_its_videos_can_be_had(self) -> None:
        """Drawn here, or from where `how_to_get` says."""
        if not self.plugin.cls.embedded:
            if not self.dataset.how_to_get.strip():
                raise CheckError("how_to_get is empty; say in one line where the videos come from")
            return
        options = {**few_videos(self.plugin, self.root), **self.given.options}
        dataset: VideoDataset = self.plugin.make(options, self.root)
        before = global_randomness()
        dataset.provide(lambda text: None)
        require_untouched(before, "draw from a generator of your own (numpy.random.Generator) with a fixed seed")
        for video in dataset.videos:
            if find_video(dataset, video) is None:
                raise CheckError(f"provide() leaves no file for '{video.id}' at {video.paths[0]}; draw all videos")


def _require_places(video: Video) -> None:
    if not video.group:
        raise CheckError(f"video '{video.id}' has no group; a video of its own is a group of its own: use its id")
    paths: object = video.paths
    if isinstance(paths, str):
        raise CheckError(f"the paths of '{video.id}' are the string {paths!r}; write ({paths!r},)")
    if not video.paths:
        raise CheckError(f"video '{video.id}' has no path; say where its file may lie")
    for path in video.paths:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
            raise CheckError(f"path {path!r} of '{video.id}' leaves the data set's folder; give it relative to that")


def _require_list(place: str, ids: tuple[str, ...], known: dict[str, Video]) -> None:
    if not ids:
        raise CheckError(f"{place}: is empty; a run needs videos on both sides")
    if len(set(ids)) < len(ids):
        raise CheckError(f"{place}: names a video twice; name each once")
    for name in ids:
        if name not in known:
            raise CheckError(f"{place}: '{name}' is none of the data set's videos; list it in `videos` too")
