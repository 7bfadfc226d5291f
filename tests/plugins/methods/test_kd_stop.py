"""Distillation that stops against its equation."""

from __future__ import annotations

import pytest

from kdbench.errors import PluginError
from tests.plugins.methods.cases import batch, built, divergence, gradients, numbers, outputs, progress, softmax


@pytest.mark.parametrize(("epoch", "taught"), [(0, True), (4, True), (5, False), (9, False)])
def test_the_term_is_distillation_in_the_first_half_of_the_epochs_and_nothing_after(epoch: int, taught: bool) -> None:
    student, teacher, tau = outputs(1), outputs(2), 4.0
    rows = zip(numbers(student.logits_BK), numbers(teacher.logits_BK), strict=True)
    mean = sum(divergence(softmax(theirs / tau), softmax(mine / tau)) for mine, theirs in rows) / 4
    method, at = built("kd-stop"), progress(epoch, step=4)
    found = method.losses(batch(), student, teacher if method.wants_teacher(at) else None, at)
    assert found["soft"].item() == pytest.approx(taught * tau**2 * mean, rel=1e-5)


def test_the_term_is_zero_when_both_agree() -> None:
    assert abs(built("kd-stop").losses(batch(), outputs(1), outputs(1), progress())["soft"].item()) < 1e-6


def test_the_share_decides_when_the_teacher_is_switched_off() -> None:
    method = built("kd-stop", share=0.2)
    assert [method.wants_teacher(progress(epoch)) for epoch in (0, 1, 2)] == [True, True, False]


def test_only_the_students_logits_get_a_gradient() -> None:
    assert gradients(built("kd-stop"), outputs(1, learns=True), outputs(2)) == {"logits"}


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(PluginError, match=r"share is 1.5; it must be between 0 and 1"):
        built("kd-stop", share=1.5)
