"""Attention transfer against its equation."""

from __future__ import annotations

import numpy as np
import pytest

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
)


def attention(maps: Floats, size: tuple[int, ...], per_frame: bool) -> Floats:
    """The normalised map (T, H, W) of one video."""
    pooled = pooled_to(maps, size)
    energy = np.zeros(size)
    for channel in pooled:
        energy += channel**2 / len(pooled)
    if not per_frame:
        return np.asarray(energy / np.sqrt((energy**2).sum()))
    return np.array([frame / np.sqrt((frame**2).sum()) for frame in energy])


@pytest.mark.parametrize("per_frame", [False, True])
def test_the_term_is_the_distance_of_attention_maps_as_computed_by_loops(per_frame: bool) -> None:
    student, teacher, total = outputs(1, STUDENT_SHAPES), outputs(2, TEACHER_SHAPES), 0.0
    for stage, mine, theirs in zip(STAGES, STUDENT_SHAPES, TEACHER_SHAPES, strict=True):
        size = tuple(min(pair) for pair in zip(mine[1:], theirs[1:], strict=True))
        for video in range(4):
            one = attention(numbers(student.taps[stage])[video], size, per_frame)
            other = attention(numbers(teacher.taps[stage])[video], size, per_frame)
            total += ((one - other) ** 2).mean() / 4
    found = built("at", per_frame=per_frame).losses(batch(), student, teacher, progress())
    assert found["attention"].item() == pytest.approx(1000 * total, rel=1e-4)


def test_the_term_is_zero_when_both_agree() -> None:
    one = outputs(1, STUDENT_SHAPES)
    assert built("at").losses(batch(), one, one, progress())["attention"].item() == 0


def test_the_size_of_the_maps_numbers_does_not_matter() -> None:
    student, teacher = outputs(1, STUDENT_SHAPES), outputs(2, TEACHER_SHAPES)
    plain = built("at").losses(batch(), student, teacher, progress())["attention"].item()
    student.taps["stage1"].mul_(3)
    assert built("at").losses(batch(), student, teacher, progress())["attention"].item() == pytest.approx(plain)


def test_the_students_taps_get_gradients_where_the_map_has_more_than_one_place() -> None:
    found = gradients(built("at"), outputs(1, STUDENT_SHAPES, learns=True), outputs(2, TEACHER_SHAPES))
    assert found >= {"stage1", "stage2", "stage3"}


def test_the_term_of_some_taps_is_that_of_all_less_that_of_the_others() -> None:
    student, teacher = outputs(1, STUDENT_SHAPES), outputs(2, TEACHER_SHAPES)
    parts = [built("at", taps=taps) for taps in (STAGES, STAGES[:1], STAGES[1:])]
    assert [part.student_taps for part in parts] == [part.teacher_taps for part in parts]
    whole, first, rest = (part.losses(batch(), student, teacher, progress())["attention"].item() for part in parts)
    assert whole == pytest.approx(first + rest, rel=1e-5)


def test_no_tap_at_all_is_refused() -> None:
    with pytest.raises(PluginError, match="taps is empty; name at least one"):
        built("at", taps=())
