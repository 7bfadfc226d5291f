"""Mutual learning against its equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from kdbench.api import Method
from tests.plugins.methods.cases import built, clips, divergence, network, numbers, outputs, progress, softmax


def peers_logits() -> Tensor:
    logits: Tensor = network(1)(clips().clips_BVCTHW[:, 0])
    return logits


def test_the_terms_are_both_divergences_and_the_peers_cross_entropy_as_computed_by_loops() -> None:
    method, student = built("dml", weight=0.5), outputs(1)
    mutual = action = back = 0.0
    rows = zip(numbers(student.logits_BK), numbers(peers_logits()), clips().labels_B.tolist(), strict=True)
    for mine, peers, label in rows:
        mutual += divergence(softmax(peers), softmax(mine)) / 4
        back += divergence(softmax(mine), softmax(peers)) / 4
        action -= np.log(softmax(peers)[label]) / 4
    found = {name: term.item() for name, term in method.losses(clips(), student, None, progress()).items()}
    expected = {"mutual": 0.5 * mutual, "peer_action": action, "peer_mutual": 0.5 * back}
    assert found == pytest.approx(expected, rel=1e-4)


def reached(method: Method, term: str) -> tuple[bool, bool]:
    """Whether a term moves the student's logits, and the peer's weights."""
    student = outputs(1, learns=True)
    method.losses(clips(), student, None, progress())[term].backward()
    gradients = [each.grad for each in method.peer.parameters() if each.grad is not None]
    return student.logits_BK.grad is not None, bool(gradients)


@pytest.mark.parametrize(
    ("term", "moved"), [("mutual", (True, False)), ("peer_action", (False, True)), ("peer_mutual", (False, True))]
)
def test_each_term_teaches_one_of_the_two(term: str, moved: tuple[bool, bool]) -> None:
    assert reached(built("dml"), term) == moved


def test_the_peer_trains_in_training_mode_and_its_unused_heads_stay_frozen() -> None:
    method = built("dml")
    method.losses(clips(), outputs(1), None, progress())
    counters = [value for name, value in method.peer.state_dict().items() if name.endswith("num_batches_tracked")]
    assert all(int(value) == 1 for value in counters)
    learning = {name.split(".")[1] for name, each in method.named_parameters() if each.requires_grad}
    assert learning == {"backbone", "action"}


def test_the_student_is_what_is_evaluated() -> None:
    own = network(3)
    assert built("dml").export(own) is own


def test_agreement_leaves_the_cross_entropy_alone() -> None:
    logits = peers_logits().detach()
    student = outputs(1)
    with torch.no_grad():
        student.logits_BK.copy_(logits)
    terms = built("dml").losses(clips(), student, None, progress())
    assert abs(terms["mutual"].item()) < 1e-6
    assert abs(terms["peer_mutual"].item()) < 1e-6
