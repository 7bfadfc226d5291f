"""The baseline."""

from __future__ import annotations

import torch

from kdbench.api import Batch, Outputs, Progress
from tests.tiny import registry


def test_scratch_adds_no_term_and_takes_no_teacher() -> None:
    method = registry().get("methods", "scratch").make({})
    nothing = torch.zeros(1, 1)
    batch = Batch(torch.zeros(1, 1, 3, 1, 1, 1), torch.tensor([0]), torch.tensor([0]))
    outputs = Outputs(logits_BK=nothing, pooled_BD=nothing, pooled_BVD=nothing)
    assert method.losses(batch, outputs, None, Progress(0, 0, 1, 1, 0)) == {}
    assert method.teachers == 0
    assert not method.base_weights
