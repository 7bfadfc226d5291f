"""What the checks work with: a tiny board on an embedded data set, small backbones, and a teacher that has learnt.

Everything is found among the plugins: the first embedded data set, made as small as its options allow, and the
backbones with the fewest layers. Its videos are drawn once into the kdbench home; nothing is downloaded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import torch

from kdbench.api import Batch, Method, PluginError, Progress, TeacherCard
from kdbench.board import DEFAULT_BOARD, Board, Data, load_board
from kdbench.data.material import Access, Material, open_material
from kdbench.errors import KdbenchError
from kdbench.models import Network, freeze
from kdbench.options import option_types
from kdbench.records import Epoch
from kdbench.registry import Registered, Registry
from kdbench.request import RunRequest, check
from kdbench.rundir import RunDir
from kdbench.session import Bench, Inputs, Session
from kdbench.teaching import Taught, digest_of_state
from kdbench.train import Training, progress_of, take_step

OURS = "kdbench"  # the distribution
WIDTH = 1 / 16
BATCH = 8
EPOCHS = 8
LESSONS = 20  # steps that the teacher has learnt for: enough to tell videos apart


class Silent:
    """A watcher that tells nobody."""

    def say(self, text: str) -> None:
        """Nothing."""

    def stage(self, title: str, total: int) -> Callable[[int], None]:
        """Nothing, too."""
        return lambda done: None

    def epoch(self, row: Epoch, total: int) -> None:
        """Nothing either."""


def own(registry: Registry, kind: str) -> list[Registered]:
    """The plugins of a kind that come with kdbench: a plugin is not checked with the help of another stranger's."""
    found = [registry.get(kind, name) for name in registry.names(kind)]
    return [plugin for plugin in found if plugin.origin.distribution == OURS] or found


def few_videos(plugin: Registered, root: Path) -> dict[str, Any]:
    """Options that leave a data set few videos: every whole number is 2 where that leaves fewer, yet a batch."""
    chosen: dict[str, Any] = {}
    fewest = _num_videos(plugin, chosen, root)
    for name in (name for name, wanted in option_types(plugin.cls.Options).items() if wanted is int):
        smaller = chosen | {name: 2}
        number = _num_videos(plugin, smaller, root)
        if number and (not fewest or number < fewest):
            chosen, fewest = smaller, number
    return chosen


def _num_videos(plugin: Registered, options: Mapping[str, Any], root: Path) -> int:
    """How many videos the options leave; 0 where they leave no batch to train on, or mean nothing."""
    try:
        dataset = plugin.make(options, root)
        return len(dataset.videos) if len(dataset.split(1).train) >= BATCH else 0
    except (KdbenchError, ValueError):
        return 0


def tiny_board(registry: Registry, root: Path) -> Board:
    """The default board with little data, small clips and thin networks: a training step takes milliseconds.

    Raises PluginError when no data set is embedded.
    """
    embedded = [plugin for plugin in own(registry, "datasets") if plugin.cls.embedded]
    if not embedded:
        raise PluginError("no data set is embedded, so there are no videos to check with; install kdbench anew")
    whole, swap = load_board(DEFAULT_BOARD), msgspec.structs.replace
    return swap(
        whole,
        board=swap(whole.board, name="check", title="For checks", summary="", reproduces=None),
        data=Data(dataset=embedded[0].name, options=few_videos(embedded[0], root)),
        frames=swap(whole.frames, height=18, width=24, crop=16),
        clip=swap(whole.clip, length=8, interval=1, remote_distance=2, segments=(2, 2, 2, 2)),
        objective=swap(whole.objective, kind="joint", negatives=16, projection=16),
        optim=swap(whole.optim, batch=BATCH, epochs=EPOCHS),
        evaluation=swap(whole.evaluation, views=2),
        networks=swap(whole.networks, width=WIDTH),
        transfer=None,
    )


