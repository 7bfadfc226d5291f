"""Distillation from the running average against its equations."""

from __future__ import annotations

import pytest
import torch

from kdbench.api import Method, PluginError
from tests.plugins.methods.cases import built, clips, divergence, network, numbers, outputs, progress, softmax


def begun(seed: int = 3, **options: float | str) -> Method:
    method = built("ema-kd", **options)
    method.begin(network(seed), None)
    return method


def test_the_term_is_tau_squared_times_the_divergence_from_the_average_as_computed_by_loops() -> None:
    method, student, tau = begun(weight=0.5), outputs(1), 4.0
    with torch.no_grad():
        taught = numbers(network(3).eval()(clips().clips_BVCTHW[:, 0]))
    rows = zip(numbers(student.logits_BK), taught, strict=True)
    mean = sum(divergence(softmax(theirs / tau), softmax(mine / tau)) for mine, theirs in rows) / 4
    found = method.losses(clips(), student, None, progress())
    assert found["average"].item() == pytest.approx(0.5 * tau**2 * mean, rel=1e-4)


@pytest.mark.parametrize(("step", "momentum"), [(0, 0.0), (1, 0.5), (3, 0.75), (4, 0.75)])
def test_the_average_moves_by_the_momentum_of_the_step(step: int, momentum: float) -> None:
    method = built("ema-kd", momentum=0.75)
    own, other = network(3), network(4)
    method.begin(own, None)
    before = {name: value.clone() for name, value in method.average.state_dict().items()}
    method.student = (other,)
    method.after_step(clips(), outputs(1), None, progress(step=step))
    for name, value in method.average.state_dict().items():
        mixed = momentum * numbers(before[name]) + (1 - momentum) * numbers(other.state_dict()[name])
        assert numbers(value) == pytest.approx(mixed, abs=1e-6)


def test_the_average_begins_as_the_student_and_counters_follow_it() -> None:
    method, own = built("ema-kd"), network(3)
    method.begin(own, None)
    assert all(torch.equal(own.state_dict()[name], value) for name, value in method.average.state_dict().items())
    own(clips().clips_BVCTHW[:, 0])  # in training mode: a batch more is counted
    method.after_step(clips(), outputs(1), None, progress(epoch=9))
    counters = [value for name, value in method.average.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counters
    assert all(int(value) == 1 for value in counters)


def test_the_average_stays_in_evaluation_mode_and_gets_no_gradient() -> None:
    method, student = begun().train(), outputs(1, learns=True)
    method.losses(clips(), student, None, progress())["average"].backward()
    assert not any(module.training for module in method.average.modules())
    assert student.logits_BK.grad is not None
    assert not any(each.requires_grad for each in method.parameters())


def test_a_momentum_of_one_is_refused() -> None:
    with pytest.raises(PluginError, match=r"momentum is 1.0; it must be at least 0 and below 1"):
        built("ema-kd", momentum=1)


@pytest.mark.parametrize(("evaluate", "own"), [("student", True), ("average", False)])
def test_the_student_is_evaluated_or_the_average(evaluate: str, own: bool) -> None:
    method, student = begun(evaluate=evaluate), network(3)
    assert method.export(student) is (student if own else method.average)


def test_with_weight_zero_the_average_is_kept_and_not_asked() -> None:
    method, asked = begun(weight=0), list[int]()
    method.average.backbone.register_forward_hook(lambda *_: asked.append(1))
    assert method.losses(clips(), outputs(1), None, progress())["average"].item() == 0
    assert asked == []


def test_what_is_neither_student_nor_average_is_refused() -> None:
    with pytest.raises(PluginError, match="evaluate is 'both'; it must be 'student' or 'average'"):
        built("ema-kd", evaluate="both")
