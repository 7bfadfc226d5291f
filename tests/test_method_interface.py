"""What a method may ask of a run: phases, further clips, twins, its share, and teachers that look elsewhere or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Phase, Progress, Task
from kdbench.checks import problems_of, read_record
from kdbench.errors import PluginError
from kdbench.models import Network, num_parameters
from kdbench.phases import prepare
from kdbench.records import PhaseEpoch, Record
from kdbench.registry import Origin, Registered
from kdbench.request import RunRequest
from kdbench.run import Bench, execute
from kdbench.rundir import RunDir
from kdbench.train import Training, progress_of, take_step
from tests.conftest import Listener
from tests.test_run import measured
from tests.test_train import training
from tests.tiny import bench, registry, request, tiny_board

STEPS = 3  # of an epoch of the tiny board
Moment = tuple[str, int, int]


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    """The names of tensors that are not bit for bit the same in both."""
    assert one.keys() == other.keys()
    return {name for name, value in one.items() if not torch.equal(value, other[name])}


def bench_with(cls: type[Method], runs: Path, listener: Listener | None = None) -> Bench:
    """A bench whose registry has one method more."""
    known = registry()
    known.add([Registered("methods", cls.name, cls, Origin(Path(__file__), "file", "", "0" * 64))])
    plain = bench(runs, listener)
    return replace(plain, access=replace(plain.access, registry=known))


def one_epoch(**changes: Any) -> RunRequest:
    return request(tiny_board(transfer=None, optim={"epochs": 1}), **changes)


def first_batch(begun: Training) -> Batch:
    return next(begun.loader.epoch(0))


def stepped(begun: Training, step: int = 0) -> dict[str, float]:
    """The terms of one step."""
    begun.network.train(begun.student_learns)
    terms = take_step(begun, first_batch(begun), progress_of(begun, 0, step))[1]
    return {name: term.item() for name, term in terms.items()}


# --- phases ------------------------------------------------------------------------------------------------


class Rehearsing(Method):
    """Two epochs of everything, two of its own layer on the features of a twin, then those of the board."""

    name = "rehearsing"
    moments: ClassVar[list[Moment]] = []
    students: ClassVar[dict[Moment, dict[str, Tensor]]] = {}
    student: tuple[Network]

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        self.layer = nn.Linear(student.features, task.num_classes)
        self.twin, self.arithmetic = task.twin(), task.arithmetic
        self.twin.requires_grad_(False)

    def begin(self, student: Network, teacher: Network | None) -> None:
        self.student = (student,)

    def phases(self) -> tuple[Phase, ...]:
        return Phase("together", 2), Phase("alone", 2, trains="method")

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        moment = progress.phase, progress.epoch, progress.step
        self.moments.append(moment)
        self.students[moment] = values(self.student[0])
        with torch.no_grad(), self.arithmetic():
            seen_BD = self.twin.look(batch.clips_BVCTHW[:, :1]).pooled_BXD[:, 0]
        own = F.cross_entropy(self.layer(seen_BD + student.pooled_BD), batch.labels_B)
        return {f"own {progress.phase}": own}


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, list[Moment]]:
    """A run with phases, and the moments at which the method was asked for its terms."""
    Rehearsing.moments.clear()
    record = execute(one_epoch(method="rehearsing"), bench_with(Rehearsing, tmp_path_factory.mktemp("runs")))
    return record, list(Rehearsing.moments)


def test_phases_run_in_their_order_and_before_the_boards_epochs(rehearsed: tuple[Record, list[Moment]]) -> None:
    epochs = [("together", 0), ("together", 1), ("alone", 0), ("alone", 1), ("", 0)]
    assert rehearsed[1] == [(phase, epoch, step) for phase, epoch in epochs for step in range(STEPS)]


def test_the_record_has_the_epochs_and_seconds_of_the_phases_and_the_boards_own_epochs(
    rehearsed: tuple[Record, list[Moment]],
) -> None:
    record, _ = rehearsed
    assert record.method.phase_epochs == 4
    assert record.cost.phases_s > 0
    assert len(record.epochs) == 1
    assert set(record.epochs[0].losses) == {"action", "pretext", "contrast", "own "}
    assert problems_of(record) == []


def test_the_record_and_the_folder_have_the_terms_of_each_epoch_of_the_phases(
    rehearsed: tuple[Record, list[Moment]], tmp_path: Path
) -> None:
    record, _ = rehearsed
    told = [(row.phase, row.epoch, set(row.losses)) for row in record.phases]
    assert told == [
        ("together", 1, {"own together"}),
        ("together", 2, {"own together"}),
        ("alone", 1, {"own alone"}),
        ("alone", 2, {"own alone"}),
    ]
    assert record.phases[0].losses["own together"] > 1
    assert record.phases[0].lr == record.epochs[0].lr
    begun, folder = training(tmp_path, method=Rehearsing()), RunDir(tmp_path)
    rows = prepare(begun, folder, Listener()).rows
    lines = (tmp_path / "phases.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=PhaseEpoch) for line in lines] == rows
    assert [row.losses for row in rows] == [row.losses for row in record.phases]


def test_phases_without_all_their_rows_or_with_other_numbers_are_problems(
    rehearsed: tuple[Record, list[Moment]],
) -> None:
    record, _ = rehearsed
    fewer = msgspec.structs.replace(record, phases=record.phases[:3])
    assert problems_of(fewer)[0].startswith("$.phases: found 3 epochs, $.method.phase_epochs is 4; ")
    turned = msgspec.structs.replace(record, phases=record.phases[::-1])
    assert problems_of(turned)[0].startswith("$.phases[0].epoch: found 2, expected 1 of 'alone'; ")
    assert problems_of(msgspec.structs.replace(record, phases=())) == []


def test_the_clips_that_a_twin_is_shown_are_counted(rehearsed: tuple[Record, list[Moment]]) -> None:
    assert rehearsed[0].method.teacher_clips_per_step == 5  # one of each video


def test_a_twin_is_counted_as_the_methods_own(rehearsed: tuple[Record, list[Moment]], tmp_path: Path) -> None:
    begun = training(tmp_path, method=Rehearsing())
    layer = num_parameters(begun.method.get_submodule("layer"))
    assert rehearsed[0].method.extra_params == layer + num_parameters(begun.network)


class UnpluggedError(Exception):
    """What stands for a kill: nothing after it is run, and only what lies on the disk is left."""


class Unplugging(Listener):
    """Pulls the plug in a stage, after some steps."""

    def __init__(self, stage: str, steps: int) -> None:
        super().__init__()
        self.at = stage, steps

    def stage(self, title: str, total: int) -> Callable[[int], None]:
        def tick(done: int) -> None:
            if (title, done) == self.at:
                raise UnpluggedError

        return tick


def test_a_run_killed_in_its_phases_goes_on_there_and_ends_in_the_record_of_an_unbroken_run(
    rehearsed: tuple[Record, list[Moment]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbench.phases.CHECKPOINT_EVERY_S", 0.0)
    for stage, steps in (("together", STEPS + 2), ("alone", 1), ("alone", STEPS + 1)):
        with pytest.raises(UnpluggedError):
            execute(one_epoch(method="rehearsing"), bench_with(Rehearsing, tmp_path, Unplugging(stage, steps)))
    Rehearsing.moments.clear()
    broken = execute(one_epoch(method="rehearsing"), bench_with(Rehearsing, tmp_path))
    assert Rehearsing.moments[0] == ("alone", 1, 0)
    assert measured(broken) == measured(rehearsed[0])
    assert broken.method.phase_epochs == rehearsed[0].method.phase_epochs
    assert [row.losses for row in broken.phases] == [row.losses for row in rehearsed[0].phases]
    assert broken.cost.resumes == 3
    assert len((tmp_path / "tiny" / broken.run_id / "phases.jsonl").read_bytes().splitlines()) == 4
    assert not (tmp_path / "tiny" / broken.run_id / "phases.pt").exists()


def test_a_phase_of_the_method_leaves_the_student_as_it_was_and_one_of_all_does_not(tmp_path: Path) -> None:
    begun = training(tmp_path, method=Rehearsing())
    first, layer = values(begun.network), values(begun.method.get_submodule("layer"))
    prepare(begun, RunDir(tmp_path), Listener())
    seen = Rehearsing.students
    changed = differing(first, seen["alone", 0, 0])
    assert {"backbone.stem.0.weight", "backbone.stem.1.running_mean"} <= changed
    assert differing(seen["alone", 0, 0], values(begun.network)) == set()
    assert differing(layer, values(begun.method.get_submodule("layer"))) == set(layer)


@pytest.mark.parametrize("trains", ["all", "method"])
def test_the_terms_of_a_phase_are_the_methods_alone(tmp_path: Path, trains: str) -> None:
    begun = replace(training(tmp_path, method=Rehearsing()), phase=Phase("early", 1, trains=trains))
    assert set(stepped(begun)) == {"own early"}


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ((Phase("one", 1, trains="head"),), "phase 'one' trains 'head'; it must be 'all' or 'method'"),
        ((Phase("one", 1), Phase("one", 2)), "two phases are called 'one'"),
        ((Phase("", 1),), "a phase needs a name"),
    ],
)
def test_a_phase_that_means_nothing_is_refused(tmp_path: Path, phases: tuple[Phase, ...], said: str) -> None:
    begun = training(tmp_path, method=Rehearsing())
    object.__setattr__(begun.method, "phases", lambda: phases)
    with pytest.raises(PluginError, match=f"method rehearsing: {said}"):
        prepare(begun, RunDir(tmp_path), Listener())


# --- further clips, twins, shares --------------------------------------------------------------------------


class Turning(Method):
    """Shows both networks clip 0 upside down, and the other way round."""

    name = "turning"
    teachers = 1

    def views(self, batch: Batch) -> Tensor:
        clip_BCTHW = batch.clips_BVCTHW[:, 0]
        return torch.stack([clip_BCTHW.flip(3), clip_BCTHW.flip(4)], dim=1)

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        self.seen = student, teacher
        assert student.views is not None
        return {"turned": student.views.logits_BXK.square().mean()}


def test_further_clips_are_shown_to_student_and_teacher_alike(tmp_path: Path) -> None:
    method = Turning()
    begun = training(tmp_path, teacher="c3d", method=method)
    begun.network.train()
    batch = first_batch(begun)
    views, teacher = method.views(batch), begun.teacher
    assert teacher is not None
    with torch.no_grad():
        mine, theirs = begun.network.look(views), teacher.look(views)
    take_step(begun, batch, progress_of(begun, 0, 0))
    for expected, outputs in zip((mine, theirs), method.seen, strict=True):
        assert outputs is not None
        assert outputs.views is not None
        assert outputs.views.logits_BXK.shape == (5, 2, 8)
        assert torch.allclose(outputs.views.logits_BXK, expected.logits_BXK)
        assert torch.allclose(outputs.views.pooled_BXD, expected.pooled_BXD)


def test_a_method_without_further_clips_is_shown_none(tmp_path: Path) -> None:
    begun = training(tmp_path)
    student, _ = take_step(begun, first_batch(begun), progress_of(begun, 0, 0))
    assert student.views is None


def test_a_twin_has_first_weights_of_its_own_is_saved_with_the_method_and_repeats(tmp_path: Path) -> None:
    one, other = (training(tmp_path, method=Rehearsing()) for _ in range(2))
    twin = values(one.method.get_submodule("twin"))
    drawn = {name for name, value in twin.items() if value.is_floating_point() and value.std(correction=0) > 0}
    assert drawn
    assert drawn <= differing(twin, values(one.network))
    assert {f"twin.{name}" for name in twin} <= one.state()["method"].keys()
    assert differing(twin, values(other.method.get_submodule("twin"))) == set()


class Doubling(Method):
    """Keeps two twins."""

    name = "doubling"

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        self.first, self.second = task.twin(), task.twin()


def test_each_twin_of_a_method_has_first_weights_of_its_own_and_the_first_is_as_if_there_were_no_other(
    tmp_path: Path,
) -> None:
    one, other = (training(tmp_path, method=Doubling()).method for _ in range(2))
    alone = training(tmp_path, method=Rehearsing()).method
    first, second = values(one.get_submodule("first")), values(one.get_submodule("second"))
    assert "backbone.stem.0.weight" in differing(first, second)
    assert differing(first, values(alone.get_submodule("twin"))) == set()
    assert differing(second, values(other.get_submodule("second"))) == set()


class Yielding(Method):
    """Takes half of the board's terms away, and asks the teacher in even steps."""

    name = "yielding"
    teachers = 1

    def wants_teacher(self, progress: Progress) -> bool:
        return progress.step % 2 == 0

    def objective_share(self, progress: Progress) -> float:
        return 0.5

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        self.taught = teacher is not None
        return {"nothing": 0.0 * student.logits_BK.sum()}


