"""Paired tests, agreement and gains of classes against published, hand-computed and exhaustively counted values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kdbench.board import Board
from kdbench.leaderboard.pairwise import (
    agreement,
    class_gains,
    compare,
    holm,
    mcnemar,
    mean_agreement,
    same_test_videos,
    sign_flip_p,
)
from kdbench.leaderboard.scoring import Run, place_runs
from kdbench.records import Predictions, Record, pack_ids
from tests.factories import make_record, write_board

LABELS = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return write_board(tmp_path)


def record(guesses: Sequence[int], labels: Sequence[int] = LABELS, **changes: Any) -> Record:
    """A record with these predictions; whatever else follows from them does not matter here."""
    shown = Predictions(packed=pack_ids(guesses), labels=pack_ids(labels), in_top5=len(labels))
    made = make_record(**changes)
    cell = msgspec.structs.replace(made.cell, num_test_videos=len(labels))
    return msgspec.structs.replace(made, predictions=shown, cell=cell)


def runs(board: Board, *records: Record) -> tuple[Run, ...]:
    return place_runs(board, [(Path(f"{each.run_id}.json"), each) for each in records]).ranked


def right_at(places: Sequence[int], **changes: Any) -> Record:
    return record([label if at in places else label + 1 for at, label in enumerate(LABELS)], **changes)


# --- the test ----------------------------------------------------------------------------------------------


def test_mid_p_is_that_of_the_published_example() -> None:
    # Fagerland, Lydersen and Laake, 2013: airway hyper-responsiveness, 1 and 7 discordant pairs.
    assert mcnemar(1, 7) == pytest.approx(0.039, abs=5e-4)


@pytest.mark.parametrize(("first", "second", "p"), [(0, 0, 1.0), (3, 3, 1.0), (0, 1, 0.5), (0, 5, 1 / 32)])
def test_mid_p_of_few_discordant_videos_is_the_hand_computed_one(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p)


def test_mid_p_does_not_depend_on_which_run_comes_first() -> None:
    assert mcnemar(12, 30) == mcnemar(30, 12)


def test_mid_p_of_thousands_of_videos_is_that_of_the_normal_curve() -> None:
    # (1100 - 900)^2 / 2000 = 20, and P(|Z| > sqrt(20)) = 7.744e-6
    assert mcnemar(1100, 900) == pytest.approx(7.744e-6, rel=0.02)


def test_difference_beyond_any_table_has_a_p_of_nothing() -> None:
    assert mcnemar(0, 3000) == pytest.approx(0.0, abs=1e-11)


@pytest.mark.parametrize("counts", [(4,), (0, 3), (3, 2), (2, 1, 2), (1, 0, 0, 3)])
def test_p_over_several_seeds_counts_every_choice_of_signs(counts: tuple[int, ...]) -> None:
    sizes = [size for size, videos in enumerate(counts, start=1) for _ in range(videos)]
    signs = itertools.product((-1, 1), repeat=len(sizes))
    sums = [sum(sign * size for sign, size in zip(choice, sizes, strict=True)) for choice in signs]
    for total in {abs(each) for each in sums}:
        beyond, equal = sum(abs(each) > total for each in sums), sum(each == total for each in sums)
        assert sign_flip_p(counts, total) == pytest.approx((beyond + equal) / len(sums))


def test_videos_that_always_go_together_count_once() -> None:
    assert sign_flip_p((0, 0, 6), 18) == mcnemar(6, 0)


def test_holm_is_that_of_the_published_procedure() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_corrected_p_is_at_most_one() -> None:
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_correction_for_a_larger_family_is_never_below_that_over_the_whole_family() -> None:
    whole = [0.001, 0.02, 0.004, 0.004, 0.3, 0.0005]
    for shown in itertools.combinations(range(len(whole)), 3):
        bounds = holm([whole[at] for at in shown], family=len(whole))
        assert all(bound >= holm(whole)[at] - 1e-12 for at, bound in zip(shown, bounds, strict=True))


# --- two rows ----------------------------------------------------------------------------------------------


def test_two_runs_are_compared_video_by_video(board: Board) -> None:
    found = compare(
        runs(board, right_at(range(7))),
        runs(board, right_at([0, 1, 2, 7], method__options={"rate": 1})),
    )
    assert found is not None
    assert (found.first_only, found.second_only, found.answers) == (4, 1, 10)
    assert found.difference == pytest.approx(0.3)
    assert found.p == mcnemar(4, 1)


def test_seeds_are_paired_and_their_videos_are_not_counted_as_new_ones(board: Board) -> None:
    first = runs(board, *(right_at(range(6), seed=seed) for seed in (0, 1, 2)))
    second = runs(board, *(right_at([], seed=seed, method__options={"rate": 1}) for seed in (0, 1, 3)))
    found = compare(first, second)
    assert found is not None
    assert [(each.seed, each.first_only, each.second_only) for each in found.by_seed] == [(0, 6, 0), (1, 6, 0)]
    assert (found.first_only, found.answers) == (12, 20)
    assert found.difference == pytest.approx(0.6)
    assert found.p == mcnemar(6, 0)


def test_comparison_seen_from_the_other_row_has_the_other_sign_and_the_same_p(board: Board) -> None:
    one, other = runs(board, right_at(range(7))), runs(board, right_at([0, 9], method__options={"rate": 1}))
    there, back = compare(one, other), compare(other, one)
    assert there is not None
    assert there.reversed() == back


def test_rows_without_a_common_seed_are_not_compared(board: Board) -> None:
    assert compare(runs(board, right_at([1], seed=0)), runs(board, right_at([1], seed=1))) is None


@pytest.mark.parametrize(
    "other",
    [
        {"cell__test_list_sha256": "99" * 32},
        {"classes": ["jump", "run", "sit", "stand"]},
        {"labels": LABELS[::-1]},
    ],
)
def test_runs_on_other_videos_labels_or_classes_are_not_compared(board: Board, other: dict[str, Any]) -> None:
    known, strange = record(LABELS), record(LABELS, **other)
    assert not same_test_videos(known, strange)
    assert compare(runs(board, known), runs(board, strange)) is None
    assert agreement(known, strange) is None


# --- agreement ---------------------------------------------------------------------------------------------


def test_kappa_is_that_of_the_textbook_example() -> None:
    # 50 cases, both yes 20, both no 15, first only 5, second only 10: agreement 0.7, by chance 0.5, kappa 0.4.
    first = [0] * 25 + [1] * 25
    second = [0] * 20 + [1] * 5 + [0] * 10 + [1] * 15
    labels = [0] * 50
    found = agreement(record(first, labels), record(second, labels))
    assert found is not None
    assert (found.share, found.kappa) == (pytest.approx(0.7), pytest.approx(0.4))


def test_runs_that_make_the_same_mistakes_agree_fully() -> None:
    wrong = [label + 1 for label in LABELS]
    assert agreement(record(wrong), record(wrong)) == (1.0, 1.0)


def test_runs_that_only_ever_name_one_class_agree_fully() -> None:
    assert agreement(record([3] * 10), record([3] * 10)) == (1.0, 1.0)


def test_mean_agreement_leaves_out_pairs_that_cannot_be_compared() -> None:
    known, strange = record(LABELS), record(LABELS, cell__test_list_sha256="99" * 32)
    half = record([*LABELS[:5], *(label + 1 for label in LABELS[5:])])
    found = mean_agreement([(known, known), (known, half), (known, strange)])
    assert found is not None
    assert found.share == pytest.approx(0.75)
    assert mean_agreement([(known, strange)]) is None


# --- classes -----------------------------------------------------------------------------------------------


def test_gain_of_a_class_is_the_mean_over_the_paired_seeds(board: Board) -> None:
    taught = [right_at([0, 1, 2, 6], taught=True, seed=0), right_at([0, 1, 2, 6, 7], taught=True, seed=1)]
    alone = [right_at([0, 8], seed=0), right_at([8, 9], seed=1)]
    of_row = [run for run in runs(board, *taught, *alone) if not run.is_baseline]
    assert class_gains(of_row) == [
        ("run", 2, pytest.approx(0.75)),  # 1 and 2 of 2 for none
        ("jump", 6, pytest.approx(5 / 12)),  # 3 and 3 of 6 for 1 and 0
        ("sit", 2, pytest.approx(-0.75)),  # none for 1 and 2 of 2
    ]


def test_row_without_a_paired_run_has_no_gains_of_classes(board: Board) -> None:
    assert class_gains(runs(board, right_at([1], taught=True))) == []
