"""The conformance kit: every plugin of the tree passes it, and each check sees what it is there for."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import (
    Backbone,
    Batch,
    DataError,
    Job,
    Launcher,
    Method,
    NetworkSpec,
    Outputs,
    Phase,
    Progress,
    Split,
    Task,
    Teacher,
    TeacherCard,
    TeacherContext,
    TeacherNetwork,
    Video,
    VideoDataset,
)
from kdbench.models import Network
from kdbench.registry import Origin, Registered, load_registry
from kdbench.templates import KIND_OF, write_new
from kdbench.testing import CHECKS, Given, Kit, check, problems_of
from kdbench.testing.findings import CheckError

HERE = Path(__file__).resolve()
PLUGINS = [(plugin.kind, plugin.name) for plugin in load_registry().all()]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """One for all, so that the teacher learns once."""
    return Kit(load_registry(), tmp_path_factory.mktemp("kit"))


def registered(kit: Kit, kind: str, cls: type[Any]) -> Registered:
    """A class of this file as the registry would hold it."""
    cls.name = cls.__name__.lower()
    cls.source = cls.source or "this file"
    plugin = Registered(kind, cls.name, cls, Origin(HERE, "file", "", hashlib.sha256(HERE.read_bytes()).hexdigest()))
    if plugin.name not in kit.registry.names(kind):
        kit.registry.add([plugin])
    return plugin


def found_by(check_name: str, kit: Kit, kind: str, cls: type[Any], **given: Any) -> str:
    """What one check finds wrong with a class."""
    checks = CHECKS[kind](registered(kit, kind, cls), kit, Given(**given))
    with pytest.raises(CheckError) as caught:
        getattr(checks, f"check_{check_name}")()
    return str(caught.value)


@pytest.fixture
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Given:
    """What a plugin of the tree must be told: a data set that lists what lies in its folder gets a folder."""
    if request.param != ("datasets", "folder"):
        return Given()
    for name in ("Run", "Walk"):
        (tmp_path / name).mkdir()
        for actor in ("ann", "bob", "eve"):
            (tmp_path / name / f"{actor}_1.avi").touch()
    return Given(options={"group": "^([a-z]+)_", "test_groups": "eve"}, videos=tmp_path)


@pytest.mark.parametrize(
    ("kind", "name", "given"),
    [(*each, each) for each in PLUGINS],
    indirect=["given"],
    ids=["-".join(p) for p in PLUGINS],
)
def test_a_plugin_of_the_tree_keeps_to_its_interface(kind: str, name: str, given: Given, kit: Kit) -> None:
    assert check(kit.registry.get(kind, name), kit, given).problems == []


# --- methods -----------------------------------------------------------------------------------------------


class Soft(Method):
    """A method without a fault; the others differ from it in one thing."""

    teachers = 1

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        return {"soft": self.distance(student.logits_BK, teacher.logits_BK)}

    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return F.mse_loss(mine_BK, theirs_BK)


class NotScalar(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return (mine_BK - theirs_BK).square().mean(1)


class NotFinite(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return (0 * mine_BK).log().sum()


class HalfPrecision(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return F.mse_loss(mine_BK, theirs_BK).bfloat16()


class JustANumber(Soft):
    def losses(self, *_: Any) -> Any:
        return {"soft": 1.0}


class NoDictionary(Soft):
    def losses(self, *_: Any) -> Any:
        return torch.zeros(())


class NoTerms(Soft):
    def losses(self, *_: Any) -> Any:
        return {}


class OtherTermsLater(Soft):
    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        terms = super().losses(batch, student, teacher, progress)
        return terms if progress.epoch == 0 else {"late": terms["soft"]}


class Detached(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return F.mse_loss(mine_BK.detach(), theirs_BK)


class TrainsTheTeacher(Soft):
    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        self.borrowed = teacher.classifier

    def after_step(self, *_: Any) -> None:
        self.borrowed.get_parameter("weight").mul_(0.9)


class SpoilsTheTeacherFirst(Soft):
    def begin(self, student: Network, teacher: Network | None) -> None:
        assert teacher is not None
        teacher.action.get_parameter("bias").data.zero_()


class KeepsTheTeacher(Soft):
    def begin(self, student: Network, teacher: Network | None) -> None:
        self.kept = teacher


class WritesIntoTheStudent(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return F.mse_loss(mine_BK.div_(2), theirs_BK / 2)


class WritesIntoAMap(Soft):
    teacher_taps = ("stage4",)

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        teacher.taps["stage4"].abs_()
        return super().losses(batch, student, teacher, progress)


class ReadsATapUnasked(Soft):
    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        return {"soft": student.taps["stage4"].mean()}


class WakesTheTeacher(Soft):
    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        self.borrowed = teacher.classifier


class Climbs(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return 1e4 * F.mse_loss(mine_BK, theirs_BK)


class Remembers(Soft):
    last: Tensor | None = None

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        terms = super().losses(batch, student, teacher, progress)
        return terms if self.last is None else {"soft": terms["soft"] + self.distance(student.logits_BK, self.last)}

    def after_step(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> None:
        self.last = student.logits_BK.detach()


class ChangesTheBatch(Soft):
    def after_step(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> None:
        batch.clips_BVCTHW.mul_(0.5)


class ChangesTheStudent(Soft):
    def begin(self, student: Network, teacher: Network | None) -> None:
        nn.init.zeros_(student.action.get_parameter("bias"))


class BeginsElsewhere(Soft):
    same_architecture = True

    def begin(self, student: Network, teacher: Network | None) -> None:
        nn.init.zeros_(student.action.get_parameter("bias"))


class DrawsFromTorch(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return F.mse_loss(mine_BK, theirs_BK + 0.01 * torch.randn_like(theirs_BK))


class DrawsFromNumpy(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return float(np.random.rand()) * F.mse_loss(mine_BK, theirs_BK)


class DrawsFromRandom(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return random.random() * F.mse_loss(mine_BK, theirs_BK)


class ReadsANumber(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        distance = F.mse_loss(mine_BK, theirs_BK)
        return distance if distance > 0 else -distance


class ReadsAList(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return F.mse_loss(mine_BK, theirs_BK) * len(mine_BK.argmax(1).tolist())


class PicksByMask(Soft):
    def distance(self, mine_BK: Tensor, theirs_BK: Tensor) -> Tensor:
        return F.mse_loss(mine_BK[theirs_BK > 0], theirs_BK[theirs_BK > 0])


class EmptyPhase(Soft):
    def phases(self) -> tuple[Phase, ...]:
        return (Phase("hint", 0),)


class PhaseOfNothing(Soft):
    def phases(self) -> tuple[Phase, ...]:
        return (Phase("hint", 1, "method"),)


class ExportsFeatures(Soft):
    def export(self, student: Network) -> nn.Module:
        return student.backbone


class ExportsAHabit(Soft):
    def export(self, student: Network) -> nn.Module:
        student.action.get_parameter("weight").data.mul_(2)
        return student


FAULTY_METHODS: dict[type[Method], tuple[str, str]] = {
    NotScalar: ("its_losses_are_finite_and_named", "has the shape (8,); make it a scalar"),
    NotFinite: ("its_losses_are_finite_and_named", "term 'soft' is -inf"),
    HalfPrecision: ("its_losses_are_finite_and_named", "compute it in torch.float32"),
    JustANumber: ("its_losses_are_finite_and_named", "is a float; return a tensor"),
    NoDictionary: ("its_losses_are_finite_and_named", "losses() returned Tensor"),
    NoTerms: ("its_losses_are_finite_and_named", "needs a teacher and adds no term"),
    OtherTermsLater: ("its_losses_are_finite_and_named", "['soft'] first and ['late'] later"),
    Detached: ("the_student_gets_gradient_from_its_terms", "no term moves the backbone of the student"),
    TrainsTheTeacher: ("the_teacher_is_left_as_it_was", "changes the teacher's 'action.weight'"),
    SpoilsTheTeacherFirst: ("the_teacher_is_left_as_it_was", "changes the teacher's 'action.bias'"),
    WakesTheTeacher: ("the_teacher_is_left_as_it_was", "puts the teacher into training mode"),
    KeepsTheTeacher: ("the_teacher_is_left_as_it_was", "keep what is borrowed of it in a tuple"),
    WritesIntoTheStudent: ("its_losses_are_finite_and_named", "losses() changes student.logits_BK in place"),
    ReadsATapUnasked: ("its_losses_are_finite_and_named", "reads the tap 'stage4' and does not ask for it; name it"),
    WritesIntoAMap: ("its_losses_are_finite_and_named", 'losses() changes teacher.taps["stage4"] in place'),
    Climbs: ("20_steps_on_8_clips_lower_the_loss", "look at the sign of the terms"),
    Remembers: ("a_training_goes_on_from_its_saved_state", "self.register_buffer"),
    ChangesTheBatch: ("data_and_first_weights_are_those_of_the_baseline", "changes clips_BVCTHW of the batch in place"),
    ChangesTheStudent: ("data_and_first_weights_are_those_of_the_baseline", "first weights ('action.bias')"),
    BeginsElsewhere: ("data_and_first_weights_are_those_of_the_baseline", "changes the student's first weights ("),
    DrawsFromTorch: ("no_global_random_number_is_drawn", "random state of torch;"),
    DrawsFromNumpy: ("no_global_random_number_is_drawn", "random state of numpy;"),
    DrawsFromRandom: ("no_global_random_number_is_drawn", "random state of random;"),
    ReadsANumber: ("nothing_waits_for_the_device", "return distance if distance > 0 else -distance"),
    ReadsAList: ("nothing_waits_for_the_device", "mine_BK.argmax(1).tolist()"),
    PicksByMask: ("nothing_waits_for_the_device", "mine_BK[theirs_BK > 0]"),
    EmptyPhase: ("its_phases_are_trained_and_counted", "phase 'hint' has 0 epochs"),
    PhaseOfNothing: ("its_phases_are_trained_and_counted", "which has no parameters"),
    ExportsFeatures: ("what_it_exports_is_what_was_trained", "instead of logits (B, K)"),
    ExportsAHabit: ("what_it_exports_is_what_was_trained", "changes the student's 'action.weight'"),
}


@pytest.mark.parametrize("cls", FAULTY_METHODS, ids=lambda cls: cls.__name__)
def test_a_fault_of_a_method_is_found_and_told_in_one_line(cls: type[Method], kit: Kit) -> None:
    name, words = FAULTY_METHODS[cls]
    problem = found_by(name, kit, "methods", cls)
    assert words in problem
    assert "\n" not in problem


def test_a_method_without_a_fault_has_none(kit: Kit) -> None:
    report = check(registered(kit, "methods", Soft), kit)
    assert report.problems == []
    assert [each.check for each in report.findings if each.skipped] == ["its phases are trained and counted"]


def test_what_a_method_raises_is_told_with_its_line_and_the_rest_is_skipped(kit: Kit) -> None:
    class Raises(Soft):
        """Cannot be built."""

        def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
            raise KeyError("nothing")

    report = check(registered(kit, "methods", Raises), kit)
    (problem,) = report.problems
    assert "KeyError: 'nothing' (test_testing.py, line " in problem
    assert problem.endswith('raise KeyError("nothing"))')
    assert {each.skipped for each in report.findings[3:]} == {"it could not be made"}


def test_losses_that_are_no_losses_are_told_once_and_not_in_the_words_of_every_check(kit: Kit) -> None:
    report = check(registered(kit, "methods", NotScalar), kit)
    assert len([problem for problem in report.problems if "its losses" in problem]) == 1
    after = [finding.check for finding in report.findings].index("its losses are finite and named") + 1
    assert {finding.skipped for finding in report.findings[after:]} == {"mend what failed above first"}


def test_an_init_that_does_not_fit_is_told_how_to_fit(kit: Kit) -> None:
    class TakesNothing(Soft):
        """Cannot be made."""

        def __init__(self) -> None:
            super().__init__()

    (problem,) = check(registered(kit, "methods", TakesNothing), kit).problems
    assert problem.endswith("; write def __init__(self, options), with super().__init__(options) as its first line")


def test_an_init_that_gives_the_one_above_too_much_is_told_how_to_fit(kit: Kit) -> None:
    class GivesTwo(Soft):
        """Cannot be made."""

        def __init__(self, options: Any = None) -> None:
            super().__init__(options, 3)

    (problem,) = check(registered(kit, "methods", GivesTwo), kit).problems
    assert problem.endswith("; leave __init__ out, or begin it with super().__init__ and all that it was given")


def test_a_method_that_takes_other_arguments_is_told_the_ones_there_are(kit: Kit) -> None:
    class TakesTwo(Soft):
        """Knows its own arguments alone."""

        def losses(self, mine: Outputs, theirs: Outputs) -> dict[str, Tensor]:  # type: ignore[override]
            return {}

    (problem,) = check(registered(kit, "methods", TakesTwo), kit).problems
    assert problem.endswith("were given; write def losses(self, batch, student, teacher, progress)")


def test_taps_that_are_a_string_are_told_to_be_a_tuple(kit: Kit) -> None:
    class Letters(Soft):
        """Forgot a comma."""

        teacher_taps: Any = "stage4"

    (problem,) = check(registered(kit, "methods", Letters), kit).problems
    assert problem.endswith('teacher_taps is the string "stage4"; write ("stage4",), with a comma')


def test_an_option_without_a_type_is_told_to_be_none(kit: Kit) -> None:
    from dataclasses import dataclass

    class Untyped(Soft):
        """Has an option that is none."""

        @dataclass(frozen=True, kw_only=True)
        class Options:
            """`weight` and `power`."""

            weight: float = 1.0
            power = 2

    (problem,) = check(registered(kit, "methods", Untyped), kit).problems
    assert problem.endswith("Options.power has no type, so it is no option; write power: int = 2")


def test_taps_that_no_backbone_has_are_named_with_those_there_are(kit: Kit) -> None:
    class WantsTooMuch(Soft):
        """Wants a tap that there is not."""

        student_taps = ("stage9",)

    (problem,) = check(registered(kit, "methods", WantsTooMuch), kit).problems
    assert "wants the taps stage9, which no backbone has; taps are: stage1, " in problem


def test_silence_about_source_docstring_and_options_is_found(kit: Kit) -> None:
    class Silent(Soft):
        Options = type("Options", (), {})

    from dataclasses import dataclass

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """Undocumented."""

        weight: float = 1.0

    Silent.Options = Options  # type: ignore[misc]
    plugin = registered(kit, "methods", Silent)
    checks = CHECKS["methods"](plugin, kit, Given())
    with pytest.raises(CheckError, match="class Silent has no docstring"):
        checks.check_it_says_what_it_is_and_where_it_comes_from()
    with pytest.raises(CheckError, match="does not name `weight`; say in backticks"):
        checks.check_every_option_is_documented()
    Silent.__doc__, Silent.source = "Says what it is.", ""
    with pytest.raises(CheckError, match="source is empty"):
        checks.check_it_says_what_it_is_and_where_it_comes_from()


# --- backbones ---------------------------------------------------------------------------------------------


class Plain(Backbone):
    """A backbone without a fault; the others differ from it in one thing."""

    taps: ClassVar = {"stage4": "0"}

    def build(self, width: float) -> nn.Module:
        return nn.Sequential(nn.Conv3d(3, round(64 * width), 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten())


class LengthMatters(Plain):
    def build(self, width: float) -> nn.Module:
        return nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.AdaptiveAvgPool3d((None, 1, 1)), nn.Flatten())


class BatchMatters(Plain):
    def build(self, width: float) -> nn.Module:
        norm = nn.BatchNorm3d(4, track_running_stats=False)
        return nn.Sequential(nn.Conv3d(3, 4, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())


class Idle(Plain):
    def build(self, width: float) -> nn.Module:
        module = super().build(width)
        module.register_parameter("idle", nn.Parameter(torch.zeros(1)))
        return module


class SeedsItself(Plain):
    def build(self, width: float) -> nn.Module:
        torch.manual_seed(3)
        return super().build(width)


class DrawsWithNumpy(Plain):
    def build(self, width: float) -> nn.Module:
        module = super().build(width)
        np.random.rand()
        return module


class OneWidth(Plain):
    def build(self, width: float) -> nn.Module:
        return super().build(1.0)


class NoNetwork(Plain):
    def build(self, width: float) -> Any:
        super().build(width)


class TapsWithoutPaths(Plain):
    taps: Any = ("stage4",)


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (NoNetwork, "build() returned NoneType; return the network, an nn.Module"),
        (TapsWithoutPaths, 'taps is a tuple; write taps = {"stage1": "path.of.a.submodule"}'),
    ],
)
def test_a_backbone_of_the_wrong_types_is_told_what_to_write(cls: type[Backbone], words: str, kit: Kit) -> None:
    assert check(registered(kit, "backbones", cls), kit).problems[-1].endswith(words)


FAULTY_BACKBONES: dict[type[Backbone], tuple[str, str]] = {
    LengthMatters: ("clips_of_several_lengths_become_features_and_maps", "[32, 40, 64] features"),
    BatchMatters: ("a_clip_alone_and_in_a_batch_gives_the_same", "other features in a batch than alone"),
    Idle: ("every_parameter_gets_gradient", "'idle' gets no gradient"),
    SeedsItself: ("the_seed_alone_decides_the_first_weights", "the same first weights for two seeds"),
    DrawsWithNumpy: ("the_seed_alone_decides_the_first_weights", "random state of numpy"),
    OneWidth: ("the_width_is_honoured", "multiply the channels by `width`"),
}


@pytest.mark.parametrize("cls", FAULTY_BACKBONES, ids=lambda cls: cls.__name__)
def test_a_fault_of_a_backbone_is_found(cls: type[Backbone], kit: Kit) -> None:
    name, words = FAULTY_BACKBONES[cls]
    assert words in found_by(name, kit, "backbones", cls)


def test_a_backbone_without_a_fault_has_none(kit: Kit) -> None:
    assert check(registered(kit, "backbones", Plain), kit).problems == []


# --- data sets ---------------------------------------------------------------------------------------------


class Listed(VideoDataset):
    """A data set without a fault; the others differ from it in one thing."""

    how_to_get = "ask"
    ids: ClassVar[tuple[str, ...]] = ("a/0", "a/1", "b/0", "b/1")
    train: ClassVar[tuple[str, ...]] = ("a/0", "b/0")

    @property
    def classes(self) -> tuple[str, ...]:
        return ("a", "b")

    @property
    def videos(self) -> tuple[Video, ...]:
        return tuple(self.video(name) for name in self.ids)

    def video(self, name: str) -> Video:
        return Video(name, int(name[0] == "b"), name, (f"{name}.avi",))

    def split(self, number: int) -> Split:
        if number != 1:
            raise DataError(self.root, "one split")
        return Split(self.train, ("a/1", "b/1"))


class LabelTooLarge(Listed):
    def video(self, name: str) -> Video:
        return Video(name, 2, name, (name,))


class PathsOfLetters(Listed):
    def video(self, name: str) -> Video:
        return Video(name, int(name[0] == "b"), name, f"{name}.avi")  # type: ignore[arg-type]


class NoVideoOfAClass(Listed):
    def video(self, name: str) -> Video:
        return Video(name, 0, name, (name,))


class IdTwice(Listed):
    ids = ("a/0", "a/0", "a/1", "b/0", "b/1")


class OutOfOrder(Listed):
    ids = ("b/0", "a/0", "a/1", "b/1")


class AbsolutePath(Listed):
    def video(self, name: str) -> Video:
        return Video(name, int(name[0] == "b"), name, (f"/videos/{name}",))


class BothSides(Listed):
    train = ("a/0", "a/1", "b/0")


class OneGroup(Listed):
    def video(self, name: str) -> Video:
        return Video(name, int(name[0] == "b"), name[0], (name,))


class Untaught(Listed):
    train = ("a/0",)


class UnknownVideo(Listed):
    train = ("a/0", "b/0", "c/0")


class AnySplit(Listed):
    def split(self, number: int) -> Split:
        return super().split(1)


class OtherEveryTime(Listed):
    ways: ClassVar[list[int]] = []

    def identity(self) -> str:
        self.ways.append(0)
        return str(len(self.ways))


class NoWayToGet(Listed):
    how_to_get = ""


class DrawsNothing(Listed):
    embedded = True

    def provide(self, say: Callable[[str], None]) -> None:
        say("nothing")


ON_BOTH = "no_video_or_group_is_on_both_sides_of_a_split"
FAULTY_DATASETS: dict[type[VideoDataset], tuple[str, str]] = {
    LabelTooLarge: ("each_class_is_named_once_and_has_a_video", "a video of label 2"),
    NoVideoOfAClass: ("each_class_is_named_once_and_has_a_video", "no video of class 'b'"),
    IdTwice: ("ids_are_unique_and_in_order_and_paths_relative", "two videos called 'a/0'"),
    OutOfOrder: ("ids_are_unique_and_in_order_and_paths_relative", "sort them by id"),
    PathsOfLetters: ("ids_are_unique_and_in_order_and_paths_relative", "'a/0.avi'; write ('a/0.avi',)"),
    AbsolutePath: ("ids_are_unique_and_in_order_and_paths_relative", "give it relative to that"),
    BothSides: (ON_BOTH, "has 'a/1' on both sides"),
    OneGroup: (ON_BOTH, "has group 'a' on both sides"),
    Untaught: (ON_BOTH, "tests class 'b' and has no training video of it"),
    UnknownVideo: (ON_BOTH, "'c/0' is none of the data set's videos"),
    AnySplit: ("a_split_that_does_not_exist_is_refused", "split(0) gives a split"),
    OtherEveryTime: ("its_lists_are_the_same_every_time", "another split or identity"),
    NoWayToGet: ("its_videos_can_be_had", "how_to_get is empty"),
    DrawsNothing: ("its_videos_can_be_had", "leaves no file for 'a/0'"),
}


@pytest.mark.parametrize("cls", FAULTY_DATASETS, ids=lambda cls: cls.__name__)
def test_a_fault_of_a_data_set_is_found(cls: type[VideoDataset], kit: Kit) -> None:
    name, words = FAULTY_DATASETS[cls]
    assert words in found_by(name, kit, "datasets", cls)


def test_a_data_set_without_a_fault_has_none(kit: Kit) -> None:
    assert check(registered(kit, "datasets", Listed), kit).problems == []


def test_lists_that_are_methods_are_told_to_be_properties(kit: Kit) -> None:
    class Called(Listed):
        """Forgot a decorator."""

        def videos(self) -> tuple[Video, ...]:  # type: ignore[override]
            return ()

    (problem,) = check(registered(kit, "datasets", Called), kit).problems
    assert problem.endswith("videos is a method; write @property above its def")


# --- launchers and teachers --------------------------------------------------------------------------------


class StopsAtTheFirst(Launcher):
    """Stops at the first failure."""

    def launch(self, jobs: Iterable[Job], say: Callable[[str], None]) -> int:
        for job in jobs:
            try:
                job.here()
                job.ended()
            except Exception as error:
                say(f"{job.name}: {error}")
                return 1
        return 0


class CountsNothing(Launcher):
    """Does all jobs and forgets to count."""

    def launch(self, jobs: Iterable[Job], say: Callable[[str], None]) -> int:
        for job in jobs:
            try:
                job.here()
                job.ended()
            except Exception as error:
                say(f"{job.name}: {error}")
        return 0


@pytest.mark.parametrize(
    ("cls", "words"), [(StopsAtTheFirst, "called `ended` for first instead of"), (CountsNothing, "returned 0 where")]
)
def test_a_fault_of_a_launcher_is_found(cls: type[Launcher], words: str, kit: Kit) -> None:
    assert words in found_by("all_jobs_are_run_and_failures_counted", kit, "launchers", cls)


class WrongDigest(Teacher):
    """A teacher whose card is about other weights."""

    def load(self, argument: str, context: TeacherContext) -> TeacherNetwork:
        known = context.trained(argument, 1.0)
        return TeacherNetwork(known.network, TeacherCard(argument, "0" * 64, "x", training_videos=()))


class SaysNothing(Teacher):
    """A teacher that does not say what it has seen."""

    def load(self, argument: str, context: TeacherContext) -> TeacherNetwork:
        known = context.trained(argument, 1.0)
        return TeacherNetwork(known.network, TeacherCard(argument, known.card.weights_sha256))


def test_a_teacher_without_a_card_is_told_what_to_return(kit: Kit) -> None:
    class JustTheNetwork(Teacher):
        """A teacher that forgets its card."""

        def load(self, argument: str, context: TeacherContext) -> Any:
            return context.trained(argument, 1.0).network

    (problem,) = check(registered(kit, "teachers", JustTheNetwork), kit).problems
    assert problem.endswith("load() returned Network; return a TeacherNetwork: a network and its card")


@pytest.mark.parametrize(
    ("cls", "words"), [(WrongDigest, "card.weights_sha256 is '000000000000'"), (SaysNothing, "training_videos is None")]
)
def test_a_fault_of_a_teachers_card_is_found(cls: type[Teacher], words: str, kit: Kit) -> None:
    assert words in found_by("its_card_is_complete", kit, "teachers", cls)


# --- templates ---------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_modules() -> Iterator[None]:
    """A file of a test is no module of the next."""
    import sys

    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("kdbench_plugin_file_"):
            del sys.modules[name]


@pytest.mark.usefixtures("fresh_modules")
@pytest.mark.parametrize("what", KIND_OF)
def test_a_new_plugin_keeps_to_its_interface_at_once(what: str, tmp_path: Path) -> None:
    (file,) = write_new(what, f"tensor-{what}", tmp_path, package=False)
    assert problems_of(file) == []


def test_the_code_of_the_tutorial_is_the_template() -> None:
    root = Path(__file__).parents[1]
    template = (root / "kdbench" / "templates" / "method.py").read_text(encoding="utf-8")
    assert f"```python\n{template}```\n" in (root / "plugins" / "README.md").read_text(encoding="utf-8")


def test_every_command_of_the_tutorial_is_one() -> None:
    from click.testing import CliRunner

    from kdbench.cli import main

    text = (Path(__file__).parents[1] / "plugins" / "README.md").read_text(encoding="utf-8")
    lines = [line.split("#")[0].split() for line in text.splitlines() if line.startswith("kdbench ")]
    known = {"plugins": ("new", "check", "list", "show"), "board": ("show",), "site": ("build",)}
    assert 5 <= len(lines) < 10
    assert ["kdbench", "site", "build"] in lines  # it ends where the row can be looked at
    for _, command, *rest in lines:
        words = [command, rest[0]] if command in known else [command]
        assert command not in known or rest[0] in known[command]
        options = [word for word in rest if word.startswith("--")]
        shown = CliRunner().invoke(main, [*words, "--help"]).output
        assert [option for option in options if option not in shown] == []
