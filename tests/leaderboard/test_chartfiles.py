"""Charts as SVG files: complete in themselves, well-formed whatever a name holds, the same bytes each time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kdbench.leaderboard.cellstudy import cell_studies
from kdbench.leaderboard.chartfiles import Sheet, board_sheets, cell_svg, chart_style, sheet_svg
from kdbench.leaderboard.pages import plan_site
from kdbench.leaderboard.render import theme_file
from kdbench.leaderboard.standings import Standings, read_standings
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records

SVG = "{http://www.w3.org/2000/svg}"
HURT = "<b>&\"']]>\N{HEBREW LETTER ALEF}</style><script>"
ELEMENTS = {f"{SVG}{name}" for name in ("svg", "title", "style", "rect", "g", "path", "circle", "text")}


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    write_board(tmp_path)
    return tmp_path


def standings(boards: Path, *records: Record) -> Standings:
    write_records(boards, records)
    return read_standings("small", boards)


def two_fractions(**changes: Any) -> list[Record]:
    """A taught row and its baseline on all videos and on half of them."""
    half: dict[str, Any] = {"cell__fraction": 0.5}
    taught = changes | {"taught": True}
    return [*trio([10, 9]), *trio([14, 13], **taught), *trio([5, 6], **half), *trio([9, 7], **taught, **half)]


def files(found: Standings) -> dict[str, bytes]:
    """All SVG files of a board."""
    made = {name: sheet_svg(sheet) for name, sheet in board_sheets(found).items()}
    return made | {f"{name}.svg": cell_svg(study) for name, study in cell_studies(found).items()}


def texts(file: bytes) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(file).iter(f"{SVG}text")]


def test_board_has_a_file_of_fractions_and_one_of_stages_and_each_cell_one(boards: Path) -> None:
    names = {"efficiency.svg", "stages.svg", "slim-100pct.svg", "slim-50pct.svg"}
    assert files(standings(boards, *two_fractions())).keys() == names
    assert {name.rsplit("/")[-1] for name in plan_site(boards) if name.endswith(".svg")} == names


def test_chart_that_would_show_nothing_has_no_file(boards: Path) -> None:
    assert board_sheets(standings(boards)) == {}
    assert board_sheets(standings(boards, make_record())) == {}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("efficiency.svg", ["slim", "accuracy, %", "50", "100", "alone, no teacher: the baseline"]),
        ("stages.svg", ["slim, 100\u202f% of the videos", "gain, points", "early", "end of the stage"]),
        ("slim-50pct.svg", ["slim on 50\u202f% of the training videos", "epoch", "late", "alone, no teacher"]),
    ],
)
def test_file_has_title_axes_legend_and_source(boards: Path, name: str, labels: list[str]) -> None:
    found = texts(files(standings(boards, *two_fractions()))[name])
    assert set(labels) <= set(found)
    assert "soft, teacher broad" in found
    assert "Small board: board small, version 1.0, of kdbench" in found


def test_file_has_every_line_of_the_page(boards: Path) -> None:
    records = [make_record(hits=12, taught=True, method__name=f"way{at}") for at in range(4)]
    file = files(standings(boards, make_record(), *records))["slim-100pct.svg"]
    lines = [each.text for each in ElementTree.fromstring(file).iter(f"{SVG}title")]
    for at in range(4):
        assert lines.count(f"way{at}, teacher broad") == 2
        assert texts(file).count(f"way{at}, teacher broad") == 1


def test_hostile_names_are_text_and_leave_the_file_well_formed(boards: Path) -> None:
    records = [make_record(), make_record(taught=True, method__name=HURT, run_id="hurt")]
    for file in files(standings(boards, *records)).values():
        assert {each.tag for each in ElementTree.fromstring(file).iter()} <= ELEMENTS
        assert f"{HURT}, teacher broad" in texts(file)


def test_characters_that_xml_cannot_hold_are_replaced() -> None:
    file = sheet_svg(Sheet("a\x01\x1b\ufffeb\t\U0001f600", "", (), ()))
    assert texts(file)[0] == "a\ufffd\ufffd\ufffdb\t\U0001f600"


def test_file_asks_for_nothing_and_needs_no_style_sheet(boards: Path) -> None:
    for file in files(standings(boards, *two_fractions())).values():
        text = file.decode()
        assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
        assert not re.search(r"var\(|light-dark|url\(|@import|<script", text)


def test_lines_have_the_colours_of_the_light_theme() -> None:
    sheet = theme_file("style.css").decode()
    for style in range(8):
        (light,) = re.findall(rf"--s{style}: light-dark\((#[0-9a-f]{{6}}),", sheet)
        assert f".s{style} {{ color: {light}; }}" in chart_style()
    assert ".s0 .line { stroke-dasharray: 5 4; }" in chart_style()


def test_picture_is_as_wide_as_its_longest_label(boards: Path) -> None:
    long = "way" * 100
    found = standings(boards, make_record(), make_record(taught=True, method__name=long, run_id="long"))
    file = files(found)["slim-100pct.svg"]
    assert float(ElementTree.fromstring(file).attrib["width"]) > 6 * len(long)


def test_order_of_the_records_does_not_change_a_file(tmp_path: Path) -> None:
    made = []
    for at, order in enumerate((1, -1)):
        write_board(tmp_path / str(at))
        made.append(files(standings(tmp_path / str(at), *two_fractions()[::order])))
    assert made[0] == made[1]


def test_page_leads_to_the_files(boards: Path) -> None:
    write_records(boards, two_fractions())
    plan = plan_site(boards)
    board, cell = (plan[f"small/{name}"]().decode() for name in ("index.html", "cells/slim-50pct.html"))
    assert 'href="efficiency.svg"' in board
    assert 'href="stages.svg"' in board
    assert cell.count('href="slim-50pct.svg"') == 2


def test_page_without_charts_leads_to_no_file(boards: Path) -> None:
    assert ".svg" not in plan_site(boards)["small/index.html"]().decode()
