"""The paper's tables beside our runs: the right runs in the right cells, and nothing where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from kdbench.leaderboard.paperpage import Cell, Table, paper_context, table_of
from kdbench.leaderboard.reported import Reported, ReportedTable, Source
from kdbench.leaderboard.site import render_site
from kdbench.leaderboard.standings import read_standings
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records
from tests.leaderboard.test_site import Page

SOURCE = {"title": "A title", "authors": "A. Author", "venue": "A journal", "doi": "10.1/2", "year": 2024}


def spot(teacher: str | None, value: float, **where: Any) -> dict[str, Any]:
    return {"student": "slim", "teacher": teacher, "fraction": 1.0, "dataset": "moves", "value": value, **where}


def a_table(*rows: dict[str, Any]) -> ReportedTable:
    tree = {"table": "Table 9", "caption": "Some accuracies.", "columns": ["student", "value"], "rows": list(rows)}
    return msgspec.convert(tree, ReportedTable)


def reported(*rows: dict[str, Any]) -> Reported:
    return Reported(source=msgspec.convert(SOURCE, Source), note="One seed.", tables=(a_table(*rows),))


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    write_board(tmp_path)
    return tmp_path


def shown(boards: Path, records: list[Record], *rows: dict[str, Any]) -> Table:
    write_records(boards, records)
    return table_of(read_standings("small", boards), a_table(*rows))


def only_cell(table: Table) -> Cell:
    ((_, (line,)),) = table.students
    (cell,) = line.cells
    return cell


def means(cell: Cell) -> list[float]:
    return [round(each.value.mean, 6) for each in cell.measured]


def test_a_figure_stands_beside_the_mean_and_interval_of_our_seeds(boards: Path) -> None:
    cell = only_cell(shown(boards, trio([10, 12, 14]), spot(None, 0.44, stage="late")))
    (ours,) = cell.measured
    assert cell.reported == 0.44
    assert (ours.value.mean, ours.value.n) == (pytest.approx(0.6), 3)
    assert ours.value.half == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)  # t of two degrees of freedom


def test_a_figure_without_a_run_stands_beside_nothing(boards: Path) -> None:
    assert only_cell(shown(boards, [], spot(None, 0.44))).measured == ()


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"teacher": "broad"},
        {"student": "wide"},
        {"fraction": 0.5},
        {"dataset": "others"},
        {"stage": "best"},
    ],
)
def test_a_run_of_another_place_does_not_stand_in(boards: Path, elsewhere: dict[str, Any]) -> None:
    assert only_cell(shown(boards, trio([10, 12]), spot(None, 0.44) | elsewhere)).measured == ()


def test_a_taught_figure_stands_beside_the_boards_taught_method_alone(boards: Path) -> None:
    records = [*trio([10, 10]), *trio([12, 12], taught=True), *trio([15, 15], taught=True, method__name="other")]
    assert means(only_cell(shown(boards, records, spot("broad", 0.5)))) == [0.6]


def test_stages_stand_beside_the_same_stages(boards: Path) -> None:
    rows = [spot(None, value, stage=stage) for stage, value in (("early", 0.1), ("middle", 0.2), ("late", 0.3))]
    table = shown(boards, [make_record(hits=10)], *rows)
    ((_, (line,)),) = table.students
    assert table.columns == ("Early", "Middle", "Late")
    assert [means(cell) for cell in line.cells] == [[0.1], [0.35], [0.5]]


def test_a_figure_on_the_second_data_set_stands_beside_the_transfer(boards: Path) -> None:
    rows = [spot(None, 0.4), spot(None, 0.6, dataset="steps")]
    table = shown(boards, [make_record(hits=10, transfer_hits=12)], *rows)
    ((_, (line,)),) = table.students
    assert table.columns == ("moves", "steps")
    assert [means(cell) for cell in line.cells] == [[0.5], [0.6]]


def test_draws_of_a_fraction_stand_beside_its_figure_one_by_one(boards: Path) -> None:
    path = boards / "small" / "board.toml"
    path.write_text(path.read_text().replace("seeds = [0, 1, 2]", "seeds = [0, 1, 2]\nsubset_seeds = [0, 1]"))
    drawn = [make_record(hits=hits, cell__fraction=0.5, cell__subset_seed=seed) for seed, hits in enumerate((8, 10))]
    cell = only_cell(shown(boards, drawn, spot(None, 0.44, fraction=0.5)))
    assert [(each.label, each.value.mean) for each in cell.measured] == [("subset seed 0", 0.4), ("subset seed 1", 0.5)]


def with_pretext(record: Record, *top1: float | None) -> Record:
    marks = [msgspec.structs.replace(mark, pretext_top1=told) for mark, told in zip(record.stages, top1, strict=True)]
    return msgspec.structs.replace(record, stages=tuple(marks))


def test_both_tasks_stand_beside_a_figure_where_both_were_scored_at_its_stage(boards: Path) -> None:
    record = with_pretext(make_record(hits=10), 0.2, 0.25, None)
    cell = only_cell(shown(boards, [record], spot(None, 0.44, stage="middle")))
    assert [(each.label, each.value.mean) for each in cell.measured] == [("action", 0.35), ("pretext", 0.25)]


def test_a_board_may_stand_beside_the_numbers_that_another_board_keeps(boards: Path) -> None:
    write_board(boards, "second")
    path = boards / "second" / "board.toml"
    path.write_text(path.read_text().replace('version = "1.0"', 'version = "1.0"\nreproduces = "small"'))
    (boards / "small" / "reported.json").write_bytes(msgspec.json.encode(reported(spot(None, 0.44))))
    assert "no teacher 44 not yet run" in Page(render_site(boards)["second/paper.html"]).text


def test_rows_with_other_options_are_told_apart(boards: Path) -> None:
    records = [
        make_record(hits=hits, taught=True, method__options={"weight": weight})
        for hits, weight in ((10, 1.0), (14, 9.0))
    ]
    cell = only_cell(shown(boards, records, spot("broad", 0.5)))
    assert [(each.label, each.value.mean) for each in cell.measured] == [
        ("soft (weight=1.0)", 0.5),
        ("soft (weight=9.0)", 0.7),
    ]


def test_stale_runs_do_not_stand_in(boards: Path) -> None:
    pins = dict(make_record().pins) | {"optim.lr": 0.5}
    assert only_cell(shown(boards, [make_record(pins=pins)], spot(None, 0.44))).measured == ()


def test_the_page_counts_how_many_figures_have_a_run(boards: Path) -> None:
    write_records(boards, trio([10, 10]))
    context = paper_context(read_standings("small", boards), reported(spot(None, 0.4), spot("broad", 0.5)))
    assert (context["filled"], context["figures"]) == (1, 2)


def test_the_page_shows_both_and_links_to_the_runs(boards: Path) -> None:
    records = trio([10, 12])
    write_records(boards, records)
    rows = reported(spot(None, 0.44, stage="late"), spot("broad", 0.55, stage="late"))
    (boards / "small" / "reported.json").write_bytes(msgspec.json.encode(rows))
    site = render_site(boards)
    page = Page(site["small/paper.html"])
    assert "no teacher 44 55.0 ± 63.5, 2 seeds 0 1" in page.text
    assert "broad 55 not yet run" in page.text
    assert {f"runs/{record.run_id}.html" for record in records} <= {link.get("href") for link in page.all("a")}
    assert "paper.html" in {link.get("href") for link in Page(site["small/index.html"]).all("a")}


def test_the_page_takes_no_difference_and_gives_no_rank(boards: Path) -> None:
    write_records(boards, [*trio([10, 12]), *trio([12, 14], taught=True)])
    (boards / "small" / "reported.json").write_bytes(msgspec.json.encode(reported(spot("broad", 0.44))))
    page = Page(render_site(boards)["small/paper.html"])
    assert "no difference is taken between them" in page.text
    assert not any(words in page.text for words in ("+", "Rank", "Gain"))


def test_a_board_without_reported_numbers_has_no_such_page(boards: Path) -> None:
    site = render_site(boards)
    assert "small/paper.html" not in site
    assert b"paper.html" not in site["small/index.html"]


def test_tables_have_captions_and_headers_have_scopes(boards: Path) -> None:
    (boards / "small" / "reported.json").write_bytes(msgspec.json.encode(reported(spot(None, 0.44))))
    page = Page(render_site(boards)["small/paper.html"])
    assert len(page.all("table")) == len(page.all("caption")) == 1
    assert all(cell.get("scope") for cell in page.all("th"))


def test_seeds_of_several_fractions_stand_apart(boards: Path) -> None:
    write_records(boards, [*trio([10, 12]), *trio([8, 9], cell__fraction=0.5)])
    rows = reported(spot(None, 0.44), spot(None, 0.4, fraction=0.5))
    (boards / "small" / "reported.json").write_bytes(msgspec.json.encode(rows))
    assert "100 %: 0 1 50 %: 0 1" in Page(render_site(boards)["small/paper.html"]).text
