"""What a board's page shows: its cells in order, what it says of a row, and which row is as good as all videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from kdbench.leaderboard.boardpage import board_context, key_facts, matched_with_less
from kdbench.leaderboard.pagenames import teacher_name
from kdbench.leaderboard.pages import plan_site
from kdbench.leaderboard.render import render
from kdbench.leaderboard.scoring import place_runs
from kdbench.leaderboard.standings import Standings, read_board, read_standings, standings_of
from kdbench.leaderboard.submit import withdraw
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records

TEACHER = "its-teacher"
LOST = "teacher's record withdrawn"


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    write_board(tmp_path)
    return tmp_path


def read(boards: Path, *records: Record) -> Standings:
    write_records(boards, records)
    return read_standings("small", boards)


def shown(standings: Standings) -> str:
    return render("small/index.html", "board.html.j2", board_context(standings)).decode()


def redrawn(boards: Path, *records: Record) -> Standings:
    """The standings of the board if it drew each fraction with the subset seeds 0 and 1."""
    board = read_board("small", boards)
    board = msgspec.structs.replace(board, matrix=msgspec.structs.replace(board.matrix, subset_seeds=(0, 1)))
    return standings_of(board, place_runs(board, [(Path(f"{record.run_id}.json"), record) for record in records]))


def half(hits: int, drawn: int = 0, **changes: Any) -> Record:
    return make_record(hits=hits, cell__fraction=0.5, cell__subset_seed=drawn, **changes)


# --- the cells ---------------------------------------------------------------------------------------------


def test_cells_stand_with_large_fractions_first_and_then_by_student(boards: Path) -> None:
    names = [(student, share) for student in ("wide", "slim") for share in (0.5, 1.0)]
    records = [make_record(student__name=student, cell__fraction=share) for student, share in names]
    shown_groups = board_context(read(boards, *records))["groups"]
    assert [(group.key.student, group.key.fraction) for group in shown_groups] == [
        ("slim", 1.0),
        ("wide", 1.0),
        ("slim", 0.5),
        ("wide", 0.5),
    ]


def test_cell_names_its_subset_only_where_there_are_several(boards: Path) -> None:
    once, twice = [make_record(), half(5)], [make_record(), half(5), half(6, 1)]
    notes = [[group.note for group in board_context(redrawn(boards, *found))["groups"]] for found in (once, twice)]
    assert notes == [["", ""], ["", "subset seed 0", "subset seed 1"]]


def test_every_line_has_a_cell_for_each_column_and_a_name_of_its_own(boards: Path) -> None:
    context = board_context(read(boards, *trio([10, 8]), *trio([14, 13], taught=True), half(5)))
    lines = [line for group in context["groups"] for line in group.lines()]
    assert {len(line.cells) for line in lines} == {len(context["columns"])}
    assert len({line.id for line in lines}) == len(lines) == 3


def test_every_column_can_be_chosen_and_says_what_it_means(boards: Path) -> None:
    standings = read(boards, make_record())
    page = shown(standings)
    for column in board_context(standings)["columns"]:
        assert f'id="col-{column.key}"' in page
        assert f'data-key="{column.key}"' in page
        assert f'id="about-{column.about[0]}"' in page


def test_stages_of_the_largest_fraction_come_first(boards: Path) -> None:
    records = [half(5), half(7, taught=True), make_record(hits=10), make_record(hits=12, taught=True)]
    assert [stage.fraction for stage in board_context(read(boards, *records))["stages"]] == [1.0, 0.5]


def test_facts_name_the_seeds_of_the_subsets_where_there_are_several(boards: Path) -> None:
    assert dict(key_facts(read_board("small", boards)))["Seeds"] == "0, 1, 2"
    assert dict(key_facts(redrawn(boards).board))["Seeds"] == "0, 1, 2; of subsets 0, 1"


def test_text_of_a_record_cannot_become_markup(boards: Path) -> None:
    hostile = "<script>alert(1)</script>"
    records = [make_record(student__name=hostile), make_record(student__name=hostile, hits=12, taught=True)]
    records.append(make_record(student__name=hostile, hits=14, taught=True, method__name=hostile, cell__fraction=0.5))
    page = shown(redrawn(boards, *records))
    assert hostile not in page
    assert "&lt;script&gt;alert(1)" in page


def test_board_without_runs_says_which_commands_make_the_first_comparison(boards: Path) -> None:
    page = shown(read(boards))
    assert "kdbench run --board small --student slim --teacher broad" in page
    assert "<table" not in page


# --- a withdrawn teacher -----------------------------------------------------------------------------------


def taught(seed: int = 0, weights: str = "44", source: str | None = TEACHER, **changes: Any) -> Record:
    """A run whose teacher has these weights and says that they come from this record."""
    place: dict[str, Any] = {"teacher__weights_sha256": weights * 32, "teacher__run_id": source}
    return make_record(hits=14 - seed, seed=seed, taught=True, **place, **changes)


def withdrawn(boards: Path, *records: Record) -> Standings:
    """The board after its teacher's record was withdrawn."""
    write_records(boards, [*trio([10, 8]), make_record(hits=16, student__name="broad", run_id=TEACHER), *records])
    withdraw(TEACHER, "wrong labels", boards)
    return read_standings("small", boards)


def test_row_says_that_its_teachers_record_was_withdrawn(boards: Path) -> None:
    page = shown(withdrawn(boards, taught(0), taught(1)))
    assert page.count(f'<a class="tag" href="#withdrawn">{LOST}</a>') == 1
    assert '<h2 id="withdrawn">' in page


