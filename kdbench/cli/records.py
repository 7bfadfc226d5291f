"""`kdbench submit`, `validate`, `withdraw`, `mark` and `reproduce`: the life of a record on a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdbench.cli.arguments import DEVICE_OPTION, PLUGIN_OPTION, VIDEOS_OPTION
from kdbench.cli.board import BOARDS_OPTION, boards_folder
from kdbench.records import MOST_TRIALS

if TYPE_CHECKING:
    from kdbench.records import Record
    from kdbench.reproduce import Repetition

RUN_FOLDER = click.Path(path_type=Path, exists=True)


@click.command(short_help="Put the records of finished runs on their leaderboard.")
@click.argument("runs", metavar="RUN_DIR...", nargs=-1, required=True, type=RUN_FOLDER)
@click.option("--author", help="Who submits: a name or a handle.")
@click.option("--link", help="A paper, a page or a repository about these runs.")
@click.option("--licence", help="The licence of the records, such as CC-BY-4.0.")
@click.option(
    "--trials", type=click.IntRange(0, MOST_TRIALS), help="Runs that were made to choose the options; may be 0."
)
@click.option("--tuned-on", metavar="TEXT", help="The videos or cells that the options were chosen on.")
@click.option("--reinstate", is_flag=True, help="Put a record back that was withdrawn.")
@BOARDS_OPTION
def submit(runs: tuple[Path, ...], boards: Path | None, trials: int | None, tuned_on: str | None, **given: Any) -> None:
    """Put the records of finished runs (RUN_DIR/record.json) on their leaderboard: all of them, or none."""
    from kdbench.checks import read_record
    from kdbench.leaderboard.reference import baseline_notes
    from kdbench.leaderboard.submit import check_together, submit_run, tuning_of

    tuning = tuning_of(trials, tuned_on)
    _refuse_together(runs, boards_folder(boards), reinstate=given["reinstate"])
    check_together(runs, boards_folder(boards))
    written = {}
    for run in runs:
        place, word = submit_run(run, boards_folder(boards), tuning=tuning, **given)
        click.echo(f"{run}: {word} {place}")
        written[place] = read_record(place)
    for place, note in baseline_notes(written, boards_folder(boards)).items():
        click.echo(f"{place}: note: {note}")
    click.echo(_next(boards))


def _refuse_together(runs: tuple[Path, ...], boards: Path, *, reinstate: bool) -> None:
    """Stop before anything is written where a run cannot be submitted, after a line for each one that cannot."""
    from kdbench.errors import RecordError
    from kdbench.leaderboard.submit import refusals

    refused = refusals(runs, boards, reinstate=reinstate)
    if refused and len(runs) == 1:
        raise refused[0]
    for error in refused:
        click.echo(f"kdbench: error: {error}", err=True)
    if refused:
        raise RecordError(
            f"nothing was written: {len(refused)} of {len(runs)} runs cannot be submitted; leave them out "
            "(FOLDER/*/record.json names the finished runs of a folder), or do what the lines above say"
        )


def _next(boards: Path | None) -> str:
    """What comes after a change of records; boards of one's own have a site of their own."""
    import shlex

    if boards is None or boards.resolve() == boards_folder(None).resolve():
        return "next: `kdbench site build`, look at the pages, then commit the records and the site together"
    return f"next: `kdbench site build --boards {shlex.quote(str(boards))} --out my-site`, and look at the pages"


@click.command(short_help="Check records against the schema and their own numbers.")
@click.argument("paths", metavar="FILE...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a record.")
@BOARDS_OPTION
def validate(paths: tuple[Path, ...], schema: bool, boards: Path | None) -> None:
    """Check records: `file: $.path: found, expected; way out` for each fault, and exit 1 if there is one.

    A folder stands for the records, withdrawn ones too, of all boards in it, or for the record of a run.
    """
    import json

    from kdbench.leaderboard.reference import baseline_notes
    from kdbench.leaderboard.submit import files_below
    from kdbench.records import json_schema

    if schema:
        click.echo(json.dumps(json_schema(), indent=1))
        return
    if not paths:
        raise click.UsageError("name at least one FILE, or give --schema")
    files = [file for path in paths for file in files_below(path)]
    problems: dict[Path, list[str]] = {}
    sound: dict[Path, Record] = {}
    for file in files:
        problems[file] = _check(file, sound)
    notes = baseline_notes(sound, boards_folder(boards))
    for file in files:
        click.echo("\n".join(problems[file]) or f"{file}: sound")
        if file in notes:
            click.echo(f"{file}: note: {notes[file]}")
    if any(problems.values()):
        raise click.exceptions.Exit(1)


def _check(file: Path, sound: dict[Path, Record]) -> list[str]:
    """Everything that is wrong with a file; one in which nothing is joins the sound ones."""
    from kdbench.checks import problems_of_file, read_record
    from kdbench.leaderboard.submit import problems_of_place

    problems = problems_of_file(file)
    if problems:
        return problems
    record = read_record(file)
    problems = problems_of_place(file, record)
    if not problems:
        sound[file] = record
    return problems


