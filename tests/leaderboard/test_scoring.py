"""Statistics against printed tables and hand-computed values; which run is ranked, and what it is paired with."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from kdbench.board import Board
from kdbench.errors import RecordError
from kdbench.leaderboard.scoring import (
    Runs,
    device_class,
    estimate,
    load_records,
    median_epoch,
    milestone,
    place_runs,
    student_t,
)
from kdbench.records import Predictions, Record, pack_ids, unpack_ids
from tests.factories import broken, make_record, trio, write_board, write_records


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return write_board(tmp_path)


def place(board: Board, *records: Record) -> Runs:
    return place_runs(board, [(Path(f"{record.run_id}.json"), record) for record in records])


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (10, 2.2281), (30, 2.0423)]
)
def test_student_t_is_that_of_the_printed_table(freedom: int, t: float) -> None:
    assert student_t(freedom) == pytest.approx(t, abs=5e-5)


def test_interval_of_three_values_is_the_hand_computed_one() -> None:
    # mean 0.5, deviation 0.1, standard error 0.1 / sqrt(3) = 0.057735, times 4.302653
    value = estimate([0.4, 0.5, 0.6])
    assert value is not None
    assert value.mean == pytest.approx(0.5)
    assert value.half == pytest.approx(0.248414, abs=1e-6)
    assert value.low == pytest.approx(0.251586, abs=1e-6)
    assert value.high == pytest.approx(0.748414, abs=1e-6)


def test_single_value_has_no_interval() -> None:
    value = estimate([0.4])
    assert value is not None
    assert (value.mean, value.half, value.low, value.high, value.n) == (0.4, None, None, None, 1)


def test_equal_values_have_no_interval() -> None:
    value = estimate([0.6 - 0.5, 0.7 - 0.6, 0.5 - 0.4])  # differ in the last bits
    assert value is not None
    assert (value.mean, value.half, value.n) == (pytest.approx(0.1), None, 3)


def test_no_values_have_no_estimate() -> None:
    assert estimate([]) is None


def test_median_epoch_of_three_runs_is_the_middle_one() -> None:
    assert median_epoch([9, 4, ">30"]) == (9, 2, 3)


def test_median_epoch_is_censored_when_the_median_run_never_got_there() -> None:
    assert median_epoch([4, ">30", ">30"]) == (">30", 1, 3)


def test_median_epoch_of_an_even_number_is_the_slower_of_the_middle_two() -> None:
    assert median_epoch([4, 6, 8, ">30"]) == (8, 3, 4)
    assert median_epoch([4, ">30"]) == (">30", 1, 2)


def test_records_are_loaded_in_order_of_their_names(tmp_path: Path, board: Board) -> None:
    paths = write_records(tmp_path, [make_record(run_id="b"), make_record(run_id="a")])
    assert [path for path, _ in load_records(board, tmp_path)] == sorted(paths)


def test_unreadable_record_is_an_error_with_its_path(tmp_path: Path, board: Board) -> None:
    path = tmp_path / "small" / "records" / "a.json"
    path.write_bytes(b"{")
    with pytest.raises(RecordError, match=f"{path}: is not a JSON object"):
        load_records(board, tmp_path)


def test_record_in_another_boards_folder_is_refused(tmp_path: Path, board: Board) -> None:
    write_records(tmp_path, [make_record(board__name="other")])
    with pytest.raises(RecordError, match=r"\$.board.name is 'other'; move the file"):
        load_records(board, tmp_path)


def test_record_under_another_name_is_refused(tmp_path: Path, board: Board) -> None:
    (tmp_path / "small" / "records" / "a.json").write_bytes(broken(make_record(run_id="b")))
    with pytest.raises(RecordError, match=r"name the file b\.json"):
        load_records(board, tmp_path)


def test_copy_of_a_run_under_another_seed_is_refused_with_both_files(tmp_path: Path, board: Board) -> None:
    run = make_record(run_id="a")
    write_records(tmp_path, [run, msgspec.structs.replace(run, run_id="b", seed=1)])
    folder = tmp_path / "small" / "records"
    said = f"{folder / 'b.json'}: $.epochs and $.predictions: found those of {folder / 'a.json'} under another seed"
    with pytest.raises(RecordError, match=re.escape(f"{said} (1 and 0), expected two runs to differ; remove the copy")):
        load_records(board, tmp_path)


def test_seeds_with_the_same_predictions_and_other_losses_are_two_runs(tmp_path: Path, board: Board) -> None:
    write_records(tmp_path, trio([10, 10]))
    assert len(load_records(board, tmp_path)) == 2


def relabelled(record: Record, labels: list[int], names: list[str]) -> Record:
    """The record with other labels and class names; its predictions stay as many right ones."""
    wrong = [(label + 1) % len(names) for label in labels]
    hits = round(record.derived.top1 * len(labels))
    shown = Predictions(
        packed=pack_ids([*labels[:hits], *wrong[hits:]]), labels=pack_ids(labels), in_top5=record.predictions.in_top5
    )
    return msgspec.structs.replace(record, predictions=shown, classes=tuple(names))


def test_two_records_that_name_other_classes_for_the_same_test_videos_are_refused(tmp_path: Path, board: Board) -> None:
    run = make_record(run_id="a")
    labels = unpack_ids(run.predictions.labels)
    edited = relabelled(make_record(run_id="b", seed=1), [labels[1], *labels[1:]], list(run.classes))
    write_records(tmp_path, [run, edited])
    folder = tmp_path / "small" / "records"
    place, first = folder / "b.json", folder / "a.json"
    said = f"{place}: $.predictions.labels: found other classes for the test videos than in {first}, expected the same"
    with pytest.raises(RecordError, match=re.escape(said)):
        load_records(board, tmp_path)


def test_two_records_that_name_other_classes_for_the_same_transfer_videos_are_refused(
    tmp_path: Path, board: Board
) -> None:
    run, other = make_record(run_id="a"), make_record(run_id="b", seed=1)
    assert other.transfer is not None
    transfer = msgspec.structs.replace(other.transfer, classes=("jump", "sit", "run", "walk"))
    write_records(tmp_path, [run, msgspec.structs.replace(other, transfer=transfer)])
    with pytest.raises(RecordError, match=r"b\.json: \$\.transfer\.predictions\.labels: found other classes"):
        load_records(board, tmp_path)


def test_another_order_of_the_classes_is_the_same_answer(tmp_path: Path, board: Board) -> None:
    run = make_record(run_id="a")
    labels = [len(run.classes) - 1 - label for label in unpack_ids(run.predictions.labels)]
    turned = relabelled(make_record(run_id="b", seed=1), labels, list(reversed(run.classes)))
    write_records(tmp_path, [run, turned])
    assert len(load_records(board, tmp_path)) == 2


def test_equal_numbers_in_two_rows_are_no_copies(tmp_path: Path, board: Board) -> None:
    run = make_record(run_id="a")
    student = msgspec.structs.replace(run.student, name="wide")
    write_records(tmp_path, [run, msgspec.structs.replace(run, run_id="b", seed=1, student=student)])
    assert len(load_records(board, tmp_path)) == 2


def test_record_with_other_pins_is_stale_and_the_pins_are_named(board: Board) -> None:
    pins = dict(board.pins) | {"optim.lr": 0.5, "clip.interval": 3}
    runs = place(board, make_record(pins=pins))
    assert runs.ranked == ()
    assert [run.stale for run in runs.stale] == [("clip.interval", "optim.lr")]


def test_partial_run_is_not_ranked(board: Board) -> None:
    runs = place(board, make_record(status="partial"))
    assert [run.reason for run in runs.unranked] == ["the run is partial"]


def test_run_of_an_untrusted_teacher_is_not_ranked(board: Board) -> None:
    runs = place(board, make_record(taught=True, teacher__trusted=False))
    assert [run.reason for run in runs.unranked] == ["nobody has checked what its teacher was trained on"]


@pytest.mark.parametrize("test_list", ["22" * 32, "55" * 32])
def test_run_whose_teacher_was_trained_on_a_test_list_is_not_ranked(board: Board, test_list: str) -> None:
    (run,) = place(board, make_record(taught=True, teacher__training_list_sha256=test_list)).unranked
    assert run.reason == "its teacher was trained on the test videos"


@pytest.mark.parametrize("said", [{"teacher__top1": 0.6}, {"teacher__training_list_sha256": "77" * 32}])
def test_run_that_says_of_its_teacher_what_the_teachers_own_record_does_not_is_not_ranked(
    board: Board, said: dict[str, object]
) -> None:
    teacher = make_record(hits=16, student__name="broad")
    taught = {"taught": True, "teacher__run_id": teacher.run_id}
    sound, other = make_record(seed=0, **taught), make_record(seed=1, **taught, **said)  # type: ignore[arg-type]
    runs = place(board, teacher, sound, other)
    assert [run.record.seed for run in runs.ranked if run.record.teacher] == [0]
    assert [run.reason for run in runs.unranked] == [
        f"what it says of its teacher is not what the teacher's own record {teacher.run_id} says"
    ]


def test_run_of_a_partial_teacher_is_not_ranked(board: Board) -> None:
    (run,) = place(board, make_record(taught=True, teacher__partial=True)).unranked
    assert run.reason == "some of its teacher's training videos were missing"


def test_disputed_run_is_not_ranked_and_says_why(board: Board) -> None:
    verification = {"state": "disputed", "note": "videos are missing"}
    runs = place(board, make_record(submission={"verification": verification}))
    assert [run.reason for run in runs.unranked] == ["disputed: videos are missing"]


def test_seed_that_was_run_twice_counts_once(board: Board) -> None:
    first, second = make_record(run_id="a"), make_record(run_id="b", hits=20)
    runs = place(board, second, first)
    assert [run.record.run_id for run in runs.ranked] == ["a"]
    assert [run.reason for run in runs.unranked] == ["repeats seed 0 of run a"]


def test_of_two_runs_of_a_seed_the_one_that_was_submitted_first_counts(board: Board) -> None:
    first = make_record(run_id="z", submission={"date": "2024-01-01"})
    second = make_record(run_id="a", hits=20, submission={"date": "2024-01-02"})
    undated = make_record(run_id="b", hits=20)
    runs = place(board, undated, second, first)
    assert [run.record.run_id for run in runs.ranked] == ["z"]


def test_seeds_of_the_board_count_in_any_number_and_order(board: Board) -> None:
    assert [run.record.seed for run in place(board, make_record(seed=2)).ranked] == [2]
    runs = place(board, make_record(seed=2), make_record(seed=0))
    assert [run.record.seed for run in runs.ranked] == [0, 2]


def test_further_seeds_count_after_all_of_the_boards_and_one_after_another(board: Board) -> None:
    runs = place(board, *trio([10, 11, 12]), *(make_record(seed=seed) for seed in (3, 4, 6, 9)))
    assert [run.record.seed for run in runs.ranked] == [0, 1, 2, 3, 4]
    assert [(run.record.seed, run.reason) for run in runs.unranked] == [
        (6, "seed 6 is out of turn: 5 would come first, so that no seed is picked by its result"),
        (9, "seed 9 is out of turn: 5 would come first, so that no seed is picked by its result"),
    ]


def test_further_seed_beside_some_of_the_boards_own_does_not_count(board: Board) -> None:
    runs = place(board, make_record(seed=1), make_record(seed=3), make_record(seed=3, student__name="wide"))
    assert [(run.key.student, run.record.seed) for run in runs.ranked] == [("slim", 1)]
    assert [run.reason for run in runs.unranked] == [
        "seed 3 is out of turn: 0, 2 would come first, so that no seed is picked by its result",
        "seed 3 is out of turn: 0, 1, 2 would come first, so that no seed is picked by its result",
    ]


def test_run_on_a_draw_that_is_not_in_the_boards_matrix_is_not_ranked(tmp_path: Path) -> None:
    board = write_board(tmp_path)
    record = make_record(cell__fraction=0.5, cell__subset_seed=1)
    (run,) = place_runs(board, [(tmp_path / "a.json", record)]).unranked
    assert run.reason == "subset seed 1 is not in the board's matrix"


def test_run_on_all_videos_is_on_every_boards_only_draw_of_them(board: Board) -> None:
    redrawn = msgspec.structs.replace(board, matrix=msgspec.structs.replace(board.matrix, subset_seeds=(1, 2)))
    assert len(place(redrawn, make_record()).ranked) == 1


def test_board_without_seeds_of_its_own_counts_them_from_zero(board: Board) -> None:
    free = msgspec.structs.replace(board, matrix=msgspec.structs.replace(board.matrix, seeds=()))
    runs = place(free, *trio([10, 11]), make_record(seed=5), make_record(seed=-1))
    assert [run.record.seed for run in runs.ranked] == [0, 1]


def test_verified_run_goes_before_its_repetition(board: Board) -> None:
    checked = make_record(run_id="b", submission={"verification": {"state": "maintainers"}})
    assert [run.record.run_id for run in place(board, make_record(run_id="a"), checked).ranked] == ["b"]


def test_reproduced_run_goes_before_one_that_was_submitted_earlier(board: Board) -> None:
    checked = {"date": "2024-02-02", "verification": {"state": "reproduced"}}
    early = make_record(run_id="a", submission={"date": "2024-01-01"})
    runs = place(board, early, make_record(run_id="b", submission=checked))
    assert [run.record.run_id for run in runs.ranked] == ["b"]


def test_of_two_baselines_with_other_options_gains_are_against_the_one_that_comes_first_by_name(board: Board) -> None:
    other = make_record(hits=2, method__options={"a": 1})
    runs = place(board, other, make_record(hits=10), make_record(hits=12, taught=True))
    assert [run.gain for run in runs.ranked if run.key.method == "soft"] == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"device": {"type": "cpu", "name": "Plain CPU", "count": 1}, "threads": 1}, "Plain CPU, 1 thread"),
        ({"device": {"type": "cpu", "name": "Plain CPU", "count": 1}, "threads": 2}, "Plain CPU, 2 threads"),
        ({"device": {"type": "cuda", "name": "Plain GPU", "count": 2}, "threads": 2}, "2 x Plain GPU"),
        ({}, "unknown"),
    ],
)
def test_threads_tell_processors_apart_and_accelerators_not(environment: dict[str, object], name: str) -> None:
    assert device_class(make_record(environment=environment)) == name


def test_gain_is_paired_by_seed(board: Board) -> None:
    runs = place(board, *trio([10, 8, 6]), *trio([12, 12, 12], taught=True))
    gains = [run.gain for run in runs.ranked if not run.is_baseline]
    assert gains == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"cell__fraction": 0.5},
        {"cell__subset_seed": 1},
        {"cell__split": 2},
        {"cell__dataset": "other"},
        {"student__name": "wide"},
        {"student__options": {"width": 2}},
    ],
)
def test_run_is_not_paired_across(board: Board, change: dict[str, object]) -> None:
    runs = place(board, make_record(**change), make_record(taught=True))
    assert [run.gain for run in runs.ranked if not run.is_baseline] == [None]


@pytest.mark.parametrize(
    ("change", "which"),
    [
        ({"cell__training_list_sha256": "66" * 32}, "training"),
        ({"cell__test_list_sha256": "66" * 32}, "test"),
        ({"cell__test_list_sha256": "00" * 32}, "test"),
        ({"cell__num_classes": 5}, "test"),
    ],
)
def test_run_on_another_list_of_videos_than_most_is_not_ranked(
    board: Board, change: dict[str, object], which: str
) -> None:
    runs = place(
        board, *trio([10, 8, 6]), *trio([12, 12, 12], taught=True), make_record(run_id="odd", seed=3, **change)
    )
    (odd,) = runs.unranked
    assert odd.reason == f"its list of {which} videos is not the one that most runs of the board have"
    assert len(runs.ranked) == 6


def test_of_equally_frequent_lists_the_first_by_its_digest_counts(board: Board) -> None:
    other = {"cell__test_list_sha256": "66" * 32}
    runs = place(board, make_record(hits=10), make_record(run_id="odd", hits=9, seed=1, **other))
    assert [run.record.run_id for run in runs.unranked] == ["odd"]


def test_each_fraction_has_a_training_list_of_its_own(board: Board) -> None:
    half = {"cell__fraction": 0.5, "cell__training_list_sha256": "66" * 32}
    assert not place(board, *trio([10, 8, 6]), make_record(run_id="half", **half)).unranked


def test_baseline_with_other_weights_is_a_row_and_no_reference(board: Board) -> None:
    runs = place(board, make_record(method__base_weights={"action": 0.0}), make_record(taught=True))
    assert [run.baseline for run in runs.ranked] == [None, None]
    assert {run.key.method for run in runs.ranked} == {"alone (weight of action: 0)", "soft"}


def test_run_with_a_teacher_is_no_baseline_whatever_its_method_is_called(board: Board) -> None:
    weak = make_record(hits=1, taught=True, method__name="alone", teacher__spec="above")
    runs = place(board, weak, make_record(hits=10), make_record(hits=12, taught=True))
    assert {run.key.teacher: run.gain for run in runs.ranked} == pytest.approx(
        {"none": 0, "above": -0.45, "broad": 0.1}
    )
    assert [run.key.teacher for run in runs.ranked if run.is_baseline] == ["none"]


def test_options_are_part_of_the_row(board: Board) -> None:
    runs = place(board, make_record(taught=True), make_record(taught=True, method__options={"heat": 2, "a": 1}))
    assert [run.key.method for run in runs.ranked] == ["soft", "soft (a=1, heat=2)"]


def test_options_that_all_rows_of_a_method_share_are_not_spelled_out(board: Board) -> None:
    hot, cold = ({"heat": heat, "weight": 1.0} for heat in (4.0, 2.0))
    runs = place(board, make_record(taught=True, method__options=hot), make_record(taught=True, method__options=cold))
    assert [run.key.method for run in runs.ranked] == ["soft (heat=2.0)", "soft (heat=4.0)"]
    assert [run.key.method for run in place(board, make_record(taught=True, method__options=hot)).ranked] == ["soft"]


def test_epochs_to_the_baseline_use_the_paired_baselines_last_value(board: Board) -> None:
    slow = make_record(curve=[0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.5])
    fast = make_record(curve=[0.2, 0.45, 0.46, 0.47, 0.5, 0.5, 0.5, 0.6], taught=True)
    run = next(run for run in place(board, slow, fast).ranked if not run.is_baseline)
    assert (run.epochs_to_baseline(0.9), run.epochs_to_baseline(1.0)) == (2, 5)


def test_milestones_of_the_baseline_are_shares_of_its_last_value_and_not_of_its_best(board: Board) -> None:
    slow = make_record(curve=[0.1, 0.2, 0.3, 0.6, 0.4, 0.4, 0.4, 0.5])
    run = next(run for run in place(board, slow, make_record(taught=True)).ranked if not run.is_baseline)
    assert [each.accuracy for each in run.milestones()][-2:] == pytest.approx([0.45, 0.5])


def test_milestones_are_read_from_the_smoothed_curve(board: Board) -> None:
    pins = dict(board.pins) | {"evaluation.smoothing": 2}
    # Means of two neighbours end with 0.4 and 0.45, and are 0.2 0.4 0.4 0.2 0.3 0.45 0.5 0.5.
    slow = make_record(curve=[0.1, 0.4, 0.4, 0.1, 0.3, 0.3, 0.5, 0.4], pins=pins)
    fast = make_record(curve=[0.2, 0.6, 0.2, 0.2, 0.4, 0.5, 0.5, 0.5], pins=pins, taught=True)
    run = replace(place(board, fast).stale[0], baseline=slow)
    assert run.epochs_to_baseline(1.0) == 6
    assert milestone(fast, 0.5).epoch == 7
    assert [each.accuracy for each in run.milestones()][-1] == pytest.approx(0.45)


def test_epochs_to_the_baseline_are_censored(board: Board) -> None:
    strong = make_record(curve=[0.9] * 8)
    run = next(run for run in place(board, strong, make_record(taught=True)).ranked if not run.is_baseline)
    assert run.epochs_to_baseline(1.0) == ">8"


def test_epochs_to_the_baseline_are_unknown_without_one(board: Board) -> None:
    (run,) = place(board, make_record(taught=True)).ranked
    assert run.epochs_to_baseline(0.9) is None


def test_a_milestone_is_told_in_epochs_steps_samples_and_seconds(board: Board) -> None:
    record = make_record(curve=[0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.5])
    reached = milestone(record, 0.3)
    assert (reached.epoch, reached.steps, reached.samples) == (3, 30, 120)
    assert reached.train_s == pytest.approx(3 * 4.5)


def test_the_seconds_to_a_milestone_include_the_phases_before_and_its_epochs_do_not(board: Board) -> None:
    plain = make_record(curve=[0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.5])
    phased = msgspec.structs.replace(plain, cost=msgspec.structs.replace(plain.cost, phases_s=100.0))
    assert milestone(phased, 0.3).epoch == milestone(plain, 0.3).epoch
    assert milestone(phased, 0.3).train_s == pytest.approx(100 + 3 * 4.5)


def test_a_milestone_that_was_not_reached_is_censored_in_every_unit(board: Board) -> None:
    missed = milestone(make_record(curve=[0.1] * 8), 0.3)
    assert (missed.epoch, missed.steps, missed.samples, missed.train_s) == (">8", ">80", ">320", ">36")


def test_a_run_has_the_boards_milestones_and_those_of_its_paired_baseline(board: Board) -> None:
    slow = make_record(curve=[0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.5])
    run = next(run for run in place(board, slow, make_record(taught=True)).ranked if not run.is_baseline)
    own = [(each.accuracy, each.of_baseline) for each in run.milestones()]
    pins = run.record.pins
    shares = [(share * 0.5, share) for share in pins["evaluation.baseline_milestones"]]
    assert own == [(goal, None) for goal in pins["evaluation.milestones"]] + shares
