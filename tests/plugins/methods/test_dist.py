"""DIST against its equation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.plugins.methods.cases import Floats, batch, built, gradients, numbers, outputs, progress, softmax


def pearson(one: Floats, other: Floats) -> float:
    a, b = one - one.mean(), other - other.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def test_the_terms_are_the_correlations_of_rows_and_of_columns_as_computed_by_loops() -> None:
    student, teacher, tau = outputs(1), outputs(2), 3.0
    p = np.array([softmax(row / tau) for row in numbers(teacher.logits_BK)])
    q = np.array([softmax(row / tau) for row in numbers(student.logits_BK)])
    rows = sum(pearson(p[video], q[video]) for video in range(4)) / 4
    columns = sum(pearson(p[:, label], q[:, label]) for label in range(5)) / 5
    method = built("dist", temperature=tau, beta=1.5, gamma=0.5)
    found = method.losses(batch(), student, teacher, progress())
    assert found["inter"].item() == pytest.approx(2 * tau**2 * 1.5 * (1 - rows), rel=1e-5)
    assert found["intra"].item() == pytest.approx(2 * tau**2 * 0.5 * (1 - columns), rel=1e-5)


def test_the_terms_are_zero_when_both_agree() -> None:
    terms = built("dist").losses(batch(), outputs(1), outputs(1), progress())
    assert all(abs(term.item()) < 1e-5 for term in terms.values())


def test_logits_that_differ_by_a_constant_agree() -> None:
    teacher = outputs(1)
    terms = built("dist").losses(batch(), replace(teacher, logits_BK=teacher.logits_BK + 3), teacher, progress())
    assert all(abs(term.item()) < 1e-5 for term in terms.values())


def test_only_the_students_logits_get_a_gradient() -> None:
    assert gradients(built("dist"), outputs(1, learns=True), outputs(2)) == {"logits"}
