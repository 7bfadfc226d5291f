"""The phase of similarities against its equations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kdbench.api import Batch, Method, Outputs, Phase, PluginError
from tests.plugins.methods.cases import (
    VIDEOS,
    Floats,
    built,
    clips,
    divergence,
    draw,
    network,
    numbers,
    outputs,
    progress,
    softmax,
)

PHASE = progress(phase="similarities")


def begun(**options: float) -> Method:
    own = network(3)
    method = built("auxskd", own.spec, **({"dimensions": 8} | options))
    method.begin(own, None)
    return method.train()


def batch() -> Batch:
    return clips(views=3)


def student(*, learns: bool = False) -> Outputs:
    pooled_BVD = draw(5, VIDEOS, 3, 32).requires_grad_(learns)
    return replace(outputs(1), pooled_BVD=pooled_BVD, pooled_BD=pooled_BVD[:, 0])


def unit(vectors: torch.Tensor) -> Floats:
    rows = numbers(vectors)
    result: Floats = rows / (rows**2).sum(1, keepdims=True) ** 0.5
    return result


def keys() -> torch.Tensor:
    """What the average makes of the last clips: it begins as the student, and runs in evaluation mode."""
    method = begun()
    with torch.no_grad():
        pooled = network(3).eval().backbone(batch().clips_BVCTHW[:, 2])
        key: torch.Tensor = method.average_projection(pooled)
    return key


def test_the_term_is_the_divergence_of_similarities_with_the_queue_as_computed_by_loops() -> None:
    method, other = begun(), begun()
    with torch.no_grad():
        queries = unit(other.predictor(other.projection(student().pooled_BVD[:, 0])))
    queue, mean = numbers(method.queue_QE), 0.0
    for key, query in zip(unit(keys()), queries, strict=True):
        taught, learning = (
            softmax(np.array([(each * entry).sum() / sharpness for entry in queue]))
            for each, sharpness in ((key, 0.02), (query, 0.1))
        )
        mean += divergence(taught + 1e-30, learning) / 4
    found = method.losses(batch(), student(), None, PHASE)
    assert {name: term.item() for name, term in found.items()} == {"similarities": pytest.approx(mean, rel=1e-3)}


def test_keys_take_the_place_of_the_oldest_entries() -> None:
    method = begun()
    assert len(method.queue_QE) == 8  # the largest multiple of a batch of 4 among 10 videos
    before = method.queue_QE.clone()
    for step, rows in ((0, slice(0, 4)), (1, slice(4, 8)), (2, slice(0, 4))):
        at = replace(PHASE, step=step)
        method.losses(batch(), student(), None, at)
        with torch.no_grad():
            method.after_step(batch(), student(), None, at)
        assert torch.equal(method.queue_QE[rows], method.keys[0])
        assert step or torch.equal(method.queue_QE[4:], before[4:])


def test_the_average_moves_a_thousandth_of_the_way_to_the_student() -> None:
    method, other = begun(), network(4)
    before = numbers(method.average.action.weight).copy()
    method.losses(batch(), student(), None, PHASE)
    method.student = (other,)
    with torch.no_grad():
        method.after_step(batch(), student(), None, PHASE)
    mixed = 0.999 * before + 0.001 * numbers(other.action.weight)
    assert numbers(method.average.action.weight) == pytest.approx(mixed, abs=1e-6)


def test_the_first_clips_features_the_projection_and_the_predictor_learn_and_the_average_does_not() -> None:
    method, own = begun(), student(learns=True)
    method.losses(batch(), own, None, PHASE)["similarities"].backward()
    moved = {name.split(".")[0] for name, each in method.named_parameters() if each.grad is not None}
    assert moved == {"projection", "predictor"}
    assert own.pooled_BVD.grad is not None
    assert [bool(own.pooled_BVD.grad[:, clip].abs().sum() > 0) for clip in range(3)] == [True, False, False]


def test_the_boards_epochs_have_no_term_of_the_method_and_change_nothing_of_it() -> None:
    method = begun()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    assert method.losses(batch(), student(), None, progress()) == {}
    method.after_step(batch(), student(), None, progress())
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    assert not any(each.requires_grad for each in method.parameters())


def test_there_is_one_phase_of_twenty_five_epochs_and_it_cannot_be_left_out() -> None:
    assert begun().phases() == (Phase("similarities", 25),)
    with pytest.raises(PluginError, match="epochs is 0; the method is nothing without its phase"):
        begun(epochs=0)
