"""Softmax regression representation learning against its equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import linear

from tests.plugins.methods.cases import batch, built, draw, gradients, numbers, outputs, progress, spec


def test_the_terms_are_the_distances_of_features_and_of_logits_as_computed_by_loops() -> None:
    student, teacher = outputs(1, features=3), outputs(2)
    method = built("srrl", spec(features=3), spec(), features=0.5, logits=2.0)
    weight = numbers(method.state_dict()["connector.0.weight"])
    mapped = np.array([weight @ features for features in numbers(student.pooled_BD)])
    mapped = np.maximum((mapped - mapped.mean(0)) / np.sqrt(mapped.var(0) + 1e-5), 0)
    head, bias = numbers(draw(90, 5, 6)), numbers(draw(91, 5))
    features = logits = 0.0
    for video in range(4):
        features += ((mapped[video] - numbers(teacher.pooled_BD)[video]) ** 2).mean() / 4
        logits += ((head @ mapped[video] + bias - numbers(teacher.logits_BK)[video]) ** 2).mean() / 4
    found = method.losses(batch(), student, teacher, progress())
    assert found["features"].item() == pytest.approx(0.5 * features, rel=1e-4)
    assert found["regression"].item() == pytest.approx(2 * logits, rel=1e-4)


def test_the_terms_are_zero_when_the_mapped_features_are_the_teachers() -> None:
    student, teacher, network = outputs(1), outputs(2), spec()
    method = built("srrl", spec(), network)
    with torch.no_grad():
        teacher.pooled_BD.copy_(method.connector(student.pooled_BD))
        teacher.logits_BK.copy_(linear(teacher.pooled_BD, draw(90, 5, 6), draw(91, 5)))
    terms = method.losses(batch(), student, teacher, progress())
    assert all(abs(term.item()) < 1e-9 for term in terms.values())


def test_the_students_features_get_a_gradient_and_the_teachers_classifier_gets_none() -> None:
    teacher = spec()
    method = built("srrl", spec(), teacher)
    assert gradients(method, outputs(1, learns=True), outputs(2)) == {"pooled"}
    assert all(parameter.grad is None for parameter in teacher.classifier.parameters())


def test_the_teachers_classifier_is_not_counted_as_the_methods_own() -> None:
    method = built("srrl", spec(features=3), spec())
    assert sum(parameter.numel() for parameter in method.parameters()) == 3 * 6 + 2 * 6
    assert not [key for key in method.state_dict() if not key.startswith("connector.")]
