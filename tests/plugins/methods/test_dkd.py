"""Decoupled knowledge distillation against its equation."""

from __future__ import annotations

import numpy as np
import pytest

from tests.plugins.methods.cases import batch, built, divergence, gradients, numbers, outputs, progress, softmax


def test_the_terms_are_both_divergences_as_computed_by_loops() -> None:
    student, teacher, tau = outputs(1), outputs(2), 4.0
    target = others = 0.0
    for mine, theirs, label in zip(
        numbers(student.logits_BK), numbers(teacher.logits_BK), batch().labels_B, strict=True
    ):
        p, q, kept = softmax(theirs / tau), softmax(mine / tau), [at for at in range(5) if at != label]
        target += divergence(np.array([p[label], p[kept].sum()]), np.array([q[label], q[kept].sum()])) / 4
        others += divergence(p[kept] / p[kept].sum(), q[kept] / q[kept].sum()) / 4
    found = built("dkd").losses(batch(), student, teacher, progress(epoch=6))
    assert found["target"].item() == pytest.approx(7 / 20 * tau**2 * target, rel=1e-5)
    assert found["others"].item() == pytest.approx(7 / 20 * 8 * tau**2 * others, rel=1e-5)


def test_both_parts_make_up_distillation_when_the_others_weigh_what_the_teacher_gives_them() -> None:
    student, teacher, tau = outputs(1, videos=1), outputs(2, videos=1), 4.0
    p, label = softmax(numbers(teacher.logits_BK)[0] / tau), int(batch(1).labels_B)
    method = built("dkd", alpha=1.0, beta=1 - p[label], warmup_epochs=0)
    terms = method.losses(batch(1), student, teacher, progress())
    whole = tau**2 * divergence(p, softmax(numbers(student.logits_BK)[0] / tau))
    assert sum(term.item() for term in terms.values()) == pytest.approx(whole, rel=1e-5)


def test_the_weights_reach_their_full_size_after_the_warm_up_and_stay_there() -> None:
    values = [
        built("dkd").losses(batch(), outputs(1), outputs(2), progress(epoch, epochs=60))["others"].item()
        for epoch in (9, 19, 50)
    ]
    assert values[1] == values[2] == pytest.approx(2 * values[0])


def test_the_terms_are_zero_when_both_agree() -> None:
    terms = built("dkd").losses(batch(), outputs(1), outputs(1), progress(epoch=30))
    assert all(abs(term.item()) < 1e-5 for term in terms.values())


def test_only_the_students_logits_get_a_gradient() -> None:
    assert gradients(built("dkd"), outputs(1, learns=True), outputs(2)) == {"logits"}
