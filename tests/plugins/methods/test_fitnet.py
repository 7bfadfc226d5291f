"""FitNets against their equation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kdbench.api import Method
from tests.plugins.methods.cases import (
    STUDENT_SHAPES,
    TEACHER_SHAPES,
    batch,
    built,
    gradients,
    numbers,
    outputs,
    pooled_to,
    progress,
    spec,
)


def fitnet(**options: str) -> Method:
    return built("fitnet", spec(STUDENT_SHAPES), spec(TEACHER_SHAPES), **options)


def test_the_term_is_the_distance_of_regressed_maps_as_computed_by_loops() -> None:
    method, student, teacher = fitnet(), outputs(1, STUDENT_SHAPES), outputs(2, TEACHER_SHAPES)
    assert isinstance(method.regressor, nn.Sequential)
    weight = numbers(method.regressor[0].weight)[:, :, 0, 0, 0]
    hints = np.array([pooled_to(maps, (2, 3, 3)) for maps in numbers(student.taps["stage2"])])
    mapped = np.zeros((4, 2, 2, 3, 3))
    for video, out, channel in np.ndindex(4, 2, 3):
        mapped[video, out] += weight[out, channel] * hints[video, channel]
    for out in range(2):
        mean, variance = mapped[:, out].mean(), mapped[:, out].var()
        mapped[:, out] = np.maximum((mapped[:, out] - mean) / np.sqrt(variance + 1e-5), 0)
    expected = 100 * ((mapped - numbers(teacher.taps["stage2"])) ** 2).mean()
    found = method.losses(batch(), student, teacher, progress())
    assert found["hint"].item() == pytest.approx(expected, rel=1e-4)


def test_the_term_is_zero_when_the_regressed_maps_are_the_teachers() -> None:
    method, student, teacher = fitnet(), outputs(1, STUDENT_SHAPES), outputs(2, TEACHER_SHAPES)
    with torch.no_grad():
        teacher.taps["stage2"].copy_(
            method.regressor(nn.functional.adaptive_avg_pool3d(student.taps["stage2"], (2, 3, 3)))
        )
    assert method.losses(batch(), student, teacher, progress())["hint"].item() == 0


def test_the_students_tap_and_the_regressor_get_gradients() -> None:
    method = fitnet()
    assert gradients(method, outputs(1, STUDENT_SHAPES, learns=True), outputs(2, TEACHER_SHAPES)) == {"stage2"}
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_another_tap_may_be_named() -> None:
    method = fitnet(tap="stage3")
    assert (method.student_taps, method.teacher_taps) == (("stage3",), ("stage3",))
    assert gradients(method, outputs(1, STUDENT_SHAPES, learns=True), outputs(2, TEACHER_SHAPES)) == {"stage3"}
