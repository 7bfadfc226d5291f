"""Teachers: from files, declared or not, and refused where they have seen too much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kdbench import streams
from kdbench.api import Method, NetworkSpec, Task, TeacherCard, TeacherNetwork
from kdbench.board import Board
from kdbench.errors import DataError, RunFailed
from kdbench.evaluate import evaluate_pretext
from kdbench.models import Network, build_network
from kdbench.records import Record
from kdbench.registry import Origin, Registered
from kdbench.request import Lesson
from kdbench.run import execute
from kdbench.teaching import Context, card_values, obtain, weights_content
from kdbench.transfer import Transfer, fine_tune
from tests.tiny import bench, registry, request, tiny_board


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    runs = tmp_path_factory.mktemp("runs")
    record = execute(request(student="r3d"), bench(runs))
    return runs / "tiny" / record.run_id / "weights.pt", record


def test_a_checkpoint_of_a_run_teaches_like_the_run_itself(finished: tuple[Path, Record], tmp_path: Path) -> None:
    weights, own = finished
    record = execute(request(student="c3d", teacher=f"checkpoint:{weights}"), bench(tmp_path))
    assert record.teacher is not None
    assert record.teacher.run_id == own.run_id
    assert record.teacher.trusted
    assert record.teacher.top1 == own.derived.top1


def test_a_record_names_a_checkpoint_by_its_digest_and_not_by_its_path(
    finished: tuple[Path, Record], tmp_path: Path
) -> None:
    record = execute(request(student="c3d", teacher=f"checkpoint:{finished[0]}"), bench(tmp_path))
    assert record.teacher is not None
    assert record.teacher.spec == f"checkpoint:{record.teacher.weights_sha256[:12]}"


def undeclared(weights: Path, tmp_path: Path) -> Path:
    path = tmp_path / "plain.pt"
    torch.save(torch.load(weights, weights_only=True)["network"], path)
    return path


def test_weights_without_a_declaration_are_refused(finished: tuple[Path, Record], tmp_path: Path) -> None:
    plain = undeclared(finished[0], tmp_path)
    with pytest.raises(RunFailed, match="does not say which videos it was trained on; add --untrusted-teacher"):
        execute(request(student="c3d", teacher=f"checkpoint:r3d@{plain}"), bench(tmp_path))


def test_an_untrusted_teacher_is_used_on_demand_and_marked_in_the_record(
    finished: tuple[Path, Record], tmp_path: Path
) -> None:
    plain = undeclared(finished[0], tmp_path)
    asked = request(student="c3d", teacher=f"checkpoint:r3d@{plain}")
    record = execute(asked, bench(tmp_path, untrusted_teacher=True))
    assert record.teacher is not None
    assert not record.teacher.trusted


def test_plain_weights_need_the_name_of_their_backbone(finished: tuple[Path, Record], tmp_path: Path) -> None:
    plain = undeclared(finished[0], tmp_path)
    with pytest.raises(DataError, match="name it: BACKBONE@PATH"):
        execute(request(student="c3d", teacher=f"checkpoint:{plain}"), bench(tmp_path))


def test_a_teacher_that_saw_a_test_video_of_the_student_is_refused(
    finished: tuple[Path, Record], tmp_path: Path
) -> None:
    content = torch.load(finished[0], weights_only=True)
    content["card"]["training_videos"] = (*content["card"]["training_videos"], "motion_shapes/Spin/v_Spin_g01_c01")
    path = tmp_path / "leaky.pt"
    torch.save(content, path)
    said = r"trained on 1 of the student's test videos \(motion_shapes/Spin/v_Spin_g01_c01"
    with pytest.raises(RunFailed, match=said):
        execute(request(student="c3d", teacher=f"checkpoint:{path}"), bench(tmp_path, untrusted_teacher=True))


def test_a_file_that_would_run_code_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"format": 1, "network": Path("x")}, path)
    with pytest.raises(DataError, match="is not a checkpoint that can be loaded as data only"):
        execute(request(student="c3d", teacher=f"checkpoint:{path}"), bench(tmp_path))


def test_weights_of_another_width_are_refused_by_name(finished: tuple[Path, Record], tmp_path: Path) -> None:
    content = torch.load(finished[0], weights_only=True)
    content["network"]["action.weight"] = torch.zeros(8, 3)
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(DataError, match="does not fit r3d on this board"):
        execute(request(student="c3d", teacher=f"checkpoint:{path}"), bench(tmp_path))


def declared(
    tmp_path: Path, videos: tuple[str, ...], *, dataset: str | None = None, classes: int = 8, name: str = "declared.pt"
) -> Path:
    """Weights for the tiny board that say they have seen these videos."""
    network = build_network(tiny_board(), registry().get("backbones", "r3d"), classes, 0, {})
    card = card_values(TeacherCard(backbone="r3d", weights_sha256="", training_videos=videos, dataset=dataset))
    path = tmp_path / name
    torch.save(weights_content(network, card), path)
    return path


def test_a_teacher_of_split_2_is_refused_for_a_student_of_split_1(tmp_path: Path) -> None:
    official = registry().get("datasets", "ucf101").make({}, tmp_path)
    seen = tuple(f"ucf101/{name}" for name in official.split(2).train)
    tests = frozenset(f"ucf101/{name}" for name in official.split(1).test)
    with pytest.raises(RunFailed, match=r"trained on \d\d\d\d of the student's test videos"):
        obtain(f"checkpoint:{declared(tmp_path, seen)}", context(), tests, untrusted=False)


def test_a_teacher_of_split_1_may_teach_a_student_of_split_1(tmp_path: Path) -> None:
    official = registry().get("datasets", "ucf101").make({}, tmp_path)
    seen = tuple(f"ucf101/{name}" for name in official.split(1).train)
    tests = frozenset(f"ucf101/{name}" for name in official.split(1).test)
    taught = obtain(f"checkpoint:{declared(tmp_path, seen)}", context(), tests, untrusted=False)
    assert not any(parameter.requires_grad for parameter in taught.network.parameters())


def test_a_teacher_of_another_data_set_is_refused_in_one_line(tmp_path: Path) -> None:
    path = declared(tmp_path, ("hmdb51/a",), dataset="hmdb51")
    said = r"declared\.pt: was trained on hmdb51, and this board's data set is motion_shapes; give a teacher that was"
    with pytest.raises(DataError, match=said):
        obtain(f"checkpoint:{path}", context(), frozenset(), untrusted=True)


def test_a_teacher_of_another_number_of_classes_is_refused_in_one_line(tmp_path: Path) -> None:
    path = declared(tmp_path, (), classes=5, dataset="motion_shapes")
    with pytest.raises(DataError, match=r"declared\.pt: tells 5 classes apart, and this board has 8; give a teacher"):
        obtain(f"checkpoint:{path}", context(), frozenset(), untrusted=True)
    plain = undeclared(path, tmp_path)
    with pytest.raises(DataError, match=r"plain\.pt: tells 5 classes apart"):
        obtain(f"checkpoint:r3d@{plain}", context(), frozenset(), untrusted=True)


def test_a_teacher_of_this_data_set_and_its_classes_is_taken(tmp_path: Path) -> None:
    path = declared(tmp_path, (), dataset="motion_shapes")
    assert obtain(f"checkpoint:r3d@{path}", context(), frozenset(), untrusted=False).card.dataset == "motion_shapes"


def test_a_teacher_may_name_its_file_by_a_text(tmp_path: Path) -> None:
    path = declared(tmp_path, ())
    assert context().from_file(str(path)).card == context().from_file(path).card


def test_a_checkpoint_under_another_backbones_name_is_refused(tmp_path: Path) -> None:
    path = declared(tmp_path, ())
    with pytest.raises(DataError, match="holds r3d, and not c3d; leave the name out"):
        obtain(f"checkpoint:c3d@{path}", context(), frozenset(), untrusted=False)


@pytest.mark.parametrize("prefix", ["", "r3d@"])
def test_the_path_of_a_checkpoint_may_have_an_at_sign(tmp_path: Path, prefix: str) -> None:
    path = declared(tmp_path, (), name="me@home.pt")
    taught = obtain(f"checkpoint:{prefix}{path}", context(), frozenset(), untrusted=False)
    assert taught.card.backbone == "r3d"
    assert taught.spec == f"checkpoint:{taught.card.weights_sha256[:12]}"


def context() -> Context:
    def never(_which: Lesson) -> TeacherNetwork:
        raise AssertionError("a checkpoint needs no training")

    return Context(tiny_board(), registry(), 8, 1.0, never)


def test_a_board_can_ask_for_teachers_that_see_no_more_than_their_students(tmp_path: Path) -> None:
    board = tiny_board(transfer=None, teachers={"fraction": "same"})
    record = execute(request(board, student="c3d", teacher="r3d", fraction=0.5), bench(tmp_path))
    assert record.teacher is not None
    assert (record.teacher.fraction, record.teacher.privileged) == (0.5, False)


def test_a_student_of_an_untrusted_teacher_is_no_trusted_teacher_itself(
    finished: tuple[Path, Record], tmp_path: Path
) -> None:
    plain = undeclared(finished[0], tmp_path)
    asked = request(student="c3d", teacher=f"checkpoint:r3d@{plain}")
    record = execute(asked, bench(tmp_path, untrusted_teacher=True))
    second = f"checkpoint:{tmp_path / 'tiny' / record.run_id / 'weights.pt'}"
    with pytest.raises(RunFailed, match="does not say which videos it was trained on"):
        execute(request(student="r3d", teacher=second), bench(tmp_path))


def test_what_a_student_has_seen_includes_what_its_teacher_has(tmp_path: Path) -> None:
    record = execute(request(student="c3d", teacher="r3d", fraction=0.5), bench(tmp_path))
    content = torch.load(tmp_path / "tiny" / record.run_id / "weights.pt", weights_only=True)
    assert len(content["card"]["training_videos"]) == 16  # its own 8 are among the teacher's


@pytest.mark.parametrize(
    "card",
    [
        None,
        {},
        {"backbone": "r3d", "colour": "red"},
        {"backbone": "r3d", "training_videos": 5},
        {"backbone": "r3d", "fraction": "all"},
        {"backbone": 7},
    ],
)
def test_a_checkpoint_with_a_broken_declaration_is_refused(
    finished: tuple[Path, Record], tmp_path: Path, card: dict[str, object] | None
) -> None:
    content = torch.load(finished[0], weights_only=True)
    path = tmp_path / "broken.pt"
    torch.save({**content, "card": card}, path)
    with pytest.raises(DataError, match="its declaration cannot be read; train it again"):
        execute(request(student="c3d", teacher=f"checkpoint:{path}"), bench(tmp_path))


def test_a_corrected_declaration_of_the_same_weights_gets_a_run_of_its_own(
    finished: tuple[Path, Record], tmp_path: Path
) -> None:
    content = torch.load(finished[0], weights_only=True)
    board, records = tiny_board(transfer=None, optim={"epochs": 1}), []
    for epochs in (1, 2):
        torch.save({**content, "card": {**content["card"], "epochs": epochs}}, tmp_path / "teacher.pt")
        asked = request(board, student="c3d", teacher=f"checkpoint:{tmp_path / 'teacher.pt'}")
        records.append(execute(asked, bench(tmp_path)))
    assert [record.teacher.epochs for record in records if record.teacher] == [1, 2]
    assert len({record.run_id for record in records}) == 2


def test_the_command_of_a_record_names_no_path(finished: tuple[Path, Record], tmp_path: Path) -> None:
    record = execute(request(student="c3d", teacher=f"checkpoint:{finished[0]}"), bench(tmp_path))
    assert str(finished[0]) not in record.command


# --- what a run leaves -------------------------------------------------------------------------------------


class Averaging(Method):
    """Evaluates another network of the student's kind."""

    name = "averaging"

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        self.other = task.twin().requires_grad_(False)

    def export(self, student: Network) -> nn.Module:
        return self.other


