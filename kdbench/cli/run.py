"""`kdbench run`: one run, or the rest of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kdbench.cli.arguments import (
    BOARD_OPTION,
    DEVICE_OPTION,
    PLACEMENT_OPTION,
    PLUGIN_OPTION,
    RUNS_OPTION,
    VIDEOS_OPTION,
)


@click.command()
@BOARD_OPTION
@click.option("--student", required=True, help="Backbone to train.")
@click.option("--teacher", help="Backbone whose own run on this board teaches, or KIND:ARGUMENT.")
@click.option("--method", help="Training method.  [default: the board's, with or without a teacher]")
@click.option("-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the method.")
@click.option(
    "--fraction",
    type=float,
    default=1.0,
    show_default=True,
    help="Share of the training videos, of those that the board has.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Training seed.")
@click.option("--subset-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draw of the fraction.")
@VIDEOS_OPTION
@RUNS_OPTION
@DEVICE_OPTION
@PLACEMENT_OPTION
@click.option("--compile", "compiled", is_flag=True, help="Let torch's compiler fuse the networks; said in the record.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that decode videos.  [default: all cores]")
@click.option("--allow-missing", is_flag=True, help="Run on the videos that are there; the record is never ranked.")
@click.option("--untrusted-teacher", is_flag=True, help="Use a teacher that does not say what it has seen.")
@PLUGIN_OPTION
def run(board: str, options: Sequence[str], videos: Sequence[str], plugins: Sequence[Path], **given: Any) -> None:
    """Train one student on a board and write its record.

    The same command continues a run that was interrupted, and shows the result of one that is finished.
    """
    from kdbench.board import load_board
    from kdbench.cli.arguments import key_values, videos_by_dataset
    from kdbench.cli.progress import TerminalWatcher
    from kdbench.cli.summary import summary_of
    from kdbench.data.material import Access
    from kdbench.registry import load_registry
    from kdbench.request import RunRequest
    from kdbench.run import Bench, execute

    read = load_board(board)
    workers = {} if given["workers"] is None else {"workers": given["workers"]}
    folders = videos_by_dataset(videos, read)
    names = ("student", "teacher", "method", "fraction", "seed", "subset_seed", "compiled")
    asked = {name: given[name] for name in names}
    with TerminalWatcher() as watcher:
        bench = Bench(
            access=Access(
                registry=load_registry(plugins),
                watcher=watcher,
                videos=folders,
                allow_missing=given["allow_missing"],
                **workers,
            ),
            watcher=watcher,
            runs=given["runs"],
            device=given["device"],
            placement=given["placement"],
            untrusted_teacher=given["untrusted_teacher"],
        )
        record = execute(RunRequest(board=read, options=key_values(options), **asked), bench)
    click.echo(summary_of(record, given["runs"]))
