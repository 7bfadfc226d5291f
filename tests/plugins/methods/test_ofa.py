"""OFA-KD against its equation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.plugins.methods.cases import (
    STAGES,
    STUDENT_SHAPES,
    Floats,
    batch,
    built,
    gradients,
    numbers,
    outputs,
    progress,
    softmax,
    spec,
)


def distance(mine: Floats, theirs: Floats, eps: float, tau: float) -> float:
    total = 0.0
    for z_s, z_t, label in zip(mine, theirs, batch().labels_B.tolist(), strict=True):
        p, q = softmax(z_t / tau), softmax(z_s / tau)
        for k in range(5):
            own = float(k == label)
            total -= ((p[k] + own) ** eps - own) * np.log(q[k]) / 4
    return total


@pytest.mark.parametrize("eps", [1.0, 1.5])
def test_the_terms_are_strengthened_cross_entropies_as_computed_by_loops(eps: float) -> None:
    method = built("ofa", spec(STUDENT_SHAPES), eps=eps, temperature=2.0, stages=0.5)
    student, teacher = outputs(1, STUDENT_SHAPES), outputs(2)
    theirs = numbers(teacher.logits_BK)
    branches = [numbers(method.branches[stage](student.taps[stage])) for stage in STAGES]
    found = method.losses(batch(), student, teacher, progress())
    assert found["logits"].item() == pytest.approx(distance(numbers(student.logits_BK), theirs, eps, 2.0), rel=1e-4)
    stages = sum(distance(logits, theirs, eps, 2.0) for logits in branches)
    assert found["stages"].item() == pytest.approx(0.5 * stages, rel=1e-4)


def test_the_branch_of_the_last_stage_is_a_linear_layer_on_its_pooled_maps() -> None:
    method, student = built("ofa", spec(STUDENT_SHAPES)), outputs(1, STUDENT_SHAPES)
    state = {key: numbers(value) for key, value in method.state_dict().items() if ".stage4." in key}
    weight, bias = state.values()
    pooled = numbers(student.taps["stage4"]).mean((2, 3, 4))
    expected = np.array([weight @ features + bias for features in pooled])
    assert numbers(method.branches["stage4"](student.taps["stage4"])) == pytest.approx(expected, rel=1e-4)


def test_the_terms_are_least_when_both_agree_and_are_the_teachers_entropy_there() -> None:
    method, teacher = built("ofa", spec(STUDENT_SHAPES)), outputs(1, STUDENT_SHAPES)
    least = method.losses(batch(), teacher, teacher, progress())["logits"].item()
    entropy = sum(-(p * np.log(p)).sum() / 4 for p in map(softmax, numbers(teacher.logits_BK)))
    assert least == pytest.approx(entropy, rel=1e-5)
    assert method.losses(batch(), outputs(2, STUDENT_SHAPES), teacher, progress())["logits"].item() > least


def test_the_true_class_counts_for_more_when_eps_is_above_one() -> None:
    student, teacher = outputs(1, STUDENT_SHAPES, learns=True), outputs(2)
    pulls = []
    for eps in (1.0, 2.0):
        student.logits_BK.grad = None
        term = built("ofa", spec(STUDENT_SHAPES), eps=eps).losses(batch(), student, teacher, progress())["logits"]
        torch.autograd.backward(term)
        assert student.logits_BK.grad is not None
        pulls.append(-student.logits_BK.grad.gather(1, batch().labels_B[:, None]))
    assert (pulls[1] > pulls[0]).all()


def test_logits_and_taps_of_the_student_and_all_branches_get_gradients() -> None:
    method = built("ofa", spec(STUDENT_SHAPES))
    assert gradients(method, outputs(1, STUDENT_SHAPES, learns=True), outputs(2)) == {"logits", *STAGES}
    assert all(parameter.grad is not None for parameter in method.parameters())
