"""Features of a teacher on another modality."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdbench.api import Method
from tests.plugins.methods.cases import Floats, batch, built, gradients, numbers, outputs, progress, spec


def distance(one: Floats, other: Floats) -> float:
    total = 0.0
    for place in np.ndindex(*one.shape):
        total += (one[place] - other[place]) ** 2 / one.size
    return total


def found(method: Method, features: int = 6) -> float:
    terms = method.losses(batch(), outputs(1, features=features), outputs(2), progress())
    return terms["features"].item()


def test_the_term_is_fifty_times_the_mean_squared_distance_as_computed_by_loops() -> None:
    expected = distance(numbers(outputs(1).pooled_BD), numbers(outputs(2).pooled_BD))
    assert found(built("mars")) == pytest.approx(50 * expected, rel=1e-5)


def test_features_of_another_size_are_mapped_first() -> None:
    method = built("mars", spec(features=3), spec(), weight=2.0)
    weight, bias = (numbers(method.state_dict()[f"connector.{part}"]) for part in ("weight", "bias"))
    mapped = np.array([weight @ each + bias for each in numbers(outputs(1, features=3).pooled_BD)])
    assert found(method, 3) == pytest.approx(2 * distance(mapped, numbers(outputs(2).pooled_BD)), rel=1e-5)


def test_networks_of_one_size_need_no_connector() -> None:
    assert list(built("mars").parameters()) == []


def test_the_teacher_is_one_of_rgb() -> None:
    assert built("mars").teacher_modality == "rgb"


def test_only_the_students_features_get_a_gradient() -> None:
    assert gradients(built("mars"), outputs(1, learns=True), outputs(2)) == {"pooled"}


def test_the_term_is_zero_when_both_agree() -> None:
    one = outputs(1)
    assert torch.equal(built("mars").losses(batch(), one, one, progress())["features"], torch.tensor(0.0))
