"""Branches that learn from the end of their own network, against the equations."""

from __future__ import annotations

import numpy as np
import pytest

from kdbench.api import Method, PluginError
from tests.plugins.methods.cases import (
    STUDENT_SHAPES,
    batch,
    built,
    divergence,
    gradients,
    numbers,
    outputs,
    progress,
    softmax,
    spec,
)

STAGES = ("stage1", "stage2", "stage3")


def byot(**options: float) -> Method:
    return built("byot", spec(STUDENT_SHAPES), **options)


def test_the_terms_are_sums_over_branches_as_computed_by_loops() -> None:
    method, student, tau = byot(), outputs(1, STUDENT_SHAPES), 3.0
    hard = soft = square = 0.0
    last = zip(numbers(student.pooled_BD), numbers(student.logits_BK), batch().labels_B.tolist(), strict=True)
    rows = list(last)
    for stage in STAGES:
        made = method.get_submodule(f"branches.{stage}")(student.taps[stage])
        for mine, logits, (features, final, label) in zip(*map(numbers, made), rows, strict=True):
            hard -= np.log(softmax(logits)[label]) / 4
            soft += divergence(softmax(final / tau), softmax(logits / tau)) / 4
            square += sum((one - other) ** 2 for one, other in zip(mine, features, strict=True)) / 4
    found = {name: term.item() for name, term in method.losses(batch(), student, None, progress()).items()}
    expected = {
        "branches_hard": 0.7 * hard,
        "branches_soft": 0.3 * tau**2 * soft,
        "branches_features": 0.03 * square,
    }
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_branch_ends_in_features_of_the_students_size_and_logits() -> None:
    method, student = byot(), outputs(1, STUDENT_SHAPES)
    for stage in STAGES:
        features, logits = method.get_submodule(f"branches.{stage}")(student.taps[stage])
        assert (features.shape, logits.shape) == (student.pooled_BD.shape, student.logits_BK.shape)


def test_earlier_stages_have_longer_branches() -> None:
    method = byot()
    convolutions = [
        sum(
            ".conv" in name or value.ndim == 5
            for name, value in method.get_submodule(f"branches.{stage}").named_parameters()
        )
        for stage in STAGES
    ]
    assert convolutions == [6, 4, 2]


def test_the_stages_and_all_branches_get_gradients_and_the_end_of_the_network_none() -> None:
    method = byot()
    assert gradients(method, outputs(1, STUDENT_SHAPES, learns=True), outputs(2)) == set(STAGES)
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_an_alpha_above_one_is_refused() -> None:
    with pytest.raises(PluginError, match=r"alpha is 2.0; it must be between 0 and 1"):
        byot(alpha=2)
