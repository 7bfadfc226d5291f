"""The list of a board's cells: each with its leading row, and profiles over all of them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdbench.leaderboard.cellindex import COLUMNS, cells_context, measures_of, places_of, profile_styles
from kdbench.leaderboard.charts import STYLES
from kdbench.leaderboard.pages import plan_of, plan_site
from kdbench.leaderboard.scoring import place_runs
from kdbench.leaderboard.standings import Standings, standings_of
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records
from tests.leaderboard.test_site import Page


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    write_board(tmp_path)
    return tmp_path


def stand(boards: Path, *records: Record) -> Standings:
    board = write_board(boards / "studied")
    return standings_of(board, place_runs(board, [(Path(f"{record.run_id}.json"), record) for record in records]))


def test_every_cell_is_listed_with_its_leading_row_and_its_baseline(boards: Path) -> None:
    records = [*trio([8, 9]), *trio([12, 13], taught=True), *trio([14, 15], taught=True, teacher__spec="huge")]
    first, second = places_of(stand(boards, *records, make_record(cell__fraction=0.5)))
    assert (first.name, first.rows, first.runs) == ("slim-100pct", 3, 6)
    assert first.lead is not None
    assert first.baseline is not None
    assert (first.lead.key.teacher, first.baseline.key.method) == ("huge", "alone")
    assert (second.name, second.lead) == ("slim-50pct", None)


def test_page_of_the_list_links_every_cell(boards: Path) -> None:
    write_records(boards, [*trio([8, 9]), *trio([12, 13], taught=True), make_record(cell__fraction=0.5)])
    page = Page(plan_site(boards)["small/cells/index.html"]())
    links = {attrs.get("href") for attrs in page.all("a")}
    assert {"slim-100pct.html", "slim-50pct.html", "profiles.csv"} <= links
    assert "2 cells, each compared within itself" in page.text


def test_a_single_run_leads_only_where_no_row_has_an_interval(boards: Path) -> None:
    lucky: dict[str, Any] = {"taught": True, "method__name": "lucky"}
    records = [*trio([8, 9]), *trio([12, 15], taught=True), make_record(hits=19, **lucky)]
    half: dict[str, Any] = {"cell__fraction": 0.5}
    records += [make_record(hits=5, **half), make_record(hits=9, **lucky, **half)]
    leads = [place.lead.key.method if place.lead else None for place in places_of(stand(boards, *records))]
    assert leads == ["soft", "lucky"]


def test_a_leading_row_without_a_teacher_is_said_to_have_none(boards: Path) -> None:
    write_records(boards, [*trio([8, 9]), *trio([12, 13], method__name="alike")])
    assert "alike, no teacher +20.0" in Page(plan_site(boards)["small/cells/index.html"]()).text


def test_cells_that_hold_runs_that_are_not_submitted_are_marked(boards: Path) -> None:
    records = [make_record(run_id="mine"), make_record(cell__fraction=0.5)]
    given = replace(stand(boards, *records), given=frozenset({"mine"}))
    assert [place.given for place in places_of(given)] == [True, False]
    text = Page(plan_of([given])["small/cells/index.html"]()).text
    assert text.count("yours, not submitted") == 1


def test_board_without_a_run_says_so(boards: Path) -> None:
    page = Page(plan_site(boards)["small/cells/index.html"]())
    assert "No run is ranked on this board yet." in page.text
    assert page.all("table") == []


def test_errors_and_epochs_to_the_baseline_are_profiled(boards: Path) -> None:
    standings = stand(boards, make_record(hits=10), make_record(hits=15, taught=True))
    assert [(each.name, len(each.profiles)) for each in measures_of(standings)] == [
        ("error", 2),
        ("epochs_to_baseline_0.9", 2),
        ("epochs_to_baseline_1", 2),
    ]


def test_board_without_a_comparison_has_no_profiles(boards: Path) -> None:
    context = cells_context(stand(boards, make_record()))
    assert (context["measures"], context["charts"], context["legend"]) == ([], [], [])


def test_baseline_and_the_best_entries_are_drawn(boards: Path) -> None:
    taught = [make_record(hits=hits, taught=True, teacher__spec=f"t{hits}") for hits in range(4, 19)]
    standings = stand(boards, make_record(hits=10), *taught)
    styles = profile_styles(standings, measures_of(standings))
    assert list(styles.items())[:3] == [(("none", "alone"), 0), (("t18", "soft"), 1), (("t17", "soft"), 2)]
    assert len(styles) == STYLES


def test_profiles_are_in_a_file_step_by_step(boards: Path) -> None:
    write_records(boards, [make_record(hits=10), make_record(hits=15, taught=True)])
    content = plan_site(boards)["small/cells/profiles.csv"]().decode()
    lines = list(csv.DictReader(io.StringIO(content)))
    assert tuple(lines[0]) == COLUMNS
    of_error = [(each["method"], each["cells"], each["factor"], each["share"]) for each in lines[:2]]
    assert of_error == [("soft", "1", "1", "1"), ("alone", "1", "2", "1")]


def test_entry_that_never_got_there_has_a_line_that_says_so(boards: Path) -> None:
    write_records(boards, [make_record(hits=10), make_record(hits=5, taught=True)])
    content = plan_site(boards)["small/cells/profiles.csv"]().decode()
    assert "epochs_to_baseline_1,broad,soft,1,1,1,0\n" in content
