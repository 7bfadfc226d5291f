"""HMDB51: 6,766 clips of 51 actions, with its three official splits. Only the lists are here, no video."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from kdbench.api import DataError, Download, Split, Video, VideoDataset, hookimpl

SPLITS = (1, 2, 3)
TRAIN, TEST = "1", "2"


@cache
def _marks() -> dict[str, dict[str, str]]:
    """Per class, in the order of the labels: file stem -> its marks in splits 1, 2 and 3, as in `hmdb51.txt`."""
    classes: dict[str, dict[str, str]] = {}
    for line in Path(__file__).with_name("hmdb51.txt").read_text(encoding="ascii").splitlines():
        if line.startswith("["):
            clips = classes.setdefault(line.strip("[]"), {})
        elif not line.startswith("#"):
            marks, stem = line.split(" ", 1)
            clips[stem] = marks
    return classes


@cache
def _videos() -> tuple[Video, ...]:
    videos = (
        Video(f"{name}/{stem}", label, _group(name, stem), (f"{name}/{stem}.avi",))
        for label, (name, clips) in enumerate(_marks().items())
        for stem in clips
    )
    return tuple(sorted(videos, key=lambda video: video.id))


def _group(name: str, stem: str) -> str:
    """Class and source video. The official splits keep a source together within a class only, not across classes."""
    return f"{name}/{stem.rsplit(f'_{name}_', 1)[0]}"


@cache
def _split(number: int) -> Split:
    def marked(mark: str) -> tuple[str, ...]:
        return tuple(
            f"{name}/{stem}"
            for name, clips in _marks().items()
            for stem, marks in clips.items()
            if marks[number - 1] == mark
        )

    return Split(marked(TRAIN), marked(TEST))


class HMDB51(VideoDataset):
    """51 actions from films and web videos, height 240 pixels; 70 training and 30 test clips per class and split.

    The release holds more clips than a split uses; all of them are listed, so that one frame store serves
    every split.
    """

    name = "hmdb51"
    source = "Kuehne, Jhuang, Garrote, Poggio and Serre, ICCV 2011, doi:10.1109/ICCV.2011.6126543"
    downloads = (
        Download("http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/hmdb51_org.rar", "hmdb51_org.rar"),
    )
    how_to_get = (
        "download http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/hmdb51_org.rar (the owners' terms "
        "apply), keep it anywhere, unpacked or not, and run: kdbench data prepare hmdb51 --videos PATH"
    )

    @property
    def classes(self) -> tuple[str, ...]:
        """The class folders, in alphabetical order."""
        return tuple(_marks())

    @property
    def videos(self) -> tuple[Video, ...]:
        """All 6,766 clips of the release in the order of their ids ("<class>/<file stem>")."""
        return _videos()

    def split(self, number: int) -> Split:
        """Official split 1, 2 or 3: 3,570 and 1,530 clips. Raises DataError for any other number."""
        if number not in SPLITS:
            raise DataError("hmdb51", f"there is no split {number}; the official splits are 1, 2 and 3")
        return _split(number)


@hookimpl
def kdbench_datasets() -> list[type[VideoDataset]]:
    """The data set of this file."""
    return [HMDB51]
