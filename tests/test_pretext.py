"""The pretext task on the test videos: what is asked, how it is scored, and what the record keeps of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdbench.api import Outputs
from kdbench.checks import problems_of_file
from kdbench.data import augment, sampling
from kdbench.data.loader import TestLoader
from kdbench.evaluate import evaluate_pretext
from kdbench.records import Record, pack_ids, unpack_ids
from kdbench.run import execute
from tests.factories import broken, make_record, predictions
from tests.tiny import bench, material, request, tiny_board


class Oracle(nn.Module):
    """Names the transforms in a list, one for each tuple it is shown, in order."""

    def __init__(self, names: list[int]) -> None:
        super().__init__()
        self.names, self.at, self.modes = torch.tensor(names), 0, set[bool]()

    def outputs(self, clips_BVCTHW: Tensor) -> Outputs:
        self.modes.add(self.training)
        named = self.names[self.at : self.at + len(clips_BVCTHW)]
        self.at += len(clips_BVCTHW)
        nothing = torch.zeros(len(clips_BVCTHW), 1)
        pretext = nn.functional.one_hot(named, 5).float()
        return Outputs(logits_BK=nothing, pooled_BD=nothing, pooled_BVD=nothing, pretext_BK=pretext)


def loader(**sections: Any) -> TestLoader:
    board, found = tiny_board(**sections), material()
    return TestLoader(board, found.store, found.test, torch.device("cpu"))


def asked(test: TestLoader) -> list[int]:
    return [int(label) for _, label_B in test.tuples() for label in label_B]


def test_every_test_video_is_asked_about_once_whatever_the_batch() -> None:
    small, large = loader(optim={"batch": 1}), loader(optim={"batch": 64})
    assert len(asked(small)) == len(small.videos)
    assert asked(small) == asked(large)
    one, other = (torch.cat([clips for clips, _ in test.tuples()]) for test in (small, large))
    assert torch.equal(one, other)


def test_the_questions_are_the_same_every_time() -> None:
    test = loader()
    first, again = ([clips for clips, _ in test.tuples()] for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_the_transform_is_done_to_the_middle_clip_alone_and_crops_are_central() -> None:
    test = loader(frames={"modality": "rgb"})
    videos, frames = test.videos, test.board.frames
    drawn = sampling.draw_tuples(test.board, videos.lengths, videos.keys, 0, 0)
    shown = torch.cat([clips for clips, _ in test.tuples()])
    undo = {1: 3, 2: 2, 3: 1}  # the rotations; the others of the five variants undo themselves
    assert drawn.spatial_B.any()
    for video, variant in enumerate(drawn.spatial_B.tolist()):
        variants = np.array([0, undo.get(variant, variant), 0])
        undone = augment.rearrange(shown[video].clone(), variants)
        raw_NTF = np.empty((3, test.board.clip.length, test.ring.store.geometry.frame_bytes), dtype=np.uint8)
        for clip in range(3):
            test.ring.store.read(videos.ids[video], drawn.frames_BVT[video, clip], raw_NTF[clip])
        central = augment.centre_parameters(frames, 3)
        plain = augment.to_clips(frames, torch.from_numpy(raw_NTF), central, test.board.augment.blur_kernel, None)
        assert torch.allclose(undone, plain, atol=1e-6)


def test_accuracy_is_the_share_of_transforms_named_right() -> None:
    test = loader()
    labels = asked(test)
    named = [label if at < 3 else (label + 1) % 5 for at, label in enumerate(labels)]
    found = evaluate_pretext(Oracle(named), test, "fp32")  # type: ignore[arg-type]
    assert found.top1 == 3 / len(labels)
    assert unpack_ids(found.predictions.labels) == labels


def test_the_majority_rate_is_what_naming_the_most_frequent_transform_scores() -> None:
    test = loader()
    labels = asked(test)
    most = max(labels, key=labels.count)
    found = evaluate_pretext(Oracle([most] * len(labels)), test, "fp32")  # type: ignore[arg-type]
    assert found.top1 == found.majority == labels.count(most) / len(labels)


def test_the_network_is_asked_in_evaluation_mode_and_left_in_training_mode() -> None:
    test = loader()
    oracle = Oracle([0] * len(test.videos)).train()
    evaluate_pretext(oracle, test, "fp32")  # type: ignore[arg-type]
    assert oracle.modes == {False}
    assert oracle.training


@pytest.mark.parametrize(("kind", "asked"), [("ssl", True), ("joint", True), ("supervised", False)])
def test_a_record_has_the_result_where_the_objective_has_the_task(tmp_path: Path, kind: str, asked: bool) -> None:
    board = tiny_board(transfer=None, objective={"kind": kind}, optim={"epochs": 1})
    record = execute(request(board), bench(tmp_path))
    assert (record.pretext is not None) is asked
    assert all((mark.pretext_top1 is not None) is asked for mark in record.stages)
    assert problems_of_file(tmp_path / "tiny" / record.run_id / "record.json") == []


def with_pretext() -> Record:
    shown = msgspec.to_builtins(predictions(hits=5))
    return make_record(pretext={"top1": 0.25, "majority": 0.25, "predictions": shown})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"pretext__top1": 0.9}, "$.pretext.top1: found 0.9, its predictions give 0.25"),
        ({"stages__2__pretext_top1": 0.5}, "$.stages[2].pretext_top1: found 0.5, $.pretext.top1 says otherwise"),
        ({"pretext__majority": 0.2}, "$.pretext.majority: found 0.2, its predictions give 0.25"),
        ({"pretext__predictions__packed": ""}, "$.pretext.predictions: predictions cannot be unpacked"),
        (
            {"pretext__predictions": {"packed": pack_ids([1]), "labels": pack_ids([1]), "in_top5": 1}},
            "$.pretext.predictions.labels: found 1 videos, $.cell.num_test_videos is 20",
        ),
    ],
)
def test_a_result_that_its_predictions_do_not_give_is_named(
    tmp_path: Path, changes: dict[str, Any], said: str | None
) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(broken(with_pretext(), **changes))
    found = problems_of_file(path)
    assert any(said in line for line in found) if said else found == []


def test_a_record_of_before_the_field_is_still_sound(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(broken(make_record(), pretext=KeyError))
    assert problems_of_file(path) == []
