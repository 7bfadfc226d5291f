"""The record of one run: its schema, what follows from its fields, and writing it. No torch, no pandas.

A record is measured, never typed. It is complete: the pins it ran under, the plugins with their digests,
the curve, the last epoch's predictions, costs and environment. What follows from other fields (`derived`,
the final scores) is recomputed on reading and must match: see `kdbench.checks`.
"""

from __future__ import annotations

import base64
import inspect
import json
import math
import operator
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from kdbench.errors import RecordError
from kdbench.files import write_atomically

SCHEMA_VERSION = 1
METRIC = "video_top1_c{views}"
MAX_BYTES = 1_000_000
MOST_TRIALS = 1_000_000
Status = Literal["complete", "partial", "failed"]
StageName = Literal["early", "middle", "late"]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One object inside a record."""


class BoardRef(Part, frozen=True, kw_only=True):
    """The board a run belongs to."""

    name: str
    version: str
    digest: str


class Cell(Part, frozen=True, kw_only=True):
    """Where on the board a run stands, and the digests of the lists it used."""

    dataset: str
    split: int
    fraction: float
    subset_seed: int
    training_list_sha256: str
    num_training_videos: int
    test_list_sha256: str
    num_test_videos: int
    num_classes: int
    metric: str
    frames_sha256: str | None = None


class PluginRef(Part, frozen=True, kw_only=True):
    """A plugin as it was used: name, distribution and version, digest of its file, its options."""

    name: str
    distribution: str
    version: str
    sha256: str
    options: dict[str, Any] = {}


class StudentRef(PluginRef, frozen=True, kw_only=True):
    """The student: parameters of backbone and action head, and GMACs of one clip."""

    params: int
    gmacs: float


class MethodRef(PluginRef, frozen=True, kw_only=True):
    """The method: parameters it holds beside the student, board terms it re-weighted, own epochs.

    `teacher_clips_per_step`: the clips that the teacher, and networks of the method's own, are shown in a step.
    """

    extra_params: int = 0
    phase_epochs: int = 0
    base_weights: dict[str, float] = {}
    teacher_clips_per_step: int = 0


class TeacherRef(Part, frozen=True, kw_only=True):
    """The teacher and what it has seen.

    `privileged`: it saw a larger fraction than the student; `partial`: some of its own videos were missing.
    """

    spec: str
    plugin: PluginRef
    backbone: str
    weights_sha256: str
    dataset: str | None
    split: int | None
    fraction: float | None
    training_list_sha256: str | None
    top1: float | None
    train_s: float | None
    epochs: int | None
    run_id: str | None
    privileged: bool | None
    trusted: bool
    partial: bool = False


class Seconds(Part, frozen=True, kw_only=True):
    """Where the seconds of an epoch went. `train` holds everything in the loop but `data_wait`."""

    train: float
    data_wait: float
    evaluate: float
    checkpoint: float = 0.0


class Epoch(Part, frozen=True, kw_only=True):
    """One epoch, counted from 1: totals so far, mean loss terms, training accuracy, 1-view test accuracy."""

    epoch: int
    steps: int
    samples: int
    lr: float
    losses: dict[str, float]
    train_top1: float | None
    pretext_top1: float | None
    test_top1: float
    seconds: Seconds


class PhaseEpoch(Part, frozen=True, kw_only=True):
    """One epoch of a phase of the method, counted from 1 in its phase: rate, mean loss terms, seconds."""

    phase: str
    epoch: int
    lr: float
    losses: dict[str, float]
    train_s: float
    data_wait_s: float


class Stage(Part, frozen=True, kw_only=True):
    """Video-level accuracy of the model at the end of one stage; `pretext_top1` is that of the pretext task."""

    stage: StageName
    epoch: int
    top1: float
    top5: float
    pretext_top1: float | None = None


class Predictions(Part, frozen=True, kw_only=True):
    """The last epoch's video-level predictions in the order of the test list: packed top-1 ids and labels.

    `packed` and `labels` are zlib-compressed little-endian 16-bit integers in base64; `in_top5` counts the
    videos whose label is among the five best classes (of all classes, where there are fewer).
    """

    packed: str
    labels: str
    in_top5: int


class PretextResult(Part, frozen=True, kw_only=True):
    """Which transform was done to one tuple of each test video, as the last epoch's network tells it.

    `majority` is the share of the most frequent transform: what a network that always names it would reach.
    """

    top1: float
    majority: float
    predictions: Predictions


class TransferResult(Part, frozen=True, kw_only=True):
    """Fine-tuning on the second data set: the official score is that of the last epoch."""

    dataset: str
    split: int
    mode: str
    epochs: int
    top1: float
    top5: float
    training_list_sha256: str
    test_list_sha256: str
    classes: tuple[str, ...]
    curve: tuple[float, ...]
    predictions: Predictions
    seconds: float


class Derived(Part, frozen=True, kw_only=True):
    """Numbers that follow from the rest: recomputed on reading.

    `epochs_to` maps each accuracy milestone to the first epoch whose (smoothed) 1-view accuracy reaches it,
    or to ">N" for a run of N epochs that never did. `best_*` is for information and never ranked.
    """

    top1: float
    top5: float
    early: float
    middle: float
    late: float
    epochs_to: dict[str, int | str]
    curve_area: float
    best_top1: float
    best_epoch: int


class Cost(Part, frozen=True, kw_only=True):
    """What the run cost, in seconds of this machine, MiB and epochs. `other_s` makes the sum equal `wall_s`."""

    train_s: float
    data_wait_s: float
    evaluate_s: float
    checkpoint_s: float
    phases_s: float = 0.0
    transfer_s: float
    other_s: float
    wall_s: float
    peak_memory_mib: float
    resumes: int


class Code(Part, frozen=True, kw_only=True):
    """The kdbench that ran: version, and commit where it ran from a repository."""

    version: str
    commit: str | None
    dirty: bool | None


class Verification(Part, frozen=True, kw_only=True):
    """Who reran a record, when, and with what outcome."""

    state: Literal["self-reported", "reproduced", "maintainers", "disputed"] = "self-reported"
    by: str | None = None
    date: str | None = None
    note: str | None = None


class Withdrawal(Part, frozen=True, kw_only=True):
    """Why and when a record was taken out of its board's tables; its file lies in `withdrawn/`."""

    reason: str
    date: str