class Kit:
    """The plugins there are, and small things to check one with; each is made when it is first needed.

    `folder` is for files that no one needs afterwards.
    """

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry, self.folder = registry, folder
        self.access = Access(registry=registry, watcher=Silent(), workers=1)
        self.bench = Bench(access=self.access, watcher=Silent(), runs=folder / "runs", device="cpu")
        self._folders = 0
        self._teachers: dict[str, Taught] = {}

    def new_folder(self) -> Path:
        """An empty folder."""
        self._folders += 1
        path = self.folder / str(self._folders)
        path.mkdir(parents=True)
        return path

    @cached_property
    def board(self) -> Board:
        """The tiny board."""
        return tiny_board(self.registry, self.folder)

    @cached_property
    def material(self) -> Material:
        """The board's videos."""
        return open_material(self.board, 1.0, self.access)

    @cached_property
    def backbones(self) -> list[Registered]:
        """The backbones that can be as thin as the board asks, fewest layers first: when thin, calls are their cost."""
        sizes = {}
        for plugin in own(self.registry, "backbones"):
            try:
                with torch.random.fork_rng(devices=[]):
                    sizes[plugin.name] = len(list(plugin.make({}).build(WIDTH).modules()))
            except PluginError:  # it has one width alone
                continue
        return [self.registry.get("backbones", name) for name in sorted(sizes, key=lambda name: (sizes[name], name))]

    @property
    def baseline(self) -> Registered:
        """The method that adds nothing."""
        return self.registry.get("methods", self.board.methods.baseline)

    def backbone_with(self, taps: Sequence[str]) -> str:
        """The smallest backbone that has the taps. Raises PluginError where none has."""
        for plugin in self.backbones:
            if set(taps) <= set(plugin.cls.taps):
                return plugin.name
        known = sorted({tap for plugin in self.backbones for tap in plugin.cls.taps})
        raise PluginError(f"wants the taps {', '.join(taps)}, which no backbone has; taps are: {', '.join(known)}")

    @cached_property
    def taught(self) -> Taught:
        """A teacher of another backbone than the student's, where there are two."""
        tapped = [plugin.name for plugin in self.backbones if plugin.cls.taps]
        names = tapped or [plugin.name for plugin in self.backbones]
        return self.teacher_of(names[min(1, len(names) - 1)])

    def teacher_of(self, backbone: str) -> Taught:
        """A backbone that has learnt, as a teacher; it learns once."""
        if backbone not in self._teachers:
            training = self.begin(self.baseline, {}, backbone)
            learn(training, LESSONS)
            network = freeze(training.network)
            kind = self.registry.get("teachers", self.board.teachers.kind)
            self._teachers[backbone] = Taught(network, self.card(network), network.spec.backbone, kind)
        return self._teachers[backbone]

    def teacher_for(self, method: Method, student: str) -> Taught | None:
        """The teacher that a method and its student are given a copy of; None for a method that needs none."""
        if not method.teachers:
            return None
        return self.teacher_of(student) if method.same_architecture else self.taught

    def card(self, network: Network) -> TeacherCard:
        """What a teacher that learnt from the board's training videos declares."""
        material = self.material
        return TeacherCard(
            backbone=network.spec.backbone,
            weights_sha256=digest_of_state(network.state_dict()),
            dataset=material.dataset,
            split=material.split,
            fraction=1.0,
            training_videos=material.qualified(material.training_list),
            training_list_sha256=material.training_list_sha256,
            epochs=LESSONS,
        )

    def begin(self, method: Registered, options: Mapping[str, Any], student: str | None = None) -> Training:
        """A training with the method, begun as a run begins it. The teacher is a copy, so that none spoils another."""
        made: Method = method.make(options)
        student = student or self.backbone_with(made.student_taps)
        taught = copy.deepcopy(self.teacher_for(made, student))
        request = RunRequest(
            board=self.board,
            student=student,
            teacher=taught.spec if taught else None,
            method=method.name,
            options=options,
        )
        parts = check(request, self.registry)
        inputs = Inputs(self.material, None, taught)
        training = Session(request, self.bench, parts, inputs, RunDir(self.folder / "run")).training
        training.network.train()
        training.method.train()
        return training


def batch_of(training: Training, epoch: int) -> Batch:
    """The first batch of an epoch."""
    return next(iter(list(training.loader.epoch(epoch))))


def learn(training: Training, steps: int) -> None:
    """Steps on one and the same batch, as if each were the first."""
    batch, at = batch_of(training, 0), progress_of(training, 0, 0)
    for _ in range(steps):
        take_step(training, batch, at)


def first_step_of(training: Training, epoch: int) -> Progress:
    """Where the training stands when an epoch begins."""
    return progress_of(training, epoch, 0)
