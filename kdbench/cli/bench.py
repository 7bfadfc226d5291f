"""`kdbench bench`: what a cell costs here, and what limits it."""

from __future__ import annotations

import json
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


@click.command(short_help="Measure what a cell costs on this machine, and what limits it.")
@BOARD_OPTION
@click.option("--student", required=True, help="Backbone to train.")
@click.option("--teacher", help="Backbone whose own run on this board teaches, or KIND:ARGUMENT.")
@VIDEOS_OPTION
@RUNS_OPTION
@DEVICE_OPTION
@PLACEMENT_OPTION
@click.option("--compile", "compiled", is_flag=True, help="Let torch's compiler fuse the networks.")
@PLUGIN_OPTION
@click.option("--profile", type=click.Path(path_type=Path), help="Write a trace of three steps to this file.")
@click.option("--json", "as_json", is_flag=True, help="Plain numbers.")
def bench(board: str, student: str, teacher: str | None, videos: Sequence[str], as_json: bool, **given: Any) -> None:
    """Measure the input alone, the training step alone and both together, and say what limits a run here."""
    from kdbench.bench import measure
    from kdbench.board import load_board
    from kdbench.cli.arguments import videos_by_dataset
    from kdbench.cli.progress import TerminalWatcher
    from kdbench.data.material import Access
    from kdbench.predict import Forecast
    from kdbench.registry import load_registry
    from kdbench.request import RunRequest
    from kdbench.run import Bench, open_training
    from kdbench.sweep import Choice, requests

    read = load_board(board)
    request = RunRequest(board=read, student=student, teacher=teacher, compiled=given["compiled"])
    with TerminalWatcher() as watcher:
        folders = videos_by_dataset(videos, read)
        access = Access(registry=load_registry(given["plugins"]), watcher=watcher, videos=folders)
        where = {name: given[name] for name in ("runs", "device", "placement")}
        place = Bench(access=access, watcher=watcher, **where)
        found = measure(open_training(request, place), given["profile"]).facts()
        forecast = Forecast(read, access, given["device"])
        found["predicted_cell_hours"] = forecast.seconds(request) / 3600
        matrix = list(requests(read, access.registry, Choice()))
        found["board_runs"] = len(matrix)
        found["predicted_board_hours"] = sum(map(forecast.seconds, matrix)) / 3600
    click.echo(json.dumps(found, indent=1) if as_json else _text(found))


def _text(found: dict[str, Any]) -> str:
    total_s = sum(found["parts_s"].values())
    return "\n".join(
        [
            f"input alone       {found['input_clips_per_s']:10.1f} clips/s",
            f"step alone        {found['step_clips_per_s']:10.1f} clips/s   {found['step_s'] * 1000:.1f} ms",
            f"both together     {found['together_clips_per_s']:10.1f} clips/s   ({found['overlap']:.0%} of the step)",
            f"arithmetic        {found['step_flop'] / 1e9:10.1f} GFLOP a step",
            f"matrix product    {found['matrix_flop_per_s'] / 1e12:10.3f} TFLOP/s   ({found['utilisation']:.0%} used)",
            "",
            *(f"{part:18s}{1000 * s:10.2f} ms  {s / total_s:4.0%}" for part, s in found["parts_s"].items()),
            "",
            f"a cell            {found['predicted_cell_hours']:10.3f} h predicted, its teacher's own training left out",
            f"the board         {found['predicted_board_hours']:10.3f} h predicted for {found['board_runs']} runs",
            found["verdict"],
        ]
    )
