"""Beginning with the weights of a teacher of the same architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kdbench.api import PluginError
from kdbench.run import execute
from kdbench.train import progress_of, take_step
from tests.conftest import Listener
from tests.plugins.methods.cases import built, network
from tests.test_train import training
from tests.tiny import bench, registry, request, tiny_board


def test_the_student_begins_with_all_weights_and_buffers_of_the_teacher() -> None:
    student, teacher = network(3), network(4)
    built("warm-start").begin(student, teacher)
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in student.state_dict().items())


def test_what_the_student_learns_leaves_the_teacher_alone() -> None:
    student, teacher = network(3), network(4)
    built("warm-start").begin(student, teacher)
    before = teacher.action.get_parameter("bias").clone()
    with torch.no_grad():
        student.action.get_parameter("bias").add_(1)
    assert torch.equal(teacher.action.get_parameter("bias"), before)


def test_a_head_that_has_learnt_nothing_is_not_copied() -> None:
    student, teacher = network(3), network(4)
    own = student.action.get_parameter("weight").clone()
    torch.nn.init.constant_(teacher.action.get_parameter("weight"), float("nan"))
    built("warm-start").begin(student, teacher)
    assert torch.equal(student.action.get_parameter("weight"), own)


def test_the_boards_terms_train_on_from_there_and_the_teacher_is_not_asked(tmp_path: Path) -> None:
    begun = training(tmp_path, teacher="r3d", method=registry().get("methods", "warm-start").make({}))
    assert begun.teacher is not None
    asked: list[int] = []
    begun.teacher.backbone.register_forward_hook(lambda *_: asked.append(1))
    begun.network.train()
    terms = take_step(begun, next(begun.loader.epoch(0)), progress_of(begun, 0, 0))[1]
    assert set(terms) == {"action", "pretext", "contrast"}
    theirs = begun.teacher.state_dict()
    assert any(not torch.equal(value, theirs[name]) for name, value in begun.network.state_dict().items())
    assert asked == []


def test_a_run_begins_with_the_teachers_last_epoch_and_trains_its_own(tmp_path: Path) -> None:
    asked = request(tiny_board(transfer=None), teacher="r3d", method="warm-start", fraction=0.5)
    record = execute(asked, bench(tmp_path, Listener()))
    assert record.teacher is not None
    assert record.teacher.backbone == record.student.name
    assert set(record.epochs[0].losses) == {"action", "pretext", "contrast"}


def test_a_teacher_of_another_architecture_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="of the student's own architecture, r3d, and this one is c3d"):
        execute(request(tiny_board(transfer=None), teacher="c3d", method="warm-start"), bench(tmp_path))
    assert list(tmp_path.iterdir()) == []