def test_the_teacher_is_not_asked_in_a_step_that_does_not_want_it(tmp_path: Path) -> None:
    method, asked = Yielding(), list[int]()
    begun = training(tmp_path, teacher="c3d", method=method)
    assert begun.teacher is not None
    begun.teacher.backbone.register_forward_hook(lambda *_: asked.append(1))
    for step, taught in enumerate((True, False, True)):
        stepped(begun, step)
        assert method.taught is taught
    assert len(asked) == 2
    assert begun.shown.most == 5


def test_further_clips_and_whole_tuples_that_the_teacher_is_shown_are_counted(tmp_path: Path) -> None:
    begun = training(tmp_path, teacher="c3d", method=Turning())
    stepped(begun)
    assert begun.shown.most == 5 * (1 + 2)
    wide = Turning()
    object.__setattr__(wide, "teacher_views", "tuple")
    begun = training(tmp_path, teacher="c3d", method=wide)
    stepped(begun)
    assert begun.shown.most == 5 * (3 + 2)


def test_what_was_shown_before_a_kill_is_not_forgotten(tmp_path: Path) -> None:
    one, other = (training(tmp_path, teacher="c3d", method=Yielding()) for _ in range(2))
    stepped(one)
    other.load_state(one.state())
    stepped(other, step=1)
    assert other.shown.most == 5


