"""Contrastive representation distillation against its equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdbench.api import Method, Task
from tests.plugins.methods.cases import (
    CLASS_OF_VIDEO,
    Floats,
    batch,
    built,
    gradients,
    numbers,
    outputs,
    progress,
    spec,
)

OWN = (3, 2, 1, 0)  # the videos of the batch


def crd(**options: float) -> Method:
    return built("crd", spec(features=3), spec(), **options)


def unit(vectors: Floats) -> Floats:
    return np.array([vector / np.sqrt((vector**2).sum()) for vector in vectors])


def embeddings(method: Method, side: int, features: Floats) -> Floats:
    weight, bias = (numbers(method.state_dict()[f"heads.{side}.{part}"]) for part in ("weight", "bias"))
    return unit(np.array([weight @ each + bias for each in features]))


def others(video: int) -> list[int]:
    """The videos of other classes."""
    return [other for other, label in enumerate(CLASS_OF_VIDEO) if label != CLASS_OF_VIDEO[video]]


def estimation(anchors: Floats, bank: Floats, z: float | None = None) -> tuple[float, float]:
    """The term of one direction with all videos of other classes as negatives, and the constant Z."""
    rows = [[own, *others(own)] for own in OWN]
    powers = [
        [np.exp((anchor * bank[row]).sum() / 0.07) for row in picked]
        for anchor, picked in zip(anchors, rows, strict=True)
    ]
    z = z or float(np.mean(powers)) * len(bank)
    noise, total = (len(rows[0]) - 1) / len(bank), 0.0
    for positive, *negatives in powers:
        total -= np.log(positive / z / (positive / z + noise)) / len(anchors)
        for negative in negatives:
            total -= np.log(1 - negative / z / (negative / z + noise)) / len(anchors)
    return total, z


def test_the_term_is_noise_contrastive_estimation_both_ways_as_computed_by_loops() -> None:
    method, student, teacher = crd(dimensions=8), outputs(1, features=3), outputs(2)
    student_bank, teacher_bank = numbers(method.state_dict()["banks_2nE"])
    forward, z_teacher = estimation(embeddings(method, 0, numbers(student.pooled_BD)), teacher_bank)
    backward, z_student = estimation(embeddings(method, 1, numbers(teacher.pooled_BD)), student_bank)
    found = method.losses(batch(), student, teacher, progress())
    assert found["contrastive"].item() == pytest.approx(0.8 * (forward + backward), rel=1e-4)
    assert numbers(method.state_dict()["constants_2"]) == pytest.approx([z_student, z_teacher], rel=1e-4)


def test_the_constant_stays_that_of_the_first_batch() -> None:
    method, student, teacher = crd(dimensions=8), outputs(1, features=3), outputs(2)
    method.losses(batch(), outputs(5, features=3), outputs(6), progress())
    z_student, z_teacher = numbers(method.state_dict()["constants_2"])
    student_bank, teacher_bank = numbers(method.state_dict()["banks_2nE"])
    forward, _ = estimation(embeddings(method, 0, numbers(student.pooled_BD)), teacher_bank, z_teacher)
    backward, _ = estimation(embeddings(method, 1, numbers(teacher.pooled_BD)), student_bank, z_student)
    found = method.losses(batch(), student, teacher, progress(step=1))
    assert found["contrastive"].item() == pytest.approx(0.8 * (forward + backward), rel=1e-4)


def test_a_step_moves_the_batchs_entries_half_way_to_its_embeddings_and_no_other_entry() -> None:
    method, student, teacher = crd(dimensions=8), outputs(1, features=3), outputs(2)
    before = numbers(method.state_dict()["banks_2nE"]).copy()
    with torch.no_grad():
        method.after_step(batch(), student, teacher, progress())
    after = numbers(method.state_dict()["banks_2nE"])
    for side, network in enumerate((student, teacher)):
        fresh = embeddings(method, side, numbers(network.pooled_BD))
        assert after[side][list(OWN)] == pytest.approx(unit(before[side][list(OWN)] / 2 + fresh / 2), rel=1e-4)
        assert (after[side][4:] == before[side][4:]).all()


def test_negatives_are_distinct_videos_of_other_classes_and_drawn_anew_at_each_step() -> None:
    method, seen = crd(negatives=3), [set[int]() for _ in OWN]
    for step in range(40):
        rows = method._rows(batch(), progress(step=step)).tolist()
        assert [row[0] for row in rows] == list(OWN)
        for own, row, known in zip(OWN, rows, seen, strict=True):
            assert len(set(row)) == 4
            assert set(row[1:]) <= set(others(own))
            known |= set(row[1:])
    assert seen == [set(others(own)) for own in OWN]


def test_the_same_step_draws_the_same_negatives() -> None:
    one, other = (crd(negatives=3)._rows(batch(), progress(step=2)) for _ in range(2))
    assert torch.equal(one, other)


def test_there_are_never_more_negatives_than_videos_outside_of_the_largest_class() -> None:
    assert crd().num_negatives == 8
    lone = crd()
    lone.build(spec(features=3), spec(), Task(5, 4, (1, 1, 1, 1), 4, 10, 5))
    assert lone.losses(batch(), outputs(1, features=3), outputs(2), progress())["contrastive"].item() == 0


def test_the_students_features_and_both_heads_get_gradients() -> None:
    method = crd()
    assert gradients(method, outputs(1, features=3, learns=True), outputs(2)) == {"pooled"}
    assert all(parameter.grad is not None for parameter in method.parameters())
