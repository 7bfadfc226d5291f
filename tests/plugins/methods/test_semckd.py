"""SemCKD against its equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdbench.api import Method
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
    softmax,
    spec,
)


def semckd() -> Method:
    """Of batch size 4, so that queries and keys are one number: 1 or -1."""
    return built("semckd", spec(STUDENT_SHAPES), spec(TEACHER_SHAPES))


def embedding(method: Method, which: str, stage: str, maps: Floats) -> Floats:
    gram = np.array([[(one * other).sum() for other in maps] for one in maps])
    state = {key: numbers(value) for key, value in method.state_dict().items()}
    one, two, three, four = (
        state[f"{which}.{stage}.layers.{part}"] for part in ("0.weight", "0.bias", "2.weight", "2.bias")
    )
    result = []
    for row in gram:
        vector = three @ np.maximum(one @ (row / np.sqrt((row**2).sum())) + two, 0) + four
        result.append(vector / np.sqrt((vector**2).sum()))
    return np.array(result)


def normalised(maps: Floats) -> Floats:
    """Batch normalisation and ReLU of maps (B, C, T, H, W)."""
    result = [
        np.maximum((maps[:, at] - maps[:, at].mean()) / np.sqrt(maps[:, at].var() + 1e-5), 0)
        for at in range(maps.shape[1])
    ]
    return np.stack(result, axis=1)


def convolved(weight: Floats, maps: Floats) -> Floats:
    """A convolution whose output has the size of its input (B, C, T, H, W)."""
    reach = weight.shape[-1] // 2
    wide = np.pad(maps, [(0, 0), (0, 0)] + [(reach, reach)] * 3)
    result = np.zeros((len(maps), len(weight), *maps.shape[2:]))
    for video, out, t, h, w in np.ndindex(*result.shape):
        window = wide[video, :, t : t + 2 * reach + 1, h : h + 2 * reach + 1, w : w + 2 * reach + 1]
        result[video, out, t, h, w] = (weight[out] * window).sum()
    return result


def projected(method: Method, pair: str, maps: Floats) -> Floats:
    state = {key: numbers(value) for key, value in method.state_dict().items()}
    weights = [state[f"projections.{pair}.{layer}.weight"] for layer in (0, 3, 6)]
    inner = normalised(convolved(weights[1], normalised(convolved(weights[0], maps))))
    return convolved(weights[2], inner) + state[f"projections.{pair}.6.bias"][:, None, None, None]


def test_the_term_is_the_attended_distance_of_all_pairs_as_computed_by_loops() -> None:
    method, student, teacher, total = semckd(), outputs(1, STUDENT_SHAPES), outputs(2, TEACHER_SHAPES), 0.0
    mine = {stage: numbers(student.taps[stage]) for stage in STAGES}
    theirs = {stage: numbers(teacher.taps[stage]) for stage in STAGES}
    keys = [embedding(method, "keys", stage, theirs[stage]) for stage in STAGES]
    for s in STAGES:
        query = embedding(method, "queries", s, mine[s])
        attention = [softmax(np.array([(query[at] * key[at]).sum() for key in keys])) for at in range(4)]
        for place, t in enumerate(STAGES):
            size = [min(pair) for pair in zip(mine[s].shape[2:], theirs[t].shape[2:], strict=True)]
            maps = projected(method, f"{s}_{t}", np.array([pooled_to(each, size) for each in mine[s]]))
            for video in range(4):
                gap = maps[video] - pooled_to(theirs[t][video], size)
                total += attention[video][place] * (gap**2).mean() / (4 * len(STAGES))
    found = method.losses(batch(), student, teacher, progress())
    assert found["calibrated"].item() == pytest.approx(400 * total, rel=1e-4)


def test_the_term_is_zero_when_projections_and_the_teachers_maps_are_nothing() -> None:
    method, student, teacher = semckd(), outputs(1, STUDENT_SHAPES), outputs(2, TEACHER_SHAPES)
    with torch.no_grad():
        for key, parameter in method.named_parameters():
            if key.startswith("projections.") and ".6." in key:
                parameter.zero_()
        for maps in teacher.taps.values():
            maps.zero_()
    assert method.losses(batch(), student, teacher, progress())["calibrated"].item() == 0


def test_all_taps_of_the_student_and_all_parts_get_gradients() -> None:
    method = semckd()
    assert gradients(method, outputs(1, STUDENT_SHAPES, learns=True), outputs(2, TEACHER_SHAPES)) == set(STAGES)
    assert all(parameter.grad is not None for parameter in method.parameters())
