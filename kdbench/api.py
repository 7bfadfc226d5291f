"""The plugin author's one import: what a backbone, a teacher, a method, a data set and a launcher are.

Shape legend, used as a suffix of tensor names everywhere: B videos of a batch, V clips of a video, N = B*V
clips, C channels, T frames, H height, W width, K classes, D features, E dimensions of an embedding.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from kdbench import streams
from kdbench.errors import DataError, KdbenchError, PluginError
from kdbench.hookspecs import hookimpl

if TYPE_CHECKING:
    from kdbench.models import Network

__all__ = [
    "Backbone",
    "Batch",
    "DataError",
    "Download",
    "Job",
    "KdbenchError",
    "Launcher",
    "Method",
    "NetworkSpec",
    "Outputs",
    "Phase",
    "PluginError",
    "Progress",
    "Split",
    "Task",
    "Teacher",
    "TeacherCard",
    "TeacherContext",
    "TeacherNetwork",
    "Video",
    "VideoDataset",
    "ViewOutputs",
    "hookimpl",
]


class Plugin:
    """What every plugin class has: a name, a source and a frozen dataclass of options.

    `name` is what the command line and a board call it; `source` says where it comes from (paper, equation,
    repository). `Options` is a frozen dataclass whose fields are typed and have defaults.
    """

    name: ClassVar[str]
    source: ClassVar[str] = ""

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """No options."""


# --- backbones ---------------------------------------------------------------------------------------------


class Backbone(Plugin, ABC):
    """One video network.

    `taps` maps canonical names of feature maps (stage1 ... stage4) to the paths of the submodules that make
    them; they are read by forward hooks, and only when a method asks, so any nn.Module serves.
    """

    taps: ClassVar[Mapping[str, str]] = {}

    def __init__(self, options: Any = None) -> None:
        self.options = options if options is not None else self.Options()

    @abstractmethod
    def build(self, width: float) -> nn.Module:
        """A freshly initialised module from (B, C, T, H, W) to (B, D), its channels multiplied by `width`."""


# --- what a method sees ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """One training batch. Teacher and student are given the same tensor, unless the method names two modalities.

    `clips_BVCTHW` is augmented and normalised; its clip 0 is the one that carries the action label. With
    tuples V is 3 and clip 1 was transformed by the pretext label; without, V is 1 and `pretext_B` is None.
    `index_B` is each video's position in the run's training list of `Task.num_videos`. `teacher_clips_BVCTHW`
    are the very same pixels in the modality that the method's `teacher_modality` names; None without one.
    """

    clips_BVCTHW: Tensor
    labels_B: Tensor
    index_B: Tensor
    pretext_B: Tensor | None = None
    teacher_clips_BVCTHW: Tensor | None = None


@dataclass(frozen=True)
class ViewOutputs:
    """What a network made of the X further clips of each video that a method's `views` returned, in fp32."""

    logits_BXK: Tensor
    pooled_BXD: Tensor


@dataclass(frozen=True)
class Outputs:
    """What a network made of the clips of a batch; all fp32, so that a loss never works in half precision.

    Without a suffix V a field belongs to clip 0. `taps` holds the feature maps (B, C, T, H, W) of clip 0
    that were asked for. `pretext_BK` and `embedding_BVE` are None where the network saw clip 0 alone, as a
    teacher does unless the method declares `teacher_views = "tuple"`. `views` belongs to the method's own clips,
    which pass in a forward of their own; None without them.
    """

    logits_BK: Tensor
    pooled_BD: Tensor
    pooled_BVD: Tensor
    taps: Mapping[str, Tensor] = field(default_factory=dict)
    pretext_BK: Tensor | None = None
    embedding_BVE: Tensor | None = None
    views: ViewOutputs | None = None


