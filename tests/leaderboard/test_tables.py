"""Rows, ranks, coverage and files against hand-computed values."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from kdbench.board import Board
from kdbench.errors import BoardError
from kdbench.leaderboard.answer import answer_of
from kdbench.leaderboard.scoring import Estimate, place_runs
from kdbench.leaderboard.standings import Row, Standings, rank_cell, read_standings, standings_of
from kdbench.leaderboard.tables import leaderboard_table, to_csv, to_json
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return write_board(tmp_path)


def stand(board: Board, *records: Record) -> Standings:
    return standings_of(board, place_runs(board, [(Path(f"{record.run_id}.json"), record) for record in records]))


def taught_row(standings: Standings) -> Row:
    (row,) = (row for row in standings.rows if not row.is_baseline)
    return row


def test_accuracy_of_a_row_is_the_mean_over_seeds(board: Board) -> None:
    (row,) = stand(board, *trio([8, 10, 12])).rows
    assert (row.accuracy.mean, row.accuracy.n) == (pytest.approx(0.5), 3)
    assert row.accuracy.half == pytest.approx(0.248414, abs=1e-6)


def test_stages_of_a_row_are_means_over_seeds(board: Board) -> None:
    # Eight epochs: the stages end after epochs 2, 6 and 8 of a straight line to 0.4 and to 0.6.
    (row,) = stand(board, *trio([8, 12])).rows
    assert row.stages == pytest.approx({"early": 0.125, "middle": 0.375, "late": 0.5})


def test_gain_of_a_row_is_the_mean_of_the_paired_differences(board: Board) -> None:
    row = taught_row(stand(board, *trio([10, 8, 6]), *trio([12, 12, 12], taught=True)))
    assert row.gain is not None
    # 0.1, 0.2, 0.3: the interval of the differences, not of the accuracies
    assert (row.gain.mean, row.gain.half, row.gain.n) == (pytest.approx(0.2), pytest.approx(0.248414, abs=1e-6), 3)


def test_seeds_without_a_baseline_are_left_out_and_counted(board: Board) -> None:
    row = taught_row(stand(board, *trio([10, 10]), *trio([12, 14, 20], taught=True)))
    assert row.gain is not None
    assert (row.gain.mean, row.gain.n, row.unpaired) == (pytest.approx(0.15), 2, 1)


def test_baseline_has_no_gain_and_no_rank(board: Board) -> None:
    standings = stand(board, *trio([10, 10]), *trio([12, 14], taught=True))
    assert [(row.gain, row.rank) for row in standings.rows if row.is_baseline] == [(None, None)]


def test_single_run_has_a_gain_without_interval_and_no_rank(board: Board) -> None:
    row = taught_row(stand(board, make_record(), make_record(hits=12, taught=True)))
    assert row.gain is not None
    assert (row.gain.mean, row.gain.half, row.rank) == (pytest.approx(0.1), None, None)


def test_milestones_are_medians_with_censoring(board: Board) -> None:
    # Straight lines to 0.4, 0.5, 0.6 reach 0.25 in epochs 5, 4, 4; only two of them reach 0.5, in epochs 8 and 7.
    (row,) = stand(board, *trio([8, 10, 12])).rows
    assert row.milestones == {"0.25": (4, 3, 3), "0.5": (8, 2, 3)}


def test_file_tells_paired_seeds_from_all(board: Board) -> None:
    table = leaderboard_table(stand(board, make_record(), *trio([12, 13], taught=True)))
    (line,) = table[~table.baseline].to_dict(orient="records")
    assert (line["seeds"], line["paired_seeds"], line["unpaired_seeds"]) == (2, 1, 1)


def test_file_says_how_many_runs_reached_a_milestone(board: Board) -> None:
    (line,) = leaderboard_table(stand(board, *trio([8, 10, 12]))).to_dict(orient="records")
    assert (line["epochs_to_0.5"], line["epochs_to_0.5_reached"]) == ("8", "2 of 3")


def test_epochs_to_the_baseline_are_medians_over_pairs(board: Board) -> None:
    # The baseline ends at 0.5; lines to 0.6 and 0.7 reach 0.45 in epochs 6 and 6, and 0.5 in 7 and 6.
    row = taught_row(stand(board, *trio([10, 10]), *trio([12, 14], taught=True)))
    assert row.to_baseline == {"0.9": (6, 2, 2), "1": (7, 2, 2)}


def test_gap_closed_is_gain_over_the_distance_to_the_teacher(board: Board) -> None:
    # Baseline 0.5, taught 0.6, teacher 0.8: one third of the way.
    row = taught_row(stand(board, make_record(), make_record(hits=12, taught=True)))
    assert row.gap_closed == pytest.approx(1 / 3)


def test_gap_closed_is_unknown_when_the_teacher_is_no_better(board: Board) -> None:
    row = taught_row(stand(board, make_record(), make_record(hits=12, taught=True, teacher__top1=0.5)))
    assert row.gap_closed is None


def test_gap_is_unknown_when_the_teacher_is_worse_than_the_baseline(board: Board) -> None:
    row = taught_row(stand(board, make_record(), make_record(hits=12, taught=True, teacher__top1=0.4)))
    assert row.gap_closed is None


def test_gap_closed_of_several_seeds_is_that_of_their_sums(board: Board) -> None:
    # Gains 0.1 and 0.05 over distances 0.3 and 0.1: 0.15 of 0.4, and not the mean of a third and a half.
    row = taught_row(stand(board, *trio([10, 14]), *trio([12, 15], taught=True)))
    assert row.gap_closed == pytest.approx(0.375)


def test_transfer_is_the_top_1_of_the_second_data_set(board: Board) -> None:
    (row,) = stand(board, make_record(transfer_hits=11), make_record(transfer_hits=13, seed=1)).rows
    assert row.transfer is not None
    assert (row.transfer.mean, row.transfer.n) == (pytest.approx(0.6), 2)


def test_teachers_clips_are_those_of_a_step_times_the_steps_of_a_run(board: Board) -> None:
    # Eight epochs of ten steps.
    row = taught_row(stand(board, make_record(taught=True, method__teacher_clips_per_step=12)))
    assert row.teacher_clips == 12 * 80


def test_cost_with_teachers_of_several_seeds_has_their_mean(board: Board) -> None:
    first, second = make_record(taught=True), make_record(taught=True, seed=1, teacher__train_s=300.0)
    row = taught_row(stand(board, first, second))
    assert (row.cost_s, row.cost_with_teacher_s) == (52.0, 52.0 + 200.0)


def test_cost_with_a_teacher_that_one_of_the_seeds_does_not_know_is_unknown(board: Board) -> None:
    records = [make_record(taught=True), make_record(taught=True, seed=1, teacher__train_s=None)]
    assert taught_row(stand(board, *records)).cost_with_teacher_s is None


def test_cost_is_given_with_and_without_the_teacher(board: Board) -> None:
    # Eight epochs of 5.5 s, 6 s of transfer and 2 s of the rest; the teacher took 100 s.
    row = taught_row(stand(board, make_record(taught=True)))
    assert (row.cost_s, row.cost_with_teacher_s) == (52.0, 152.0)


@pytest.mark.parametrize(("name", "total"), [("Plain CPU", 152.0), ("Other CPU", None)])
def test_cost_with_a_teacher_that_was_trained_on_another_device_is_not_given(
    board: Board, name: str, total: float | None
) -> None:
    device = {"device": {"type": "cpu", "name": name, "count": 1}, "threads": 2}
    teacher = make_record(hits=16, student__name="broad", environment=device)
    row = taught_row(stand(board, teacher, make_record(taught=True, teacher__run_id=teacher.run_id)))
    assert (row.cost_s, row.cost_with_teacher_s) == (52.0, total)


def test_cost_with_a_teacher_of_unknown_training_is_unknown(board: Board) -> None:
    row = taught_row(stand(board, make_record(taught=True, teacher__train_s=None)))
    assert (row.cost_s, row.cost_with_teacher_s) == (52.0, None)


def test_seconds_of_two_classes_of_device_are_not_averaged(board: Board) -> None:
    other = {"device": {"type": "cuda", "name": "Plain GPU", "count": 2}}
    (row,) = stand(board, make_record(), make_record(seed=1, environment=other)).rows
    assert (row.cost_s, row.devices) == (None, ("2 x Plain GPU", "Plain CPU, 2 threads"))


def test_teacher_that_saw_more_marks_the_row(board: Board) -> None:
    assert taught_row(stand(board, make_record(taught=True, teacher__privileged=True))).privileged
    assert not taught_row(stand(board, make_record(taught=True, teacher__privileged=None))).privileged


def test_rows_whose_intervals_meet_share_a_rank_group(board: Board) -> None:
    # Gains: far 0.38 +- 0.07, near 0.1 +- 0.12 and close 0.07 +- 0.07: the last two cannot be told apart.
    records = [*trio([10, 10, 10]), *trio([18, 18, 17], taught=True, teacher__spec="far")]
    records += trio([11, 12, 13], taught=True, teacher__spec="near")
    records += trio([11, 11, 12], taught=True, teacher__spec="close")
    ranks = {row.key.teacher: row.rank for row in stand(board, *records).rows}
    assert ranks == {"none": None, "far": "1", "near": "2-3", "close": "2-3"}


def test_rows_whose_intervals_touch_in_a_point_share_a_rank_group(board: Board) -> None:
    records = [
        *trio([10, 10, 10]),
        *trio([11, 12, 13], taught=True),
        *trio([11, 11, 12], taught=True, method__name="b"),
    ]
    rows = [row for row in stand(board, *records).rows if row.gain]
    far, near = replace(rows[0], gain=Estimate(0.5, 0.125, 3)), replace(rows[1], gain=Estimate(0.25, 0.125, 3))
    assert [row.rank for row in rank_cell([far, near])] == ["1-2", "1-2"]


def test_rows_without_a_gain_come_last_and_by_accuracy(board: Board) -> None:
    records = [make_record(hits=hits, seed=1, taught=True, teacher__spec=name) for name, hits in (("a", 11), ("b", 14))]
    records += [make_record(), make_record(hits=2, taught=True, teacher__spec="c")]
    assert [row.key.teacher for row in stand(board, *records).rows] == ["none", "c", "b", "a"]


def test_method_without_a_teacher_fills_no_cell_of_the_board(board: Board) -> None:
    assert stand(board, make_record(), make_record(hits=12, method__name="alone-too")).filled == 0


def test_baseline_comes_first_and_the_rest_by_gain(board: Board) -> None:
    records = [*trio([10, 10]), *trio([11, 11], taught=True, teacher__spec="a")]
    records += [*trio([14, 14], taught=True, teacher__spec="b"), make_record(hits=16, taught=True, teacher__spec="c")]
    assert [row.key.teacher for row in stand(board, *records).rows] == ["none", "c", "b", "a"]


def test_rows_are_ranked_only_within_their_cell(board: Board) -> None:
    records = [*trio([10, 10, 10]), *trio([12, 12, 13], taught=True)]
    records += [*trio([10, 10, 10], student__name="wide"), *trio([18, 18, 17], taught=True, student__name="wide")]
    assert [row.rank for row in stand(board, *records).rows if row.gain] == ["1", "1"]


def cells(hits: int, fractions: tuple[float, ...] = (1.0, 0.5), **changes: object) -> list[Record]:
    return [
        record
        for student in ("slim", "wide")
        for share in fractions
        for record in trio([hits, hits], student__name=student, cell__fraction=share, **changes)
    ]


def test_mean_over_cells_is_given_only_when_all_are_filled(board: Board) -> None:
    full = stand(board, *cells(10), *cells(12, taught=True))
    part = stand(board, *cells(10), *cells(12, taught=True, fractions=(1.0,)))
    assert [(entry.filled, entry.cells) for entry in full.coverage] == [(4, 4)]
    assert full.coverage[0].gain is not None
    assert full.coverage[0].gain.mean == pytest.approx(0.1)
    assert [(entry.filled, entry.gain) for entry in part.coverage] == [(2, None)]
    assert (part.filled, part.cells) == (2, 4)


def widened(board: Board, *teachers: str) -> Board:
    """The board with these teachers in its matrix; they are no pins."""
    return msgspec.structs.replace(board, matrix=msgspec.structs.replace(board.matrix, teachers=teachers))


def lessons(student: str, teacher: str, hits: int) -> list[Record]:
    return [
        record
        for share in (1.0, 0.5)
        for record in trio(
            [hits, hits + 1], student__name=student, cell__fraction=share, taught=True, teacher__spec=teacher
        )
    ]


def test_cells_of_a_teachers_own_kind_are_not_waited_for(board: Board) -> None:
    standings = stand(widened(board, "slim"), *cells(10), *lessons("wide", "slim", 12))
    (entry,) = standings.coverage
    assert (entry.filled, entry.cells, standings.filled, standings.cells) == (2, 2, 2, 2)
    assert entry.gain is not None
    assert entry.gain.mean == pytest.approx(0.125)


def test_where_every_student_has_a_teacher_of_its_own_kind_these_cells_are_the_ones_to_fill(board: Board) -> None:
    (entry,) = stand(widened(board, "slim"), *cells(10), *lessons("slim", "slim", 12)).coverage
    assert (entry.filled, entry.cells, entry.gain is None) == (2, 2, False)


def test_teacher_from_a_file_has_all_cells_to_fill(board: Board) -> None:
    (entry,) = stand(board, *cells(10), *lessons("wide", "file:slim", 12)).coverage
    assert (entry.filled, entry.cells, entry.gain) == (2, 4, None)


def test_gain_over_all_teachers_waits_for_every_comparison(board: Board) -> None:
    both = widened(board, "slim", "wide")
    first = [*cells(10), *lessons("wide", "slim", 12)]
    assert stand(both, *first).overall is None
    full = stand(both, *first, *lessons("slim", "wide", 14))
    # 0.1 and 0.2 of seed 0, 0.15 and 0.25 of seed 1.
    assert full.overall is not None
    assert (full.overall.mean, full.overall.n) == (pytest.approx(0.175), 2)
    assert answer_of(full).short == "+17.5 \N{PLUS-MINUS SIGN}\N{NARROW NO-BREAK SPACE}31.8 points"


def redrawn(board: Board) -> Board:
    """The board with two draws of each fraction."""
    return msgspec.structs.replace(board, matrix=msgspec.structs.replace(board.matrix, subset_seeds=(0, 1)))


def draws(hits: int, drawn: int, **changes: object) -> list[Record]:
    return cells(hits, fractions=(0.5,), cell__subset_seed=drawn, **changes)


def test_mean_over_cells_waits_for_every_draw_of_a_fraction(board: Board) -> None:
    taught = [*cells(12, taught=True), *draws(12, 1, taught=True)]
    full = stand(redrawn(board), *cells(10), *draws(10, 1), *taught)
    part = stand(redrawn(board), *cells(10), *draws(10, 1), *taught[:-2])
    assert [(entry.filled, entry.cells) for entry in (*full.coverage, *part.coverage)] == [(6, 6), (5, 6)]
    assert (full.filled, full.cells, part.filled) == (6, 6, 5)
    assert (full.overall is None, part.overall is None, part.coverage[0].gain) == (False, True, None)


def test_draws_of_a_fraction_weigh_as_one_in_the_mean_over_cells(board: Board) -> None:
    taught = [*cells(12, taught=True, fractions=(1.0,)), *draws(14, 0, taught=True), *draws(18, 1, taught=True)]
    standings = stand(redrawn(board), *cells(10), *draws(10, 1), *taught)
    # 0.1 on all videos; 0.2 and 0.4 on the two draws of half of them.
    assert standings.overall is not None
    assert standings.overall.mean == pytest.approx(0.2)
    assert standings.coverage[0].gain == standings.overall


def test_gain_over_all_teachers_says_when_it_has_no_interval(board: Board) -> None:
    taught = [*lessons("slim", "broad", 12), *lessons("wide", "broad", 12)]
    shared = [record for record in taught if record.seed == 0 or record.cell.fraction == 1.0]
    assert answer_of(stand(board, *cells(10), *shared)).short == "+10.0 points (single seed)"


def test_csv_holds_one_line_for_each_row(board: Board) -> None:
    text = to_csv(leaderboard_table(stand(board, *trio([10, 8, 6]), *trio([12, 12, 12], taught=True))))
    baseline, taught = csv.DictReader(io.StringIO(text))
    assert (baseline["method"], baseline["gain"], baseline["rank"]) == ("alone", "", "")
    assert (taught["teacher"], taught["gain"], taught["gain_half_interval"], taught["rank"]) == (
        "broad",
        "0.2",
        "0.248414",
        "1",
    )
    assert taught["cells_filled"] == "1 of 4"


def test_json_says_null_for_what_is_not_known(board: Board) -> None:
    (row,) = json.loads(to_json(leaderboard_table(stand(board, make_record(transfer_hits=None)))))
    assert (row["accuracy"], row["accuracy_half_interval"], row["transfer"]) == (0.5, None, None)
    assert row["seeds"] == 1


def test_table_of_an_empty_board_is_empty(board: Board) -> None:
    assert json.loads(to_json(leaderboard_table(stand(board)))) == []


def test_unknown_board_lists_the_known_ones(tmp_path: Path, board: Board) -> None:
    with pytest.raises(BoardError, match="no board is called 'smal'; did you mean small"):
        read_standings("smal", tmp_path)


def test_board_that_calls_itself_otherwise_is_refused(tmp_path: Path, board: Board) -> None:
    (tmp_path / "small").rename(tmp_path / "other")
    with pytest.raises(BoardError, match=r"board\.name is 'small'; call it 'other'"):
        read_standings("other", tmp_path)


def test_standings_are_read_from_the_boards_folder(tmp_path: Path, board: Board) -> None:
    write_records(tmp_path, trio([10, 12]))
    assert read_standings("small", tmp_path).rows[0].accuracy.mean == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("baseline", "taught", "sentence"),
    [
        ([10, 10], [], "No answer yet"),
        ([10], [12], r"Too early to say: single runs only\. .* by \+10\.0 points\."),
        ([10, 10], [12, 12], r"Too early to say: equal runs only\. .* by \+10\.0 points\."),
        ([10] * 3, [12, 12, 13], r"Yes: .* raises accuracy in the one .* that can be judged, by \+11\.7 points\."),
        ([10] * 3, [8, 8, 7], "No: .* lowers accuracy in the one comparison that can be judged, by \N{MINUS SIGN}11.7"),
        ([10, 10], [8, 14], r"Not that we can tell: the one difference is not larger than its 95 % interval"),
    ],
)
def test_first_sentence_claims_what_the_intervals_carry(
    board: Board, baseline: list[int], taught: list[int], sentence: str
) -> None:
    answer = answer_of(stand(board, *trio(baseline), *trio(taught, taught=True)))
    assert re.match(sentence, answer.sentence), answer.sentence


def test_first_sentence_tells_helping_from_harming(board: Board) -> None:
    records = [*trio([10, 10, 10]), *trio([12, 12, 13], taught=True, teacher__spec="a")]
    records += trio([8, 8, 7], taught=True, teacher__spec="b")
    answer = answer_of(stand(board, *records))
    assert answer.sentence == (
        "It depends: a teacher raises accuracy in 1 of 2 comparisons (+11.7 points) "
        "and lowers it in 1 (\N{MINUS SIGN}11.7 points)."
    )


def test_equal_gains_have_no_interval_and_no_rank(board: Board) -> None:
    row = taught_row(stand(board, *trio([10, 8, 6]), *trio([12, 10, 8], taught=True)))
    assert row.gain is not None
    assert (row.gain.mean, row.gain.half, row.gain.n, row.rank) == (pytest.approx(0.1), None, 3, None)