def test_a_share_of_one_half_halves_the_boards_terms(tmp_path: Path) -> None:
    shared = stepped(training(tmp_path, teacher="c3d", method=Yielding()))
    for name, term in stepped(training(tmp_path)).items():
        assert shared[name] == pytest.approx(term / 2, rel=1e-6)


# --- what cannot be given ----------------------------------------------------------------------------------


class Demanding(Method):
    """Asks for whatever a test sets."""

    name = "demanding"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"student_taps": ("stage1", "stage7")}, "r3d has no tap 'stage7'; it has: stage1, stage2, stage3, stage4"),
        ({"teacher_taps": ("neck",)}, "c3d has no tap 'neck'; it has: stage1, stage2, stage3, stage4"),
        ({"smallest_batch": 6}, "needs batches of 6 videos or more, this run has 5"),
        ({"same_architecture": True}, "needs a teacher of the student's own architecture, r3d, and this one is c3d"),
    ],
)
def test_what_a_run_cannot_give_is_said_before_any_training(tmp_path: Path, wish: dict[str, Any], said: str) -> None:
    method = Demanding()
    for name, value in wish.items():
        setattr(method, name, value)
    with pytest.raises(PluginError, match=f"^method demanding: {said}"):
        training(tmp_path, teacher="c3d", method=method)


