"""A small data set of films, for tests of the frame store. No torch, so that a process of it starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kdbench.data.decode import Geometry
from tests.data.films import counted, packed

if TYPE_CHECKING:
    from kdbench.api import VideoDataset

GEOMETRY = Geometry(128, 171)
FILMS = 6


@dataclass(frozen=True)
class Film:
    """What kdbench.api.Video is."""

    id: str
    label: int
    group: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Options:
    """One option, which takes part in the key of a store."""

    shelf: int = 1


@dataclass
class Shelf:
    """What a kdbench.api.VideoDataset is: `FILMS` films, any of which may lie in a second place, too."""

    root: Path
    options: Options = Options()
    kind: str = ""
    name: str = "shelf"
    source: str = "drawn by the tests"
    how_to_get: str = "draw them"
    embedded: bool = False
    classes: tuple[str, ...] = ("a", "b")

    @property
    def videos(self) -> tuple[Film, ...]:
        """All films in the order of their ids."""
        return tuple(Film(f"a/{at}", 0, "g", (f"a/{at}.avi", f"old/{at}.avi")) for at in range(FILMS))

    def split(self, number: int) -> Any:
        """No split is needed to prepare a store."""
        from kdbench.errors import DataError

        raise DataError(self.name, f"there is no split {number}")

    def identity(self) -> str:
        """What the test gave."""
        return self.kind


def shelf(root: Path, **settings: Any) -> VideoDataset:
    """The data set in a folder, whether or not films are there."""
    return cast("VideoDataset", Shelf(root, **settings))


def film(root: Path, at: int) -> Path:
    """The place of a film."""
    return root / "a" / f"{at}.avi"


def frames_in(at: int) -> int:
    """How many frames a film has: odd, and enough of them that a store does not fit into one write."""
    return 31 + 2 * at


def draw_films(root: Path, numbers: Sequence[int] = range(FILMS)) -> None:
    """Draw films whose frames are numbered from ten times the film's own; every second has packed B-frames."""
    for at in numbers:
        if at % 2:
            packed(film(root, at), frames_in(at))
        else:
            counted(film(root, at), frames_in(at), first=10 * at)


def first_number(at: int) -> int:
    """The number that the first frame of a film shows."""
    return 0 if at % 2 else 10 * at
