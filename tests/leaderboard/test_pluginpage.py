"""The pages of plugins: each with its files, how many records each made, where, and the rows that mix them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kdbench.leaderboard.pluginpage import (
    Plugin,
    file_words,
    plugin_context,
    plugin_index_context,
    plugins_of,
)
from kdbench.leaderboard.render import render
from kdbench.leaderboard.site import render_site
from kdbench.leaderboard.standings import read_standings
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records

NEW: dict[str, Any] = {"method__version": "0.10.0", "method__sha256": "cd" * 32}
OLD: dict[str, Any] = {"method__version": "0.9.0", "method__sha256": "ef" * 32}


def plugins_with(tmp_path: Path, *records: Record) -> dict[tuple[str, str], Plugin]:
    write_board(tmp_path)
    write_records(tmp_path, records)
    return {(plugin.kind, plugin.name): plugin for plugin in plugins_of([read_standings("small", tmp_path)])}


def page(plugin: Plugin) -> str:
    return " ".join(render(plugin.page, "plugin.html.j2", plugin_context(plugin)).decode().split())


def test_every_plugin_of_any_record_is_there(tmp_path: Path) -> None:
    found = plugins_with(tmp_path, *trio([10, 8, 6]), *trio([14, 14, 13], taught=True))
    assert sorted(found) == [
        ("backbones", "slim"),
        ("methods", "alone"),
        ("methods", "soft"),
        ("teachers", "trained"),
    ]
    assert found["backbones", "slim"].records == 6
    assert found["methods", "soft"].records == found["teachers", "trained"].records == 3


def test_records_of_several_boards_are_counted_apart(tmp_path: Path) -> None:
    for name, hits in (("small", [10, 8, 6]), ("other", [12, 9])):
        write_board(tmp_path, name)
        write_records(tmp_path, trio(hits, board__name=name), name)
    found = plugins_of([read_standings(name, tmp_path) for name in ("small", "other")])
    (version,) = next(plugin for plugin in found if plugin.name == "slim").versions
    assert version.boards == (("other", 2), ("small", 3))
    assert version.records == 5


def test_versions_stand_in_their_order_and_not_in_that_of_letters(tmp_path: Path) -> None:
    records = [make_record(hits=5, taught=True, **NEW), make_record(hits=6, seed=1, taught=True, **OLD)]
    versions = plugins_with(tmp_path, *records)["methods", "soft"].versions
    assert [version.file.version for version in versions] == ["0.9.0", "0.10.0"]
    assert file_words(versions) == "2 files under 2 versions"


def test_another_file_of_the_same_version_is_another(tmp_path: Path) -> None:
    records = [make_record(hits=5, taught=True), make_record(hits=6, seed=1, taught=True, method__sha256="cd" * 32)]
    assert file_words(plugins_with(tmp_path, *records)["methods", "soft"].versions) == "2 files under one version"


def test_list_of_plugins_names_a_version_once_whatever_files_it_had(tmp_path: Path) -> None:
    records = [make_record(hits=5, taught=True), make_record(hits=6, seed=1, taught=True, method__sha256="cd" * 32)]
    plugin = plugins_with(tmp_path, *records)["methods", "soft"]
    (release,) = plugin.releases
    assert release == f"{plugin.versions[0].file.distribution} {plugin.versions[0].file.version}"


def test_a_row_that_mixes_files_is_told_with_the_seeds_of_each(tmp_path: Path) -> None:
    records = [make_record(hits=5, taught=True, **NEW), make_record(hits=6, seed=1, taught=True, **OLD)]
    plugin = plugins_with(tmp_path, *records)["methods", "soft"]
    (mixed,) = plugin.mixed
    assert [(file.version, [run.record.seed for run in runs]) for file, runs in mixed.versions] == [
        ("0.9.0", [1]),
        ("0.10.0", [0]),
    ]
    assert "Rows that mix files" in page(plugin)


def test_files_that_no_row_mixes_are_told_as_such(tmp_path: Path) -> None:
    records = [
        make_record(hits=5, taught=True, **NEW),
        make_record(hits=6, cell__fraction=0.5, taught=True, **OLD),
    ]
    plugin = plugins_with(tmp_path, *records)["methods", "soft"]
    assert plugin.mixed == ()
    assert "No row mixes these files" in page(plugin)


@pytest.mark.parametrize(
    ("kind", "name", "place"),
    [
        ("methods", "soft", "small/methods/soft.html"),
        ("teachers", "trained", "small/teachers/broad.html"),
        ("backbones", "slim", "small/cells/slim-100pct.html"),
    ],
)
def test_a_plugin_leads_to_what_became_of_it(tmp_path: Path, kind: str, name: str, place: str) -> None:
    plugin = plugins_with(tmp_path, *trio([10, 8, 6]), *trio([14, 14, 13], taught=True))[kind, name]
    assert f'href="../{place}"' in page(plugin)
    assert place in render_site(tmp_path)


def test_a_student_without_a_ranked_run_leads_to_no_cell(tmp_path: Path) -> None:
    plugin = plugins_with(tmp_path, make_record(taught=True, teacher__trusted=False))["backbones", "slim"]
    assert plugin.uses[0].places == ()
    assert "none of them ranked" in page(plugin)


def test_the_list_of_plugins_leads_to_each(tmp_path: Path) -> None:
    found = list(plugins_with(tmp_path, *trio([10, 8, 6])).values())
    shown = render("plugins/index.html", "plugins.html.j2", plugin_index_context(found)).decode()
    assert all(f'href="../{plugin.page}"' in shown for plugin in found)


def test_without_records_the_list_says_so(tmp_path: Path) -> None:
    assert plugins_with(tmp_path) == {}
    assert (
        "There is no record yet." in render("plugins/index.html", "plugins.html.j2", plugin_index_context([])).decode()
    )


def test_text_of_a_record_stays_text(tmp_path: Path) -> None:
    bad = "<b onload=x>"
    parts: dict[str, Any] = {f"student__{name}": bad for name in ("name", "version", "distribution", "sha256")}
    record = make_record(run_id="odd", **parts)
    shown = page(plugins_with(tmp_path, record)["backbones", bad])
    assert bad not in shown
    assert "&lt;b onload=x&gt;" in shown
