"""Variational information distillation against its equation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kdbench.api import Method
from kdbench.errors import PluginError
from tests.plugins.methods.cases import (
    STAGES,
    STUDENT_SHAPES,
    TEACHER_SHAPES,
    Floats,
    batch,
    built,
    gradients,
    numbers,
    outputs,
    pooled_to,
    progress,
    spec,
)


def vid(**options: Any) -> Method:
    return built("vid", spec(STUDENT_SHAPES), spec(TEACHER_SHAPES), **options)


def regressed(method: Method, stage: str, maps: Floats) -> Floats:
    """The mean (C, T, H, W) that one map sets, position by position."""
    state = {key: numbers(value) for key, value in method.state_dict().items() if f".{stage}.mean." in key}
    first, second, third = (weight[:, :, 0, 0, 0] for weight in state.values())
    result = np.zeros((len(third), *maps.shape[1:]))
    for place in np.ndindex(*maps.shape[1:]):
        vector = maps[(slice(None), *place)]
        result[(slice(None), *place)] = third @ np.maximum(second @ np.maximum(first @ vector, 0), 0)
    return result


def test_the_term_is_the_negative_log_likelihood_of_a_gaussian_as_computed_by_loops() -> None:
    method, student, teacher, total = vid(), outputs(1, STUDENT_SHAPES), outputs(2, TEACHER_SHAPES), 0.0
    with torch.no_grad():
        for at, parameter in enumerate(parameter for key, parameter in method.named_parameters() if "alpha" in key):
            parameter.copy_(torch.linspace(-1, 1, len(parameter)) + at)
    alphas = [numbers(parameter) for key, parameter in method.named_parameters() if "alpha" in key]
    for stage, mine, theirs, alpha in zip(STAGES, STUDENT_SHAPES, TEACHER_SHAPES, alphas, strict=True):
        size = [min(pair) for pair in zip(mine[1:], theirs[1:], strict=True)]
        parts = []
        for video in range(4):
            mean = regressed(method, stage, pooled_to(numbers(student.taps[stage])[video], size))
            target = pooled_to(numbers(teacher.taps[stage])[video], size)
            for place in np.ndindex(*target.shape):
                variance = np.log(1 + np.exp(alpha[place[0]])) + 1e-5
                parts.append(0.5 * ((target[place] - mean[place]) ** 2 / variance + np.log(variance)))
        total += sum(parts) / len(parts)
    found = method.losses(batch(), student, teacher, progress())
    assert found["likelihood"].item() == pytest.approx(total, rel=1e-4)


def test_the_variance_begins_at_five_and_the_term_is_at_its_least_when_the_mean_is_right() -> None:
    method, student, teacher = vid(), outputs(1, STUDENT_SHAPES), outputs(2, TEACHER_SHAPES)
    with torch.no_grad():
        for key, parameter in method.named_parameters():
            if "mean" in key:
                parameter.zero_()
        for maps in teacher.taps.values():
            maps.zero_()
    found = method.losses(batch(), student, teacher, progress())["likelihood"].item()
    assert found == pytest.approx(4 * 0.5 * np.log(5), rel=1e-5)


def test_all_taps_of_the_student_and_all_regressors_and_variances_get_gradients() -> None:
    method = vid()
    with torch.no_grad():  # with two channels inside, a drawn regressor may well be dead
        for parameter in method.parameters():
            parameter.abs_()
    assert gradients(method, outputs(1, STUDENT_SHAPES, learns=True), outputs(2, TEACHER_SHAPES)) == set(STAGES)
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_a_variance_of_nothing_is_refused() -> None:
    with pytest.raises(PluginError, match=r"variance is 0.0; it must be above 1e-05"):
        vid(variance=0)


def test_the_taps_named_have_likelihoods_and_gradients_and_no_others() -> None:
    method = vid(taps=("stage2", "stage4"))
    assert method.student_taps == method.teacher_taps == ("stage2", "stage4")
    assert {key.split(".")[1] for key in method.state_dict()} == {"stage2", "stage4"}
    found = gradients(method, outputs(1, STUDENT_SHAPES, learns=True), outputs(2, TEACHER_SHAPES))
    assert found <= {"stage2", "stage4"}


def test_no_tap_at_all_is_refused() -> None:
    with pytest.raises(PluginError, match="taps is empty; name at least one"):
        vid(taps=())
