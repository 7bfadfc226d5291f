"""Relational knowledge distillation against its equations."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from tests.plugins.methods.cases import Floats, batch, built, gradients, numbers, outputs, progress


def huber(one: float, other: float) -> float:
    gap = abs(one - other)
    return 0.5 * gap**2 if gap < 1 else gap - 0.5


def distances(features: Floats) -> Floats:
    table = np.array([[np.sqrt(((one - other) ** 2).sum()) for other in features] for one in features])
    return np.asarray(table / (table.sum() / (len(features) * (len(features) - 1))))


def cosine(features: Floats, i: int, j: int, k: int) -> float:
    if j in (i, k):
        return 0.0
    to_i, to_k = features[i] - features[j], features[k] - features[j]
    return float((to_i * to_k).sum() / np.sqrt((to_i**2).sum() * (to_k**2).sum()))


def test_the_terms_are_the_huber_losses_of_pairs_and_triples_as_computed_by_loops() -> None:
    student, teacher = outputs(1, features=3), outputs(2)
    one, other = numbers(student.pooled_BD), numbers(teacher.pooled_BD)
    near, far = distances(one), distances(other)
    pairs = sum(huber(near[pair], far[pair]) for pair in product(range(4), repeat=2)) / 4**2
    triples = sum(huber(cosine(one, *three), cosine(other, *three)) for three in product(range(4), repeat=3)) / 4**3
    found = built("rkd").losses(batch(), student, teacher, progress())
    assert found["distance"].item() == pytest.approx(25 * pairs, rel=1e-4)
    assert found["angle"].item() == pytest.approx(50 * triples, rel=1e-4)


def test_the_terms_are_zero_when_the_features_differ_in_scale_and_place_alone() -> None:
    teacher = outputs(1)
    terms = built("rkd").losses(batch(), replace(teacher, pooled_BD=5 * teacher.pooled_BD + 1), teacher, progress())
    assert all(abs(term.item()) < 1e-5 for term in terms.values())


def test_only_the_students_features_get_a_gradient() -> None:
    assert gradients(built("rkd"), outputs(1, learns=True), outputs(2)) == {"pooled"}


def test_equal_features_make_no_gradient_that_is_not_a_number() -> None:
    student = outputs(1, learns=True)
    with torch.no_grad():
        student.pooled_BD.copy_(student.pooled_BD[:1].expand(4, -1))
    gradients(built("rkd"), student, outputs(2))
    assert student.pooled_BD.grad is not None
    assert student.pooled_BD.grad.isfinite().all()
