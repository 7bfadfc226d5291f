"""The first words of a board's page: they claim no more than the intervals carry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from kdbench.board import Board
from kdbench.leaderboard.answer import Answer, answer_of, cost_factors
from kdbench.leaderboard.scoring import place_runs
from kdbench.leaderboard.standings import Standings, standings_of
from kdbench.records import Record
from tests.factories import make_record, trio, write_board

PLACES = [(student, fraction) for student in ("slim", "wide") for fraction in (1.0, 0.5)]
THIN = "\N{NARROW NO-BREAK SPACE}"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return write_board(tmp_path)


def stand(board: Board, *records: Record) -> Standings:
    return standings_of(board, place_runs(board, [(Path(f"{record.run_id}.json"), record) for record in records]))


def everywhere(hits: Sequence[int], **changes: object) -> list[Record]:
    """Runs of seeds 0, 1, 2, ... in every cell of the board."""
    found = []
    for student, fraction in PLACES:
        found += trio(hits, student__name=student, cell__fraction=fraction, **changes)
    return found


def full(board: Board, *taught: int) -> Answer:
    return answer_of(stand(board, *everywhere([10] * len(taught)), *everywhere(taught, taught=True)))


def figures(answer: Answer) -> dict[str, tuple[str, str]]:
    return {each.question: (each.value, each.note) for each in answer.figures}


@pytest.mark.parametrize(
    ("taught", "sentence"),
    [
        ((12, 12, 13), f"Yes, on average: a teacher raises accuracy by 11.7 ±{THIN}7.2 points."),
        ((8, 8, 7), f"No, on average: a teacher lowers accuracy by 11.7 ±{THIN}7.2 points."),
        ((8, 12, 13), f"Not that we can tell, on average: a teacher changes accuracy by +5.0 ±{THIN}32.9 points."),
    ],
)
def test_full_board_is_answered_by_its_average(board: Board, taught: tuple[int, ...], sentence: str) -> None:
    assert full(board, *taught).sentence == sentence


def test_average_says_of_which_method_it_is_and_how_the_single_comparisons_came_out(board: Board) -> None:
    counts = full(board, 12, 12, 13).counts
    assert counts.startswith(
        "That is soft, over all teachers and cells. One by one, a teacher raises accuracy in every"
    )


def test_average_without_an_interval_is_not_the_answer(board: Board) -> None:
    answer = full(board, 12, 12)
    assert answer.sentence.startswith("Too early to say: equal runs only.")
    assert figures(answer)["How much?"] == ("+10.0", "points on average over all cells, 2 equal seeds")


def test_comparisons_without_an_interval_are_counted_apart(board: Board) -> None:
    records = [*trio([10, 10, 10]), *trio([12, 12, 13], taught=True, teacher__spec="a")]
    records += [*trio([14, 14, 14], taught=True, teacher__spec="b"), make_record(hits=11, taught=True)]
    counts = answer_of(stand(board, *records)).counts
    assert counts == "Not counted for want of an interval: 2 comparisons (single runs and equal runs)."


def test_of_many_comparisons_those_that_chance_explains_are_told(board: Board) -> None:
    methods = [trio([12, 12, 13], taught=True, method__name=f"way{at:02}") for at in range(21)]
    records = [record for seeds in methods for record in seeds]
    few, many = (stand(board, *trio([10] * 3), *records[:count]) for count in (3 * 19, 3 * 21))
    assert answer_of(many).counts.startswith("If teachers changed nothing, chance alone would put about 1 of 21 ")
    assert answer_of(few).counts == ""


def test_figures_of_a_full_board_are_of_its_average(board: Board) -> None:
    said = figures(full(board, 12, 12, 13))
    assert said["Does a teacher help?"] == ("4 of 4", "comparisons better by more than their 95 % interval")
    assert said["How much?"] == ("+11.7", "points on average over all cells")
    assert said["How sure is that?"] == (
        "±7.2",
        "points: the 95 % interval of that average, 3 seeds; ±7.2 in the median comparison",
    )


def test_figures_of_a_part_are_of_the_median_comparison(board: Board) -> None:
    records = [*trio([10] * 3), *trio([12, 12, 13], taught=True), *trio([8, 8, 7], taught=True, teacher__spec="b")]
    said = figures(answer_of(stand(board, *records)))
    assert said["Does a teacher help?"] == (
        "1 of 2",
        "comparisons better by more than their 95 % interval, and 1 worse",
    )
    assert said["How much?"][0] == "0.0"
    assert said["How sure is that?"] == ("±7.2", "points: the median 95 % interval, 3 seeds")


def test_method_without_a_teacher_is_not_counted_as_teaching(board: Board) -> None:
    answer = answer_of(stand(board, *trio([10] * 3), *trio([14, 14, 15], method__name="alone-too")))
    assert answer.sentence.startswith("No answer yet")
    assert answer.figures == ()


def test_cost_is_a_multiple_of_the_run_without_a_teacher(board: Board) -> None:
    standings = stand(board, make_record(hits=10), make_record(hits=12, taught=True))
    (factors,) = cost_factors(standings.rows).values()
    alone = standings.rows[0].cost_s
    assert alone is not None
    assert factors == pytest.approx((1.0, 1 + 100 / alone))


def test_cost_is_that_of_teaching_and_not_of_methods_without_a_teacher(board: Board) -> None:
    pair, cheap = [make_record(), make_record(hits=13, taught=True)], make_record(hits=14, method__name="alone-too")
    assert answer_of(stand(board, *pair, cheap)).cost == answer_of(stand(board, *pair)).cost


def test_seeds_of_the_median_interval_are_those_that_have_one(board: Board) -> None:
    pair = [*trio([10, 10]), *trio([12, 13], taught=True)]
    answer = answer_of(stand(board, *pair, make_record(hits=12, taught=True, method__name="other")))
    assert figures(answer)["How sure is that?"][1] == "points: the median 95 % interval, 2 seeds"


def test_cost_is_left_open_where_the_devices_differ(board: Board) -> None:
    other = {"type": "cpu", "name": "Fast CPU", "count": 1}
    standings = stand(board, make_record(hits=10), make_record(hits=12, taught=True, environment__device=other))
    assert figures(answer_of(standings))["What does it cost?"][1] == "not timed on one class of device"
    assert answer_of(standings).cost == ""
