"""The reused classifier against its equation, and the network that is evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kdbench.api import Method, PluginError
from kdbench.checks import problems_of
from kdbench.run import execute
from tests.plugins.methods.cases import (
    STUDENT_SHAPES,
    TEACHER_SHAPES,
    Floats,
    batch,
    built,
    clips,
    gradients,
    network,
    numbers,
    outputs,
    pooled_to,
    progress,
    spec,
)
from tests.tiny import bench, request, tiny_board

SHAPES = ((4, 2, 2, 2), (6, 2, 2, 3))  # of the last maps; pooled to 2 x 2 x 2
TEACHER = (*TEACHER_SHAPES[:3], SHAPES[1])
STUDENT = (*STUDENT_SHAPES[:3], SHAPES[0])


def simkd(**options: float) -> Method:
    return built("simkd", spec(STUDENT), spec(TEACHER), **options)


def convolved(maps: Floats, weight: Floats) -> Floats:
    """A convolution that keeps positions, by loops; maps (B, C, T, H, W), weight (O, C, k, k, k)."""
    reach = weight.shape[2] // 2
    around = np.pad(maps, ((0, 0), (0, 0), *[(reach, reach)] * 3))
    result = np.zeros((len(maps), len(weight), *maps.shape[2:]))
    for video, out, t, h, w in np.ndindex(*result.shape):
        size = weight.shape[2]
        result[video, out, t, h, w] = (around[video, :, t : t + size, h : h + size, w : w + size] * weight[out]).sum()
    return result


def normalised(maps: Floats) -> Floats:
    """Batch normalisation of a fresh layer in training mode, and ReLU."""
    mean, variance = maps.mean((0, 2, 3, 4), keepdims=True), maps.var((0, 2, 3, 4), keepdims=True)
    return np.asarray(np.maximum((maps - mean) / np.sqrt(variance + 1e-5), 0))


def test_the_term_is_the_distance_of_projected_maps_as_computed_by_loops() -> None:
    method, student, teacher = simkd(), outputs(1, STUDENT), outputs(2, TEACHER)
    assert isinstance(method.projector, nn.Sequential)
    maps = numbers(student.taps["stage4"])
    for layer in (0, 3, 6):
        maps = normalised(convolved(maps, numbers(method.projector[layer].weight)))
    target = np.array([pooled_to(each, (2, 2, 2)) for each in numbers(teacher.taps["stage4"])])
    found = method.losses(batch(), student, teacher, progress())["maps"].item()
    assert found == pytest.approx(((maps - target) ** 2).mean(), rel=1e-4)


def test_the_projector_is_narrower_inside_by_the_factor() -> None:
    method = simkd(factor=3)
    assert isinstance(method.projector, nn.Sequential)
    assert [method.projector[layer].out_channels for layer in (0, 3, 6)] == [2, 2, 6]


def test_the_students_last_tap_and_the_projector_get_gradients() -> None:
    method = simkd()
    assert gradients(method, outputs(1, STUDENT, learns=True), outputs(2, TEACHER)) == {"stage4"}
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_the_teachers_classifier_is_neither_saved_nor_counted() -> None:
    assert all(key.startswith("projector.") for key in simkd().state_dict())


def test_what_is_evaluated_reads_the_students_projected_maps_with_the_teachers_classifier() -> None:
    own, teacher = network(0), spec(TEACHER)
    method = built("simkd", own.spec, teacher).eval()
    read = method.export(own).eval()
    maps = own.outputs(clips().clips_BVCTHW, ("stage4",)).taps["stage4"]
    assert maps.shape[2:] == (1, 1, 1)
    features = method.projector(maps).mean((2, 3, 4))
    assert torch.equal(read(clips().clips_BVCTHW[:, 0]), teacher.classifier(features))


def test_a_projector_that_is_right_answers_as_the_teacher_does() -> None:
    own = network(0).eval()
    teacher = replace(own.spec, classifier=nn.Linear(own.spec.features, own.spec.classes))
    method = built("simkd", own.spec, teacher)
    method.projector = nn.Identity()
    pooled = own.outputs(clips().clips_BVCTHW).pooled_BD
    answer = method.export(own)(clips().clips_BVCTHW[:, 0])
    assert torch.allclose(answer, teacher.classifier(pooled), atol=1e-6)


def test_a_run_leaves_the_action_term_out_and_scores_what_is_exported(tmp_path: Path) -> None:
    asked = request(tiny_board(transfer=None, optim={"epochs": 1}), teacher="c3d", method="simkd")
    record = execute(asked, bench(tmp_path))
    assert set(record.epochs[0].losses) == {"pretext", "contrast", "maps"}
    weights = torch.load(tmp_path / "tiny" / record.run_id / "weights.pt", weights_only=True)["network"]
    assert weights["action.weight"].isnan().all(), "no one trained or evaluated that head"
    assert weights["pretext.weight"].isfinite().all()
    assert problems_of(record) == []


def test_a_teacher_that_does_not_classify_the_averages_of_its_tap_is_refused() -> None:
    with pytest.raises(PluginError, match=r"any does not classify the averages of its stage4 \(5 channels, 6 features"):
        built("simkd", spec(STUDENT), spec(TEACHER_SHAPES))


def test_a_factor_of_nothing_is_refused() -> None:
    with pytest.raises(PluginError, match="factor is 0; it must be at least 1"):
        simkd(factor=0)