class Choosy(Method):
    """Asks for whatever a test sets, of all its instances."""

    name = "choosy"
    teachers = 1

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        return {"nothing": 0.0 * student.logits_BK.sum()}


@pytest.mark.parametrize(
    ("wish", "teacher", "said"),
    [
        ({"student_taps": ("stage7",)}, "c3d", "r3d has no tap 'stage7'"),
        ({"teacher_taps": ("neck",)}, "c3d", "c3d has no tap 'neck'"),
        ({"teacher_taps": ("stage4",)}, "ensemble:r3d+c3d", r"r3d\+c3d has no tap 'stage4'; it has: none"),
        ({"smallest_batch": 6}, "c3d", "needs batches of 6 videos or more, this run has 5"),
        ({"same_architecture": True}, "c3d", "needs a teacher of the student's own architecture, r3d"),
        ({"same_architecture": True}, "ensemble:r3d+c3d", r".*and this one is r3d\+c3d; name r3d as the teacher"),
    ],
)
def test_what_cannot_fit_is_refused_before_its_teacher_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: dict[str, Any], teacher: str, said: str
) -> None:
    for name, value in wish.items():
        monkeypatch.setattr(Choosy, name, value)
    with pytest.raises(PluginError, match=f"^method choosy: {said}"):
        execute(one_epoch(teacher=teacher, method="choosy"), bench_with(Choosy, tmp_path))
    assert list(tmp_path.rglob("*")) == []


