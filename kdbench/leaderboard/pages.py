"""Tables -> the site: HTML, CSV, JSON and SVG as plain files. Same records, same bytes.

`render_site` is a pure function of the boards' folder. A manifest beside the pages names every file the site
owns, so that a build removes what no longer belongs and touches nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2

from kdbench.board import BOARDS
from kdbench.errors import KdbenchError
from kdbench.leaderboard import charts, formats
from kdbench.leaderboard.answer import answer_of
from kdbench.leaderboard.boardpage import board_context
from kdbench.leaderboard.paperpage import paper_context
from kdbench.leaderboard.protocolpage import protocol_context, protocol_json
from kdbench.leaderboard.runpage import run_context
from kdbench.leaderboard.standings import Standings, folders, read_standings
from kdbench.leaderboard.tables import curve_table, leaderboard_table, long_table, milestone_table, to_csv, to_json
from kdbench.records import write_atomically

MANIFEST = "manifest.txt"
ASSETS = ("style.css", "sort.js")


def build_site(out: Path, boards: Path = BOARDS) -> list[Path]:
    """Write the site into `out`, remove its own files that no longer belong, and return what was written.

    Raises KdbenchError when `out` holds files of somebody else, RecordError for a record that cannot be read.
    """
    fresh = render_site(boards)
    owned = _owned(out)
    for name in owned - fresh.keys():
        _remove(out, name)
    for name, content in fresh.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    return [out / name for name in fresh]


def stale_files(out: Path, boards: Path = BOARDS) -> list[str]:
    """The names of the files in which `out` differs from a fresh build: changed, missing, or left over."""
    fresh = render_site(boards)
    differing = {name for name, content in fresh.items() if _content(out / name) != content}
    left_over = {name for name in _owned(out) - fresh.keys() if (out / name).is_file()}
    return sorted(differing | left_over)


def render_site(boards: Path = BOARDS) -> dict[str, bytes]:
    """Every file of the site by its name, in order."""
    standings = [read_standings(name, boards) for name in folders(boards)]
    site = {f"assets/{name}": _theme(name) for name in ASSETS}
    entries = [{"standings": each, "answer": answer_of(each)} for each in standings]
    site["index.html"] = _render("index.html.j2", root="", boards=entries)
    site["all-results.csv"] = to_csv(long_table(standings)).encode()
    for each in standings:
        site |= _board_files(each, boards)
    names = sorted([*site, MANIFEST])
    site[MANIFEST] = "".join(f"{name}\n" for name in names).encode()
    return {name: site[name] for name in names}


def _board_files(standings: Standings, boards: Path) -> dict[str, bytes]:
    name, table, reached = standings.board.name, leaderboard_table(standings), milestone_table(standings)
    context = board_context(standings, boards / name)
    made = {
        f"{name}/index.html": _render("board.html.j2", root="../", **context),
        f"{name}/leaderboard.csv": to_csv(table).encode(),
        f"{name}/leaderboard.json": to_json(table).encode(),
        f"{name}/milestones.csv": to_csv(reached).encode(),
        f"{name}/milestones.json": to_json(reached).encode(),
    }
    made[f"{name}/protocol.html"] = _render("protocol.html.j2", root="../", **protocol_context(standings.board))
    made[f"{name}/protocol.json"] = protocol_json(standings.board).encode()
    if context["reported"]:
        paper = paper_context(standings, context["reported"])
        made[f"{name}/paper.html"] = _render("paper.html.j2", root="../", **paper)
    for run in standings.runs:
        start = f"{name}/runs/{run.record.run_id}"
        made[f"{start}.html"] = _render("run.html.j2", root="../../", **run_context(standings, run))
        made[f"{start}.csv"] = to_csv(curve_table(run.record)).encode()
        made[f"{start}.json"] = run.path.read_bytes()
    return made


# --- templates ---------------------------------------------------------------------------------------------


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kdbench.leaderboard", "theme"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    words = (formats.percent, formats.points, formats.half, formats.fraction, formats.seconds, formats.epochs)
    for word in (*words, formats.spread, formats.reached_by, formats.number, formats.counted):
        environment.filters[word.__name__] = word
    environment.globals |= {"swatch": charts.swatch, "whisker": charts.whisker, "nothing": formats.NOTHING}
    return environment


def _render(template: str, **context: Any) -> bytes:
    return _environment().get_template(template).render(**context).encode()


def _theme(name: str) -> bytes:
    return (files("kdbench.leaderboard") / "theme" / name).read_bytes()


# --- the folder --------------------------------------------------------------------------------------------


def _owned(out: Path) -> set[str]:
    """The files that the last build wrote. Raises KdbenchError for a folder with files and no manifest."""
    listing = _content(out / MANIFEST)
    if listing is not None:
        return set(_safe_names(listing.decode("utf-8", "replace").splitlines()))
    if out.is_dir() and any(out.iterdir()):
        raise KdbenchError(f"{out}: holds files but no {MANIFEST} of a site; name an empty or a new folder with --out")
    return set()


def _safe_names(names: Iterable[str]) -> Iterable[str]:
    """Names that stay inside the folder: a manifest that was tampered with must not reach outside."""
    for name in names:
        path = PurePosixPath(name)
        if name and not path.is_absolute() and ".." not in path.parts:
            yield name


def _remove(out: Path, name: str) -> None:
    path, inside = out / name, out.resolve()
    if not path.parent.resolve().is_relative_to(inside):
        return  # a linked folder leads elsewhere
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == out or not folder.is_dir() or any(folder.iterdir()):
            break
        folder.rmdir()


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
