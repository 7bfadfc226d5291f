"""The page of a teacher: lineages told apart by their weights, what was checked of them, and whom they taught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kdbench.leaderboard.render import render
from kdbench.leaderboard.standings import Standings, read_standings
from kdbench.leaderboard.teacherpage import Lineage, lineages, teacher_context, teachers_of
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records

OTHER = "77" * 32


def standings_with(tmp_path: Path, *records: Record) -> Standings:
    write_board(tmp_path)
    write_records(tmp_path, records)
    return read_standings("small", tmp_path)


def context(standings: Standings) -> dict[str, Any]:
    (teacher,) = teachers_of(standings)
    return teacher_context(standings, teacher)


def found(standings: Standings) -> list[Lineage]:
    (teacher,) = teachers_of(standings)
    return lineages(teacher)


def page(standings: Standings) -> str:
    return " ".join(render("small/teachers/x.html", "teacher.html.j2", context(standings)).decode().split())


def facts(lineage: Lineage) -> dict[str, tuple[str, ...]]:
    return {fact.label: fact.values for fact in lineage.facts}


@pytest.fixture
def alone() -> list[Record]:
    return trio([10, 8, 6])


def test_a_run_without_a_teacher_makes_no_page(tmp_path: Path, alone: list[Record]) -> None:
    assert teachers_of(standings_with(tmp_path, *alone)) == []


def test_one_training_is_one_lineage(tmp_path: Path, alone: list[Record]) -> None:
    (lineage,) = found(standings_with(tmp_path, *alone, *trio([14, 14, 13], taught=True)))
    assert lineage.digest == "33" * 32
    assert facts(lineage)["Accuracy"] == ("80.0 %",)
    assert facts(lineage)["Data set"] == ("moves",)


def test_trainings_of_other_weights_under_one_name_are_other_lineages(tmp_path: Path, alone: list[Record]) -> None:
    taught = [make_record(hits=14, taught=True), make_record(hits=13, seed=1, taught=True)]
    other = make_record(hits=12, seed=2, taught=True, teacher__weights_sha256=OTHER)
    standings = standings_with(tmp_path, *alone, *taught, other)
    first, second = found(standings)
    assert [len(each.lessons[0].runs) for each in (first, second)] == [2, 1]
    assert "by 2 different trainings under this one name" in page(standings)


def test_a_row_of_two_lineages_gives_each_the_gain_of_its_own_runs(tmp_path: Path, alone: list[Record]) -> None:
    taught = [make_record(hits=14, taught=True), make_record(hits=13, seed=1, taught=True)]
    other = make_record(hits=12, seed=2, taught=True, teacher__weights_sha256=OTHER)
    first, second = found(standings_with(tmp_path, *alone, *taught, other))
    gains = [each.lessons[0].gain for each in (first, second)]
    assert [gain.mean for gain in gains if gain] == pytest.approx([0.225, 0.3])
    assert all(each.lessons[0].mixed for each in (first, second))


def test_its_own_record_is_linked_where_it_is_among_the_records(tmp_path: Path, alone: list[Record]) -> None:
    own = make_record(hits=16, student__name="broad")
    taught = trio([14, 14, 13], taught=True, teacher__run_id=own.run_id)
    standings = standings_with(tmp_path, *alone, own, *taught)
    assert found(standings)[0].own[0].misfits == ()
    assert f'<a href="../runs/{own.run_id}.html">' in page(standings)


def test_a_record_that_is_not_there_is_named_without_a_link(tmp_path: Path, alone: list[Record]) -> None:
    shown = page(standings_with(tmp_path, *alone, *trio([14, 14, 13], taught=True, teacher__run_id="lost")))
    assert "lost (not among the records)" in shown
    assert "lost.html" not in shown


def test_a_teacher_that_its_own_record_contradicts_is_told(tmp_path: Path, alone: list[Record]) -> None:
    own = make_record(hits=10, student__name="narrow", cell__training_list_sha256="99" * 32)
    taught = trio([14, 14, 13], taught=True, teacher__run_id=own.run_id)
    (lineage,) = found(standings_with(tmp_path, *alone, own, *taught))
    assert lineage.own[0].misfits == (
        "declared 80.0 %, its record says 50.0 %",
        "its record has another training list",
        "its record is of narrow",
    )


def test_several_runs_that_were_joined_are_each_named(tmp_path: Path, alone: list[Record]) -> None:
    taught = trio([14, 14, 13], taught=True, teacher__run_id="one+two")
    (lineage,) = found(standings_with(tmp_path, *alone, *taught))
    assert [own.run_id for own in lineage.own] == ["one", "two"]


def test_leakage_is_judged_for_each_test_list(tmp_path: Path, alone: list[Record]) -> None:
    (lineage,) = found(standings_with(tmp_path, *alone, *trio([14, 14, 13], taught=True)))
    assert [(each.use, each.dataset, each.runs, each.sound) for each in lineage.verdicts] == [
        ("test", "moves", 3, True),
        ("transfer", "steps", 3, True),
    ]


def test_a_teacher_that_does_not_say_what_it_saw_is_not_called_clean(tmp_path: Path, alone: list[Record]) -> None:
    unsaid: dict[str, Any] = {
        "teacher__trusted": False,
        "teacher__training_list_sha256": None,
        "teacher__fraction": None,
        "teacher__privileged": None,
    }
    (lineage,) = found(standings_with(tmp_path, *alone, make_record(taught=True, **unsaid)))
    assert not any(each.sound for each in lineage.verdicts)
    assert lineage.verdicts[0].words == "not checked: it does not say which videos it was trained on"
    assert lineage.seen == ("Which fraction it saw is not known in 1 of 1 runs.",)
    assert lineage.lessons == ()


def test_a_check_of_some_runs_is_no_check_of_all(tmp_path: Path, alone: list[Record]) -> None:
    records = [make_record(hits=14, taught=True), make_record(hits=13, seed=1, taught=True, teacher__trusted=False)]
    (lineage,) = found(standings_with(tmp_path, *alone, *records))
    assert lineage.verdicts[0].words.startswith("not checked in 1 of 2 runs")


def test_a_teacher_trained_on_the_test_list_leaks_whatever_it_says(tmp_path: Path, alone: list[Record]) -> None:
    taught = trio([14, 14, 13], taught=True, teacher__training_list_sha256="22" * 32)
    (lineage,) = found(standings_with(tmp_path, *alone, *taught))
    assert lineage.verdicts[0].words.startswith("leak:")
    assert not lineage.verdicts[0].sound


def test_a_teacher_that_saw_more_or_less_than_it_says_is_told(tmp_path: Path, alone: list[Record]) -> None:
    half: dict[str, Any] = {"cell__fraction": 0.5, "teacher__privileged": True, "teacher__partial": True}
    records = [*trio([14, 14, 13], taught=True), make_record(hits=9, taught=True, **half)]
    (lineage,) = found(standings_with(tmp_path, *alone, *records))
    assert lineage.seen == (
        "It saw a larger fraction of the training videos than its student in 1 of 4 runs.",
        "It saw no larger fraction than its student in 3 of 4 runs.",
        "Some of its own training videos were missing in 1 of 4 runs.",
    )


def test_records_that_do_not_agree_on_a_teacher_are_told(tmp_path: Path, alone: list[Record]) -> None:
    records = [make_record(hits=14, taught=True), make_record(hits=13, seed=1, taught=True, teacher__epochs=9)]
    standings = standings_with(tmp_path, *alone, *records)
    assert facts(found(standings)[0])["Epochs"] == ("8", "9")
    assert "8; 9 <span" in page(standings)
    assert "records disagree" in page(standings)


def test_students_stand_with_gain_and_share_of_the_gap(tmp_path: Path, alone: list[Record]) -> None:
    standings = standings_with(tmp_path, *alone, *trio([14, 14, 13], taught=True))
    (lesson,) = found(standings)[0].lessons
    assert lesson.gain is not None
    assert lesson.gain.mean == pytest.approx(0.85 / 3)
    assert lesson.gap_closed == pytest.approx(0.85 / 1.2)
    assert 'href="../cells/slim-100pct.html"' in page(standings)
    assert 'href="../methods/soft.html"' in page(standings)


def test_no_mean_is_taken_over_some_of_the_cells(tmp_path: Path, alone: list[Record]) -> None:
    shown = page(standings_with(tmp_path, *alone, *trio([14, 14, 13], taught=True)))
    assert '<td>1 of 4</td><td><span class="quiet">incomplete</span>' in shown


def test_text_of_a_record_stays_text(tmp_path: Path) -> None:
    bad = '<b onload="x">'
    parts: dict[str, Any] = {
        f"teacher__{name}": bad for name in ("spec", "backbone", "weights_sha256", "run_id", "dataset")
    }
    shown = page(standings_with(tmp_path, make_record(taught=True, **parts)))
    assert bad not in shown
    assert "&lt;b onload=" in shown
