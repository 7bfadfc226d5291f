"""What several commands take: options of the same name and meaning, KEY=VALUE arguments, folders of videos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from kdbench.board import DEFAULT_BOARD, Board

BOARD_OPTION = click.option(
    "--board", default=DEFAULT_BOARD, show_default=True, help="Board name, or path of a board.toml."
)
VIDEOS_OPTION = click.option(
    "--videos", multiple=True, metavar="[NAME=]PATH", help="Folder of the board's (or a named) data set."
)
RUNS_OPTION = click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Runs folder."
)
DEVICE_OPTION = click.option("--device", help="cpu, cuda, cuda:1, ...  [default: CUDA where there is one]")
PLACEMENT_OPTION = click.option(
    "--placement",
    type=click.Choice(["mmap", "ram", "gpu"]),
    default="mmap",
    show_default=True,
    help="Read frames from the disk, or copy them once into host or CUDA memory.",
)
PLUGIN_OPTION = click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="Plugin file to load too."
)


def key_values(pairs: Sequence[str]) -> dict[str, str]:
    """`("temperature=2",)` -> {"temperature": "2"}; the plugin's own Options decide the type."""
    found = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not (separator and key):
            raise click.BadParameter(f"'{pair}' must be KEY=VALUE", param_hint="-o")
        found[key] = value
    return found


def videos_by_dataset(places: Sequence[str], board: Board) -> dict[str, Path]:
    """`("PATH", "other=PATH")` -> folder by data set; a bare path belongs to the board's own data set.

    Raises click.BadParameter for a data set that the board does not use: its videos would be ignored in silence.
    """
    known = [board.data.dataset, *([board.transfer.dataset] if board.transfer else [])]
    found = {}
    for place in places:
        name, separator, path = place.partition("=")
        named = bool(separator) and os.sep not in name  # "runs/a=b" is a path
        if named and name not in known:
            text = f"board {board.name} has no data set '{name}'; it has: {', '.join(sorted({*known}))}"
            raise click.BadParameter(text, param_hint="--videos")
        found[name if named else known[0]] = Path(path if named else place)
    return found
