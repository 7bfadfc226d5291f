"""Where things lie on this machine: one folder, `KDBENCH_HOME`, holds videos and frame stores."""

from __future__ import annotations

import os
from pathlib import Path

from kdbench.errors import DataError


def home() -> Path:
    """The folder of everything kdbench keeps: the environment variable KDBENCH_HOME, else ~/.cache/kdbench.

    Raises DataError where that folder of the user's is not known.
    """
    named = os.environ.get("KDBENCH_HOME") or "~/.cache/kdbench"
    try:
        return Path(named).expanduser()
    except RuntimeError as error:  # a user without an entry in the system's list, as in many containers
        raise DataError(named, "no such user's folder is known here; set KDBENCH_HOME to a folder") from error


def videos_root(dataset_name: str) -> Path:
    """The folder of a data set's video files, where none was named."""
    return home() / "videos" / dataset_name


def downloads_root(dataset_name: str) -> Path:
    """The folder of the files that were fetched for a data set, before they are unpacked."""
    return home() / "downloads" / dataset_name


def stores_root() -> Path:
    """The folder of all frame stores."""
    return home() / "stores"
