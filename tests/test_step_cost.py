"""What one training step asks of the device: counts, which hold on any machine. Times are in tests/benchmarks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from kdbench.api import Progress
from kdbench.board import load_board
from kdbench.models import Network, build_network, freeze
from kdbench.train import Tally, take_step
from tests.test_train import training
from tests.tiny import registry

BATCH = 2


class Operations(TorchDispatchMode):
    """Counts the operations that reach the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[str(function)] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture
def operations(tmp_path: Path) -> Counter[str]:
    trained = training(tmp_path, student="c3d", teacher="r3d")
    batch = next(trained.loader.epoch(0))
    with Operations() as counted:
        student, terms = take_step(trained, batch, Progress(0, 0, 3, 3, 0))
        Tally().add(batch, student, terms)
    return counted.found


def test_a_step_waits_for_the_device_nowhere(operations: Counter[str]) -> None:
    waiting = ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "unique")
    assert [name for name in operations if any(each in name for each in waiting)] == []


def test_all_weights_are_updated_in_one_operation(operations: Counter[str]) -> None:
    assert operations["aten._fused_sgd_.default"] == 1
    assert sum(count for name, count in operations.items() if "_foreach" in name) == 0


def full_size(backbone: str) -> Network:
    return build_network(load_board("camarena2024"), registry().get("backbones", backbone), 101, 0, {})


@pytest.mark.parametrize("backbone", ["c3d", "r3d", "r2plus1d"])
def test_a_full_size_step_computes_no_more_than_three_forward_passes_and_the_teachers(backbone: str) -> None:
    board = load_board("camarena2024")
    student, teacher = full_size(backbone), freeze(full_size("r3d"))
    clip = (3, board.clip.length, board.frames.crop, board.frames.crop)
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:  # computes nothing
        clips = torch.empty(BATCH, board.clip.per_tuple, *clip)
        outputs = student.outputs(clips)
        with torch.no_grad():
            taught = teacher.outputs(clips[:, :1])
        assert outputs.pretext_BK is not None
        assert outputs.embedding_BVE is not None
        parts = (outputs.logits_BK, outputs.pretext_BK, outputs.embedding_BVE, taught.logits_BK)
        torch.autograd.backward(torch.stack([part.sum() for part in parts]).sum())
    theory = 2e9 * BATCH * (3 * board.clip.per_tuple * student.spec.gmacs + teacher.spec.gmacs)
    assert 0.9 * theory < counter.get_total_flops() <= 1.02 * theory
