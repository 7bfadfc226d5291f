"""Probabilistic knowledge transfer against its equations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.plugins.methods.cases import Floats, batch, built, gradients, numbers, outputs, progress


def neighbours(features: Floats) -> Floats:
    table = np.zeros((len(features), len(features)))
    for i, j in np.ndindex(*table.shape):
        norms = np.sqrt((features[i] ** 2).sum() * (features[j] ** 2).sum())
        table[i, j] = ((features[i] * features[j]).sum() / norms + 1) / 2
    return np.array([row / row.sum() for row in table])


def test_the_term_is_the_divergence_of_neighbours_as_computed_by_loops() -> None:
    student, teacher = outputs(1, features=3), outputs(2)
    p, q = neighbours(numbers(teacher.pooled_BD)), neighbours(numbers(student.pooled_BD))
    expected = sum(p[at] * np.log(p[at] / q[at]) for at in np.ndindex(4, 4)) / 4**2
    found = built("pkt").losses(batch(), student, teacher, progress())
    assert found["neighbours"].item() == pytest.approx(30000 * expected, rel=1e-4)


def test_the_term_is_zero_when_the_features_differ_in_scale_alone() -> None:
    teacher = outputs(1)
    student = replace(teacher, pooled_BD=2 * teacher.pooled_BD)
    assert abs(built("pkt").losses(batch(), student, teacher, progress())["neighbours"].item()) < 1e-2


def test_only_the_students_features_get_a_gradient() -> None:
    assert gradients(built("pkt"), outputs(1, learns=True), outputs(2)) == {"pooled"}