class Reading(Method):
    """Evaluates a module that is no network of the student's kind."""

    name = "reading"

    def export(self, student: Network) -> nn.Module:
        return nn.Sequential(student, nn.Identity())


def left_by(cls: type[Method], runs: Path, board: Board | None = None) -> tuple[Path, Record]:
    """A run with the method, and the weights it has left."""
    known, plain = registry(), bench(runs)
    known.add([Registered("methods", cls.name, cls, Origin(Path(__file__), "file", "", "0" * 64))])
    board = board or tiny_board(transfer=None, optim={"epochs": 1})
    asked = request(board, method=cls.name)
    record = execute(asked, replace(plain, access=replace(plain.access, registry=known)))
    return runs / "tiny" / record.run_id / "weights.pt", record


def test_the_weights_of_a_run_are_those_of_the_network_that_it_evaluated(tmp_path: Path) -> None:
    path, record = left_by(Averaging, tmp_path)
    taught = context().from_file(path)
    twin = build_network(tiny_board(), registry().get("backbones", "r3d"), 8, streams.stream_seed(0, "twin"), {})
    assert all(torch.equal(value, taught.network.state_dict()[name]) for name, value in twin.state_dict().items())
    assert taught.card.top1 == record.derived.top1


def test_the_pretext_task_is_solved_by_the_network_that_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Network] = []

    def noted(network: Network, *rest: Any) -> Any:
        asked.append(network)
        return evaluate_pretext(network, *rest)

    monkeypatch.setattr("kdbench.course.evaluate_pretext", noted)
    path, _ = left_by(Averaging, tmp_path)
    saved = torch.load(path, weights_only=True)["network"]
    assert asked
    assert all(torch.equal(each.state_dict()["pretext.weight"], saved["pretext.weight"]) for each in asked)


