"""The checks of a method: a few steps of a tiny training, begun as a run begins it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from kdbench.api import Batch, Outputs, Phase, Progress
from kdbench.phases import prepare
from kdbench.rundir import RunDir
from kdbench.testing.findings import CheckError, Checks, NotApplicableError, global_randomness, require_untouched
from kdbench.testing.kit import BATCH, EPOCHS, Silent, batch_of, first_step_of
from kdbench.train import Training, ask_student, ask_teacher, take_step

SCHEDULE = (0, EPOCHS // 2, EPOCHS - 1)  # the beginning, the middle and the end
STEPS = 20

# What, on a GPU, makes the host wait: a number or a shape that depends on values.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "repeat_interleave.Tensor")
READING = ("tolist", "numpy", "cpu", "__array__")  # on a CPU no operation stands behind these


class MethodChecks(Checks):
    """Whether a method keeps to what `kdbench.api.Method` says."""

    made = "it is built for a student and a teacher that have the taps it wants"
    decisive = "check_its_losses_are_finite_and_named"

    def begin(self) -> Training:
        """A training with the method."""
        return self.kit.begin(self.plugin, self.given.options)

    def prepare(self) -> None:
        """Begin once, with taps that are names: a string is a tuple of letters to whoever reads it as one."""
        method = self.plugin.make(self.given.options)
        for which in ("student_taps", "teacher_taps"):
            if isinstance(taps := getattr(method, which), str):
                raise CheckError(f'{which} is the string "{taps}"; write ("{taps}",), with a comma')
        self.begin()

    def check_its_losses_are_finite_and_named(self) -> None:
        """At the beginning, in the middle and at the end of the schedule."""
        training, names = self.begin(), None
        batch = batch_of(training, 0)
        for epoch in SCHEDULE:
            terms = own_terms(training, batch, first_step_of(training, epoch))
            _require_terms(terms)
            if names is not None and names != list(terms):
                raise CheckError(f"adds the terms {names} first and {list(terms)} later; add the same at every step")
            names = list(terms)
            take_step(training, batch, first_step_of(training, epoch))
        if self.plugin.cls.teachers and not names and not self.plugin.cls.same_architecture:
            raise CheckError("needs a teacher and adds no term; return a term from losses(), or set teachers = 0")

    def check_the_student_gets_gradient_from_its_terms(self) -> None:
        """Somewhere in the schedule, and never one that is not finite."""
        training, reached, silent = self.begin(), False, True
        batch, network = batch_of(training, 0), training.network
        # What a teacher says must reach the backbone; without one, a term may train a head or a peer.
        taught = (network.backbone,) if training.teacher else (network, training.method)
        for epoch in SCHEDULE:
            terms = list(own_terms(training, batch, first_step_of(training, epoch)).values())
            if any(term.requires_grad for term in terms):
                training.optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward(torch.stack(terms).sum())
                reached |= any(_has_gradient(part) for part in taught)
            silent &= not terms
            take_step(training, batch, first_step_of(training, epoch))
        if silent:
            raise NotApplicableError("it adds no terms")
        if not reached:
            raise CheckError(
                f"no term moves {'the backbone of the student' if training.teacher else 'anything'}; "
                "detach the teacher's outputs, not the student's"
            )

    def check_the_teacher_is_left_as_it_was(self) -> None:
        """Its weights, its buffers and its mode, bit for bit, and no gradient; from build() on."""
        lent = self.kit.teacher_for(self.plugin.make(self.given.options), self._student)
        if lent is None:
            raise NotApplicableError("it has no teacher")
        training = self.begin()
        teacher = training.teacher
        assert teacher is not None
        for epoch in SCHEDULE:
            take_step(training, batch_of(training, 0), first_step_of(training, epoch))
        moved = changed(copied(lent.network), copied(teacher))
        weights = [name for name, _ in teacher.named_parameters() if name in moved]
        if any(part.training for part in teacher.modules()) and not weights:
            raise CheckError(
                "puts the teacher into training mode; keep what is borrowed of it in a tuple, where it is no module of "
                "the method's own"
            )
        for name in weights or moved:
            raise CheckError(f"changes the teacher's '{name}'; work on a copy (copy.deepcopy) of what you borrow")
        if any(parameter.grad is not None or parameter.requires_grad for parameter in teacher.parameters()):
            raise CheckError("gives the teacher a gradient; leave requires_grad of its parameters alone")

    def check_20_steps_on_8_clips_lower_the_loss(self) -> None:
        """The sum of the board's terms and the method's own, on one batch and as at the last of the steps.

        The steps are those of one epoch, so that what rises from epoch to epoch by schedule stays as it is.
        """
        assert BATCH == 8
        training = self.begin()
        batch, first = batch_of(training, 0), first_step_of(training, 0)
        places = [replace(first, step=step, steps_per_epoch=STEPS) for step in range(STEPS)]
        before = _values(training, batch, places[-1])
        for at in places:
            take_step(training, batch, at)
        after = _values(training, batch, places[-1])
        if not sum(after.values()) < sum(before.values()):
            risen = max(after, key=lambda name: after[name] - before[name])
            raise CheckError(
                f"the sum of all terms is {sum(before.values()):.4g} before and {sum(after.values()):.4g} after "
                f"{STEPS} steps on one batch ('{risen}': {before[risen]:.4g} and {after[risen]:.4g}); look at the sign "
                "of the terms, or give them less weight"
            )

    def check_a_training_goes_on_from_its_saved_state(self) -> None:
        """Two trainings, one of them killed and continued, take the same next step, bit for bit."""
        one, other = self.begin(), self.begin()
        for epoch in (0, 1):
            take_step(one, batch_of(one, epoch), first_step_of(one, epoch))
        folder = RunDir(self.kit.new_folder())
        folder.save("state.pt", one.state())
        saved = folder.load("state.pt")
        assert saved is not None
        other.load_state(saved)
        next_terms = []
        for training in (one, other):
            torch.manual_seed(0)  # as the loop does for each epoch
            next_terms.append(take_step(training, batch_of(training, 2), first_step_of(training, 2))[1])
        states = [
            next_terms,
            *([copied(getattr(each, part)) for each in (one, other)] for part in ("network", "method")),
        ]
        for mine, theirs in states:
            for name in changed(mine, theirs):
                raise CheckError(
                    f"'{name}' differs when the step after a kill is repeated; keep what the method remembers in "
                    "buffers (self.register_buffer) or parameters, which are saved, and draw with progress.draw()"
                )

    def check_data_and_first_weights_are_those_of_the_baseline(self) -> None:
        """Every method is given the same batches and begins with the same student; none changes a batch.

        One that needs a teacher of the student's architecture may begin with the teacher's weights, all of them.
        """
        mine, plain = self.begin(), self.kit.begin(self.kit.baseline, {}, self._student)
        first = copied(mine.network)
        given = copied(mine.teacher) if mine.teacher and self.plugin.cls.same_architecture else None
        for name in changed(copied(plain.network), first):
            if given is None or changed(given, first):
                raise CheckError(f"changes the student's first weights ('{name}'); begin() may look at it alone")
        for epoch in (0, 1):
            batch, other = batch_of(mine, epoch), batch_of(plain, epoch)
            for name in _changed_fields(other, batch):
                raise CheckError(f"is given another {name} than the baseline; draw random numbers of its own only")
            kept = {name: value.clone() for name, value in _tensors(batch).items()}
            take_step(mine, batch, first_step_of(mine, epoch))
            for name in changed(kept, _tensors(batch)):
                raise CheckError(f"changes {name} of the batch in place; work on a copy (.clone())")

    @property
    def _student(self) -> str:
        return self.kit.backbone_with(self.plugin.make(self.given.options).student_taps)

    def check_no_global_random_number_is_drawn(self) -> None:
        """From torch, numpy or random: a method that draws there changes what others draw."""
        self.begin()  # its teacher is trained before the first look
        before = global_randomness()
        training = self.begin()
        for epoch in (0, 1):
            take_step(training, batch_of(training, epoch), first_step_of(training, epoch))
        training.method.export(training.network)
        require_untouched(before, "draw with progress.draw(), or in build() with torch, where the generator is yours")

    def check_nothing_waits_for_the_device(self) -> None:
        """On a GPU a number that is read costs the time of all work that is queued before it."""
        training = self.begin()
        batch, at = batch_of(training, 0), first_step_of(training, 0)
        with Waits(self.plugin.origin.file) as waits:
            views = training.method.views(batch)
        student, teacher = _ask(training, batch, at, views)
        with waits:
            training.method.losses(batch, student, teacher, at)
            with torch.no_grad():
                training.method.after_step(batch, student, teacher, at)
        if waits.found:
            raise CheckError(
                f"waits for the device at {waits.found[0]}; stay with tensors (torch.where, masks, gather)"
            )

    def check_its_phases_are_trained_and_counted(self) -> None:
        """Each has a name, epochs and modules that can learn; the board's epochs follow."""
        training = self.begin()
        phases = training.method.phases()
        if not phases:
            raise NotApplicableError("it has no phases")
        for phase in phases:
            _require_phase(phase, training.method)
        if len({phase.name for phase in phases}) < len(phases):
            raise CheckError("two of its phases have one name; name them apart")
        prepared = prepare(training, RunDir(self.kit.new_folder()), Silent())
        wanted = sum(phase.epochs for phase in phases)
        if prepared.epochs != wanted:
            raise CheckError(f"trained {prepared.epochs} epochs in phases that have {wanted}; let phases() be constant")
        _require_terms(own_terms(training, batch_of(training, 0), first_step_of(training, 0)))

    def check_what_it_exports_is_what_was_trained(self) -> None:
        """The student, agreeing with its training outputs, or another module from clips to logits."""
        training = self.begin()
        batch, network = batch_of(training, 0), training.network
        take_step(training, batch, first_step_of(training, 0))
        before = copied(network)
        module = training.method.export(network)
        if not isinstance(module, nn.Module):
            raise CheckError(f"export() returned {type(module).__name__}; return a module from clips to logits (B, K)")
        network.eval()
        module.eval()
        with torch.no_grad():
            logits_BK = module(batch.clips_BVCTHW[:, 0])
            trained_BK = network.outputs(batch.clips_BVCTHW[:, :1]).logits_BK
        if not isinstance(logits_BK, Tensor) or logits_BK.shape != trained_BK.shape:
            shape = tuple(getattr(logits_BK, "shape", ()))
            raise CheckError(f"the exported module gives {shape} instead of logits (B, K) = {tuple(trained_BK.shape)}")
        if not logits_BK.isfinite().all():
            raise CheckError("the exported module gives logits that are not finite")
        if module is network and not torch.allclose(logits_BK, trained_BK, atol=1e-5):
            raise CheckError("the exported student gives other logits than in training")
        for name in changed(before, copied(network)):
            raise CheckError(f"export() changes the student's '{name}'; it is called after every epoch: copy first")