@click.command(short_help="Take a record out of its leaderboard's tables.")
@click.argument("named", metavar="RECORD")
@click.option("--reason", required=True, help="Why; it stays beside the run.")
@BOARDS_OPTION
def withdraw(named: str, reason: str, boards: Path | None) -> None:
    """Move a RECORD (its run id, or the path of its file) from records/ to withdrawn/, with the reason.

    Its page stays, marked as withdrawn, and the changelog says so; it takes part in no table.
    """
    from kdbench.leaderboard import submit as board_files

    place, goal = board_files.withdraw(named, reason, boards_folder(boards))
    click.echo(f"{place}: withdrawn to {goal}")
    click.echo(_next(boards))


@click.command(short_help="Say who checked a record, and with what outcome.")
@click.argument("named", metavar="RECORD")
@click.argument("state", type=click.Choice(["reproduced", "maintainers", "disputed"]))
@click.option("--by", required=True, help="Who checked it: a name or a handle.")
@click.option("--note", help="What was found; a dispute needs one.")
@BOARDS_OPTION
def mark(named: str, state: Any, by: str, note: str | None, boards: Path | None) -> None:
    """Write into a RECORD (its run id, or the path of its file) who checked it, today, and the outcome.

    reproduced: by someone else than who submitted it; maintainers: by the maintainers of the board; disputed: the
    run is shown without a rank, with the note. What was said before is kept.
    """
    from kdbench.leaderboard import submit as board_files

    place, word = board_files.mark(named, state, boards_folder(boards), by=by, note=note)
    click.echo(f"{place}: {word}")
    click.echo(_next(boards))


@click.command(short_help="Do a record's run again and say whether the two agree.")
@click.argument("named", metavar="RECORD")
@click.option("--dry-run", is_flag=True, help="Print the command of the run and do nothing.")
@click.option("--teacher", help="KIND:PATH of a teacher that came from a file.")
@VIDEOS_OPTION
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("reproduced"),
    show_default=True,
    help="Runs folder; not the one that the record's own run lies in.",
)
@DEVICE_OPTION
@PLUGIN_OPTION
@BOARDS_OPTION
def reproduce(named: str, dry_run: bool, boards: Path | None, **given: Any) -> None:
    """Do the run of a RECORD (a run id on a board, or the path of a record.json) again, its teacher's first.

    Exit 0 when the accuracy agrees within the band in which a further seed of its row would lie, 1 when not. The
    same command continues a repetition that was interrupted.
    """
    from kdbench.leaderboard.scoring import load_records
    from kdbench.reproduce import compare, lines_of, mark_command, write_report

    repetition = _repetition(named, given, boards_folder(boards))
    for edited in repetition.edited:
        click.echo(f"edited since: {edited}", err=True)
    if dry_run:
        click.echo(_command(repetition, given, boards))
        return
    board = repetition.request.board
    again = _repeated(repetition, given)
    agreement = compare(repetition.record, again, board, load_records(board, boards_folder(boards)))
    click.echo("\n".join(lines_of(agreement)))
    click.echo(f"  {write_report(agreement, given['runs'])}")
    click.echo(f"next: {mark_command(agreement)}")
    if not agreement.agrees:
        raise click.exceptions.Exit(1)


def _repetition(named: str, given: dict[str, Any], boards: Path) -> Repetition:
    """The record of a file or a run's folder as it lies there, else of a run id on a board."""
    from kdbench.checks import read_record
    from kdbench.leaderboard.standings import read_board
    from kdbench.leaderboard.submit import files_below, find_record
    from kdbench.registry import load_registry
    from kdbench.reproduce import plan_repetition

    path = Path(named)
    record = read_record(files_below(path)[0]) if path.exists() else find_record(named, boards)[1]
    registry = load_registry(given["plugins"])
    return plan_repetition(record, read_board(record.board.name, boards), registry, given["teacher"])


def _command(repetition: Repetition, given: dict[str, Any], boards: Path | None) -> str:
    """The `kdbench run` line that the repetition comes to."""
    import shlex

    request = repetition.request
    words = shlex.split(request.command())
    if boards and "--board" in words:
        words[words.index("--board") + 1] = str(boards / request.board.name / "board.toml")
    words += ["--runs", str(given["runs"])]
    words += ["--device", given["device"]] if given["device"] else []
    words += [word for place in given["videos"] for word in ("--videos", place)]
    words += [word for file in given["plugins"] for word in ("--plugin", str(file))]
    words += [] if _trusted(repetition.record) else ["--untrusted-teacher"]
    return shlex.join(words)


def _trusted(record: Record) -> bool:
    return record.teacher is None or record.teacher.trusted


def _repeated(repetition: Repetition, given: dict[str, Any]) -> Record:
    from kdbench.cli.arguments import videos_by_dataset
    from kdbench.cli.progress import TerminalWatcher
    from kdbench.data.material import Access
    from kdbench.registry import load_registry
    from kdbench.reproduce import repeat
    from kdbench.run import Bench

    folders = videos_by_dataset(given["videos"], repetition.request.board)
    with TerminalWatcher() as watcher:
        bench = Bench(
            access=Access(registry=load_registry(given["plugins"]), watcher=watcher, videos=folders),
            watcher=watcher,
            runs=given["runs"],
            device=given["device"],
            untrusted_teacher=not _trusted(repetition.record),
        )
        return repeat(repetition, bench)
