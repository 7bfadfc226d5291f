"""The paper's numbers: typed twice, shown each, and never mixed with what was measured."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from kdbench.board import BOARDS, load_board
from kdbench.errors import RecordError
from kdbench.leaderboard.reported import Reported, read_reported
from kdbench.leaderboard.site import render_site
from tests.leaderboard.paper_tables import Place, figures
from tests.leaderboard.test_site import Page

PAPER = "camarena2024"


@pytest.fixture(scope="module")
def reported() -> Reported:
    found = read_reported(BOARDS / PAPER / "reported.json")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The site of the paper's board as it is before any run."""
    folder = tmp_path_factory.mktemp("boards") / PAPER
    folder.mkdir()
    for name in ("board.toml", "reported.json"):
        shutil.copy(BOARDS / PAPER / name, folder / name)
    return render_site(folder.parent)


def typed(reported: Reported) -> dict[Place, float]:
    places = {}
    for table in reported.tables:
        for row in table.rows:
            assert row.fraction is not None
            assert row.dataset is not None
            assert row.stage is not None
            place = (table.table, row.fraction, row.dataset, row.stage, row.student, row.teacher)
            assert place not in places
            places[place] = row.value
    return places


def test_all_figures_of_the_papers_five_tables_are_there(reported: Reported) -> None:
    counts = {table.table: len(table.rows) for table in reported.tables}
    assert counts == {"Table 3": 18, "Table 4": 27, "Table 5": 27, "Table 6": 27, "Table 7": 27}


@pytest.mark.parametrize("table", ["Table 3", "Table 4", "Table 5", "Table 6", "Table 7"])
def test_each_figure_equals_the_one_typed_a_second_time(reported: Reported, table: str) -> None:
    once = {place: round(100 * value, 9) for place, value in typed(reported).items() if place[0] == table}
    assert once == {place: figure for place, figure in figures().items() if place[0] == table}


def test_table_4_ends_where_table_3_says(reported: Reported) -> None:
    values = typed(reported)
    late = {place[4:]: value for place, value in values.items() if place[0] == "Table 4" and place[3] == "late"}
    final = {place[4:]: value for place, value in values.items() if place[0] == "Table 3" and place[2] == "ucf101"}
    assert late == final


def test_every_name_is_one_of_the_board(reported: Reported) -> None:
    board = load_board(PAPER)
    assert board.transfer is not None
    rows = [row for table in reported.tables for row in table.rows]
    assert {row.student for row in rows} == set(board.matrix.students)
    assert {row.teacher for row in rows} == {*board.matrix.teachers, None}
    assert {row.fraction for row in rows} == set(board.matrix.fractions)
    assert {row.dataset for row in rows} == {board.data.dataset, board.transfer.dataset}


def test_the_board_page_shows_each_figure(site: dict[str, bytes]) -> None:
    shown = Counter(Page(site[f"{PAPER}/index.html"]).text.split())
    for figure, times in Counter(figures().values()).items():
        assert shown[f"{figure}.0"] >= times, f"{figure}.0 is printed {times} times in the paper"


@pytest.mark.parametrize("table", ["Table 3", "Table 4", "Table 5", "Table 6", "Table 7"])
def test_the_papers_page_shows_each_figure_in_its_place(site: dict[str, bytes], table: str) -> None:
    anchor = table.lower().replace(" ", "-")
    part = site[f"{PAPER}/paper.html"].decode().split(f'<h2 id="{anchor}">')[1].partition("</table>")[0]
    cells = [int(cell) for cell in re.findall(r'<td class="reported">(\d+)</td>', part)]
    columns = list(dict.fromkeys(place[1:4] for place in figures() if place[0] == table))
    lines = list(dict.fromkeys(place[4:] for place in figures() if place[0] == table))
    assert cells == [figures()[(table, *column, *line)] for line in lines for column in columns]
    assert part.count("not yet run") == len(cells)


def test_the_page_says_what_the_figures_probably_are(site: dict[str, bytes], reported: Reported) -> None:
    assert reported.note in Page(site[f"{PAPER}/paper.html"]).text
    assert "pretext task" in reported.note


def test_no_reported_figure_is_in_a_file_of_measured_ones(site: dict[str, bytes]) -> None:
    assert json.loads(site[f"{PAPER}/leaderboard.json"]) == []
    assert len(gzip.decompress(site["all-results.csv.gz"]).splitlines()) == 1


def test_no_reported_figure_makes_an_answer(site: dict[str, bytes]) -> None:
    assert "No answer yet" in Page(site[f"{PAPER}/index.html"]).text


def test_a_board_without_the_file_has_no_reported_numbers(tmp_path: Path) -> None:
    assert read_reported(tmp_path / "reported.json") is None


def test_an_unknown_field_is_an_error_with_the_files_path(tmp_path: Path, reported: Reported) -> None:
    path = tmp_path / "reported.json"
    tree = json.loads((BOARDS / PAPER / "reported.json").read_text(encoding="utf-8"))
    tree["tables"][0]["rows"][0]["rank"] = 1
    path.write_text(json.dumps(tree))
    with pytest.raises(RecordError, match=r"reported\.json: Object contains unknown field `rank`"):
        read_reported(path)
