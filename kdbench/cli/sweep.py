"""`kdbench sweep`: fill the cells of a board."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from kdbench.cli.arguments import (
    BOARD_OPTION,
    DEVICE_OPTION,
    PLACEMENT_OPTION,
    PLUGIN_OPTION,
    RUNS_OPTION,
    VIDEOS_OPTION,
)

if TYPE_CHECKING:
    from kdbench.sweep import Plan, PlannedRun


def _listed(convert: type) -> Any:
    """A click callback that splits at commas and converts the parts."""

    def split(_context: click.Context, option: click.Parameter, text: str) -> tuple[Any, ...]:
        try:
            return tuple(convert(part) for part in text.split(",") if part)
        except ValueError:
            raise click.BadParameter(f"'{text}' is not a list of {convert.__name__} values", param=option) from None

    return split


@click.command()
@BOARD_OPTION
@click.option("--students", default="", callback=_listed(str), help="Only these backbones as students (a,b,c).")
@click.option("--teachers", default="", callback=_listed(str), help="Only these teachers.")
@click.option("--methods", default="", callback=_listed(str), help="Only these methods.")
@click.option("--fractions", default="", callback=_listed(float), help="Only these fractions (1,0.25).")
@click.option("--seeds", default="", callback=_listed(int), help="Only these seeds (0,1,2).")
@click.option("--subset-seeds", default="", callback=_listed(int), help="Only these draws of the fractions (0,1).")
@click.option("--dry-run", is_flag=True, help="Show what is done, stale and to do, and stop.")
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON (with --dry-run).")
@click.option("--submit", "submitting", is_flag=True, help="Put each finished record on its leaderboard at once.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Runs at once, each in a process of its own.")
@click.option("--launcher", help="How runs are started.  [default: one after another, here]")
@click.option("--launcher-option", "launcher_options", multiple=True, metavar="KEY=VALUE", help="Option of it.")
@VIDEOS_OPTION
@RUNS_OPTION
@DEVICE_OPTION
@PLACEMENT_OPTION
@click.option("--compile", "compiled", is_flag=True, help="Let torch's compiler fuse the networks; said in the record.")
@PLUGIN_OPTION
def sweep(board: str, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Fill the cells of a board, teachers first.

    What is done is left alone, so the same command continues an interrupted sweep. A run that fails is
    recorded in its folder, tried again next time, and does not stop the others.
    """
    from kdbench.board import BOARDS, load_board
    from kdbench.cli.launching import Sweep
    from kdbench.registry import load_registry
    from kdbench.sweep import Choice, Found, finished_records, make_plan

    read, registry = load_board(board), load_registry(given["plugins"])
    choice = Choice(**{name: given[name] for name in Choice.__dataclass_fields__})
    found = Found(registry, given["runs"], finished_records(read, given["runs"], BOARDS))
    plan = make_plan(read, choice, found)
    if dry_run:
        hours = _forecast(plan, read, registry, given)
        click.echo(_plan_json(plan, hours) if as_json else _plan_text(plan, hours))
        return
    runs, failures = Sweep(read, board, registry, given).launch(plan)
    click.echo(f"{runs - failures} runs done, {failures} failed")
    if failures:
        raise click.exceptions.Exit(1)


def _forecast(plan: Plan, board: Any, registry: Any, given: dict[str, Any]) -> dict[str, float]:
    """Predicted hours of each waiting run, by command; empty where the lists of videos are not known here."""
    from kdbench.cli.arguments import videos_by_dataset
    from kdbench.cli.progress import TerminalWatcher
    from kdbench.data.material import Access
    from kdbench.errors import DataError
    from kdbench.predict import Forecast

    watcher = TerminalWatcher()
    folders = videos_by_dataset(given["videos"], board)
    forecast = Forecast(board, Access(registry=registry, watcher=watcher, videos=folders), given["device"])
    try:
        return {run.request.command(): forecast.seconds(run.request) / 3600 for run in plan.waiting()}
    except DataError as error:
        watcher.say(f"no forecast: {error}")
        return {}


def _plan_json(plan: Plan, hours: dict[str, float]) -> str:
    def facts(runs: tuple[PlannedRun, ...]) -> list[dict[str, Any]]:
        return [run.facts() | {"predicted_hours": hours.get(run.request.command())} for run in runs]

    return json.dumps({"teachers": facts(plan.teachers), "cells": facts(plan.cells)}, indent=1)


def _plan_text(plan: Plan, hours: dict[str, float]) -> str:
    def line(run: PlannedRun) -> str:
        predicted = hours.get(run.request.command())
        time = "" if predicted is None or run.state == "done" else f"{predicted:8.2f} h"
        return f"{run.state:6s} {time:10s}  {run.request.command()}" + (f"   ({run.why})" if run.why else "")

    counts = {state: sum(run.state == state for run in plan.cells) for state in ("done", "stale", "to do")}
    teachers = ["Teachers, trained first:", *map(line, plan.teachers), ""]
    total = "   ".join(f"{count} {state}" for state, count in counts.items())
    total += f"   {sum(hours.values()):.1f} h predicted from a calibration on this machine" if hours else ""
    return "\n".join([*teachers, "Cells:", *map(line, plan.cells), "", total])
