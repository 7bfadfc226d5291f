"""The training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, TeacherCard
from kdbench.board import Board, load_board
from kdbench.errors import PluginError, RunFailed
from kdbench.models import build_network, freeze
from kdbench.request import check
from kdbench.run import Inputs, Session
from kdbench.rundir import RunDir
from kdbench.teaching import Taught
from kdbench.train import EpochSummary, Training, device_and_precision, fit, learning_rate
from tests.tiny import bench, material, registry, request, tiny_board


def training(tmp_path: Path, board: Board | None = None, method: Method | None = None, **asked: Any) -> Training:
    """A training as `run` would build it, with a frozen, untrained teacher where one is asked for."""
    board = board or tiny_board(transfer=None)
    wanted = request(board, **asked)
    taught = None
    if wanted.teacher:
        backbone = registry().get("backbones", wanted.teacher)
        network = freeze(build_network(board, backbone, 8, 7, {}))
        taught = Taught(network, TeacherCard(wanted.teacher, ""), wanted.teacher, registry().get("teachers", "trained"))
    parts = check(wanted, registry())
    if method:
        object.__setattr__(parts, "method", method)
    return Session(wanted, bench(tmp_path), parts, Inputs(material(board), taught=taught), RunDir(tmp_path)).training


def weights(trained: Training) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trained.network.state_dict().items()}


def summaries(trained: Training, start: int = 0) -> list[EpochSummary]:
    return list(fit(trained, start))


def test_an_epoch_counts_steps_samples_and_mean_loss_terms(tmp_path: Path) -> None:
    rows = summaries(training(tmp_path))
    assert [(row.epoch, row.steps, row.samples) for row in rows] == [(1, 3, 15), (2, 6, 30), (3, 9, 45)]
    assert rows[0].losses.keys() == {"action", "pretext", "contrast"}
    assert 1.5 < rows[0].losses["action"] < 3.5  # about log(8)


def test_training_lowers_the_loss_on_the_videos_it_sees(tmp_path: Path) -> None:
    board = tiny_board(optim={"epochs": 20, "milestones": ()}, objective={"kind": "supervised"}, transfer=None)
    losses = [row.losses["action"] for row in summaries(training(tmp_path, board))]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


def test_distillation_of_weight_zero_is_bit_for_bit_the_scratch_run(tmp_path: Path) -> None:
    alone = training(tmp_path)
    taught = training(tmp_path, teacher="c3d", method=registry().get("methods", "kd").make({"weight": 0.0}))
    one, other = summaries(alone), summaries(taught)
    assert [row.losses["action"] for row in one] == [row.losses["action"] for row in other]
    after = weights(taught)
    assert all(torch.equal(value, after[name]) for name, value in weights(alone).items())


def test_a_teacher_changes_the_student(tmp_path: Path) -> None:
    alone, taught = training(tmp_path), training(tmp_path, teacher="c3d")
    rows = summaries(taught)
    summaries(alone)
    assert rows[0].losses["soft"] > 0
    assert any(not torch.equal(value, weights(taught)[name]) for name, value in weights(alone).items())


def test_weights_and_buffers_of_the_teacher_are_unchanged_after_an_epoch(tmp_path: Path) -> None:
    taught = training(tmp_path, teacher="c3d")
    assert taught.teacher is not None
    before = {name: value.clone() for name, value in taught.teacher.state_dict().items()}
    next(fit(taught))
    assert not taught.teacher.training
    assert all(torch.equal(before[name], value) for name, value in taught.teacher.state_dict().items())


def test_training_continued_from_a_state_equals_training_without_a_break(tmp_path: Path) -> None:
    whole = training(tmp_path, teacher="c3d")
    rows = summaries(whole)
    first = training(tmp_path, teacher="c3d")
    for row in fit(first):
        if row.epoch == 2:
            break
    second = training(tmp_path, teacher="c3d")
    second.load_state(first.state())
    rest = summaries(second, start=2)
    assert rest[0].losses == rows[2].losses
    after = weights(second)
    assert all(torch.equal(value, after[name]) for name, value in weights(whole).items())
    assert second.objective.banks is not None
    assert whole.objective.banks is not None
    assert torch.equal(second.objective.banks.first, whole.objective.banks.first)


def test_the_global_generator_does_not_matter(tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = summaries(training(tmp_path))
    torch.manual_seed(2)
    assert [row.losses for row in summaries(training(tmp_path))] == [row.losses for row in one]


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:first", "meta"])
def test_a_device_of_another_kind_is_refused_by_name(name: str) -> None:
    with pytest.raises(RunFailed, match=f"device {name}: kdbench runs on cpu, cuda or cuda:NUMBER"):
        device_and_precision(tiny_board(), name)


class Restless(Method):
    """A method whose terms are others at every step."""

    name = "restless"

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        return {f"term {progress.step}": student.logits_BK.sum() * 0}


def test_terms_that_change_within_an_epoch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"loss terms changed within an epoch \(term 0, term 1\)"):
        next(fit(training(tmp_path, method=Restless())))


class Odd(Method):
    """A method whose one term is whatever a test wants."""

    name = "odd"

    def __init__(self, term: str, value: float) -> None:
        super().__init__()
        self.term, self.value = term, value

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        return {self.term: student.logits_BK.sum() * self.value}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_at_the_end_of_the_epoch_by_name(tmp_path: Path, value: float) -> None:
    with pytest.raises(RunFailed, match=r"loss 'strange' was not finite in epoch 1"):
        next(fit(training(tmp_path, method=Odd("strange", value))))


def test_a_term_with_the_name_of_a_term_of_the_board_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="'action' is already a term of the board"):
        next(fit(training(tmp_path, method=Odd("action", 0.0))))


class Told(Method):
    """A method whose `losses` gives whatever a test wants."""

    name = "told"

    def __init__(self, given: object) -> None:
        super().__init__()
        self.given = given

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        return self.given  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "gave None and no dictionary"),
        (0.5, "gave a float and no dictionary"),
        ([torch.zeros(())], "gave a list and no dictionary"),
        (torch.zeros(()), "gave a tensor of shape () and no dictionary"),
        ({"soft": 0.5}, "gave a float as its term 'soft' and no scalar tensor"),
        ({"soft": torch.zeros(4)}, "gave a tensor of shape (4,) as its term 'soft' and no scalar tensor"),
        ({0: torch.zeros(())}, "gave a term called 0, and a name is a text"),
        ({"soft": torch.zeros((), device="meta")}, "gave its term 'soft' on meta, and the student is on cpu"),
    ],
)
def test_what_losses_gives_is_refused_by_name_unless_it_is_named_scalars(
    tmp_path: Path, given: object, said: str
) -> None:
    with pytest.raises(PluginError) as caught:
        next(fit(training(tmp_path, method=Told(given))))
    assert str(caught.value) == f"method told: losses() {said}; return named, weighted scalars on the device"


def test_the_rate_falls_tenfold_after_125_150_and_175_of_200_epochs() -> None:
    optim = load_board("camarena2024").optim
    rates = [learning_rate(optim, epoch) for epoch in (0, 124, 125, 149, 150, 174, 175, 199)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_asking_for_a_device_that_is_not_there_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(RunFailed, match="this machine has 0 CUDA devices; use --device cpu"):
        device_and_precision(tiny_board(), "cuda")


@pytest.mark.parametrize(("named", "number"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_cuda_device_is_always_known_by_its_number(monkeypatch: pytest.MonkeyPatch, named: str, number: int) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    board = tiny_board(precision={"cuda": "tf32"})
    assert device_and_precision(board, named) == (torch.device("cuda", number), "tf32")
    assert chosen == [torch.device("cuda", number)]
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.gpu
def test_a_step_runs_on_cuda_in_bf16(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    asked = request(tiny_board(transfer=None))
    parts = check(asked, registry())
    session = Session(asked, bench(tmp_path, device="cuda"), parts, Inputs(material()), RunDir(tmp_path))
    assert session.precision == "bf16"
    assert next(fit(session.training)).losses["action"] > 0