def test_a_method_is_shown_its_teacher_before_the_first_step(tmp_path: Path) -> None:
    shown: list[Network | None] = []

    class Looking(Choosy):
        def begin(self, student: Network, teacher: Network | None) -> None:
            shown.append(teacher)

    begun = training(tmp_path, teacher="c3d", method=Looking())
    assert shown == [begun.teacher]


def test_a_batch_as_large_as_the_smallest_is_enough(tmp_path: Path) -> None:
    method = Demanding()
    object.__setattr__(method, "smallest_batch", 5)
    assert training(tmp_path, method=method).loader.batch == 5


# --- another modality --------------------------------------------------------------------------------------


class Colourful(Method):
    """Its teacher sees RGB where the board has residual frames."""

    name = "colourful"
    teachers = 1
    teacher_modality = "rgb"

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        self.seen = batch, teacher
        return {"logits": F.mse_loss(student.logits_BK, teacher.logits_BK)}


def test_the_teacher_is_given_the_same_pixels_in_its_own_modality(tmp_path: Path) -> None:
    method = Colourful()
    begun = training(tmp_path, teacher="c3d", method=method)
    stepped(begun)
    batch, teacher = method.seen
    colours = batch.teacher_clips_BVCTHW
    assert colours is not None
    residuals = colours.roll(1, dims=3) - colours
    assert torch.allclose(residuals, batch.clips_BVCTHW, atol=1e-5)
    assert not torch.allclose(colours, batch.clips_BVCTHW, atol=0.1)
    assert begun.teacher is not None
    assert torch.allclose(teacher.logits_BK, begun.teacher(colours[:, 0]), atol=1e-5)


def test_the_teacher_was_trained_on_its_modality_and_the_student_is_tested_on_the_boards(tmp_path: Path) -> None:
    record = execute(one_epoch(teacher="c3d", method="colourful"), bench_with(Colourful, tmp_path))
    assert record.teacher is not None
    own = read_record(tmp_path / "tiny" / str(record.teacher.run_id) / "record.json")
    assert (own.pins["frames.modality"], record.pins["frames.modality"]) == ("rgb", "res")
    assert own.student.name == "c3d"


def test_without_a_modality_of_its_own_the_teacher_is_given_the_students_clips(tmp_path: Path) -> None:
    assert first_batch(training(tmp_path, teacher="c3d")).teacher_clips_BVCTHW is None


# --- draws -------------------------------------------------------------------------------------------------

HERE = Progress(epoch=2, step=1, epochs=5, steps_per_epoch=4, seed=7, phase="early")


def draws(progress: Progress, purpose: str = "rows", count: int = 50) -> list[int]:
    return progress.draw(1000, purpose, count).tolist()


def test_a_step_draws_the_same_numbers_each_time_within_their_range() -> None:
    assert draws(HERE) == draws(replace(HERE))
    assert set(draws(HERE, count=20000)) == set(range(1000))


@pytest.mark.parametrize("change", [{"step": 2}, {"epoch": 1}, {"seed": 8}, {"phase": ""}, {"phase": "late"}])
def test_another_step_seed_or_phase_draws_other_numbers(change: dict[str, Any]) -> None:
    assert draws(HERE) != draws(replace(HERE, **change))


def test_another_purpose_draws_other_numbers() -> None:
    assert draws(HERE) != draws(HERE, "columns")


def test_fewer_draws_are_the_first_of_more() -> None:
    assert draws(HERE, count=5) == draws(HERE)[:5]
