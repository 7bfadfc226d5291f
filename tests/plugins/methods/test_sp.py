"""Similarity-preserving distillation against its equation."""

from __future__ import annotations

import numpy as np
import pytest

from tests.plugins.methods.cases import (
    STUDENT_SHAPES,
    TEACHER_SHAPES,
    Floats,
    batch,
    built,
    gradients,
    numbers,
    outputs,
    progress,
)


def similarities(maps: Floats) -> Floats:
    gram = np.array([[(one * other).sum() for other in maps] for one in maps])
    return np.array([row / np.sqrt((row**2).sum()) for row in gram])


def test_the_term_is_the_distance_of_similarities_as_computed_by_loops() -> None:
    student, teacher = outputs(1, STUDENT_SHAPES), outputs(2, TEACHER_SHAPES)
    one, other = (similarities(numbers(each.taps["stage4"])) for each in (student, teacher))
    expected = 3000 * sum((one[at] - other[at]) ** 2 for at in np.ndindex(4, 4)) / 4**2
    found = built("sp").losses(batch(), student, teacher, progress())
    assert found["similarity"].item() == pytest.approx(expected, rel=1e-4)


def test_the_term_is_zero_when_both_agree() -> None:
    one = outputs(1, STUDENT_SHAPES)
    assert built("sp").losses(batch(), one, one, progress())["similarity"].item() == 0


def test_only_the_students_last_tap_gets_a_gradient() -> None:
    assert gradients(built("sp"), outputs(1, STUDENT_SHAPES, learns=True), outputs(2, TEACHER_SHAPES)) == {"stage4"}
