"""SSKD against its equations, and its phase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kdbench.api import Method, Outputs, Phase, PluginError, ViewOutputs
from kdbench.run import execute
from kdbench_plugins.methods.sskd import kept
from tests.plugins.methods.cases import (
    CLASSES,
    VIDEOS,
    Floats,
    batch,
    built,
    clips,
    divergence,
    draw,
    numbers,
    outputs,
    progress,
    softmax,
    spec,
)
from tests.tiny import bench, request, tiny_board

PHASE = "teacher's head"


def shown(seed: int, *, features: int = 6, learns: bool = False) -> Outputs:
    """Outputs with those of three further clips of each video."""
    views = ViewOutputs(
        (2 * draw(seed + 50, VIDEOS, 3, CLASSES)).requires_grad_(learns),
        draw(seed + 51, VIDEOS, 3, features).requires_grad_(learns),
    )
    return replace(outputs(seed, features=features, learns=learns), views=views)


def sskd(**options: float) -> Method:
    return built("sskd", spec(features=3), spec(), **options)


def embedded(method: Method, side: str, features: Floats) -> Floats:
    """The unit embedding of one clip."""
    parts = [numbers(method.state_dict()[f"{side}.{part}"]) for part in ("0.weight", "0.bias", "2.weight", "2.bias")]
    vector = parts[2] @ np.maximum(parts[0] @ features + parts[1], 0) + parts[3]
    result: Floats = vector / np.sqrt((vector**2).sum())
    return result


def similarities(method: Method, side: str, network: Outputs) -> Iterator[tuple[int, Floats]]:
    """For each rotated clip, its video and cos / T with every video as it is."""
    assert network.views is not None
    plain = [embedded(method, side, each) for each in numbers(network.pooled_BD)]
    for video, features in enumerate(numbers(network.views.pooled_BXD)):
        for each in features:
            own = embedded(method, side, each)
            yield video, np.array([(own * other).sum() / 0.5 for other in plain])


def chosen(scores: list[Floats], truth: list[int], share: float) -> list[int]:
    """The rows that are learnt from: those with the truth on top, then the best share of the others."""
    ranks = [sum(score > row[true] for score in row) for row, true in zip(scores, truth, strict=True)]
    right = sum(rank == 0 for rank in ranks)
    order = sorted(range(len(ranks)), key=lambda row: (ranks[row], row))
    return order[: right + int(share * (len(ranks) - right))]


@pytest.mark.parametrize(("rotated_share", "similar_share"), [(1.0, 0.75), (0.5, 0.0)])
def test_the_terms_are_those_of_the_paper_as_computed_by_loops(rotated_share: float, similar_share: float) -> None:
    method = sskd(keep_rotated=rotated_share, keep_similar=similar_share)
    student, teacher, tau = shown(1, features=3), shown(2), 4.0
    assert student.views is not None
    assert teacher.views is not None
    soft = rotated = similar = 0.0
    for mine, theirs in zip(numbers(student.logits_BK), numbers(teacher.logits_BK), strict=True):
        soft += divergence(softmax(theirs / tau), softmax(mine / tau)) / 4
    mine_NK, theirs_NK = (
        [row for video in numbers(each.views.logits_BXK) for row in video] for each in (student, teacher) if each.views
    )
    labels = [label for label in batch().labels_B.tolist() for _ in range(3)]
    rows = chosen(theirs_NK, labels, rotated_share)
    for row in rows:
        rotated += divergence(softmax(theirs_NK[row] / tau), softmax(mine_NK[row] / tau)) / len(rows)
    own, theirs_NB = zip(*similarities(method, "theirs", teacher), strict=True)
    _, mine_NB = zip(*similarities(method, "mine", student), strict=True)
    rows = chosen(list(theirs_NB), list(own), similar_share)
    for row in rows:
        similar += divergence(softmax(theirs_NB[row]), softmax(mine_NB[row])) / len(rows)
    found = {name: term.item() for name, term in method.losses(batch(), student, teacher, progress()).items()}
    expected = {"soft": 0.9 * tau**2 * soft, "rotated": 2.7 * tau**2 * rotated, "similar": 10 * 0.5**2 * similar}
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_phase_teaches_the_teachers_head_to_find_the_video_as_computed_by_loops() -> None:
    method, teacher, total = sskd(), shown(2), 0.0
    for video, row in similarities(method, "theirs", teacher):
        total -= np.log(softmax(row)[video]) / 12
    found = method.losses(batch(), shown(1, features=3), teacher, progress(phase=PHASE))
    assert {name: term.item() for name, term in found.items()} == {"head": pytest.approx(total, rel=1e-4)}
    found["head"].backward()
    assert {name.split(".")[0] for name, each in method.named_parameters() if each.grad is not None} == {"theirs"}


def test_after_the_phase_the_teachers_head_is_frozen_and_the_students_learns() -> None:
    method, student = sskd(), shown(1, features=3, learns=True)
    method.losses(batch(), student, shown(2), progress(phase=PHASE))
    torch.stack(list(method.losses(batch(), student, shown(2), progress()).values())).sum().backward()
    assert {name.split(".")[0] for name, each in method.named_parameters() if each.grad is not None} == {"mine"}
    assert student.views is not None
    for part in (student.logits_BK, student.pooled_BD, student.views.logits_BXK, student.views.pooled_BXD):
        assert part.grad is not None


def test_all_right_rows_are_kept_and_of_the_wrong_ones_the_least_wrong() -> None:
    scores = torch.tensor([[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [0, 1, 2], [2, 1, 0]])
    truth = torch.tensor([0, 2, 1, 1, 2])  # ranks 0, 2, 1, 1, 2
    assert kept(scores, truth, 0.5).tolist() == [1, 0, 1, 1, 0]
    assert kept(scores, truth, 0.0).tolist() == [1, 0, 0, 0, 0]
    assert kept(scores, truth, 1.0).tolist() == [1, 1, 1, 1, 1]


def test_the_further_clips_are_clip_0_turned_once_twice_and_thrice() -> None:
    sample = clips(2, views=3)
    views = sskd().views(sample)
    assert views is not None
    assert views.shape == (2, 3, 3, 8, 16, 16)
    clip = sample.clips_BVCTHW[:, 0]
    assert torch.equal(views[:, 0, :, :, 2, 5], clip[:, :, :, 5, 13])
    assert torch.equal(views[:, 1], clip.flip(3).flip(4))
    assert torch.equal(views[:, 2, :, :, 2, 5], clip[:, :, :, 10, 2])


def test_the_phase_trains_the_method_alone_and_may_be_left_out() -> None:
    assert sskd().phases() == (Phase(PHASE, 60, trains="method"),)
    assert sskd(head_epochs=0).phases() == ()


def test_a_run_trains_the_teachers_head_first_and_says_so(tmp_path: Path) -> None:
    board = tiny_board(transfer=None, optim={"epochs": 1})
    record = execute(request(board, teacher="c3d", method="sskd", options={"head_epochs": "2"}), bench(tmp_path))
    assert (record.method.phase_epochs, record.method.base_weights) == (2, {"action": 0.1})
    assert set(record.epochs[0].losses) == {"action", "pretext", "contrast", "soft", "rotated", "similar"}
    assert record.cost.phases_s > 0


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(PluginError, match=r"keep_similar is 2.0; it must be between 0 and 1"):
        sskd(keep_similar=2)