class Event(Part, frozen=True, kw_only=True):
    """What was once said of a record and no longer holds: a verification, a withdrawal, or the end of one."""

    what: Literal["reproduced", "maintainers", "disputed", "withdrawn", "reinstated"]
    date: str | None = None
    by: str | None = None
    note: str | None = None


class Submission(Part, frozen=True, kw_only=True):
    """What only a person can know: given on submission, and said of the record since (`earlier` in order)."""

    author: str | None = None
    date: str | None = None
    link: str | None = None
    licence: str | None = None
    verification: Verification = Verification()
    withdrawn: Withdrawal | None = None
    earlier: tuple[Event, ...] = ()


class Tuning(Part, frozen=True, kw_only=True):
    """How the options were chosen: runs that were made for it, and the videos or cells that they were made on."""

    trials: Annotated[int, msgspec.Meta(ge=0, le=MOST_TRIALS)]
    on: str | None = None

    def __str__(self) -> str:
        """As a page shows it."""
        made = f"{self.trials} trial{'' if self.trials == 1 else 's'}" if self.trials else "no trials"
        return f"{made}, on: {self.on}" if self.on else made


class Failure(Part, frozen=True, kw_only=True):
    """Why a run failed."""

    kind: str
    message: str
    traceback: str | None = None


class Record(Part, frozen=True, kw_only=True):
    """One run."""

    schema_version: int
    run_id: str
    status: Status
    board: BoardRef
    pins: dict[str, Any]
    cell: Cell
    seed: int
    command: str
    student: StudentRef
    method: MethodRef
    teacher: TeacherRef | None
    classes: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    stages: tuple[Stage, ...]
    predictions: Predictions
    transfer: TransferResult | None
    derived: Derived
    cost: Cost
    environment: dict[str, Any]
    code: Code
    pretext: PretextResult | None = None
    phases: tuple[PhaseEpoch, ...] = ()
    missing_videos: int = 0
    tuning: Tuning | None = None
    submission: Submission = Submission()
    failure: Failure | None = None


class Scores(Part, frozen=True, kw_only=True):
    """Top-1 and top-5 shares of a list of predictions."""

    top1: float
    top5: float


# --- predictions -------------------------------------------------------------------------------------------


def pack_ids(ids: Iterable[int]) -> str:
    """Class ids as base64 of zlib-compressed little-endian 16-bit integers."""
    raw = b"".join(number.to_bytes(2, "little") for number in ids)
    return base64.b64encode(zlib.compress(raw, 9)).decode("ascii")