@dataclass(frozen=True)
class NetworkSpec:
    """What a method may know of a network before training: names, sizes and tap shapes (C, T, H, W).

    `tap_paths` are the submodules behind the taps; `gmacs` are those of one clip. `classifier` is the linear
    action head itself (frozen in a teacher), for methods that borrow it.
    """

    backbone: str
    features: int
    classes: int
    taps: Mapping[str, tuple[int, ...]]
    tap_paths: Mapping[str, str]
    gmacs: float
    classifier: nn.Module


def _no_twin() -> Network:
    raise PluginError("this task has no student to make a twin of; a run gives one")


@dataclass(frozen=True)
class Task:
    """What a method may know of the data: K classes, n training videos, the class of each, and the schedule.

    `twin()` is another network like the student, heads included, with first weights of its own, which differ from
    call to call and not from run to run: an average, a snapshot or a peer. `arithmetic()` is the context in which
    the loop calls networks, and in which a method calls its own. `objective` holds the weights of the board's terms
    as they will be added.
    """

    num_classes: int
    num_videos: int
    class_of_video: Sequence[int]
    batch: int
    epochs: int
    steps_per_epoch: int
    twin: Callable[[], Network] = _no_twin
    arithmetic: Callable[[], AbstractContextManager[Any]] = nullcontext
    objective: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Where training stands: `epoch` and `step` count from 0; `seed` is the method's own random stream.

    `phase` is the name of the method's phase; empty in the board's own epochs. A phase counts its own epochs.
    """

    epoch: int
    step: int
    epochs: int
    steps_per_epoch: int
    seed: int
    phase: str = ""

    @property
    def global_step(self) -> int:
        """Optimiser steps taken before this one."""
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def fraction(self) -> float:
        """Share of the training that is behind, in [0, 1)."""
        return self.global_step / (self.epochs * self.steps_per_epoch)

    def draw(self, high: int, purpose: str, count: int) -> NDArray[np.int64]:
        """`count` integers of [0, high): the same at this step of this seed in every run, on every machine."""
        at = np.arange(count, dtype=np.int64)
        return streams.integers(high, self.seed, f"{self.phase} {purpose}", self.global_step, at)


@dataclass(frozen=True)
class Phase:
    """Epochs before the board's own, with the method's terms alone. `trains` is "all", or "method" for its modules.

    The terms of each of these epochs stand in the record, and their seconds count in all that is said of the run's
    time, that to a milestone included; a milestone's epochs are the board's own.
    """

    name: str
    epochs: int
    trains: str = "all"


class Method(Plugin, nn.Module):
    """What a run adds to the board's objective: named loss terms, and nothing else.

    A method is an nn.Module: connectors made in `build` are trained with the student, saved, counted and
    timed without another word. The harness owns the data order, the augmentation, the optimiser, the
    schedule, the evaluation and the freezing of the teacher.

    `teachers` is the number of teachers it needs (0 or 1). `student_taps` and `teacher_taps` name the
    feature maps it wants; an instance may set them by its options. `needs_tuple` asks the loader for whole
    tuples even where the board's objective does not. `teacher_views` is "action" (clip 0) or "tuple".
    `base_weights` replaces weights of the board's own terms ({"action": 0.0}); the row on a board says so.
    `smallest_batch` is the number of videos below which its terms mean nothing. `teacher_modality` is that of
    the teacher's frames ("rgb" or "res"), where it is not the student's. `same_architecture` asks for a teacher of
    the student's own backbone: a run with another is refused, and a sweep gives each student its own kind.
    """

    teachers: ClassVar[int] = 0
    student_taps: tuple[str, ...] = ()
    teacher_taps: tuple[str, ...] = ()
    needs_tuple: ClassVar[bool] = False
    teacher_views: ClassVar[str] = "action"
    base_weights: ClassVar[Mapping[str, float]] = {}
    smallest_batch: ClassVar[int] = 1
    teacher_modality: ClassVar[str] = ""
    same_architecture: ClassVar[bool] = False

    def __init__(self, options: Any = None) -> None:
        super().__init__()
        self.options = options if options is not None else self.Options()

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        """Make connectors and buffers. Called once, on the CPU, under the method's own random stream."""

    def begin(self, student: Network, teacher: Network | None) -> None:
        """Once, before the first step: both networks on their device, the student's first weights in it.

        A method that keeps one keeps it in a tuple, so that its weights do not count as the method's own. The first
        weights are every method's same, but for one of `same_architecture`, which may put the teacher's there.
        """

    def phases(self) -> tuple[Phase, ...]:
        """Epochs to train before the board's own; their time and number stand in the record."""
        return ()

    def wants_teacher(self, progress: Progress) -> bool:
        """Whether the teacher is asked in this step; without it `losses` is given None."""
        return True

    def views(self, batch: Batch) -> Tensor | None:
        """Further clips (B, X, C, T, H, W) that student and teacher are shown; see `Outputs.views`."""
        return None

    def objective_share(self, progress: Progress) -> float:
        """What the board's own terms are multiplied by in this step."""
        return 1.0

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        """The terms to add, by name, each a weighted scalar on the device. Must not wait for the device."""
        return {}

    def after_step(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> None:
        """Update banks, queues or averages after the optimiser's step; runs without gradients."""

    def export(self, student: Network) -> nn.Module:
        """The network to be evaluated: clips (B, C, T, H, W) to action logits (B, K).

        Another network of the student's kind (an average) is also what the run's weights.pt holds, what teaches
        others from there, and what is fine-tuned on a second data set. Of any other module none of this is known:
        there the student is saved and fine-tuned, and its action head, which was not evaluated, is saved as NaN.
        """
        return student


# --- teachers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TeacherCard:
    """What a teacher is and what it has seen. `training_videos` are data-set-qualified ids, for the leak check.

    A card whose training list is None was not declared by whoever made the weights: the run is refused
    unless the user trusts it explicitly, and is then never ranked.
    """

    backbone: str
    weights_sha256: str
    dataset: str | None = None
    split: int | None = None
    fraction: float | None = None
    training_videos: tuple[str, ...] | None = None
    training_list_sha256: str | None = None
    top1: float | None = None
    train_s: float | None = None
    epochs: int | None = None
    run_id: str | None = None
    partial: bool = False


@dataclass(frozen=True)
class TeacherNetwork:
    """A trained network and its card. The harness freezes it."""

    network: Network
    card: TeacherCard


class TeacherContext(ABC):
    """What the harness offers a teacher plugin: the run that needs it, and networks of the board's shape."""

    fraction: float

    @abstractmethod
    def network(self, backbone: str, options: Mapping[str, Any] | None = None) -> Network:
        """An untrained network of a backbone, with the heads, width and classes of the run's board.

        `options` are the backbone's own. Raises PluginError for an unknown backbone or option.
        """

    @abstractmethod
    def from_file(self, path: Path | str, backbone: str | None = None) -> TeacherNetwork:
        """The network in a weights.pt, or, with its backbone named, in a plain state dictionary; data only.

        Raises DataError for a file that holds another network, data set or number of classes.
        """

    @abstractmethod
    def trained(
        self, backbone: str, fraction: float, method: str | None = None, options: Mapping[str, Any] | None = None
    ) -> TeacherNetwork:
        """What a run of a backbone has left (see `Method.export`), trained first if it is missing.

        The run is the board's own baseline, or one of another method that needs no teacher, with these options.
        """

    @abstractmethod
    def joined(self, members: Sequence[TeacherNetwork]) -> TeacherNetwork:
        """One teacher of several: their pooled features side by side, and the mean of their logits.

        Its heads are linear layers over the joined features, as any network's are; it has no taps. Its card
        adds up what the members have seen and cost; what they do not agree on stays unsaid.
        """

    @abstractmethod
    def digest(self, network: Network) -> str:
        """SHA-256 of all tensors of a network, as a card gives it."""

    @abstractmethod
    def teacher_fraction(self) -> float:
        """Share of the training videos the board lets a teacher see."""


class Teacher(Plugin, ABC):
    """A way of obtaining a teacher. `r3d` or `KIND:ARGUMENT` on the command line; ARGUMENT is handed to `load`.

    `portable` says that ARGUMENT names the same network on every machine. A record then repeats it; else it
    names the weights' digest, as a path says nothing to its reader and may say too much.
    """

    portable: ClassVar[bool] = False

    def __init__(self, options: Any = None) -> None:
        self.options = options if options is not None else self.Options()

    def backbones(self, argument: str) -> tuple[str, ...]:
        """The backbones that `argument` names, where it does: one, or several that are joined; else none.

        What cannot be taught by them is then refused before `load`, which may train them.
        """
        return ()

    @abstractmethod
    def load(self, argument: str, context: TeacherContext) -> TeacherNetwork:
        """Obtain the network named by `argument`, and declare what it has seen."""


# --- data sets ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Video:
    """One video: an id that is unique in its data set ("Biking/v_Biking_g05_c02"), its class and its group.

    `paths` are the places, relative to the data set's folder, where the file may lie; the first is official.
    Videos of one group (one source recording, one actor) never stand on both sides of a split.
    """

    id: str
    label: int
    group: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """The ids of the training and of the test videos, in the official order."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Download:
    """A file to fetch: address, name to store it under, size in bytes and SHA-256 where known."""

    url: str
    filename: str
    size: int | None = None
    sha256: str | None = None


class VideoDataset(Plugin, ABC):
    """A data set: its classes, its videos, its splits, and where its files come from.

    `root` is the folder that holds the videos; it need not exist before `provide` or `prepare` is called.
    """

    downloads: ClassVar[tuple[Download, ...]] = ()
    how_to_get: ClassVar[str] = ""
    embedded: ClassVar[bool] = False

    def __init__(self, root: Path, options: Any = None) -> None:
        self.root = root
        self.options = options if options is not None else self.Options()

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The class names; a label is a position in this tuple."""

    @property
    @abstractmethod
    def videos(self) -> tuple[Video, ...]:
        """All videos that any split uses, in the order of their ids."""

    @abstractmethod
    def split(self, number: int) -> Split:
        """An official split, counted from 1. Raises DataError for a number that does not exist."""

    def identity(self) -> str:
        """What tells two data sets of this name and these options apart (a folder's listing); else empty."""
        return ""

    def provide(self, say: Callable[[str], None]) -> None:
        """Create the video files under `root`, where the data set can draw them itself (`embedded`)."""
        raise DataError(self.root, f"no videos of '{self.name}' here; {self.how_to_get}")


# --- launchers ---------------------------------------------------------------------------------------------


def _nothing() -> None:
    """What there is to do after a run, where nothing was asked for."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep: the arguments after `kdbench`, and a way of doing it in this process.

    `command` is whole: in the folder where the sweep was started, another process does the run with it.
    `here` does it in this process, and raises what the run raises. `ended` is for this process to call once
    the run has ended well, wherever that was, and may raise a KdbenchError. `title` is what people are told;
    `weight` is the length to expect, compared with the other jobs.
    """

    command: tuple[str, ...]
    here: Callable[[], None]
    ended: Callable[[], None] = _nothing
    title: str = ""
    weight: float = 1.0

    @property
    def name(self) -> str:
        """The title, or the command where there is none."""
        return self.title or shlex.join(("kdbench", *self.command))


class Launcher(Plugin, ABC):
    """A way of running the cells of a sweep. One launcher of all says `default`: it is used where none is named."""

    default: ClassVar[bool] = False

    def __init__(self, options: Any = None) -> None:
        self.options = options if options is not None else self.Options()

    @abstractmethod
    def launch(self, jobs: Iterable[Job], say: Callable[[str], None]) -> int:
        """Do every job and return when all have ended; one that fails is told and does not stop the rest.

        No job needs another one of the list: a sweep launches the teachers' runs first, then the others.
        Calls `ended` of each job that ended well. Returns how many failed, in `ended` too.
        """