def own_terms(training: Training, batch: Batch, at: Progress) -> dict[str, Tensor]:
    """What the method adds, without the board's terms. Raises CheckError where it writes into what it was given."""
    student, teacher = _ask(training, batch, at, training.method.views(batch))
    before = [_writings(outputs) for outputs in (student, teacher)]
    try:
        terms = training.method.losses(batch, student, teacher, at)
    except KeyError as error:
        if error.args[0] in training.network.spec.taps:
            raise CheckError(
                f"reads the tap '{error.args[0]}' and does not ask for it; name it in student_taps or teacher_taps"
            ) from None
        raise
    for whose, outputs, times in zip(("student", "teacher"), (student, teacher), before, strict=True):
        for name, number in _writings(outputs).items():
            if number != times[name]:
                raise CheckError(
                    f"losses() changes {whose}.{name} in place, which others read; make a new tensor "
                    "(x = x * 2 instead of x *= 2 or x.mul_(2))"
                )
    return terms


def _writings(outputs: Any) -> dict[str, int]:
    """How often each tensor of a network's outputs was written to, by the name that a method calls it by."""
    found: dict[str, int] = {}
    for name, value in (vars(outputs) if outputs is not None else {}).items():
        if isinstance(value, Tensor):
            found[name] = value._version
        elif isinstance(value, Mapping):
            found |= {f'{name}["{key}"]': each._version for key, each in value.items()}
        elif value is not None:
            found |= {f"{name}.{inner}": number for inner, number in _writings(value).items()}
    return found


