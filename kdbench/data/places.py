"""Where things lie on this machine: one folder, `KDBENCH_HOME`, holds videos and frame stores."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder of everything kdbench keeps: the environment variable KDBENCH_HOME, else ~/.cache/kdbench."""
    named = os.environ.get("KDBENCH_HOME")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "kdbench"


def videos_root(dataset_name: str) -> Path:
    """The folder of a data set's video files, where none was named."""
    return home() / "videos" / dataset_name


def downloads_root(dataset_name: str) -> Path:
    """The folder of the files that were fetched for a data set, before they are unpacked."""
    return home() / "downloads" / dataset_name


def stores_root() -> Path:
    """The folder of all frame stores."""
    return home() / "stores"
