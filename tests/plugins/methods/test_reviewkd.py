"""Knowledge review against its equations."""

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
    spec,
)
from tests.plugins.methods.test_semckd import convolved


def reviewkd(**options: int) -> Method:
    return built("reviewkd", spec(STUDENT_SHAPES, features=3), spec(TEACHER_SHAPES), **options)


def normalised(maps: Floats) -> Floats:
    channels = [(maps[:, at] - maps[:, at].mean()) / np.sqrt(maps[:, at].var() + 1e-5) for at in range(maps.shape[1])]
    return np.stack(channels, axis=1)


def nearest(maps: Floats, size: tuple[int, ...]) -> Floats:
    """Maps (B, C, T, H, W) resized by taking the value whose cell each new cell begins in."""
    result = np.zeros((*maps.shape[:2], *size))
    for place in np.ndindex(*size):
        source = tuple(at * old // new for at, old, new in zip(place, maps.shape[2:], size, strict=True))
        result[(slice(None), slice(None), *place)] = maps[(slice(None), slice(None), *source)]
    return result


def context_distance(mine: Floats, theirs: Floats) -> float:
    size, total, weights = mine.shape[2:], ((mine - theirs) ** 2).mean(), 1.0
    weight = 1.0
    for cells in (4, 2, 1):
        small = tuple(min(cells, length) for length in size)
        if small == size:
            continue
        weight, weights = weight / 2, weights + weight / 2
        pooled = [np.array([pooled_to(each, small) for each in maps]) for maps in (mine, theirs)]
        total += weight * ((pooled[0] - pooled[1]) ** 2).mean()
    return float(total / weights)


def expected(method: Method, mine: list[Floats], theirs: list[Floats]) -> float:
    """The sum over the levels, the last one first."""
    state = {key: numbers(value) for key, value in method.state_dict().items()}
    total, above = 0.0, None
    for level, (maps, target) in enumerate(zip(mine, theirs, strict=True)):
        mixture = normalised(convolved(state[f"fusions.{level}.narrow.0.weight"], maps))
        if above is not None:
            above = nearest(above, mixture.shape[2:])
            gate = convolved(state[f"fusions.{level}.gates.0.weight"], np.concatenate([mixture, above], axis=1))
            gate = 1 / (1 + np.exp(-gate - state[f"fusions.{level}.gates.0.bias"][:, None, None, None]))
            mixture = mixture * gate[:, :1] + above * gate[:, 1:]
        above = nearest(mixture, target.shape[2:])
        fused = normalised(convolved(state[f"fusions.{level}.widen.0.weight"], above))
        total += context_distance(fused, target)
    return total


def test_the_term_is_the_context_loss_of_fused_levels_as_computed_by_loops() -> None:
    method, student, teacher = reviewkd(), outputs(1, STUDENT_SHAPES, features=3), outputs(2, TEACHER_SHAPES)
    mine, theirs = (
        [numbers(each.pooled_BD)[:, :, None, None, None], *(numbers(each.taps[stage]) for stage in STAGES[::-1])]
        for each in (student, teacher)
    )
    found = method.losses(batch(), student, teacher, progress(epoch=3))
    assert found["review"].item() == pytest.approx(5 * 4 / 20 * expected(method, mine, theirs), rel=1e-4)


def test_the_weight_reaches_its_full_size_after_the_warm_up_and_stays_there() -> None:
    student, teacher = outputs(1, STUDENT_SHAPES, features=3), outputs(2, TEACHER_SHAPES)
    values = [
        reviewkd().losses(batch(), student, teacher, progress(epoch, epochs=60))["review"].item()
        for epoch in (9, 19, 50)
    ]
    assert values[1] == values[2] == pytest.approx(2 * values[0])


def test_fused_maps_have_no_more_channels_inside_than_asked_for() -> None:
    assert reviewkd(channels=2).state_dict()["fusions.0.narrow.0.weight"].shape == (2, 3, 1, 1, 1)


def test_the_term_is_zero_when_fused_maps_and_the_teachers_are_nothing() -> None:
    method = reviewkd()
    student, teacher = outputs(1, STUDENT_SHAPES, features=3), outputs(2, TEACHER_SHAPES)
    with torch.no_grad():
        for key, parameter in method.named_parameters():
            if "widen.1" in key:
                parameter.zero_()
        for maps in (teacher.pooled_BD, *teacher.taps.values()):
            maps.zero_()
    assert method.losses(batch(), student, teacher, progress())["review"].item() == 0


def test_taps_and_features_of_the_student_and_all_fusions_get_gradients() -> None:
    method = reviewkd()
    student, teacher = outputs(1, STUDENT_SHAPES, features=3, learns=True), outputs(2, TEACHER_SHAPES)
    assert gradients(method, student, teacher) == {"pooled", *STAGES}
    assert all(parameter.grad is not None for parameter in method.parameters())
