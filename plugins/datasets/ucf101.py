"""UCF101: 13,320 clips of 101 actions, with its three official splits. Only the lists are here, no video."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from kdbench.api import DataError, Download, Split, Video, VideoDataset, hookimpl

TEST_GROUPS = {1: range(1, 8), 2: range(8, 15), 3: range(15, 22)}


@cache
def _clips_of_groups() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Per class folder, in the order of the labels: the name within file names, and the clips of groups 1 to 25.

    `ucf101.txt` says how the counts stand for the official lists.
    """
    classes = {}
    for line in Path(__file__).with_name("ucf101.txt").read_text(encoding="ascii").splitlines():
        if not line.startswith("#"):
            folder, *words = line.split()
            names, counts = [word for word in words if word.isalpha()], [int(word) for word in words if word.isdigit()]
            classes[folder] = (names[0] if names else folder, tuple(counts))
    return classes


def _clips() -> Iterator[tuple[int, Video]]:
    """(group number, video) in the order of the official lists: class, group, clip."""
    for label, (folder, (name, counts)) in enumerate(_clips_of_groups().items()):
        for group, count in enumerate(counts, start=1):
            for clip in range(1, count + 1):
                place = f"g{group:02d}_c{clip:02d}"
                # Copies of the data set differ in how they spell "HandstandPushups" in folder and file.
                spellings = dict.fromkeys([(folder, name), (name, name), (folder, folder)])
                paths = tuple(f"{parent}/v_{stem}_{place}.avi" for parent, stem in spellings)
                yield group, Video(f"{folder}/v_{name}_{place}", label, f"g{group:02d}", paths)


@cache
def _videos() -> tuple[Video, ...]:
    return tuple(sorted((video for _, video in _clips()), key=lambda video: video.id))


@cache
def _split(number: int) -> Split:
    held_out = TEST_GROUPS[number]
    return Split(
        train=tuple(video.id for group, video in _clips() if group not in held_out),
        test=tuple(video.id for group, video in _clips() if group in held_out),
    )


class UCF101(VideoDataset):
    """101 actions from user-uploaded videos, 320 x 240 pixels, 25 fps; 25 groups of clips per class.

    The clips of a group come from one recording and never stand on both sides of a split.
    """

    name = "ucf101"
    source = "Soomro, Zamir and Shah, 2012, arXiv:1212.0402; https://www.crcv.ucf.edu/data/UCF101.php"
    downloads = (Download("https://www.crcv.ucf.edu/data/UCF101/UCF101.rar", "UCF101.rar"),)
    how_to_get = (
        "download https://www.crcv.ucf.edu/data/UCF101/UCF101.rar (the owners' terms "
        "apply), keep it anywhere, unpacked or not, and run: kdbench data prepare ucf101 --videos PATH"
    )

    @property
    def classes(self) -> tuple[str, ...]:
        """The class folders, in the order of classInd.txt."""
        return tuple(_clips_of_groups())

    @property
    def videos(self) -> tuple[Video, ...]:
        """All 13,320 clips in the order of their ids ("<Class>/<file stem>"); the group is g01 to g25."""
        return _videos()

    def split(self, number: int) -> Split:
        """Official split 1, 2 or 3, in the order of its lists. Raises DataError for any other number."""
        if number not in TEST_GROUPS:
            raise DataError("ucf101", f"there is no split {number}; the official splits are 1, 2 and 3")
        return _split(number)


@hookimpl
def kdbench_datasets() -> list[type[VideoDataset]]:
    """The data set of this file."""
    return [UCF101]
