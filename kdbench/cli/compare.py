"""`kdbench compare`: where runs would stand on their board, without submitting them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdbench.cli.board import BOARDS_OPTION, boards_folder

if TYPE_CHECKING:
    from kdbench.leaderboard.landing import Landing
    from kdbench.leaderboard.standings import Standings


@click.command(short_help="Show where runs would stand, without submitting them.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out",
    default=Path("runs/compare"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the pages.",
)
@click.option("--json", "as_json", is_flag=True, help="Accuracies, gains, ranks and what is missing as JSON.")
@BOARDS_OPTION
def compare(runs: tuple[Path, ...], out: Path, as_json: bool, boards: Path | None) -> None:
    """Show where runs (run folders or record files) would stand on their board, without submitting them.

    Draws the board's pages with these runs among the committed ones, and says what each lacks for a rank. Nothing of
    the boards' folder is changed.
    """
    import json

    from kdbench.cli.progress import TerminalWatcher
    from kdbench.leaderboard.landing import landings, read_given, standings_with
    from kdbench.leaderboard.pages import plan_of
    from kdbench.leaderboard.site import build_site

    folder = boards_folder(boards)
    with TerminalWatcher() as watcher:
        given = read_given(runs)
        tick, standings = watcher.stage("Reading records", len(given)), []
        for number, (name, records) in enumerate(sorted(given.items()), 1):
            standings.append(standings_with(name, records, folder))
            tick(number)
        build_site(out, folder, planner=lambda boards: plan_of(standings, boards), watch=watcher.stage)
    found = [(each, landing) for each in standings for landing in landings(each, given[each.board.name], folder)]
    if as_json:
        click.echo(json.dumps([_facts(each, landing, out) for each, landing in found], indent=1, ensure_ascii=False))
        return
    for each, landing in found:
        click.echo("\n  ".join(_lines(each, landing)) + "\n")
    for each in standings:
        click.echo(_pages(out / each.board.name, [landing for of, landing in found if of is each]))


def _pages(place: Path, found: list[Landing]) -> str:
    """Which page to open; runs without a row are on no page but the board's own and theirs."""
    whole = f"{place / 'index.html'}: the whole board"
    if not any(landing.row for landing in found):
        return f"{whole}, with your runs among those that are not ranked"
    return f"{place / 'compare.html'}: your rows beside their baseline; {whole}"


def _lines(standings: Standings, landing: Landing) -> list[str]:
    """A landing in a few lines, the first of which names its cell and row."""
    from kdbench.leaderboard.comparepage import label_of_key
    from kdbench.leaderboard.formats import fraction, half, percent, points, spread

    key, row = landing.key, landing.row
    seeds = ", ".join(str(run.record.seed) for run in landing.runs)
    state = "already on the board" if landing.submitted else "yours, not submitted"
    draw = f", subset seed {key.subset_seed}" if key.subset_seed else ""
    lines = [f"{key.student}, {fraction(key.fraction)} of the training videos{draw}: {label_of_key(key)}"]
    lines.append(f"{state}: seed {seeds} ({', '.join(run.record.run_id for run in landing.runs)})")
    if row is None:
        why = landing.runs[0].reason or "made with other pins"
        lines.append(f"accuracy {percent(landing.runs[0].record.derived.top1)} %, not ranked: {why}")
    else:
        told = half(row.accuracy) or f"({spread(row.accuracy)})"
        text = f"accuracy {percent(row.accuracy.mean)} % {told}"
        if row.gain:
            told = half(row.gain) or f"({spread(row.gain)})"
            text += f", gain {points(row.gain.mean)} points {told} over {_baseline_of(standings, landing)}"
        lines.append(text if row.gain or row.is_baseline else f"{text}, no paired baseline run")
        lines.append(_rank_of(landing))
    return lines + [f"missing for a rank: {each}" for each in landing.missing]


def _rank_of(landing: Landing) -> str:
    row = landing.row
    assert row is not None, "a landing without a row has no rank to speak of"
    if row.is_baseline:
        return "a baseline: what gains are measured against has no rank"
    by_gain = f"number {landing.place} of {landing.compared} by mean gain in its cell" if landing.place else "no gain"
    return f"rank {row.rank}; {by_gain}" if row.rank else f"no rank; {by_gain}"


def _baseline_of(standings: Standings, landing: Landing) -> str:
    """Whose runs the gain is measured against."""
    assert landing.row is not None, "asked only where there is a gain"
    own = {run.baseline.run_id in standings.given for run in landing.row.runs if run.baseline}
    where = [word for word, found in (("given here", True), ("on the board", False)) if found in own]
    return f"the paired baseline ({' and '.join(where)})"


def _facts(standings: Standings, landing: Landing, out: Path) -> dict[str, Any]:
    """A landing as plain values: shares between 0 and 1."""
    row, gain, runs = landing.row, landing.row.gain if landing.row else None, landing.runs
    return {
        "board": standings.board.name,
        **landing.key._asdict(),
        "runs": [run.record.run_id for run in runs],
        "seeds": [run.record.seed for run in runs],
        "submitted": landing.submitted,
        "accuracy": row.accuracy.mean if row else runs[0].record.derived.top1,
        "accuracy_half_interval": row.accuracy.half if row else None,
        "gain": gain.mean if gain else None,
        "gain_half_interval": gain.half if gain else None,
        "paired_seeds": gain.n if gain else 0,
        "rank": row.rank if row else None,
        "place_by_gain": landing.place,
        "rows_compared": landing.compared,
        "stale_pins": list(runs[0].stale),
        "unranked": runs[0].reason,
        "missing": list(landing.missing),
        "page": str(out / standings.board.name / "compare.html"),
    }
