"""A board: everything that must be equal for two runs to be comparable, read from `board.toml`.

Every section is frozen. An unknown key is an error that lists the known ones; a value that makes no sense
is an error that names file, key and reason. `Board.digest` is a hash of the pins, so a changed pin makes
older records stale; what only widens a board (its matrix, its titles) is no pin.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from kdbench.errors import BoardError

REVISION = 2
"""Raised with every change of the code after which a run of equal pins comes to other numbers.

2: fp32 heads under autocast; hue once for each batch; sums over views in one order.
"""

DEFAULT_BOARD = "camarena2024"
BOARDS = Path(str(files("kdbench_boards")))


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of `board.toml`."""


class About(Section, frozen=True, kw_only=True):
    """What the board is called and what it is for. Titles are no pins.

    `reproduces` names the board whose reported.json this one's runs stand beside too.
    """

    name: str
    version: str
    title: str
    summary: str
    reproduces: str | None = None


class Protocol(Section, frozen=True, kw_only=True):
    """The revision of what the code does with the pins; this code measures by `REVISION` alone."""

    revision: int


class Data(Section, frozen=True, kw_only=True):
    """The data set that students learn from, and its official split."""

    dataset: str
    split: int = 1
    options: dict[str, Any] = {}


class Subset(Section, frozen=True, kw_only=True):
    """How the training videos of a fraction are chosen: per class floor(f*n + 0.5), at least one, nested.

    The seed of the choice is a coordinate of the cell, not a pin: a board may compare several.
    """

    rule: Literal["per-class-half-up"] = "per-class-half-up"


class Frames(Section, frozen=True, kw_only=True):
    """Geometry and colour of a frame: stored height x width in pixels, square crop, RGB mean and deviation.

    `codec` is how the frame store keeps it: its planes as they are, or as JPEG of quality 95.
    """

    height: int
    width: int
    crop: int
    filter: Literal["bilinear", "area", "bicubic"] = "bilinear"
    codec: Literal["yuv420p", "jpeg95"] = "yuv420p"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    modality: Literal["res", "rgb"] = "res"


class Clip(Section, frozen=True, kw_only=True):
    """Frames of a clip, frames skipped between the clips of a tuple, clips of a tuple, remote distance."""

    length: int
    interval: int
    per_tuple: int = 3
    remote_distance: int = 16
    short: Literal["loop"] = "loop"
    segments: tuple[int, int, int, int]


class Augment(Section, frozen=True, kw_only=True):
    """Probabilities and strengths; every parameter is drawn once for each clip."""

    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grey: float = 0.2
    blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_kernel: int = 11


class Objective(Section, frozen=True, kw_only=True):
    """Weights of the terms that every run of the board optimises (paper, Eq. 5), and the memory banks."""

    kind: Literal["joint", "ssl", "supervised"]
    action: float = 1.0
    pretext: float = 1.0
    contrast: float = 0.5
    negatives: int = 1024
    temperature: float = 0.07
    bank_momentum: float = 0.5
    projection: int = 128


class Optim(Section, frozen=True, kw_only=True):
    """SGD. `milestones` are fractions of the epochs after which the learning rate is multiplied by `gamma`."""

    lr: float
    momentum: float
    weight_decay: float
    batch: int
    epochs: int
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1


class Precision(Section, frozen=True, kw_only=True):
    """Arithmetic of forward and backward on each kind of device; weights and losses are always fp32."""

    cuda: Literal["fp32", "tf32", "bf16"] = "bf16"
    cpu: Literal["fp32", "bf16"] = "fp32"


class Evaluation(Section, frozen=True, kw_only=True):
    """Test views, the stages (fractions of the epochs) and the accuracies whose first epoch is reported."""

    views: int = 10
    stages: tuple[float, float, float] = (0.25, 0.75, 1.0)
    milestones: tuple[float, ...] = ()
    baseline_milestones: tuple[float, ...] = (0.9, 1.0)
    smoothing: int = 1


class Transfer(Section, frozen=True, kw_only=True):
    """Fine-tuning of the finished student on a second data set."""

    dataset: str
    split: int = 1
    options: dict[str, Any] = {}
    mode: Literal["full", "linear-probe"] = "full"
    lr: float
    momentum: float
    weight_decay: float
    batch: int
    epochs: int
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    flip: float = 0.5


