"""Fine-tuning on the second data set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kdbench.models import Network, build_network
from kdbench.records import TransferResult, scores_of
from kdbench.rundir import RunDir
from kdbench.transfer import Transfer, fine_tune
from tests.conftest import Listener
from tests.tiny import access, registry, tiny_board


def tuned(tmp_path: Path, mode: str) -> tuple[Network, dict[str, torch.Tensor], TransferResult]:
    board = tiny_board(transfer={"mode": mode})
    student = build_network(board, registry().get("backbones", "r3d"), 8, 0, {})
    before = {name: value.clone() for name, value in student.backbone.state_dict().items()}
    transfer = Transfer.of(board, access())
    assert transfer is not None
    tmp_path.mkdir(exist_ok=True)
    result, _ = fine_tune(transfer, student, 0, "cpu", RunDir(tmp_path), Listener())
    return student, before, result


def test_a_board_without_a_second_data_set_has_no_transfer() -> None:
    assert Transfer.of(tiny_board(transfer=None), access()) is None


def test_all_layers_are_trained_and_the_last_epoch_counts(tmp_path: Path) -> None:
    student, before, result = tuned(tmp_path, "full")
    assert student.action.out_features == len(result.classes) == 6
    assert any(not torch.equal(before[name], value) for name, value in student.backbone.state_dict().items())
    assert len(result.curve) == result.epochs == 2
    assert result.top1 == scores_of(result.predictions).top1


def test_a_linear_probe_trains_the_head_and_leaves_weights_and_buffers_of_the_backbone_alone(tmp_path: Path) -> None:
    student, before, _ = tuned(tmp_path, "linear-probe")
    for name, value in student.backbone.state_dict().items():
        assert torch.equal(before[name], value)


@pytest.mark.parametrize("mode", ["full", "linear-probe"])
def test_fine_tuning_is_reproducible(tmp_path: Path, mode: str) -> None:
    assert tuned(tmp_path / "a", mode)[2].curve == tuned(tmp_path / "b", mode)[2].curve
