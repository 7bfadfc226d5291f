"""The page of a method: its gains in every cell, what is missing said, its options, files and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kdbench.leaderboard.formats import NOTHING
from kdbench.leaderboard.methodpage import MethodRuns, method_context, methods_of, tally
from kdbench.leaderboard.render import render
from kdbench.leaderboard.scoring import Estimate
from kdbench.leaderboard.standings import Standings, read_standings
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records

FAST = {"type": "cuda", "name": "Fast Card", "count": 1}


def standings_with(tmp_path: Path, *records: Record) -> Standings:
    write_board(tmp_path)
    write_records(tmp_path, records)
    return read_standings("small", tmp_path)


def named(standings: Standings, name: str = "soft") -> MethodRuns:
    return next(method for method in methods_of(standings) if method.name == name)


def context(standings: Standings, name: str = "soft") -> dict[str, Any]:
    return method_context(standings, named(standings, name))


def page(standings: Standings, name: str = "soft") -> str:
    return " ".join(render("small/methods/x.html", "method.html.j2", context(standings, name)).decode().split())


@pytest.fixture
def paired() -> list[Record]:
    return [*trio([10, 8, 6]), *trio([14, 14, 13], taught=True)]


def test_every_method_of_a_board_has_a_page_ranked_or_not(tmp_path: Path, paired: list[Record]) -> None:
    lost = make_record(taught=True, method__name="odd", teacher__trusted=False)
    assert [method.name for method in methods_of(standings_with(tmp_path, *paired, lost))] == ["alone", "odd", "soft"]


def test_page_says_who_has_done_the_runs_again(tmp_path: Path, paired: list[Record]) -> None:
    assert "1 row of 3 runs, none reproduced by others." in page(standings_with(tmp_path / "a", *paired))
    repeated = {"state": "reproduced", "by": "cy", "note": None, "date": "2024-03-01"}
    again = [
        make_record(hits=12, seed=seed, taught=True, submission={"verification": repeated | {"state": state}})
        for seed, state in ((5, "reproduced"), (6, "reproduced"), (7, "disputed"))
    ]
    assert "2 reproduced by someone else, 1 disputed." in page(standings_with(tmp_path / "b", *again))


def test_rows_that_differ_in_an_option_are_methods_of_their_own(tmp_path: Path, paired: list[Record]) -> None:
    warm = trio([12, 11, 13], taught=True, method__options={"rate": 2})
    cold = trio([12, 11, 14], taught=True, method__options={"rate": 1})
    names = [method.name for method in methods_of(standings_with(tmp_path, *trio([10, 8, 6]), *warm, *cold))]
    assert names == ["alone", "soft (rate=1)", "soft (rate=2)"]


def test_a_cell_that_the_board_asks_for_and_nobody_ran_is_said_to_be_missing(
    tmp_path: Path, paired: list[Record]
) -> None:
    (grid,) = context(standings_with(tmp_path, *paired))["grids"]
    whys = {student: [spot.why for spot in spots] for student, spots in grid.lines}
    assert whys == {"slim": ["", "missing"], "wide": ["missing", "missing"]}


def test_a_student_of_the_teachers_kind_is_not_missing(tmp_path: Path) -> None:
    records = [*trio([10, 8, 6]), *trio([14, 14, 13], taught=True, teacher__spec="wide", teacher__backbone="wide")]
    (grid,) = context(standings_with(tmp_path, *records))["grids"]
    assert [spot.why for spot in dict(grid.lines)["wide"]] == ["its own kind", "its own kind"]


def test_a_method_for_teachers_of_the_students_own_kind_misses_no_other_kind(tmp_path: Path) -> None:
    taught = trio([14, 14, 13], taught=True, teacher__spec="slim", teacher__backbone="slim")
    (grid,) = context(standings_with(tmp_path, *trio([10, 8, 6]), *taught))["grids"]
    whys = {student: [spot.why for spot in spots] for student, spots in grid.lines}
    assert whys == {"slim": ["", "missing"], "wide": ["not its own kind", "not its own kind"]}


def test_a_fraction_that_the_board_does_not_ask_for_is_not_missing_elsewhere(
    tmp_path: Path, paired: list[Record]
) -> None:
    more = [make_record(cell__fraction=0.1), make_record(hits=12, cell__fraction=0.1, taught=True)]
    standings = standings_with(tmp_path, *paired, *more)
    assert context(standings)["fractions"] == [1.0, 0.5, 0.1]
    (grid,) = context(standings)["grids"]
    assert [spot.why for spot in dict(grid.lines)["wide"]] == ["missing", "missing", NOTHING]


def test_no_mean_is_taken_over_some_of_the_cells(tmp_path: Path, paired: list[Record]) -> None:
    assert "1 of 4 cells</a>, so no mean over them." in page(standings_with(tmp_path, *paired))


def test_a_mean_is_taken_over_all_cells(tmp_path: Path) -> None:
    records = []
    for student in ("slim", "wide"):
        for fraction in (1.0, 0.5):
            place: dict[str, Any] = {"student__name": student, "cell__fraction": fraction}
            records += [*trio([10, 8, 6], **place), *trio([14, 12, 13], taught=True, **place)]
    assert "4 of 4 cells</a>; mean gain +25.0" in page(standings_with(tmp_path, *records))


def test_a_gain_leads_to_its_cell_and_its_runs(tmp_path: Path, paired: list[Record]) -> None:
    shown = page(standings_with(tmp_path, *paired))
    assert "+28.3" in shown
    assert 'href="../cells/slim-100pct.html"' in shown
    assert all(f'href="../runs/{record.run_id}.html"' in shown for record in paired[3:])


def test_gains_are_told_by_where_their_intervals_lie() -> None:
    gains = [Estimate(0.1, 0.05, 3), Estimate(-0.1, 0.05, 3), Estimate(0.1, 0.2, 3), Estimate(0.1, None, 1), None]
    found = tally(gains)
    assert (found.above, found.below, found.unsure, found.bare, found.total) == (1, 1, 1, 1, 4)


def test_the_baselines_page_shows_accuracies_and_no_gains(tmp_path: Path, paired: list[Record]) -> None:
    shown = page(standings_with(tmp_path, *paired), "alone")
    assert "The baseline: every gain on this board is measured against its runs." in shown
    assert "<b>40.0</b>" in shown
    assert "no paired run" not in shown


def test_an_option_says_how_many_commands_named_it(tmp_path: Path) -> None:
    given = "kdbench run --method soft -o rate=0.5"
    records = trio([14, 12], taught=True, method__options={"rate": 0.5, "kind": "a"}, command=given)
    records.append(make_record(hits=9, seed=2, taught=True, method__options={"rate": 0.5, "kind": "a"}))
    kind, rate = context(standings_with(tmp_path, *records))["options"]
    assert (kind.name, kind.values) == ("kind", (("a", 3, 0),))
    assert (rate.name, rate.values) == ("rate", (("0.5", 3, 2),))


def test_a_command_that_cannot_be_taken_apart_names_no_option(tmp_path: Path) -> None:
    record = make_record(taught=True, method__options={"rate": 1}, command="kdbench -o 'rate=1")
    (rate,) = context(standings_with(tmp_path, record))["options"]
    assert rate.values == (("1", 1, 0),)


def test_a_term_weighed_anew_stands_beside_the_boards_weight(tmp_path: Path) -> None:
    standings = standings_with(tmp_path, make_record(taught=True, method__base_weights={"action": 0.0}))
    assert context(standings, "soft")["weights"] == [("action", "0", "1.0")]


def test_a_row_of_several_files_is_told(tmp_path: Path, paired: list[Record]) -> None:
    changed = make_record(hits=12, seed=3, taught=True, method__sha256="cd" * 32, method__version="0.2.0")
    base = make_record(hits=9, seed=3)
    shown = page(standings_with(tmp_path, *paired, changed, base))
    assert "1 row of this method mixes files of the plugin" in shown
    assert "2 files under 2 versions" in shown
    assert "mixes files" not in page(standings_with(tmp_path / "sound", *paired))


def test_time_is_a_multiple_of_the_baselines_only_on_one_class_of_device(tmp_path: Path, paired: list[Record]) -> None:
    (same,) = context(standings_with(tmp_path, *paired))["expenses"]
    assert same.times == pytest.approx(1.0)
    fast = trio([14, 14, 13], taught=True, environment__device=FAST)
    (other,) = context(standings_with(tmp_path / "other", *trio([10, 8, 6]), *fast))["expenses"]
    assert other.times is None


def test_what_a_method_costs_beside_its_time_is_told(tmp_path: Path) -> None:
    own: dict[str, Any] = {"method__extra_params": 2048, "method__phase_epochs": 3, "method__teacher_clips_per_step": 8}
    shown = page(standings_with(tmp_path, *trio([14, 12, 13], taught=True, **own)))
    assert "<td>8</td><td>2,048</td><td>3 epochs" in shown


def test_epochs_stand_beside_those_of_the_baseline(tmp_path: Path, paired: list[Record]) -> None:
    (speed,) = context(standings_with(tmp_path, *paired))["speeds"]
    own, base = speed.to_accuracy[0]
    assert own.median < base.median


def test_charts_have_the_baseline_beside_each_teacher(tmp_path: Path, paired: list[Record]) -> None:
    half = [*trio([5, 4], cell__fraction=0.5), *trio([9, 9], taught=True, cell__fraction=0.5)]
    found = context(standings_with(tmp_path, *paired, *half))
    assert [line.label.partition(":")[0] for line in found["legend"]] == ["alone, no teacher", "soft, teacher broad"]
    assert len(found["efficiency"]) == len(found["gains"]) == 1


def test_runs_in_no_comparison_are_listed_with_their_reason(tmp_path: Path, paired: list[Record]) -> None:
    record = make_record(taught=True, seed=9, teacher__trusted=False)
    ((run, kind, why),) = context(standings_with(tmp_path, *paired, record))["apart"]
    assert (run.record.run_id, kind) == (record.run_id, "unranked")
    assert why == "nobody has checked what its teacher was trained on"


def test_text_of_a_record_stays_text(tmp_path: Path) -> None:
    bad = "<b onload=x>"
    records = [make_record(taught=True, method__options={bad: bad}, method__version=bad, teacher__spec=bad)]
    shown = page(standings_with(tmp_path, *records))
    assert bad not in shown
    assert "&lt;b onload=x&gt;" in shown
