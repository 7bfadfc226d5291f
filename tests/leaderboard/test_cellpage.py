"""The page of a cell: its name, and what it says about the rows of the cell."""

from __future__ import annotations

import re

import pytest

from kdbench.leaderboard.scoring import RowKey
from kdbench.leaderboard.standings import cell_name


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