def test_what_no_network_of_the_students_kind_evaluated_leaves_the_student_without_a_classifier(tmp_path: Path) -> None:
    path, _ = left_by(Reading, tmp_path)
    taught = context().from_file(path)
    assert taught.card.top1 is None
    for name, value in taught.network.state_dict().items():
        assert bool(value.isnan().all()) is name.startswith("action.")


def test_a_method_that_compares_logits_does_not_learn_from_a_classifier_that_is_not_there(tmp_path: Path) -> None:
    path, _ = left_by(Reading, tmp_path)
    board = tiny_board(transfer=None, optim={"epochs": 1})
    with pytest.raises(RunFailed, match="loss 'soft' was not finite in epoch 1"):
        execute(request(board, student="c3d", teacher=f"checkpoint:{path}"), bench(tmp_path))


@pytest.mark.parametrize("cls", [Averaging, Reading])
def test_the_second_data_set_is_shown_to_the_network_that_the_run_leaves(
    cls: type[Method], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, torch.Tensor]] = []

    def fine_tuned(transfer: Transfer, student: Network, *rest: Any) -> Any:
        shown.append({name: value.clone() for name, value in student.state_dict().items()})
        assert all(parameter.requires_grad for parameter in student.parameters())
        return fine_tune(transfer, student, *rest)

    monkeypatch.setattr("kdbench.session.fine_tune", fine_tuned)
    path, record = left_by(cls, tmp_path, tiny_board(optim={"epochs": 1}))
    (network,), saved = shown, torch.load(path, weights_only=True)["network"]
    assert record.transfer is not None
    assert all(torch.equal(network[name], value) for name, value in saved.items() if name.startswith("backbone."))
    assert all(value.isfinite().all() for value in network.values())
