"""Every registered method in two steps of a tiny training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kdbench.api import Batch, Method, Outputs, Progress
from kdbench.run import open_training
from kdbench.train import Training, ask_student, ask_teacher, progress_of, take_step
from tests.tiny import bench, registry, request

METHODS = registry().names("methods")
TAUGHT = {name: registry().get("methods", name).cls for name in METHODS if registry().get("methods", name).cls.teachers}
WITH_TERMS = [name for name, cls in TAUGHT.items() if cls.losses is not Method.losses]
PHASED = [name for name in METHODS if registry().get("methods", name).make({}).phases()]


WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "repeat_interleave.Tensor")


class Waits(TorchDispatchMode):
    """Notes the operations that, on a GPU, would make the host wait: a number or a shape that depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = str(func).removeprefix("aten.")
        picked = args[1] if name in ("index.Tensor", "index_put_.default", "index_put.default") else ()
        if name.startswith(WAITING) or any(each is not None and each.dtype == torch.bool for each in picked):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all, so that the teacher is trained once."""
    return tmp_path_factory.mktemp("runs")


def training(name: str, runs: Path) -> Training:
    """A training with the method, begun as a run begins it."""
    cls = registry().get("methods", name).cls
    teacher = ("r3d" if cls.same_architecture else "c3d") if cls.teachers else None
    begun = open_training(request(teacher=teacher, method=name), bench(runs))
    begun.network.train()
    begun.method.train()
    return begun


def two_batches(begun: Training) -> list[Batch]:
    return list(begun.loader.epoch(0))[:2]


def progress(begun: Training, number: int) -> Progress:
    return Progress(0, number, begun.optim.epochs, begun.loader.steps, begun.seed)


def step(begun: Training, batch: Batch, number: int) -> dict[str, Tensor]:
    return take_step(begun, batch, progress(begun, number))[1]


def asked(begun: Training, batch: Batch) -> tuple[Outputs, Outputs | None]:
    """What the student and the teacher make of a batch."""
    views = begun.method.views(batch)
    return ask_student(begun, batch, views), ask_teacher(begun, batch, views)


def copied(module: nn.Module | None) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()} if module else {}


def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    """The names of tensors that are not bit for bit the same in both."""
    assert one.keys() == other.keys()
    return {name for name, value in one.items() if not torch.equal(value, other[name])}


@pytest.mark.parametrize("name", METHODS)
def test_two_steps_train_the_student_and_its_connectors_and_leave_the_rest_alone(name: str, runs: Path) -> None:
    begun = training(name, runs)
    teacher, generator = copied(begun.teacher), torch.random.get_rng_state()
    student, connectors = copied(begun.network), copied(begun.method)
    terms = [step(begun, batch, number) for number, batch in enumerate(two_batches(begun))]
    assert [list(each) for each in terms] == [list(terms[0])] * 2
    assert all(value.ndim == 0 and value.dtype == torch.float32 for each in terms for value in each.values())
    assert all(value.isfinite() for each in terms for value in each.values())
    assert any(key.startswith("backbone.") for key in changed(student, copied(begun.network)))
    trained = {key for key, parameter in begun.method.named_parameters() if parameter.requires_grad}
    assert trained <= changed(connectors, copied(begun.method))
    assert changed(teacher, copied(begun.teacher)) == set()
    assert torch.equal(generator, torch.random.get_rng_state())


@pytest.mark.parametrize("name", WITH_TERMS)
def test_a_method_with_a_teacher_adds_terms_that_move_the_students_backbone(name: str, runs: Path) -> None:
    begun = training(name, runs)
    (batch, *_), method = two_batches(begun), begun.method
    terms = method.losses(batch, *asked(begun, batch), progress(begun, 0))
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    reached = [parameter.grad for parameter in begun.network.backbone.parameters() if parameter.grad is not None]
    assert any(gradient.abs().sum() > 0 for gradient in reached)
    assert all(gradient.isfinite().all() for gradient in reached)


@pytest.mark.parametrize("name", METHODS)
def test_a_training_that_continues_from_its_state_takes_the_same_next_step(name: str, runs: Path) -> None:
    one, other = training(name, runs), training(name, runs)
    first, second = two_batches(one)
    step(one, first, 0)
    other.load_state(copy.deepcopy(one.state()))
    assert changed(copied(one.method), copied(other.method)) == set()
    mine, theirs = step(one, second, 1), step(other, second, 1)
    assert changed(mine, theirs) == set()
    assert changed(copied(one.method), copied(other.method)) == set()
    assert changed(copied(one.network), copied(other.network)) == set()


@pytest.mark.parametrize("name", METHODS)
def test_no_method_makes_the_host_wait_for_the_device(name: str, runs: Path) -> None:
    begun = training(name, runs)
    (batch, *_), method = two_batches(begun), begun.method
    student, teacher = asked(begun, batch)
    with Waits() as waits:
        method.losses(batch, student, teacher, progress(begun, 0))
        with torch.no_grad():
            method.after_step(batch, student, teacher, progress(begun, 0))
    assert waits.found == []


@pytest.mark.parametrize("name", PHASED)
def test_two_steps_of_a_phase_train_what_it_names_and_wait_for_nothing(name: str, runs: Path) -> None:
    begun = training(name, runs)
    for phase in begun.method.phases():
        part = replace(begun, phase=phase)
        part.network.train(part.student_learns)
        student, own, teacher = copied(part.network), copied(part.method), copied(part.teacher)
        with Waits() as waits:
            for number, batch in enumerate(two_batches(part)):
                take_step(part, batch, progress_of(part, 0, number))
        assert bool(changed(student, copied(part.network))) is part.student_learns
        assert changed(own, copied(part.method))
        assert changed(teacher, copied(part.teacher)) == set()
        assert waits.found == []


def test_the_tutorial_says_of_every_method_where_its_defaults_come_from() -> None:
    text = (Path(__file__).parents[3] / "plugins" / "README.md").read_text(encoding="utf-8")
    _, found, rest = text.partition("## Where defaults come from\n")
    assert found
    assert [name for name in METHODS if f"`{name}`" not in rest.partition("\n## ")[0]] == []


def test_a_number_read_from_a_tensor_and_a_mask_as_an_index_are_seen_as_waiting() -> None:
    numbers = torch.arange(3.0)
    with Waits() as waits:
        numbers.sum().item()
        numbers[numbers > 1].sum()
    assert waits.found == ["_local_scalar_dense.default", "index.Tensor"]
