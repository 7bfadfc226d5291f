"""Milestones as censored data, performance profiles and variance components against hand-computed values."""

from __future__ import annotations

import math
import random
from pathlib import Path

import msgspec
import pytest

from kdbench.leaderboard.profiles import (
    Profile,
    epochs_needed,
    goals_reached,
    performance_profiles,
    reached_by,
    runs_by_seeds,
    split_variance,
    staircase,
)
from kdbench.leaderboard.scoring import Reached, place_runs
from kdbench.leaderboard.standings import Row, standings_of
from kdbench.records import Record
from tests.factories import make_record, trio, write_board


def rows(folder: Path, *records: Record) -> tuple[Row, ...]:
    board = write_board(folder)
    return standings_of(board, place_runs(board, [(Path(f"{each.run_id}.json"), each) for each in records])).rows


# --- milestones --------------------------------------------------------------------------------------------


def test_run_that_never_got_there_counts_in_the_share_and_adds_no_step() -> None:
    assert reached_by([5, 3, ">8", 5]) == ((3.0, 0.25), (5.0, 0.75))


def test_no_step_where_nobody_got_there() -> None:
    assert reached_by([">8", ">8"]) == ()


def test_staircase_keeps_each_value_until_the_next_step() -> None:
    corners = ((1.0, 0.0), (3.0, 0.0), (3.0, 0.5), (6.0, 0.5), (6.0, 1.0), (8.0, 1.0))
    assert staircase([(3.0, 0.5), (6.0, 1.0)], 1.0, 8.0) == corners


def test_goals_are_the_boards_milestones_and_shares_of_the_paired_run(tmp_path: Path) -> None:
    alone = make_record(curve=[0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4])
    taught = make_record(curve=[0.1, 0.3, 0.35, 0.4, 0.45, 0.45, 0.45, 0.45], taught=True)
    (row,) = [row for row in rows(tmp_path, alone, taught) if not row.is_baseline]
    assert goals_reached(row, [0.25, 0.5], [0.75, 1.0]) == {
        "0.25": [2],
        "0.5": [">8"],
        "baseline 0.75": [2],
        "baseline 1": [4],
    }


def test_run_without_a_baseline_has_no_share_to_reach(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, make_record(taught=True))
    assert goals_reached(row, [], [1.0]) == {"baseline 1": []}


# --- profiles ----------------------------------------------------------------------------------------------


def test_profile_is_the_ratio_to_the_best_of_each_cell(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        make_record(hits=10),
        make_record(hits=15, taught=True),
        make_record(hits=16, student__name="wide"),
        make_record(hits=12, student__name="wide", taught=True),
    )
    best, other = performance_profiles(found, lambda row: 1 - row.accuracy.mean)
    # errors 10 and 5 of 20 for slim, 4 and 8 for wide: both are the best once and twice as far the other time
    assert [(each.method, each.ratios, each.cells) for each in (best, other)] == [
        ("alone", (1.0, pytest.approx(2.0)), 2),
        ("soft", (1.0, pytest.approx(2.0)), 2),
    ]
    assert (best.share_within(1.0), best.share_within(1.99), best.share_within(2.0)) == (0.5, 0.5, 1.0)


def test_missed_goal_is_infinitely_far_from_the_best(tmp_path: Path) -> None:
    found = rows(tmp_path, make_record(hits=10), make_record(hits=5, taught=True))
    profiles = performance_profiles(found, lambda row: epochs_needed(row.to_baseline["1"]))
    assert [(each.method, each.ratios) for each in profiles] == [("alone", (1.0,)), ("soft", (math.inf,))]
    assert profiles[1].share_within(1e9) == 0
    assert profiles[1].steps == ()


def test_cell_that_nobody_finished_is_a_failure_of_all(tmp_path: Path) -> None:
    found = rows(tmp_path, make_record(hits=10), make_record(hits=5, taught=True))
    assert [each.ratios for each in performance_profiles(found, lambda _: math.inf)] == [(math.inf,), (math.inf,)]


def test_entry_of_one_cell_takes_no_cell_from_the_others(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        make_record(hits=10),
        make_record(hits=12, taught=True),
        make_record(hits=10, student__name="wide"),
        make_record(hits=12, student__name="wide", taught=True),
        make_record(hits=14, taught=True, teacher__spec="huge"),
    )
    profiles = performance_profiles(found, lambda row: 1 - row.accuracy.mean)
    assert {(each.teacher, len(each.ratios), each.cells) for each in profiles} == {
        ("none", 2, 2),
        ("broad", 2, 2),
        ("huge", 1, 2),
    }


def test_cell_with_one_entry_compares_nothing(tmp_path: Path) -> None:
    assert performance_profiles(rows(tmp_path, make_record()), lambda _: 1.0) == []


def test_entry_without_a_flaw_is_the_best_beside_others_without(tmp_path: Path) -> None:
    found = rows(tmp_path, make_record(hits=20), make_record(hits=20, taught=True))
    assert [each.ratios for each in performance_profiles(found, lambda row: 1 - row.accuracy.mean)] == [(1.0,), (1.0,)]


