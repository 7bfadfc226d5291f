"""`kdbench doctor`: what this machine can do, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from kdbench.cli.arguments import BOARD_OPTION, DEVICE_OPTION, PLUGIN_OPTION, RUNS_OPTION, VIDEOS_OPTION


@click.command(short_help="Say what this machine can do, and what is wrong with it.")
@BOARD_OPTION
@click.option("--student", help="Backbone to try.  [default: the first of the board's students]")
@VIDEOS_OPTION
@RUNS_OPTION
@DEVICE_OPTION
@PLUGIN_OPTION
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
def doctor(board: str, student: str | None, videos: Sequence[str], as_json: bool, **given: Any) -> None:
    """Look at everything that runs of a board depend on here: versions, device, arithmetic, disk and frames.

    Each line has a verdict: ok, slow, wrong or not checked; below it stands what to do. Ends with exit code 1
    where something is wrong: results would be, or runs would fail.
    """
    from kdbench.board import load_board
    from kdbench.cli.arguments import videos_by_dataset
    from kdbench.cli.progress import TerminalWatcher
    from kdbench.data.material import Access
    from kdbench.doctor import Machine, examine
    from kdbench.registry import load_registry

    read = load_board(board)
    folders = videos_by_dataset(videos, read)
    access = Access(registry=load_registry(given["plugins"]), watcher=TerminalWatcher(), videos=folders)
    wanted = student or read.matrix.students[0]
    machine = Machine(board=read, student=wanted, access=access, device=given["device"], runs=given["runs"])
    findings = []
    for finding in examine(machine):
        findings.append(finding)
        if not as_json:
            click.echo(f"{finding.verdict:11}  {finding.name:13}  {finding.told}")
            if finding.advice:
                click.echo(f"{'':11}  {'':13}  -> {finding.advice}")
    wrong = any(finding.verdict == "wrong" for finding in findings)
    if as_json:
        facts = [vars(finding) for finding in findings]
        click.echo(json.dumps({"board": read.name, "student": wanted, "ok": not wrong, "findings": facts}, indent=1))
    if wrong:
        raise click.exceptions.Exit(1)
