"""Distillation with a decaying weight against its equation."""

from __future__ import annotations

import numpy as np
import pytest

from kdbench.errors import PluginError
from tests.plugins.methods.cases import batch, built, divergence, gradients, numbers, outputs, progress, softmax


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (1, 3), (4, 2), (9, 4)])
def test_the_terms_are_the_convex_combination_as_computed_by_loops(epoch: int, step: int) -> None:
    student, teacher, tau = outputs(1), outputs(2), 2.0
    rate = max(0.0, 1 - (epoch * 5 + step) / (0.44 * 50))
    hard = soft = 0.0
    for mine, theirs, label in zip(
        numbers(student.logits_BK), numbers(teacher.logits_BK), batch().labels_B, strict=True
    ):
        hard -= np.log(softmax(mine)[label]) / 4
        soft += divergence(softmax(theirs / tau), softmax(mine / tau)) / 4
    found = built("kd-decay").losses(batch(), student, teacher, progress(epoch, step))
    assert found["hard"].item() == pytest.approx((1 - rate) * hard, rel=1e-5)
    assert found["soft"].item() == pytest.approx(rate * tau**2 * soft, rel=1e-5)


def test_it_begins_with_the_teacher_alone_and_ends_with_the_labels_alone() -> None:
    method, student, teacher = built("kd-decay"), outputs(1), outputs(2)
    first = method.losses(batch(), student, teacher, progress(0, 0))
    last = method.losses(batch(), student, teacher, progress(9, 4))
    assert first["hard"].item() == 0 < first["soft"].item()
    assert last["soft"].item() == 0 < last["hard"].item()


def test_the_soft_term_is_zero_when_both_agree() -> None:
    terms = built("kd-decay").losses(batch(), outputs(1), outputs(1), progress())
    assert abs(terms["soft"].item()) < 1e-6


def test_the_boards_own_action_term_is_left_to_the_method() -> None:
    assert built("kd-decay").base_weights == {"action": 0.0}


def test_only_the_students_logits_get_a_gradient() -> None:
    assert gradients(built("kd-decay"), outputs(1, learns=True), outputs(2)) == {"logits"}


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(PluginError, match=r"share is 0.0; it must be above 0"):
        built("kd-decay", share=0)