def unpack_ids(packed: str) -> list[int]:
    """The inverse of `pack_ids`. Raises RecordError for anything else."""
    return list(_unpacked(packed))


@lru_cache(maxsize=64)
def _unpacked(packed: str) -> tuple[int, ...]:
    # The checks of a record ask several times, and the labels of a board's records are all the same.
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(base64.b64decode(packed, validate=True), MAX_BYTES)
    except (ValueError, zlib.error) as error:
        raise RecordError(f"predictions cannot be unpacked ({error})") from error
    if not stream.eof or len(raw) % 2:
        raise RecordError("predictions cannot be unpacked (they are cut short, or too many)")
    return struct.unpack(f"<{len(raw) // 2}H", raw)


@lru_cache(maxsize=64)
def scores_of(predictions: Predictions) -> Scores:
    """Accuracy recomputed from the predictions."""
    guesses, labels = unpack_ids(predictions.packed), unpack_ids(predictions.labels)
    if len(guesses) != len(labels) or not labels:
        raise RecordError(
            f"predictions hold {len(guesses)} guesses for {len(labels)} labels, expected as many, and at least 1"
        )
    hits = sum(map(operator.eq, guesses, labels))
    return Scores(top1=hits / len(labels), top5=predictions.in_top5 / len(labels))


def majority_of(predictions: Predictions) -> float:
    """The share of the most frequent label."""
    labels = unpack_ids(predictions.labels)
    return max(Counter(labels).values()) / len(labels)


# --- derived numbers ---------------------------------------------------------------------------------------


def smoothed(curve: Sequence[float], window: int) -> list[float]:
    """The mean of the last `window` values (fewer at the start): the board's rule for reading milestones."""
    if window == 1:
        return list(curve)
    return [sum(curve[max(0, at - window + 1) : at + 1]) / min(window, at + 1) for at in range(len(curve))]


def epoch_reaching(curve: Sequence[float], accuracy: float) -> int | str:
    """First epoch (from 1) whose value is at least `accuracy`, or ">N" when none of N is."""
    reached = (at + 1 for at, value in enumerate(curve) if value >= accuracy - 1e-12)
    return next(reached, f">{len(curve)}")


def derive(epochs: Sequence[Epoch], stages: Sequence[Stage], predictions: Predictions, pins: dict[str, Any]) -> Derived:
    """All derived numbers of a run, from its curve, its stage marks, its predictions and its board's pins."""
    curve = [row.test_top1 for row in epochs]
    level = smoothed(curve, int(pins["evaluation.smoothing"]))
    marks = {mark.stage: mark.top1 for mark in stages}
    scores = scores_of(predictions)
    best = max(range(len(curve)), key=lambda at: (curve[at], -at))
    return Derived(
        top1=scores.top1,
        top5=scores.top5,
        early=marks["early"],
        middle=marks["middle"],
        late=marks["late"],
        epochs_to={f"{goal:g}": epoch_reaching(level, goal) for goal in pins["evaluation.milestones"]},
        curve_area=math.fsum(curve) / len(curve),
        best_top1=curve[best],
        best_epoch=best + 1,
    )


# --- writing -----------------------------------------------------------------------------------------------


def to_json(record: Record) -> str:
    """The record's one canonical text: sorted keys, one space deeper each level, one final newline."""
    return json.dumps(msgspec.to_builtins(record), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def measured_json(record: Record) -> str:
    """A record's JSON without what people say of it: two records with the same are of one and the same run."""
    return to_json(msgspec.structs.replace(record, submission=Submission(), tuning=None))


def write_record(record: Record, path: Path) -> None:
    """Write a record atomically: a reader sees the old file, or the whole new one."""
    write_atomically(path, to_json(record).encode())


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a record: the same under every version of Python."""
    schema = msgspec.json.schema(Record)
    for definition in schema["$defs"].values():
        # Until Python 3.12 a docstring has the indents of its source.
        definition["description"] = inspect.cleandoc(definition["description"])
    return schema


def differing_pins(record: Record, pins: dict[str, Any]) -> list[str]:
    """The keys in which a record's pins differ from a board's: what makes it stale."""
    return sorted(key for key in record.pins.keys() | pins.keys() if record.pins.get(key) != pins.get(key))
