"""The action term alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kdbench.train import ask_student, progress_of, take_step
from tests.plugins.methods.cases import built, numbers, softmax
from tests.test_train import training


def test_the_one_term_is_the_cross_entropy_of_the_labels_as_computed_by_loops(tmp_path: Path) -> None:
    begun = training(tmp_path, method=built("action-only"))
    begun.network.train()
    batch = next(begun.loader.epoch(0))
    logits, total = numbers(ask_student(begun, batch).logits_BK), 0.0
    for row, label in zip(logits, batch.labels_B.tolist(), strict=True):
        total -= np.log(softmax(row)[label]) / len(logits)
    terms = take_step(begun, batch, progress_of(begun, 0, 0))[1]
    assert {name: term.item() for name, term in terms.items()} == {"action": pytest.approx(total, rel=1e-5)}


def test_there_are_no_memory_banks_to_keep(tmp_path: Path) -> None:
    assert training(tmp_path, method=built("action-only")).objective.banks is None