def test_withdrawal_of_a_teacher_changes_no_rank(boards: Path) -> None:
    write_records(boards, [*trio([10, 8]), taught(0), taught(1)])
    before = [(row.key, row.gain, row.rank) for row in read_standings("small", boards).rows]
    after = withdrawn(boards, taught(0), taught(1))
    assert [(row.key, row.gain, row.rank) for row in after.rows] == before


def test_other_weights_of_the_same_teacher_are_not_blamed(boards: Path) -> None:
    assert LOST not in shown(withdrawn(boards, taught(0, weights="55", source="another"), taught(1, "55", "another")))


def test_run_that_names_no_record_is_known_by_its_teachers_weights(boards: Path) -> None:
    other = taught(0, source=None, teacher__spec="file:weights", run_id="by-file")
    standings = withdrawn(boards, taught(0), other)
    assert standings.lost_teachers([run for run in standings.runs if run.record.run_id == "by-file"]) == (TEACHER,)


def test_one_of_several_joined_teachers_is_enough(boards: Path) -> None:
    standings = withdrawn(boards, taught(0, source=f"sound+{TEACHER}"))
    assert standings.lost_teachers(standings.runs.ranked) == (TEACHER,)


def test_page_of_a_run_links_to_the_withdrawn_record_of_its_teacher(boards: Path) -> None:
    student = taught(0)
    withdrawn(boards, student)
    pages = plan_site(boards)
    page = pages[f"small/runs/{student.run_id}.html"]().decode()
    assert f'Its teacher\'s record was withdrawn: <a href="{TEACHER}.html">{TEACHER}</a>.' in page
    assert f"small/runs/{TEACHER}.html" in pages
    baseline = next(name for name in pages if "/runs/slim-alone" in name and name.endswith(".html"))
    assert "record was withdrawn" not in pages[baseline]().decode()


def test_page_of_the_teacher_marks_its_record_as_withdrawn(boards: Path) -> None:
    withdrawn(boards, taught(0))
    page = plan_site(boards)[f"small/{teacher_name('broad')}"]().decode()
    assert f'{TEACHER}</a> <span class="tag">withdrawn</span>' in page


@pytest.mark.parametrize("page", ["cells/slim-100pct.html", "methods/soft.html"])
def test_rows_of_cells_and_methods_say_so_too(boards: Path, page: str) -> None:
    withdrawn(boards, taught(0), taught(1))
    found = plan_site(boards)[f"small/{page}"]().decode()
    assert found.count(f'<a class="tag" href="../index.html#withdrawn">{LOST}</a>') == 1


# --- who has checked a row ---------------------------------------------------------------------------------


def checked(state: str, **changes: Any) -> Record:
    verification = {"state": state, "by": "cy", "note": None, "date": "2024-03-01"}
    return make_record(submission={"verification": verification}, **changes)


@pytest.mark.parametrize("page", ["index.html", "cells/slim-100pct.html"])
def test_row_says_how_many_of_its_runs_were_reproduced(boards: Path, page: str) -> None:
    repeated = [checked("reproduced", hits=12, seed=seed, taught=True) for seed in (0, 1)]
    write_records(boards, [*trio([10, 9]), *repeated, make_record(hits=12, seed=2, taught=True)])
    found = plan_site(boards)[f"small/{page}"]().decode()
    assert found.count("definitions.html#reproduced") == 1
    assert '#reproduced">reproduced, 2 of 3 runs</a>' in found


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (["maintainers", "self-reported"], "reproduced by maintainers, 1 of 2 runs"),
        (["maintainers", "reproduced"], "reproduced, 2 of 2 runs, 1 by maintainers"),
    ],
)
def test_row_says_which_runs_the_maintainers_reproduced(boards: Path, states: list[str], words: str) -> None:
    records = [checked(state, hits=12, seed=seed) for seed, state in enumerate(states)]
    assert f'#reproduced">{words}</a>' in shown(read(boards, *records))


def test_row_of_self_reported_runs_says_nothing_of_checks(boards: Path) -> None:
    assert "reproduced, " not in shown(read(boards, *trio([10, 9])))


# --- several subsets ---------------------------------------------------------------------------------------


def test_page_says_what_a_point_is_only_where_a_fraction_was_drawn_several_times(boards: Path) -> None:
    once = [make_record(hits=10), half(5)]
    words = "one point, the mean over its subsets"
    assert words in shown(redrawn(boards, *once, half(6, 1)))
    assert words not in shown(redrawn(boards, *once))


# --- as good as all videos ---------------------------------------------------------------------------------


def test_single_run_that_reaches_the_baseline_of_all_videos_matches_it(boards: Path) -> None:
    (match,) = matched_with_less(redrawn(boards, make_record(hits=10), half(5), half(10, taught=True)))
    assert (match.label, match.fraction, match.accuracy.mean, match.goal) == ("soft, teacher broad", 0.5, 0.5, 0.5)


def test_match_says_where_its_teacher_saw_more_of_the_videos(boards: Path) -> None:
    told, words = [], 'with a teacher that <a href="../definitions.html#privileged">saw more</a>'
    for more in (True, False):
        records = [make_record(hits=10), half(10, taught=True, teacher__privileged=more)]
        told.append(words in shown(redrawn(boards, *records)))
    assert told == [True, False]


def test_each_subset_must_match_and_the_weakest_is_named(boards: Path) -> None:
    start = [make_record(hits=10), half(12, 0, taught=True)]
    (match,) = matched_with_less(redrawn(boards, *start, half(11, 1, taught=True)))
    assert match.accuracy.mean == pytest.approx(0.55)
    assert matched_with_less(redrawn(boards, *start, half(9, 1, taught=True))) == []
