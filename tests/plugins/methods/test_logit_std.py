"""Logit standardisation against its equation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.plugins.methods.cases import Floats, batch, built, divergence, gradients, numbers, outputs, progress, softmax


def standardised(logits: Floats) -> Floats:
    mean = sum(logits) / len(logits)
    variance = sum((value - mean) ** 2 for value in logits) / (len(logits) - 1)
    return np.array([(value - mean) / (variance**0.5 + 1e-7) for value in logits])


def test_the_term_is_distillation_of_standardised_logits_as_computed_by_loops() -> None:
    student, teacher, tau, total = outputs(1), outputs(2), 2.0, 0.0
    for mine, theirs in zip(numbers(student.logits_BK), numbers(teacher.logits_BK), strict=True):
        total += divergence(softmax(standardised(theirs) / tau), softmax(standardised(mine) / tau)) / 4
    found = built("logit-std").losses(batch(), student, teacher, progress())
    assert found["soft"].item() == pytest.approx(9 * tau**2 * total, rel=1e-5)


def test_the_term_is_zero_when_the_student_differs_in_mean_and_spread_alone() -> None:
    teacher = outputs(1)
    student = replace(teacher, logits_BK=3 * teacher.logits_BK - 7)
    assert abs(built("logit-std").losses(batch(), student, teacher, progress())["soft"].item()) < 1e-5


def test_only_the_students_logits_get_a_gradient() -> None:
    assert gradients(built("logit-std"), outputs(1, learns=True), outputs(2)) == {"logits"}
