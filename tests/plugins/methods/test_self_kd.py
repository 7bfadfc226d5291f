"""Self-distillation against its equation."""

from __future__ import annotations

import pytest
import torch

from kdbench.api import Method
from tests.plugins.methods.cases import built, clips, divergence, network, numbers, outputs, progress, softmax


def begun(seed: int = 3, **options: float) -> Method:
    method = built("self-kd", **options)
    method.begin(network(seed), None)
    return method


def test_the_term_is_the_divergence_from_the_snapshot_without_tau_squared_as_computed_by_loops() -> None:
    method, student, tau = begun(), outputs(1), 10.0
    with torch.no_grad():
        taught = numbers(network(1).eval()(clips().clips_BVCTHW[:, 0]))
    rows = zip(numbers(student.logits_BK), taught, strict=True)
    mean = sum(divergence(softmax(theirs / tau), softmax(mine / tau)) for mine, theirs in rows) / 4
    found = method.losses(clips(), student, None, progress(epoch=1))
    assert found["self"].item() == pytest.approx(0.1 * mean, rel=1e-4)


def test_the_first_epoch_has_no_teacher() -> None:
    assert begun().losses(clips(), outputs(1), None, progress(step=4))["self"].item() == 0


def test_the_snapshot_is_taken_after_the_last_step_of_an_epoch_and_at_no_other() -> None:
    method, own = begun(), network(3).state_dict()
    for step in range(5):
        same = [torch.equal(own[name], value) for name, value in method.snapshot.state_dict().items()]
        assert not all(same)
        method.after_step(clips(), outputs(1), None, progress(step=step))
    assert all(torch.equal(own[name], value) for name, value in method.snapshot.state_dict().items())


def test_a_later_change_of_the_student_leaves_the_snapshot_alone() -> None:
    method, own = built("self-kd"), network(3)
    method.begin(own, None)
    before = own.action.bias.detach().clone()
    method.after_step(clips(), outputs(1), None, progress(step=4))
    with torch.no_grad():
        own.action.bias.add_(1)
    assert torch.equal(method.snapshot.action.bias, before)


def test_the_snapshot_stays_as_it_is_when_it_is_asked() -> None:
    method = begun().train()
    before = {name: value.clone() for name, value in method.snapshot.state_dict().items()}
    student = outputs(1, learns=True)
    method.losses(clips(), student, None, progress(epoch=1))["self"].backward()
    assert all(torch.equal(before[name], value) for name, value in method.snapshot.state_dict().items())
    assert student.logits_BK.grad is not None
    assert not any(each.requires_grad for each in method.parameters())