class Teachers(Section, frozen=True, kw_only=True):
    """How a teacher that is given by the bare name of a backbone comes to be."""

    kind: str
    fraction: Literal["full", "same"] = "full"
    seed: int = 0


class Networks(Section, frozen=True, kw_only=True):
    """What all networks of the board share: the width factor of their channels."""

    width: float = 1.0


class Methods(Section, frozen=True, kw_only=True):
    """The method of a run without a teacher (every gain is measured against it) and of one with a teacher."""

    baseline: str
    taught: str


class Matrix(Section, frozen=True, kw_only=True):
    """The cells that `kdbench sweep` fills. Widening it makes no record stale."""

    students: tuple[str, ...]
    teachers: tuple[str, ...]
    fractions: tuple[float, ...]
    seeds: tuple[int, ...]
    subset_seeds: tuple[int, ...] = (0,)


class Board(Section, frozen=True, kw_only=True, dict=True):
    """A whole `board.toml`."""

    board: About
    protocol: Protocol
    data: Data
    subset: Subset
    frames: Frames
    clip: Clip
    augment: Augment
    objective: Objective
    optim: Optim
    precision: Precision
    evaluation: Evaluation
    networks: Networks
    teachers: Teachers
    methods: Methods
    matrix: Matrix
    transfer: Transfer | None = None
    why: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The board's name, as on the command line."""
        return self.board.name

    @cached_property
    def pins(self) -> dict[str, Any]:
        """Every value that two comparable runs share, by dotted key, in order of the key."""
        tree = msgspec.to_builtins(self)
        for loose in ("board", "matrix", "why"):
            del tree[loose]
        tree["methods"].pop("taught")
        return dict(sorted(_flatten(tree)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the pins."""
        return digest_of_pins(self.pins)

    @property
    def clip_span(self) -> int:
        """Frames from the first of a tuple to its last: cl*tl + it*(tl - 1)."""
        clip = self.clip
        return clip.length * clip.per_tuple + clip.interval * (clip.per_tuple - 1)

    @property
    def stage_epochs(self) -> tuple[int, ...]:
        """The epochs (counted from 1) that end the early, middle and late stage."""
        return tuple(max(1, int(stage * self.optim.epochs + 0.5)) for stage in self.evaluation.stages)


def transfer_board(board: Board) -> Board:
    """The board that fine-tuning runs under: the second data set, supervised, random crop and flip only."""
    transfer = board.transfer
    if transfer is None:
        raise BoardError(f"board {board.name} has no [transfer] section")
    return msgspec.structs.replace(
        board,
        data=Data(dataset=transfer.dataset, split=transfer.split, options=transfer.options),
        augment=msgspec.structs.replace(board.augment, flip=transfer.flip, jitter=0.0, grey=0.0, blur=0.0),
        objective=msgspec.structs.replace(board.objective, kind="supervised"),
        optim=Optim(**{name: getattr(transfer, name) for name in Optim.__struct_fields__}),
        transfer=None,
    )


def with_modality(board: Board, modality: str) -> Board:
    """The board with its frames in another modality ("rgb" or "res"); an empty name leaves it alone."""
    if modality in ("", board.frames.modality):
        return board
    frames = msgspec.convert({**msgspec.structs.asdict(board.frames), "modality": modality}, Frames)
    return msgspec.structs.replace(board, frames=frames)


def digest_of_pins(pins: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a board's pins; a record's own pins are checked with it too."""
    return _digest_of_json(msgspec.json.encode(pins))


@lru_cache(maxsize=16)
def _digest_of_json(raw: bytes) -> str:
    # The thousands of records of a board have the same pins.
    return hashlib.sha256(json.dumps(json.loads(raw), sort_keys=True).encode()).hexdigest()


def board_names() -> list[str]:
    """The boards that stand in `leaderboards/`."""
    return sorted(path.parent.name for path in BOARDS.glob("*/board.toml"))


def is_path(name: str) -> bool:
    """Whether a board is given by the path of its file or folder, and not by its name."""
    return name.endswith(".toml") or os.sep in name


def board_path(name: str) -> Path:
    """The file of a board given by name or by path. Raises BoardError when there is none."""
    if is_path(name):
        path = Path(name)
        path = path / "board.toml" if path.is_dir() else path
        if not path.is_file():
            raise BoardError(f"{path}: no such board file; give the path of a board.toml or one of: {_known()}")
        return path
    path = BOARDS / name / "board.toml"
    if not path.is_file():
        near = difflib.get_close_matches(name, board_names(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise BoardError(f"no board is called '{name}'; {hint}known boards: {_known()}")
    return path


def load_board(name: str) -> Board:
    """Read and check a board, given by name or by the path of its file. Raises BoardError."""
    path = board_path(name)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BoardError(f"{path}: cannot be read: {error}") from error
    _refuse_unknown_keys(tree, Board, path)
    try:
        board = msgspec.convert(tree, Board, strict=True)
    except msgspec.ValidationError as error:
        raise BoardError(f"{path}: {_say_where(str(error))}") from error
    for problem in _problems(board):
        raise BoardError(f"{path}: {problem}")
    return board


def _known() -> str:
    return ", ".join(board_names()) or "none"


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{dotted}.")
        else:
            yield dotted, list(value) if isinstance(value, tuple) else value


def _refuse_unknown_keys(tree: Mapping[str, Any], section: type[Section], path: Path, at: str = "") -> None:
    known = {field.name: field.type for field in msgspec.structs.fields(section)}
    for key, value in tree.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            place = f"[{at}] has no key" if at else "no section is called"
            raise BoardError(f"{path}: {place} '{key}'; {hint}known: {', '.join(known)}")
        inner = _section_of(known[key])
        if inner and isinstance(value, dict):
            _refuse_unknown_keys(value, inner, path, key)


def _section_of(annotation: Any) -> type[Section] | None:
    options = get_args(annotation) if get_origin(annotation) is not None else (annotation,)
    return next((item for item in options if isinstance(item, type) and issubclass(item, Section)), None)


def _say_where(message: str) -> str:
    """msgspec's message with the key in front: 'Expected ... - at `$.clip.length`' -> 'clip.length: ...'."""
    text, found, place = message.partition(" - at `$.")
    if missing := re.fullmatch("Object missing required field `(.*)`", text):
        lacks = f"[{place.rstrip('`')}] has no '{missing[1]}'" if found else f"there is no section [{missing[1]}]"
        return f"{lacks}, which every board has; `kdbench board explain {DEFAULT_BOARD}` shows an example of each"
    return f"{place.rstrip('`')}: {text}" if found else text


def _problems(board: Board) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", board.name):
        yield f"board.name is '{board.name}'; a name has letters, digits, '.', '_' and '-' alone"
    if board.protocol.revision != REVISION:
        yield (
            f"protocol.revision is {board.protocol.revision}; this kdbench measures by revision {REVISION}: "
            "write that number and run the board again, or install the kdbench that the board was written for"
        )
    yield from _endless_problems(board)
    yield from _shape_problems(board)
    yield from _range_problems(board)
    evaluation = board.evaluation
    if list(evaluation.stages) != sorted(evaluation.stages) or evaluation.stages[-1] != 1.0:
        yield f"evaluation.stages {list(evaluation.stages)} must rise and end at 1.0"


def _shape_problems(board: Board) -> Iterator[str]:
    clip, frames, kernel = board.clip, board.frames, board.augment.blur_kernel
    if clip.length < 1:
        yield f"clip.length is {clip.length}; a clip needs at least 1 frame"
    if clip.interval < 0:
        yield f"clip.interval is {clip.interval}; clips of a tuple may not overlap, use 0 or more"
    if clip.remote_distance < 0:
        yield f"clip.remote_distance is {clip.remote_distance}; use 0 or more"
    if clip.per_tuple != 3:
        yield f"clip.per_tuple is {clip.per_tuple}; the pretext task is defined on tuples of 3 clips"
    if sum(clip.segments) != clip.length or min(clip.segments) < 1:
        parts = list(clip.segments)
        yield f"clip.segments {parts} must be positive; they add up to {sum(parts)}, not to clip.length {clip.length}"
    if not 2 <= frames.crop <= min(frames.height, frames.width):
        yield f"frames.crop {frames.crop} is larger than the frame ({frames.height} x {frames.width}), or below 2"
    if frames.crop % 2:
        yield f"frames.crop is {frames.crop}; quadrants need an even number of pixels"
    if kernel % 2 == 0 or not 1 <= kernel < 2 * frames.crop:
        yield f"augment.blur_kernel is {kernel}; a blur kernel needs an odd number of taps, fewer than two crops"


def _endless_problems(board: Board) -> Iterator[str]:
    """TOML knows `nan` and `inf`; no comparison with a bound finds the first, and JSON has neither."""
    for key, value in board.pins.items():
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            yield f"{key} is {value}; it must be finite"


def _range_problems(board: Board) -> Iterator[str]:
    """Numbers outside their range: what it must be, whether it is, and where it stands."""
    tests: tuple[tuple[str, Callable[[float], bool], dict[str, float]], ...] = (
        ("be more than 0", lambda value: value > 0, _positive_numbers(board)),
        ("be at least 1", lambda value: value >= 1, _counts(board)),
        ("be 0 or more", lambda value: value >= 0, _sizes(board)),
        ("lie between 0 and 1", lambda value: 0 <= value <= 1, _shares(board)),
    )
    for wanted, holds, numbers in tests:
        yield from (f"{key} is {value}; it must {wanted}" for key, value in numbers.items() if not holds(value))
    for name in ("students", "fractions", "seeds", "subset_seeds"):
        if not getattr(board.matrix, name):
            yield f"matrix.{name} is empty; name at least one"
    for fraction in board.matrix.fractions:
        if not 0 < fraction <= 1:
            yield f"matrix.fractions holds {fraction}; a fraction is more than 0 and at most 1"
    if not 0 < board.augment.blur_sigma[0] <= board.augment.blur_sigma[1]:
        yield f"augment.blur_sigma is {list(board.augment.blur_sigma)}; it must be positive and not fall"


def _optimised(board: Board) -> dict[str, Optim | Transfer]:
    return {"optim": board.optim} | ({"transfer": board.transfer} if board.transfer else {})


def _positive_numbers(board: Board) -> dict[str, float]:
    found = {f"{name}.lr": section.lr for name, section in _optimised(board).items()}
    found |= {"objective.temperature": board.objective.temperature, "networks.width": board.networks.width}
    return found | {f"frames.std[{at}]": value for at, value in enumerate(board.frames.std)}


def _counts(board: Board) -> dict[str, float]:
    found = {f"{at}.{key}": getattr(part, key) for at, part in _optimised(board).items() for key in ("epochs", "batch")}
    found |= {"evaluation.views": board.evaluation.views, "evaluation.smoothing": board.evaluation.smoothing}
    return found | {f"objective.{key}": getattr(board.objective, key) for key in ("negatives", "projection")}


def _sizes(board: Board) -> dict[str, float]:
    optimised = _optimised(board).items()
    found = {f"{name}.{key}": getattr(part, key) for name, part in optimised for key in ("weight_decay", "gamma")}
    found |= {f"objective.{key}": getattr(board.objective, key) for key in ("action", "pretext", "contrast")}
    found |= {f"augment.{key}": getattr(board.augment, key) for key in ("brightness", "contrast", "saturation", "hue")}
    found["teachers.seed"] = board.teachers.seed
    for name in ("seeds", "subset_seeds"):
        found |= {f"matrix.{name}[{at}]": seed for at, seed in enumerate(getattr(board.matrix, name))}
    return found


def _shares(board: Board) -> dict[str, float]:
    found = {f"augment.{key}": getattr(board.augment, key) for key in ("flip", "jitter", "grey", "blur")}
    found["objective.bank_momentum"] = board.objective.bank_momentum
    for name, section in _optimised(board).items():
        found[f"{name}.momentum"] = section.momentum
        found |= {f"{name}.milestones[{at}]": share for at, share in enumerate(section.milestones)}
    return found | {f"evaluation.stages[{at}]": share for at, share in enumerate(board.evaluation.stages)}
