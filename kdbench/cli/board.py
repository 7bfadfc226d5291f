"""`kdbench board`: list the boards, show the rows of one, explain its pins."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kdbench.board import Board
    from kdbench.leaderboard.standings import Standings

WIDTH = 100  # columns of running text; the same on a terminal and in a pipe
BOARDS_OPTION = click.option(
    "--boards",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the boards. [default: the leaderboards that come with kdbench]",
)


def boards_folder(boards: Path | None) -> Path:
    """The folder given, or that of the boards that come with kdbench."""
    from kdbench.board import BOARDS

    return boards or BOARDS


@click.group()
def board() -> None:
    """Show a board: its pins, its cells and its rows."""


@board.command("list")
@BOARDS_OPTION
def list_boards(boards: Path | None) -> None:
    """List the boards with their runs, filled cells and gain."""
    from kdbench.leaderboard.answer import answer_of
    from kdbench.leaderboard.standings import folders, read_standings

    folder = boards_folder(boards)
    lines = [("board", "runs", "cells", "paired gain", "title")]
    for name in folders(folder):
        standings = read_standings(name, folder)
        cells = f"{standings.filled} of {standings.cells}"
        count = str(len(standings.runs.ranked))
        lines.append((name, count, cells, answer_of(standings).short, standings.board.board.title))
    click.echo(aligned(lines))


@board.command(short_help="Show the rows of a board, ranked in each cell.")
@click.argument("name", metavar="BOARD")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "latex", "markdown"]),
    help="All columns as CSV or JSON, or the table for a paper or a page.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--csv", "as_csv", is_flag=True, help="The same as --format csv.")
@BOARDS_OPTION
def show(name: str, form: str | None, as_json: bool, as_csv: bool, boards: Path | None) -> None:
    """Show the rows of a BOARD (a name or a board.toml), ranked by paired gain within each cell."""
    from kdbench.leaderboard.standings import read_standings

    asked = {"--json": "json" if as_json else None, "--csv": "csv" if as_csv else None, "--format": form}
    given = {option: found for option, found in asked.items() if found}
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other; give one")
    standings = read_standings(name, boards_folder(boards))
    if given:
        click.echo(_written(standings, *given.values()), nl=False)
    else:
        _show(standings)


@board.command(short_help="Explain every pin of a board: value and reason.")
@click.argument("name", metavar="BOARD")
@click.option("--json", "as_json", is_flag=True, help="Pins, reasons and rules as JSON.")
@BOARDS_OPTION
def explain(name: str, as_json: bool, boards: Path | None) -> None:
    """Explain every pin of a BOARD (a name or a board.toml): its value and reason; then the rules the code keeps."""
    from kdbench.leaderboard.protocolpage import protocol_json
    from kdbench.leaderboard.standings import read_board

    pinned = read_board(name, boards_folder(boards))
    if as_json:
        click.echo(protocol_json(pinned), nl=False)
    else:
        _explain(pinned)


def _explain(pinned: Board) -> None:
    from kdbench.leaderboard.protocolpage import pins_of, rules_of, sections_of

    click.echo(f"{pinned.name} {pinned.board.version}: {pinned.board.title} (sha256 {pinned.digest[:12]})")
    for section, pins in sections_of(pins_of(pinned)):
        click.echo(f"\n[{section}]")
        for pin in pins:
            click.echo(f"{pin.key} = {pin.text}\n{_indented(pin.why)}")
    rules = rules_of(pinned)
    if rules:
        click.echo("\nRules the code keeps")
    for rule in rules:
        click.echo(f"{rule.name}\n{_indented(rule.text)}")


def _indented(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _written(standings: Standings, form: str) -> str:
    from kdbench.leaderboard.exports import leaderboard_latex, leaderboard_markdown
    from kdbench.leaderboard.tables import leaderboard_table, to_csv, to_json

    forms: dict[str, Callable[[], str]] = {
        "csv": lambda: to_csv(leaderboard_table(standings)),
        "json": lambda: to_json(leaderboard_table(standings)),
        "latex": lambda: leaderboard_latex(standings),
        "markdown": lambda: leaderboard_markdown(standings),
    }
    return forms[form]()


def _show(standings: Standings) -> None:
    """A table with lines on a terminal, plain columns in a pipe."""
    import sys

    from kdbench.leaderboard.answer import answer_of
    from kdbench.leaderboard.formats import counted
    from kdbench.leaderboard.tables import summary_lines

    answer = answer_of(standings)
    lines = summary_lines(standings)
    said = (answer.sentence, answer.counts, answer.basis)
    click.echo("\n".join(line for line in said if line) + "\n")
    if sys.stdout.isatty():
        _print_table(lines)
    else:
        click.echo(aligned(lines))
    runs = standings.runs
    if runs.stale or runs.unranked:
        apart = f"{counted(len(runs.stale), 'stale run')} and {counted(len(runs.unranked), 'run')} without a rank"
        click.echo(f"\n{apart} are not shown; the board's page names them with the reasons.")


def _print_table(lines: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    head, *body = lines
    table = Table(box=box.SIMPLE_HEAD)
    for at, title in enumerate(head):
        table.add_column(title, justify="left" if at < 4 else "right", overflow="fold")
    for line in body:
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)


def aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """Lines of cells as text with columns two spaces apart."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)
