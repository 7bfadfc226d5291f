"""Logit regression against its equation."""

from __future__ import annotations

import pytest

from tests.plugins.methods.cases import CLASSES, VIDEOS, batch, built, gradients, numbers, outputs, progress


def test_the_term_is_the_mean_squared_distance_as_computed_by_loops() -> None:
    student, teacher, total = outputs(1), outputs(2), 0.0
    for mine, theirs in zip(numbers(student.logits_BK), numbers(teacher.logits_BK), strict=True):
        for z_s, z_t in zip(mine, theirs, strict=True):
            total += (z_s - z_t) ** 2 / (VIDEOS * CLASSES)
    found = built("logit-mse").losses(batch(), student, teacher, progress())
    assert found["logits"].item() == pytest.approx(0.1 * total, rel=1e-5)


def test_the_term_is_zero_when_both_agree() -> None:
    assert built("logit-mse").losses(batch(), outputs(1), outputs(1), progress())["logits"].item() == 0


def test_only_the_students_logits_get_a_gradient() -> None:
    assert gradients(built("logit-mse"), outputs(1, learns=True), outputs(2)) == {"logits"}
