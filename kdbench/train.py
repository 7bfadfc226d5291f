"""`fit()`: the training loop, a generator of epochs. It knows no method by name.

Nothing in a step waits for the device: losses add up there and are read once an epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from kdbench import streams
from kdbench.api import Batch, Method, Outputs, Phase, Progress
from kdbench.board import Board, Optim
from kdbench.data.loader import TrainingLoader
from kdbench.errors import PluginError, RunFailed
from kdbench.models import Network
from kdbench.objective import Objective


@dataclass(frozen=True)
class EpochSummary:
    """One finished epoch (counted from 1): running totals, mean loss terms, training accuracies, seconds."""

    epoch: int
    steps: int
    samples: int
    lr: float
    losses: dict[str, float]
    train_top1: float
    pretext_top1: float | None
    train_s: float
    data_wait_s: float


@dataclass
class Shown:
    """The clips that the networks beside the student, the teacher and the method's own, are shown in a step.

    `most` is the largest number of any step of the board's epochs: not every step needs to ask the teacher.
    """

    most: int = 0
    now: int = 0

    def watch(self, module: nn.Module) -> None:
        """From now on count what the networks inside a method are shown."""

        def count(_backbone: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.now += len(inputs[0])

        for part in module.modules():
            if isinstance(part, Network):
                part.backbone.register_forward_pre_hook(count)


@dataclass(frozen=True)
class Training:
    """Everything one training needs. Its `state` is all that must survive a kill between two epochs.

    `phase` is the method's phase that this is, None for the board's own epochs; `first_epoch` is where its
    epochs stand in the loader's count, so that no two draw alike.
    """

    network: Network
    objective: Objective
    method: Method
    teacher: Network | None
    loader: TrainingLoader
    optimiser: torch.optim.Optimizer
    optim: Optim
    precision: str
    seed: int
    phase: Phase | None = None
    first_epoch: int = 0
    shown: Shown = field(default_factory=Shown)

    @property
    def student_learns(self) -> bool:
        """Whether the student's weights change: in all but the phases that train the method's modules alone."""
        return self.phase is None or self.phase.trains == "all"

    @property
    def device(self) -> torch.device:
        """Where the training runs."""
        return self.loader.device

    def state(self) -> dict[str, Any]:
        """Model, objective (memory banks), method (connectors, queues) and optimiser."""
        parts = {"network": self.network, "objective": self.objective, "method": self.method}
        states = {name: part.state_dict() for name, part in parts.items()}
        return states | {"optimiser": self.optimiser.state_dict(), "shown": self.shown.most}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state` returned."""
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        self.method.load_state_dict(state["method"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.shown.most = state["shown"]


def make_optimiser(optim: Optim, *modules: nn.Module) -> torch.optim.SGD:
    """SGD over all parameters of the modules, with weight decay on all of them (pin 18)."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return torch.optim.SGD(
        parameters, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay, fused=True
    )


def device_and_precision(board: Board, wanted: str | None) -> tuple[torch.device, str]:
    """The device (CUDA where there is one) and the board's precision on it. Raises RunFailed without the device."""
    name = wanted or ("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cuda", "cpu") or (number and not number.isdecimal()):
        raise RunFailed(f"device {name}: kdbench runs on cpu, cuda or cuda:NUMBER")
    if kind == "cuda" and torch.cuda.device_count() <= int(number or 0):
        raise RunFailed(f"device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device cpu")
    # With its number: what belongs to "the" device must not depend on which one is current.
    device = torch.device("cuda", int(number or 0)) if kind == "cuda" else torch.device("cpu")
    precision = board.precision.cuda if device.type == "cuda" else board.precision.cpu
    if device.type == "cuda":
        torch.cuda.set_device(device)  # streams, events and pinned memory belong to the current device
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = False  # heads and losses are fp32 on every board
    return device, precision


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The arithmetic of forward passes; losses are computed outside it, in fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def learning_rate(optim: Optim, epoch: int) -> float:
    """The rate of an epoch (counted from 0): times gamma at each milestone that is behind."""
    passed = sum(epoch >= int(milestone * optim.epochs + 0.5) for milestone in optim.milestones)
    return optim.lr * optim.gamma**passed


def fit(
    training: Training, start: int = 0, on_step: Callable[[int, int], None] | None = None
) -> Iterator[EpochSummary]:
    """Train epoch by epoch from `start` (counted from 0), yielding after each. Raises RunFailed, PluginError."""
    steps = training.loader.steps
    for epoch in range(start, training.optim.epochs):
        rate = learning_rate(training.optim, epoch)
        for group in training.optimiser.param_groups:
            group["lr"] = rate
        # Dropout inside a backbone draws from the global generator: pin it by epoch, so that a resume agrees.
        torch.manual_seed(streams.stream_seed(training.seed, f"dropout in epoch {training.first_epoch + epoch}"))
        training.network.train(training.student_learns)
        training.method.train()
        begin, waited = _now(training.device), training.loader.wait_s
        tally = Tally()
        for step, batch in enumerate(training.loader.epoch(training.first_epoch + epoch)):
            progress = progress_of(training, epoch, step)
            student, terms = take_step(training, batch, progress)
            tally.add(batch, student, terms)
            if on_step:
                on_step(step + 1, steps)
        losses, accuracy, pretext = tally.read(epoch + 1)
        wait_s = training.loader.wait_s - waited
        yield EpochSummary(
            epoch=epoch + 1,
            steps=(epoch + 1) * steps,
            samples=(epoch + 1) * steps * training.loader.batch,
            lr=rate,
            losses=losses,
            train_top1=accuracy,
            pretext_top1=pretext,
            train_s=_now(training.device) - begin - wait_s,
            data_wait_s=wait_s,
        )


def progress_of(training: Training, epoch: int, step: int) -> Progress:
    """Where a method is told that the training stands."""
    phase = training.phase.name if training.phase else ""
    own = streams.stream_seed(training.seed, "method")
    return Progress(epoch, step, training.optim.epochs, training.loader.steps, own, phase)


def take_step(training: Training, batch: Batch, progress: Progress) -> tuple[Outputs, dict[str, Tensor]]:
    """One optimiser step: what the student put out and the loss terms, all still on the device."""
    method, objective, shown = training.method, training.objective, training.shown
    shown.now = 0
    views = method.views(batch)
    student = ask_student(training, batch, views)
    teacher = ask_teacher(training, batch, views) if method.wants_teacher(progress) else None
    terms = _board_terms(training, batch, student, progress)
    added = method.losses(batch, student, teacher, progress)
    if wrong := _wrong_terms(added, student.logits_BK.device):
        raise PluginError(f"method {method.name}: losses() {wrong}; return named, weighted scalars on the device")
    if clash := terms.keys() & added.keys():
        raise PluginError(f"method {method.name}: its term '{min(clash)}' is already a term of the board; rename it")
    terms |= added
    if not terms:
        raise PluginError(f"method {method.name}: there is nothing to lower in {progress.phase or 'training'}")
    training.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    training.optimiser.step()
    with torch.no_grad():
        if training.phase is None:
            objective.after_step(batch, student)
        method.after_step(batch, student, teacher, progress)
    if training.phase is None:
        shown.most = max(shown.most, shown.now)
    return student, terms


def _wrong_terms(added: object, device: torch.device) -> str:
    """What is wrong with what `losses` gave, nothing where all is well. Looks at no value, so it waits for nothing."""
    if not isinstance(added, dict):
        return f"gave {_kind_of(added)} and no dictionary"
    for name, term in added.items():
        if not isinstance(name, str):
            return f"gave a term called {name!r}, and a name is a text"
        if not isinstance(term, Tensor) or term.ndim:
            return f"gave {_kind_of(term)} as its term '{name}' and no scalar tensor"
        if term.device != device:
            return f"gave its term '{name}' on {term.device}, and the student is on {device}"
    return ""


def _kind_of(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"


def ask_student(training: Training, batch: Batch, views_BXCTHW: Tensor | None = None) -> Outputs:
    """The student's outputs for a batch, with a graph behind them where it learns."""
    network, method, detach = training.network, training.method, training.objective.detach_action
    with torch.set_grad_enabled(training.student_learns), autocast(training.device, training.precision):
        outputs = network.outputs(batch.clips_BVCTHW, method.student_taps, detach_action=detach)
        return _with_views(outputs, network, views_BXCTHW)


def _with_views(outputs: Outputs, network: Network, views_BXCTHW: Tensor | None) -> Outputs:
    return outputs if views_BXCTHW is None else replace(outputs, views=network.look(views_BXCTHW))


def _board_terms(training: Training, batch: Batch, student: Outputs, progress: Progress) -> dict[str, Tensor]:
    """The board's own terms, as large as the method leaves them; none in a phase of the method."""
    if training.phase:
        return {}
    terms, share = training.objective.losses(batch, student, progress), training.method.objective_share(progress)
    return terms if share == 1.0 else {name: share * term for name, term in terms.items()}


def ask_teacher(training: Training, batch: Batch, views_BXCTHW: Tensor | None = None) -> Outputs | None:
    """The teacher's outputs for the clips that the method shows it, without gradients; None without a teacher."""
    if training.teacher is None:
        return None
    method = training.method
    clips = batch.clips_BVCTHW if batch.teacher_clips_BVCTHW is None else batch.teacher_clips_BVCTHW
    clips = clips if method.teacher_views == "tuple" else clips[:, :1]
    further = 0 if views_BXCTHW is None else views_BXCTHW.shape[1]
    training.shown.now += len(clips) * (clips.shape[1] + further)
    with torch.no_grad(), autocast(training.device, training.precision):
        return _with_views(training.teacher.outputs(clips, method.teacher_taps), training.teacher, views_BXCTHW)


class Tally:
    """Sums over an epoch, kept on the device until `read`."""

    def __init__(self) -> None:
        self.steps = self.videos = 0
        self.names: tuple[str, ...] = ()
        self.sums: dict[str, Tensor] = {}

    def add(self, batch: Batch, student: Outputs, terms: dict[str, Tensor]) -> None:
        """Count one batch."""
        self.steps += 1
        self.videos += len(batch.labels_B)
        if self.names and self.names != tuple(terms):
            changed = ", ".join(sorted({*self.names} ^ {*terms})) or "their order"
            raise PluginError(f"loss terms changed within an epoch ({changed}); return the same terms at every step")
        self.names = tuple(terms)
        values = torch.stack(list(terms.values())).detach()
        counted = {"losses": values, "finite": values.isfinite()}
        counted["action"] = (student.logits_BK.detach().argmax(1) == batch.labels_B).sum()
        if batch.pretext_B is not None and student.pretext_BK is not None:
            counted["pretext"] = (student.pretext_BK.detach().argmax(1) == batch.pretext_B).sum()
        for name, value in counted.items():
            self.sums[name] = self.sums[name] + value.double() if name in self.sums else value.double()

    def read(self, epoch: int) -> tuple[dict[str, float], float, float | None]:
        """Mean loss terms and training accuracies (action, pretext); waits for the device. Raises RunFailed."""
        finite = dict(zip(self.names, self.sums["finite"].tolist(), strict=True))
        # One bad term spoils the weights and so all terms after it: the culprit is the one that went bad first.
        first = min(self.names, key=lambda name: finite[name])
        if finite[first] < self.steps:
            raise RunFailed(
                f"loss '{first}' was not finite in epoch {epoch}; "
                "give its method another weight (-o), or the board another learning rate"
            )
        means = dict(zip(self.names, (self.sums["losses"] / self.steps).tolist(), strict=True))
        pretext = self.sums["pretext"].item() / self.videos if "pretext" in self.sums else None
        return means, self.sums["action"].item() / self.videos, pretext


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