def _values(training: Training, batch: Batch, at: Progress) -> dict[str, float]:
    """All terms of a step, the board's first, without taking it."""
    student, teacher = _ask(training, batch, at, training.method.views(batch))
    share = training.method.objective_share(at)
    terms = {name: share * term for name, term in training.objective.losses(batch, student, at).items()}
    terms |= training.method.losses(batch, student, teacher, at)
    return {name: term.item() for name, term in terms.items()}


def copied(module: nn.Module) -> dict[str, Tensor]:
    """All tensors of a module's state, as they are now."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors that are not the same in both, bit for bit."""
    both = [name for name in one if name in other]
    return [*sorted(one.keys() ^ other.keys()), *(name for name in both if not torch.equal(one[name], other[name]))]


class Waits(ExitStack):
    """Notes the operations at which, on a GPU, the host would wait, with the plugin's line."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file, self.found = file, list[str]()

    def __enter__(self) -> Waits:
        super().__enter__()
        self.enter_context(_Operations(self))
        self.enter_context(_Readings(self))
        return self

    def note(self, operation: str) -> None:
        """Keep an operation, and where the plugin asked for it."""
        stack = traceback.extract_stack(sys._getframe(1))
        own = [frame for frame in stack if Path(frame.filename).resolve() == self.file]
        self.found.append(f"{self.file.name}, line {own[-1].lineno}: {own[-1].line}" if own else operation)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, waits: Waits) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits = waits

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = str(func).removeprefix("aten.")
        picked = args[1] if name in ("index.Tensor", "index_put_.default", "index_put.default") else ()
        if name.startswith(WAITING) or any(each is not None and each.dtype == torch.bool for each in picked):
            self.waits.note(name)
        return func(*args, **(kwargs or {}))


class _Readings(TorchFunctionMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in READING:
            self.waits.note(f"Tensor.{func.__name__}")
        return func(*args, **(kwargs or {}))


def _ask(training: Training, batch: Batch, at: Progress, views: Tensor | None) -> tuple[Outputs, Outputs | None]:
    student = ask_student(training, batch, views)
    return student, ask_teacher(training, batch, views) if training.method.wants_teacher(at) else None


def _require_terms(terms: Any) -> None:
    """Raise CheckError unless this is a dictionary from names to finite fp32 scalars."""
    if not isinstance(terms, dict):
        raise CheckError(f"losses() returned {type(terms).__name__}; return a dictionary from names to scalars")
    for name, term in terms.items():
        if not isinstance(name, str) or not name:
            raise CheckError(f"a term is called {name!r}; call it by a word")
        if not isinstance(term, Tensor):
            raise CheckError(f"term '{name}' is a {type(term).__name__}; return a tensor (outputs.new_zeros(()) for 0)")
        if term.ndim:
            raise CheckError(
                f"term '{name}' has the shape {tuple(term.shape)}; make it a scalar, with .mean() or .sum()"
            )
        if term.dtype != torch.float32:
            raise CheckError(f"term '{name}' is {term.dtype}; compute it in torch.float32, as the outputs are")
        if not term.isfinite():
            raise CheckError(f"term '{name}' is {term.item()}; keep logarithms and divisions away from 0")


def _has_gradient(module: nn.Module) -> bool:
    """Whether a gradient has reached the module. Raises CheckError where it is not finite."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if not all(gradient.isfinite().all() for gradient in gradients):
        raise CheckError("gives the student a gradient that is not finite; keep roots and divisions away from 0")
    return any(bool(gradient.any()) for gradient in gradients)


def _require_phase(phase: Phase, method: nn.Module) -> None:
    if not phase.name or phase.epochs < 1:
        raise CheckError(f"phase {phase.name!r} has {phase.epochs} epochs; give it a name and 1 or more")
    if phase.trains not in ("all", "method"):
        raise CheckError(f"phase '{phase.name}' trains '{phase.trains}'; say \"all\" or \"method\"")
    if phase.trains == "method" and not any(True for _ in method.parameters()):
        raise CheckError(f"phase '{phase.name}' trains the method, which has no parameters; make modules in build()")


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}


def _changed_fields(plain: Batch, mine: Batch) -> list[str]:
    """Fields of the baseline's batch that the method's does not hold bit for bit; the method may have more."""
    given = _tensors(mine)
    return changed(_tensors(plain), {name: value for name, value in given.items() if name in _tensors(plain)})
