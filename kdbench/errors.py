"""The errors a user can meet. Each message names the thing, the place and the way out, on one line.

The command line turns them into that line and exit code 1; any other exception is a bug of ours and keeps
its traceback.
"""

from __future__ import annotations

from pathlib import Path


class KdbenchError(Exception):
    """Something the user can put right."""


class BoardError(KdbenchError):
    """A board is unknown, or its board.toml says something it cannot mean."""


class PluginError(KdbenchError):
    """A plugin is unknown, broken, or was given an option it does not have."""


class DataError(KdbenchError):
    """A video, an archive, a split list or a frame store is missing or unusable."""

    def __init__(self, place: Path | str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class RecordError(KdbenchError):
    """A record cannot be read, or a number in it does not follow from the others."""


class RunFailed(KdbenchError):  # noqa: N818 - the state of a run, as the vocabulary names it
    """A run could not finish: a loss was not finite, the disk was full, another process holds it."""
