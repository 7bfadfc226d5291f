"""Which files the site has: the name of each, and what makes its bytes.

A name leads to a function without arguments, so that the files can be made in any order and by several processes.
Everything is a pure function of the boards' folder: same records, same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from kdbench.board import BOARDS, Board
from kdbench.errors import BoardError, KdbenchError
from kdbench.leaderboard.answer import answer_of
from kdbench.leaderboard.audit import FOREIGN, MANIFEST
from kdbench.leaderboard.boardpage import board_context
from kdbench.leaderboard.cellindex import cells_context, profiles_csv
from kdbench.leaderboard.cellpage import cell_context
from kdbench.leaderboard.cellstudy import CELL_FILES, cell_studies
from kdbench.leaderboard.changelogpage import changelog_context, feed_context
from kdbench.leaderboard.chartfiles import board_sheets, cell_svg, sheet_svg
from kdbench.leaderboard.comparepage import compare_context
from kdbench.leaderboard.curves import curve_csv, long_csv, milestones_csv, milestones_json
from kdbench.leaderboard.definitions import definitions_context
from kdbench.leaderboard.exports import bibliography, leaderboard_latex, leaderboard_markdown
from kdbench.leaderboard.filespage import files_context
from kdbench.leaderboard.history import changes_csv
from kdbench.leaderboard.methodpage import method_context, methods_of
from kdbench.leaderboard.packing import packed
from kdbench.leaderboard.pagenames import method_name, teacher_name
from kdbench.leaderboard.paperpage import paper_context
from kdbench.leaderboard.pluginpage import plugin_context, plugin_index_context, plugins_of
from kdbench.leaderboard.protocolpage import protocol_context, protocol_json
from kdbench.leaderboard.render import render, theme_file
from kdbench.leaderboard.reported import Reported, read_reported
from kdbench.leaderboard.runpage import run_context
from kdbench.leaderboard.standings import Standings, folders, read_standings
from kdbench.leaderboard.tables import leaderboard_table, to_csv, to_json
from kdbench.leaderboard.teacherpage import teacher_context, teachers_of
from kdbench.records import json_schema

Make = Callable[[], bytes]
ASSETS = ("style.css", "theme.js", "table.js", "figures.js", "compare.css", "compare.js")


def plan_site(boards: Path = BOARDS) -> dict[str, Make]:
    """Every file of the site by its name. Raises RecordError for a record that cannot be read; else as `plan_of`."""
    return plan_of([read_standings(name, boards) for name in folders(boards)], boards)


def plan_of(standings: list[Standings], boards: Path = BOARDS) -> dict[str, Make]:
    """Every file of a site of these standings by its name; `boards` is the folder that they are from.

    Raises BoardError for a board whose name the site needs itself, KdbenchError for two files of one name.
    """
    plan: dict[str, Make] = {f"assets/{name}": partial(theme_file, name) for name in ASSETS}
    plan["index.html"] = partial(_index, standings)
    _add(plan, _page("changelog.html", "changelog.html.j2", partial(changelog_context, standings)))
    _add(plan, _page("feed.xml", "feed.xml.j2", partial(feed_context, standings, boards)))
    plan["changes.csv"] = partial(_text, changes_csv, standings)
    _add(plan, _page("definitions.html", "definitions.html.j2", definitions_context))
    _add(plan, _plugin_files(standings))
    _add(plan, _page("files.html", "files.html.j2", files_context))
    plan["record.schema.json"] = _schema
    plan["all-results.csv.gz"] = lambda: packed(long_csv(standings).encode())
    plan["kdbench.bib"] = partial(_bibliography, standings, boards)
    _refuse_taken_names(plan, standings, boards)
    for each in standings:
        _add(plan, _board_files(each, boards))
    return plan


def _refuse_taken_names(plan: Mapping[str, Make], standings: list[Standings], boards: Path) -> None:
    """A board's pages lie in a folder of its name beside the site's own; some file systems do not tell case apart."""
    taken = {name.partition("/")[0].casefold() for name in (*plan, MANIFEST, *FOREIGN)}
    for each in standings:
        if (name := each.board.name).casefold() in taken:
            raise BoardError(
                f"{boards / name / 'board.toml'}: board.name is '{name}', which the site has for pages or files of its "
                "own; give the board and its folder another name"
            )


def _add(plan: dict[str, Make], files: Mapping[str, Make]) -> None:
    """Put files into a plan. Raises KdbenchError for a name that it has: one of the two would be lost in silence."""
    for name in files:
        if name in plan:
            raise KdbenchError(f"{name}: two pages or files of the site have this name; rename what one of them shows")
    plan |= files


def _index(standings: list[Standings]) -> bytes:
    entries = [{"standings": each, "answer": answer_of(each)} for each in standings]
    return render("index.html", "index.html.j2", {"boards": entries})


def _schema() -> bytes:
    return (json.dumps(json_schema(), indent=1, sort_keys=True) + "\n").encode()


def _bibliography(standings: list[Standings], boards: Path) -> bytes:
    cited = [_reported(each.board, boards) for each in standings]
    return bibliography([each.board for each in standings], [each for each in cited if each]).encode()


def _reported(board: Board, boards: Path) -> Reported | None:
    return read_reported(boards / (board.board.reproduces or board.name) / "reported.json")


def _board_files(standings: Standings, boards: Path) -> dict[str, Make]:
    board, name = standings.board, standings.board.name
    reported = _reported(board, boards)
    plan = {
        **_page(f"{name}/index.html", "board.html.j2", partial(board_context, standings, reported)),
        **_page(f"{name}/compare.html", "compare.html.j2", partial(compare_context, standings)),
        **_page(f"{name}/protocol.html", "protocol.html.j2", partial(protocol_context, board)),
        f"{name}/protocol.json": lambda: protocol_json(board).encode(),
    }
    plan[f"{name}/leaderboard.csv"] = partial(_csv, leaderboard_table, standings)
    plan[f"{name}/leaderboard.json"] = partial(_json, leaderboard_table, standings)
    plan[f"{name}/milestones.csv"] = partial(_text, milestones_csv, standings)
    plan[f"{name}/milestones.json"] = partial(_text, milestones_json, standings)
    for ending, written in (("md", leaderboard_markdown), ("tex", leaderboard_latex)):
        plan[f"{name}/leaderboard.{ending}"] = partial(_text, written, standings)
    _add(plan, {f"{name}/{file}": partial(sheet_svg, sheet) for file, sheet in board_sheets(standings).items()})
    if reported:
        _add(plan, _page(f"{name}/paper.html", "paper.html.j2", partial(paper_context, standings, reported)))
    _add(plan, _cell_files(standings))
    _add(plan, _entry_files(standings))
    for run in (*standings.runs, *standings.runs.withdrawn):
        start = f"{name}/runs/{run.record.run_id}"
        _add(plan, _page(f"{start}.html", "run.html.j2", partial(run_context, standings, run)))
        plan[f"{start}.csv"] = partial(_text, curve_csv, run.record)
        plan[f"{start}.json.gz"] = partial(_packed_record, run.path)
    return plan


def _cell_files(standings: Standings) -> dict[str, Make]:
    folder = f"{standings.board.name}/cells"
    plan = _page(f"{folder}/index.html", "cells.html.j2", partial(cells_context, standings))
    plan[f"{folder}/profiles.csv"] = partial(profiles_csv, standings)
    for cell, study in cell_studies(standings).items():
        _add(plan, _page(f"{folder}/{cell}.html", "cell.html.j2", partial(cell_context, cell, study)))
        _add(plan, {f"{folder}/{cell}{end}": partial(made, study) for end, made in CELL_FILES.items()})
        plan[f"{folder}/{cell}.svg"] = partial(cell_svg, study)
    return plan


def _entry_files(standings: Standings) -> dict[str, Make]:
    plan: dict[str, Make] = {}
    for method in methods_of(standings):
        page = f"{standings.board.name}/{method_name(method.name)}"
        _add(plan, _page(page, "method.html.j2", partial(method_context, standings, method)))
    for teacher in teachers_of(standings):
        page = f"{standings.board.name}/{teacher_name(teacher.name)}"
        _add(plan, _page(page, "teacher.html.j2", partial(teacher_context, standings, teacher)))
    return plan


def _plugin_files(standings: list[Standings]) -> dict[str, Make]:
    plugins = plugins_of(standings)
    plan = _page("plugins/index.html", "plugins.html.j2", partial(plugin_index_context, plugins))
    for plugin in plugins:
        _add(plan, _page(plugin.page, "plugin.html.j2", partial(plugin_context, plugin)))
    return plan


def _page(name: str, template: str, context: Callable[[], Mapping[str, Any]]) -> dict[str, Make]:
    return {name: lambda: render(name, template, context())}


def _csv(table: Callable[[Any], Any], of: Any) -> bytes:
    return to_csv(table(of)).encode()


def _text(written: Callable[[Any], str], of: Any) -> bytes:
    return written(of).encode()


def _packed_record(path: Path) -> bytes:
    """A record without the line breaks and indents of its file: a twentieth less, and nothing of it is lost."""
    return packed(msgspec.json.format(path.read_bytes(), indent=-1))


def _json(table: Callable[[Any], Any], of: Any) -> bytes:
    return to_json(table(of)).encode()
