"""Video-level accuracy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kdbench.data.loader import TestLoader
from kdbench.errors import RunFailed
from kdbench.evaluate import evaluate
from kdbench.records import scores_of, unpack_ids
from tests.tiny import material, tiny_board


class Oracle(nn.Module):
    """Answers from a list of logits, one row for each clip it is asked about, in order."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.rows, self.at, self.modes = torch.tensor(rows), 0, set[bool]()

    def forward(self, clips: Tensor) -> Tensor:
        self.modes.add(self.training)
        answer = self.rows[self.at : self.at + len(clips)]
        self.at += len(clips)
        return answer


def loader() -> TestLoader:
    board, found = tiny_board(), material()
    return TestLoader(board, found.store, found.test, torch.device("cpu"))


def one_hot(label: int, height: float = 1.0) -> list[float]:
    return [height if place == label else 0.0 for place in range(8)]


def test_logits_are_averaged_over_the_views_before_the_decision() -> None:
    test = loader()
    rows = []
    for label in test.videos.labels.tolist():
        wrong = (label + 1) % 8
        rows += [one_hot(label, 5.0), one_hot(wrong, 2.0), one_hot(wrong, 2.0)]  # two of three views say "wrong"
    assert evaluate(Oracle(rows), test, "fp32", 3).top1 == 1.0


def test_top5_counts_a_label_among_the_five_best() -> None:
    test = loader()
    rows = []
    for video, label in enumerate(test.videos.labels.tolist()):
        place = 4 if video % 2 else 6
        order = [other for other in range(8) if other != label]
        order.insert(place, label)
        rows.append([float(8 - order.index(which)) for which in range(8)])
    found = evaluate(Oracle(rows), test, "fp32", 1)
    assert (found.top1, found.top5) == (0.0, 0.5)


def test_a_network_whose_logits_are_not_finite_has_no_accuracy() -> None:
    test = loader()
    rows = [one_hot(label) for label in test.videos.labels.tolist()]
    rows[-1][0] = float("nan")
    with pytest.raises(RunFailed, match="the student's logits of the test clips are not finite; give"):
        evaluate(Oracle(rows), test, "fp32", 1)


def test_accuracy_can_be_computed_again_from_the_predictions() -> None:
    test = loader()
    labels = test.videos.labels.tolist()
    rows = [one_hot(label if video < 3 else (label + 1) % 8) for video, label in enumerate(labels)]
    found = evaluate(Oracle(rows), test, "fp32", 1)
    assert found.top1 == 3 / len(labels) == scores_of(found.predictions).top1
    assert unpack_ids(found.predictions.labels) == labels


def test_the_network_is_scored_in_evaluation_mode_and_left_in_training_mode() -> None:
    test = loader()
    oracle = Oracle([one_hot(0)] * len(test.videos)).train()
    evaluate(oracle, test, "fp32", 1)
    assert oracle.modes == {False}
    assert oracle.training
