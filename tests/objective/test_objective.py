"""The board's terms and their weights."""

from __future__ import annotations

import msgspec
import pytest
import torch
import torch.nn.functional as F

from kdbench.api import Batch, Outputs, Progress
from kdbench.objective import Objective
from tests.tiny import tiny_board

PINS = tiny_board().objective
PROGRESS = Progress(epoch=0, step=0, epochs=1, steps_per_epoch=1, seed=0)


def inputs() -> tuple[Batch, Outputs]:
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        clips_BVCTHW=torch.zeros(4, 3, 3, 1, 1, 1),
        labels_B=torch.tensor([0, 1, 2, 3]),
        index_B=torch.tensor([0, 1, 2, 3]),
        pretext_B=torch.tensor([0, 4, 1, 2]),
    )
    outputs = Outputs(
        logits_BK=torch.randn(4, 8, generator=generator),
        pooled_BD=torch.zeros(4, 1),
        pooled_BVD=torch.zeros(4, 3, 1),
        pretext_BK=torch.randn(4, 5, generator=generator),
        embedding_BVE=F.normalize(torch.randn(4, 3, 16, generator=generator), dim=2),
    )
    return batch, outputs


@pytest.mark.parametrize(
    ("kind", "terms", "tuples"),
    [
        ("joint", {"action", "pretext", "contrast"}, True),
        ("ssl", {"action", "pretext", "contrast"}, True),
        ("supervised", {"action"}, False),
    ],
)
def test_each_kind_of_objective_has_its_terms(kind: str, terms: set[str], tuples: bool) -> None:
    objective = Objective(msgspec.structs.replace(PINS, kind=kind), 9, 0, {})
    assert objective.losses(*inputs(), PROGRESS).keys() == terms
    assert objective.needs_tuple == tuples
    assert objective.detach_action == (kind == "ssl")


def test_terms_carry_the_boards_weights() -> None:
    batch, outputs = inputs()
    light = Objective(PINS, 9, 0, {}).losses(batch, outputs, PROGRESS)
    heavy = Objective(
        msgspec.structs.replace(PINS, action=2.0, pretext=3.0, contrast=PINS.contrast * 4), 9, 0, {}
    ).losses(batch, outputs, PROGRESS)
    assert [float(heavy[name] / light[name]) for name in light] == pytest.approx([2, 3, 4])


def test_action_and_pretext_are_plain_cross_entropies() -> None:
    batch, outputs = inputs()
    terms = Objective(PINS, 9, 0, {}).losses(batch, outputs, PROGRESS)
    assert torch.equal(terms["action"], F.cross_entropy(outputs.logits_BK, batch.labels_B))
    assert outputs.pretext_BK is not None
    assert batch.pretext_B is not None
    assert torch.equal(terms["pretext"], F.cross_entropy(outputs.pretext_BK, batch.pretext_B))


def test_a_method_can_switch_a_term_of_the_board_off() -> None:
    objective = Objective(PINS, 9, 0, {"action": 0.0, "contrast": 0.0})
    assert objective.losses(*inputs(), PROGRESS).keys() == {"pretext"}