def test_steps_of_a_profile_end_below_one_where_it_failed_somewhere() -> None:
    assert Profile("broad", "soft", (1.0, 1.0, 2.0, math.inf), 5).steps == ((1.0, 0.5), (2.0, 0.75))


@pytest.mark.parametrize(("reached", "cost"), [(None, None), (Reached(7, 3, 3), 7.0), (Reached(">8", 1, 3), math.inf)])
def test_cost_of_a_milestone_is_its_epoch(reached: Reached | None, cost: float | None) -> None:
    assert epochs_needed(reached) == cost


# --- variance ----------------------------------------------------------------------------------------------


def test_variance_components_are_the_hand_computed_ones() -> None:
    # Means of the subsets 0.2, 0.5; of the seeds 0.3, 0.4; all 0.35. The interaction is +-0.05.
    # Mean squares: subsets 2 * 2 * 0.0225 = 0.09, seeds 2 * 2 * 0.0025 = 0.01, rest 4 * 0.0025 = 0.01.
    found = split_variance({(0, 0): 0.2, (0, 1): 0.2, (1, 0): 0.4, (1, 1): 0.6})
    assert found is not None
    assert found.subset == pytest.approx(math.sqrt((0.09 - 0.01) / 2))
    assert found.seed == pytest.approx(0.0, abs=1e-6)
    assert found.rest == pytest.approx(0.1)
    assert found.freedom == (1, 1, 1)


def test_variance_components_of_fewer_subsets_than_seeds_are_the_hand_computed_ones() -> None:
    # Means of the subsets 0.3, 0.6; of the seeds 0.3, 0.4, 0.65; all 0.45. Left over: 0.05, 0.05 and 0.1, either sign.
    # Mean squares: subsets 3 * 0.045 / 1 = 0.135, seeds 2 * 0.065 / 2 = 0.065, rest 0.03 / 2 = 0.015.
    found = split_variance({(0, 0): 0.1, (0, 1): 0.2, (0, 2): 0.6, (1, 0): 0.5, (1, 1): 0.6, (1, 2): 0.7})
    assert found is not None
    assert found.subset == pytest.approx(math.sqrt((0.135 - 0.015) / 3))
    assert found.seed == pytest.approx(math.sqrt((0.065 - 0.015) / 2))
    assert found.rest == pytest.approx(math.sqrt(0.015))
    assert found.freedom == (1, 2, 2)


def test_variance_components_of_many_runs_are_those_they_were_drawn_with() -> None:
    draw = random.Random(0)
    subsets, seeds = [draw.gauss(0, 0.3) for _ in range(200)], [draw.gauss(0, 0.2) for _ in range(200)]
    values = {(i, j): s + t + draw.gauss(0, 0.1) for i, s in enumerate(subsets) for j, t in enumerate(seeds)}
    found = split_variance(values)
    assert found is not None
    assert (found.subset, found.seed, found.rest) == (
        pytest.approx(0.3, rel=0.1),
        pytest.approx(0.2, rel=0.1),
        pytest.approx(0.1, rel=0.1),
    )


def test_component_smaller_than_the_noise_has_no_estimate() -> None:
    found = split_variance({(0, 0): 0.2, (0, 1): 0.4, (1, 0): 0.4, (1, 1): 0.2})
    assert found is not None
    assert (found.subset, found.seed) == (None, None)


@pytest.mark.parametrize("pairs", [[(0, 0), (0, 1), (0, 2)], [(0, 0), (1, 0)], [(0, 0), (0, 1), (1, 2), (1, 3)], []])
def test_one_subset_or_no_two_common_seeds_cannot_be_split(pairs: list[tuple[int, int]]) -> None:
    assert split_variance(dict.fromkeys(pairs, 0.5)) is None


def test_seed_that_a_subset_lacks_is_left_out() -> None:
    grid = {(0, 0): 0.2, (0, 1): 0.2, (1, 0): 0.4, (1, 1): 0.6}
    assert split_variance(grid | {(1, 7): 0.9}) == split_variance(grid)


def test_runs_of_all_subsets_of_one_entry_are_brought_together(tmp_path: Path) -> None:
    board = write_board(tmp_path)
    board = msgspec.structs.replace(board, matrix=msgspec.structs.replace(board.matrix, subset_seeds=(0, 1)))
    records = [
        *trio([10, 11], cell__fraction=0.5),
        *trio([12, 13], cell__fraction=0.5, cell__subset_seed=1),
        *trio([14, 15], cell__fraction=0.5, cell__subset_seed=1, taught=True),
        make_record(hits=9),
    ]
    found = standings_of(board, place_runs(board, [(Path(f"{each.run_id}.json"), each) for each in records])).rows
    key = next(row.key for row in found if row.is_baseline and row.key.fraction == 0.5)
    assert runs_by_seeds(found)[key] == {(0, 0): 0.5, (0, 1): 0.55, (1, 0): 0.6, (1, 1): 0.65}
