"""The self-supervised terms with a probe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kdbench.api import PluginError
from kdbench.train import take_step
from tests.plugins.methods.cases import batch, built, network, numbers, outputs, progress, softmax
from tests.test_train import training
from tests.tiny import registry, tiny_board


def test_the_probe_is_the_cross_entropy_of_the_action_head_as_computed_by_loops() -> None:
    method, student, own = built("pcl", weight=0.5), outputs(1, features=32), network(0)
    method.begin(own, None)
    weight, bias, total = numbers(own.action.weight), numbers(own.action.bias), 0.0
    for features, label in zip(numbers(student.pooled_BD), batch().labels_B.tolist(), strict=True):
        total -= np.log(softmax(weight @ features + bias)[label]) / 4
    assert method.losses(batch(), student, None, progress())["probe"].item() == pytest.approx(0.5 * total, rel=1e-5)


def test_the_probe_moves_the_action_head_and_nothing_before_it(tmp_path: Path) -> None:
    begun = training(tmp_path, method=registry().get("methods", "pcl").make({}))
    sample = next(begun.loader.epoch(0))
    student = begun.network.outputs(sample.clips_BVCTHW)
    begun.method.losses(sample, student, None, progress())["probe"].backward()
    moved = {name.split(".")[0] for name, each in begun.network.named_parameters() if each.grad is not None}
    assert moved == {"action"}


def test_the_backbone_does_not_depend_on_the_weight_of_the_probe(tmp_path: Path) -> None:
    backbones = []
    for weight in (1.0, 3.0):
        begun = training(tmp_path, method=registry().get("methods", "pcl").make({"weight": weight}))
        begun.network.train()
        terms = take_step(begun, next(begun.loader.epoch(0)), progress())[1]
        assert set(terms) == {"pretext", "contrast", "probe"}
        backbones.append(torch.cat([each.detach().flatten() for each in begun.network.backbone.parameters()]))
    assert torch.equal(*backbones)


def test_a_board_without_self_supervised_terms_is_refused(tmp_path: Path) -> None:
    board = tiny_board(transfer=None, objective={"kind": "supervised"})
    with pytest.raises(PluginError, match="neither a pretext nor a contrastive term"):
        training(tmp_path, board, method=registry().get("methods", "pcl").make({}))
