"""`kdbench submit` and `kdbench validate`: records of finished runs on their way to a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdbench.cli.board import BOARDS_OPTION, boards_folder

RUN_FOLDER = click.Path(path_type=Path, exists=True)


@click.command(short_help="Put the records of finished runs on their leaderboard.")
@click.argument("runs", metavar="RUN_DIR...", nargs=-1, required=True, type=RUN_FOLDER)
@click.option("--author", help="Who submits: a name or a handle.")
@click.option("--link", help="A paper, a page or a repository about these runs.")
@click.option("--licence", help="The licence of the records, such as CC-BY-4.0.")
@BOARDS_OPTION
def submit(
    runs: tuple[Path, ...], author: str | None, link: str | None, licence: str | None, boards: Path | None
) -> None:
    """Put the records of finished runs (RUN_DIR/record.json) on their leaderboard."""
    from kdbench.leaderboard.submit import submit_run

    for run in runs:
        place, word = submit_run(run, boards_folder(boards), author=author, link=link, licence=licence)
        click.echo(f"{run}: {word} {place}")
    click.echo("next: `kdbench site build`, look at the pages, then commit the records and the site together")


@click.command(short_help="Check records against the schema and their own numbers.")
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a record.")
def validate(files: tuple[Path, ...], schema: bool) -> None:
    """Check records: `file: $.path: found, expected; way out` for each fault, and exit 1 if there is one."""
    import json

    from kdbench.records import json_schema, problems_of_file

    if schema:
        click.echo(json.dumps(json_schema(), indent=1))
        return
    if not files:
        raise click.UsageError("name at least one FILE, or give --schema")
    problems: dict[Path, Any] = {path: problems_of_file(path) for path in files}
    for path, lines in problems.items():
        click.echo("\n".join(lines) if lines else f"{path}: sound")
    if any(problems.values()):
        raise click.exceptions.Exit(1)
