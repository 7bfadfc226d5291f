"""The page of a cell: its name, and what it says about the rows of the cell."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kdbench.leaderboard.cellpage import cell_context, goal_title, matrix_of, p_text, place_of
from kdbench.leaderboard.cellstudy import CURVE_COLUMNS, PAIR_COLUMNS, SHOWN, CellStudy, cell_studies
from kdbench.leaderboard.pagenames import method_name, teacher_name
from kdbench.leaderboard.pages import plan_of, plan_site
from kdbench.leaderboard.scoring import RowKey, place_runs
from kdbench.leaderboard.standings import cell_name, read_standings, standings_of
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records
from tests.leaderboard.test_site import Page


def key(student: str = "slim", fraction: float = 1.0, subset_seed: int = 0) -> RowKey:
    return RowKey("moves", 1, fraction, subset_seed, student, "broad", "soft")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (key(), "slim-100pct"),
        (key("r2_1d-b", 0.02), "r2_1d-b-2pct"),
        (key(fraction=0.125), "slim-12.5pct"),
        (key(fraction=0.07), "slim-7pct"),
        (key(fraction=0.5, subset_seed=3), "slim-50pct-subset3"),
    ],
)
def test_cell_is_named_by_student_fraction_and_a_subset_seed_other_than_0(given: RowKey, name: str) -> None:
    assert cell_name(given) == name


def test_name_of_a_cell_is_the_same_for_every_row_of_it() -> None:
    assert cell_name(key()) == cell_name(key()._replace(teacher="none", method="alone"))


HOSTILE = ["../../etc", "a/b", "a b", "a\nb", "<b>", "..", "", "-", "Slim", "slim (rate=0.5)", "\u00fcber", "x" * 4000]


@pytest.mark.parametrize("student", HOSTILE)
def test_student_of_any_name_gets_a_short_name_that_is_safe_in_a_path_and_an_address(student: str) -> None:
    assert re.fullmatch(r"[a-z0-9_][a-z0-9_.-]{0,99}", cell_name(key(student)))


def test_students_whose_safe_names_would_be_equal_have_names_of_their_own() -> None:
    names = [cell_name(key(student)) for student in (*HOSTILE, "slim", "x" * 4001, "a-b", "A-B", "b", "student")]
    taken = cell_name(key("Slim")).removesuffix("-100pct")
    assert len({*names, cell_name(key(taken))}) == len(names) + 1


def test_fractions_that_read_alike_have_names_of_their_own() -> None:
    fractions = [1 / 3, 0.3333333333, 1e-300, 2e-300]
    assert len({cell_name(key(fraction=fraction)) for fraction in fractions}) == len(fractions)
    assert max(len(cell_name(key(fraction=fraction))) for fraction in fractions) < 100


# --- what is computed --------------------------------------------------------------------------------------


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    write_board(tmp_path)
    return tmp_path


def study(boards: Path, *records: Record, name: str = "slim-100pct", **matrix: Any) -> CellStudy:
    board = write_board(boards / "studied")
    board = msgspec.structs.replace(board, matrix=msgspec.structs.replace(board.matrix, **matrix))
    runs = place_runs(board, [(Path(f"{record.run_id}.json"), record) for record in records])
    return cell_studies(standings_of(board, runs))[name]


def taught_by(teacher: Record, hits: int, **changes: Any) -> Record:
    said = {"teacher__run_id": teacher.run_id, "teacher__top1": teacher.derived.top1}
    return make_record(hits=hits, taught=True, **said, **changes)


def test_every_pair_of_rows_is_corrected_for_all_pairs_of_the_cell(boards: Path) -> None:
    others = [make_record(hits=14, taught=True, method__options={"rate": rate}) for rate in (1, 2)]
    found = study(boards, make_record(hits=8), *others)
    assert [(pair.first, pair.second, pair.comparison.p) for pair in found.pairs] == [
        (0, 1, pytest.approx(2**-6)),
        (0, 2, pytest.approx(2**-6)),
        (1, 2, 1.0),
    ]
    assert [pair.corrected for pair in found.pairs] == [pytest.approx(3 * 2**-6), pytest.approx(3 * 2**-6), 1.0]


def test_rows_beyond_the_first_dozen_are_not_compared_and_still_count_in_the_correction(boards: Path) -> None:
    rows = [make_record(hits=14, taught=True, method__options={"rate": rate}) for rate in range(SHOWN + 1)]
    found = study(boards, make_record(hits=8), *rows)
    assert (len(found.rows), len(found.shown), len(found.pairs)) == (14, 12, 66)
    assert (found.family, found.pairs[0].corrected) == (91, pytest.approx(min(1, 91 * 2**-6)))


def test_matrix_tells_each_pair_from_both_sides(boards: Path) -> None:
    found = matrix_of(study(boards, make_record(hits=8), make_record(hits=14, taught=True)))
    assert [[duel and (duel.points, duel.p, duel.counts, duel.tone) for duel in line] for line in found] == [
        [None, ("\N{MINUS SIGN}30.0", "0.016", "0:6", "down")],
        [("+30.0", "0.016", "6:0", "up"), None],
    ]


def test_agreement_with_a_teacher_is_that_with_the_teachers_own_record(boards: Path) -> None:
    teacher = make_record(hits=15, student__name="broad")
    found = study(boards, teacher, make_record(hits=10), taught_by(teacher, hits=12))
    (row,) = [each for each in found.likenesses if not each.row.is_baseline]
    # The factory's wrong answers are all alike: runs differ on the videos that one of the two has right.
    assert row.teacher is not None
    assert row.untaught is not None
    assert row.baseline is not None
    assert (row.teacher.share, row.untaught.share, row.baseline.share) == (
        pytest.approx(17 / 20),
        pytest.approx(15 / 20),
        pytest.approx(18 / 20),
    )


def test_teacher_whose_run_is_not_there_is_known_by_the_weights_that_another_run_names(boards: Path) -> None:
    teacher = make_record(hits=15, student__name="broad")
    again = make_record(hits=11, taught=True, method__name="other", teacher__run_id="done-again")
    unknown = make_record(hits=11, taught=True, method__name="unknown", teacher__weights_sha256="55" * 32)
    found = study(boards, teacher, make_record(hits=10), taught_by(teacher, hits=12), again, unknown)
    known = {each.row.key.method: each.teacher.share for each in found.likenesses if each.teacher}
    assert known == pytest.approx({"soft": 17 / 20, "other": 16 / 20})


@pytest.mark.parametrize("elsewhere", [{"cell__test_list_sha256": "99" * 32}, {"status": "partial"}, None])
def test_teacher_without_a_complete_record_on_the_same_test_list_has_no_agreement(
    boards: Path, elsewhere: Mapping[str, Any] | None
) -> None:
    teacher = make_record(hits=15, student__name="broad", **(elsewhere or {}))
    records = [make_record(hits=10), taught_by(teacher, hits=12), *([teacher] if elsewhere else [])]
    assert [each.teacher for each in study(boards, *records).likenesses] == [None, None]


def test_seeds_of_a_row_are_compared_with_each_other(boards: Path) -> None:
    (row,) = study(boards, *trio([10, 12, 12])).likenesses
    assert row.seeds is not None
    assert row.seeds.share == pytest.approx((18 / 20 + 1) / 2)


def test_seeds_on_two_subsets_tell_subset_and_seed_apart(boards: Path) -> None:
    records = [
        *trio([4, 4], cell__fraction=0.5),
        *trio([8, 12], cell__fraction=0.5, cell__subset_seed=1),
    ]
    for name in ("slim-50pct", "slim-50pct-subset1"):
        found = study(boards / name, *records, name=name, subset_seeds=(0, 1))
        ((_, split),) = found.variances
        assert split.rest == pytest.approx(0.1)
        assert place_of(found).endswith(f"subset seed {found.rows[0].key.subset_seed}")


def test_one_subset_cannot_be_split(boards: Path) -> None:
    assert study(boards, *trio([4, 5, 6], cell__fraction=0.5), name="slim-50pct").variances == ()


# --- the page ----------------------------------------------------------------------------------------------


def files(boards: Path, *records: Record) -> dict[str, bytes]:
    """The files of all cells by their names below the folder of cells."""
    write_records(boards, records)
    return {name.split("/cells/")[1]: make() for name, make in plan_site(boards).items() if "/cells/" in name}


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_page_answers_for_its_cell_alone(boards: Path) -> None:
    made = files(boards, *trio([8, 8, 8]), *trio([12, 13, 14], taught=True), *trio([2, 2, 2], cell__fraction=0.5))
    page = Page(made["slim-100pct.html"])
    assert "Yes: a teacher raises accuracy in the one comparison that can be judged, by +25.0 points." in page.text
    assert "The largest mean gain is that of soft, teacher broad: +25.0" in page.text
    assert "2 rows with 6 runs" in page.text
    assert "No answer yet" in Page(made["slim-50pct.html"]).text


def test_page_links_every_run_of_its_rows(boards: Path) -> None:
    records = [*trio([8, 9, 10]), *trio([12, 13, 14], taught=True)]
    links = {attrs.get("href") for attrs in Page(files(boards, *records)["slim-100pct.html"]).all("a")}
    assert {f"../runs/{record.run_id}.html" for record in records} <= links


def test_hostile_names_stay_text_on_the_page(boards: Path) -> None:
    mark = "<script>alert(1)</script>"
    named: dict[str, Any] = {"student__name": mark, "classes": [mark, "run", "sit", "walk"]}
    records = [
        make_record(run_id="a", **named),
        make_record(run_id="b", taught=True, teacher__spec=mark, hits=15, **named),
        make_record(run_id="c", method__name=mark, **named),
    ]
    made = files(boards, *records)
    assert len(made) == 7
    for name, content in made.items():
        assert re.fullmatch(r"[a-z0-9.-]+", name)
        if name.endswith(".html"):
            assert mark.encode() not in content
            assert mark in Page(content).text


def test_a_single_run_is_not_said_to_lead_before_a_row_with_an_interval(boards: Path) -> None:
    lucky = make_record(hits=19, taught=True, method__name="lucky")
    text = Page(files(boards, *trio([8, 8]), *trio([12, 13], taught=True), lucky)["slim-100pct.html"]).text
    assert "The largest mean gain with an interval is that of soft, teacher broad: +22.5" in text


def test_rows_that_hold_runs_that_are_not_submitted_are_marked(boards: Path) -> None:
    write_records(boards, [*trio([8, 9]), *trio([12, 13], taught=True), make_record(cell__fraction=0.5)])
    given = replace(read_standings("small", boards), given=frozenset({make_record(taught=True).run_id}))
    plan = plan_of([given], boards)
    text = Page(plan["small/cells/slim-100pct.html"]()).text
    assert "Drawn with 1 run of yours that is not submitted; the rows that hold them are marked." in text
    assert "broad soft yours, not submitted" in text
    assert "alone baseline yours" not in text
    assert "yours" not in Page(plan["small/cells/slim-50pct.html"]()).text


def test_rows_lead_to_the_pages_of_their_methods_and_teachers(boards: Path) -> None:
    options = [make_record(hits=9, taught=True, method__options={"rate": rate}) for rate in (1, 2)]
    links = {attrs.get("href") for attrs in Page(files(boards, make_record(), *options)["slim-100pct.html"]).all("a")}
    assert {f"../{method_name('soft (rate=2)')}", f"../{teacher_name('broad')}"} <= links


def test_the_button_of_every_column_opens_a_definition_that_is_on_the_page(boards: Path) -> None:
    redraw(boards)
    drawn = [{"cell__fraction": 0.5, "cell__subset_seed": seed} for seed in (0, 1)]
    made = files(boards, *[record for place in drawn for record in trio([4, 6], **place)], *trio([8, 9]), make_record())
    for name, content in made.items():
        if name.startswith("slim") and name.endswith(".html"):
            page = Page(content)
            opened = {attrs["popovertarget"] for attrs in page.all("button") if "popovertarget" in attrs}
            assert opened == {attrs.get("id") for _, attrs in page.tags if "popover" in attrs}
            assert "about-accuracy" in opened


def test_single_run_is_a_page_of_its_own(boards: Path) -> None:
    page = Page(files(boards, make_record())["slim-100pct.html"])
    assert "1 row with 1 run" in page.text
    assert not {"pairs", "agreement", "classes"} & {attrs.get("id") for _, attrs in page.tags}


def test_curves_are_in_a_file_with_the_columns_that_the_page_names(boards: Path) -> None:
    made = files(boards, make_record(curve=[0.1] * 8), make_record(curve=[0.2] * 8, seed=1))
    lines = table(made["slim-100pct.csv"])
    assert len(lines) == 8
    assert lines[0] | {"teacher": "none", "method": "alone", "epoch": "1", "runs": "2"} == lines[0]
    assert lines[0] | {"mean": "0.15", "lowest": "0.1", "highest": "0.2"} == lines[0]
    assert tuple(lines[0]) == CURVE_COLUMNS
    assert ", ".join(CURVE_COLUMNS) in Page(made["slim-100pct.html"]).text


def test_pairs_are_in_a_file_seed_by_seed_and_over_all(boards: Path) -> None:
    made = files(boards, *trio([8, 8]), *trio([14, 13], taught=True))
    lines = table(made["slim-100pct-pairs.csv"])
    assert tuple(lines[0]) == PAIR_COLUMNS
    assert [(line["seed"], line["only_first_right"], line["only_second_right"], line["p"]) for line in lines] == [
        ("0", "0", "6", "0.015625"),
        ("1", "0", "5", "0.03125"),
        ("all", "0", "11", "0.015625"),
    ]
    assert [line["p_corrected"] for line in lines] == ["", "", "0.015625"]
    assert ", ".join(PAIR_COLUMNS) in Page(made["slim-100pct.html"]).text


def test_tables_of_the_page_are_in_a_file_too(boards: Path) -> None:
    made = json.loads(files(boards, *trio([8, 8]), *trio([14, 13], taught=True))["slim-100pct.json"])
    assert made["cell"]["student"] == "slim"
    assert [len(made[name]) for name in ("pairs", "agreement", "classes", "variance")] == [1, 2, 4, 0]
    shares = {(each["method"], each["goal"]): each["share_by_epoch"] for each in made["reached"]}
    assert shares["alone", "0.5"] == []
    assert shares["soft", "0.5"][-1][1] == 1.0


def test_goal_that_no_drawn_run_reached_is_not_drawn(boards: Path) -> None:
    figures = cell_context("slim-100pct", study(boards, make_record(hits=8)))["survivals"]
    assert [figure.title.replace("\u202f", " ") for figure in figures] == [
        "25 % accuracy",
        "90 % of the paired baseline",
        "100 % of the paired baseline",
    ]


@pytest.mark.parametrize(("goal", "title"), [("0.5", "50 % accuracy"), ("baseline 0.9", "90 % of the paired baseline")])
def test_goals_are_named_in_words(goal: str, title: str) -> None:
    assert goal_title(goal).replace("\u202f", " ") == title


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "<0.001"), (0.0123, "0.012"), (0.0996, "0.10"), (0.354, "0.35"), (1.0, "1")]
)
def test_p_has_as_many_digits_as_matter(p: float, text: str) -> None:
    assert p_text(p) == text


def redraw(boards: Path) -> None:
    """Let the board draw each fraction twice."""
    path = boards / "small" / "board.toml"
    path.write_text(path.read_text().replace("seeds = [0, 1, 2]", "seeds = [0, 1, 2]\nsubset_seeds = [0, 1]"))


def test_page_tells_subset_and_seed_apart_with_their_degrees_of_freedom(boards: Path) -> None:
    redraw(boards)
    drawn = [*trio([4, 4], cell__fraction=0.5), *trio([8, 12], cell__fraction=0.5, cell__subset_seed=1)]
    page = Page(files(boards, *drawn)["slim-50pct-subset1.html"])
    # Mean squares 0.09 for subsets, 0.01 for seeds and 0.01 for the rest, with one degree of freedom each.
    assert "no teacher alone baseline 20.0 1 0.0 1 10.0 1" in page.text
    assert "subset seed 1" in page.text


@pytest.mark.parametrize(
    ("fraction", "drawn", "said"),
    [
        (1.0, [0], "All training videos are one subset"),
        (0.5, [0], "Not separable: one subset"),
        (0.5, [0, 1], "Not separable: no row has two training seeds that are the same on two subsets."),
    ],
)
def test_page_says_why_subset_and_seed_cannot_be_told_apart(
    boards: Path, fraction: float, drawn: list[int], said: str
) -> None:
    redraw(boards)
    records = [make_record(cell__fraction=fraction, cell__subset_seed=seed) for seed in drawn]
    made = files(boards, *records)
    assert all(said in Page(content).text for name, content in made.items() if re.fullmatch(r"slim.*html", name))
