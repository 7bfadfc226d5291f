"""One factory for boards and records: consistent by construction, every derived number recomputed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from kdbench.board import REVISION, Board, digest_of_pins, load_board
from kdbench.records import Predictions, Record, derive, pack_ids, scores_of, to_json

VIDEOS, EPOCHS, BASELINE, TAUGHT = 20, 8, "alone", "soft"

BOARD = """
[board]
name = "{name}"
version = "1.0"
title = "Small board"
summary = "A board of {epochs} epochs for tests."
[protocol]
revision = {revision}
[data]
dataset = "moves"
[subset]
[frames]
height = 36
width = 48
crop = 32
[clip]
length = 4
interval = 1
segments = [1, 1, 1, 1]
[augment]
[objective]
kind = "supervised"
[optim]
lr = 0.01
momentum = 0.9
weight_decay = 0.0
batch = 4
epochs = {epochs}
[precision]
[evaluation]
views = 2
milestones = [0.25, 0.5]
[networks]
[teachers]
kind = "trained"
[methods]
baseline = "alone"
taught = "soft"
[transfer]
dataset = "steps"
lr = 0.01
momentum = 0.9
weight_decay = 0.0
batch = 4
epochs = 2
[matrix]
students = ["slim", "wide"]
teachers = ["broad"]
fractions = [1.0, 0.5]
seeds = [0, 1, 2]
[why]
"optim.epochs" = "eight are enough for a test"
"""


def write_board(boards: Path, name: str = "small", epochs: int = EPOCHS) -> Board:
    """A board folder with an empty records folder."""
    folder = boards / name
    (folder / "records").mkdir(parents=True)
    path = folder / "board.toml"
    path.write_text(BOARD.format(name=name, epochs=epochs, revision=REVISION), encoding="utf-8")
    return load_board(str(path))


@cache
def pins(epochs: int = EPOCHS) -> Mapping[str, Any]:
    """The pins of the board that `write_board` writes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return write_board(Path(folder), epochs=epochs).pins


def predictions(hits: int, videos: int = VIDEOS, classes: int = 4) -> Predictions:
    """Predictions of which the first `hits` are right."""
    labels = [at % classes for at in range(videos)]
    guesses = [label if at < hits else (label + 1) % classes for at, label in enumerate(labels)]
    return Predictions(packed=pack_ids(guesses), labels=pack_ids(labels), in_top5=videos)


def make_record(
    *,
    hits: int = 10,
    curve: Sequence[float] | None = None,
    transfer_hits: int | None = 12,
    taught: bool = False,
    **changes: Any,
) -> Record:
    """A complete record in which `hits` of 20 test videos are right; `changes` replace parts of its JSON.

    A change is addressed as `student__name="wide"` for `$.student.name`. Derived numbers follow last.
    """
    tree = _tree(hits, list(curve or _rising(hits / VIDEOS)), transfer_hits, taught)
    for address, value in changes.items():
        *parents, last = address.split("__")
        place = tree
        for parent in parents:
            place = place[parent]
        place[last] = value
    for row in tree["epochs"]:
        row["losses"]["action"] = round(row["losses"]["action"] + 0.0001 * tree["seed"], 4)  # no two seeds are equal
    if tree["teacher"] and "teacher__fraction" not in changes:
        saw_more = tree["teacher"]["privileged"]
        tree["teacher"]["fraction"] = None if saw_more is None else 1.0 if saw_more else tree["cell"]["fraction"]
    tree["board"]["digest"] = digest_of_pins(tree["pins"])
    tree["derived"] = dict.fromkeys(("top1", "top5", "early", "middle", "late", "curve_area", "best_top1"), 0.0)
    tree["derived"] |= {"epochs_to": {}, "best_epoch": 0}
    tree["run_id"] = changes.get("run_id") or _run_id(tree)
    record = msgspec.convert(tree, Record)
    derived = derive(record.epochs, record.stages, record.predictions, record.pins)
    return msgspec.structs.replace(record, derived=derived)


def broken(record: Record, **changes: Any) -> bytes:
    """A record's JSON with values put in afterwards, so that it contradicts itself."""
    tree: dict[str, Any] = json.loads(to_json(record))
    for address, value in changes.items():
        *parents, last = address.split("__")
        place: Any = tree
        for parent in parents:
            place = place[int(parent) if isinstance(place, list) else parent]
        if value is KeyError:
            del place[last]
        else:
            place[last] = value
    return json.dumps(tree).encode()


def write_records(boards: Path, records: Iterable[Record], board: str = "small") -> list[Path]:
    """Put records where `submit` puts them."""
    paths = []
    for record in records:
        path = boards / board / "records" / f"{record.run_id}.json"
        path.write_text(to_json(record), encoding="utf-8")
        paths.append(path)
    return paths


def trio(hits: Sequence[int], **changes: Any) -> list[Record]:
    """One record for each seed 0, 1, 2, ... with the given numbers of hits."""
    return [make_record(hits=right, seed=seed, **changes) for seed, right in enumerate(hits)]


def _rising(last: float) -> list[float]:
    """A straight line to `last`, rounded down to whole videos."""
    return [int(last * VIDEOS * (epoch + 1) / EPOCHS + 1e-9) / VIDEOS for epoch in range(EPOCHS)]


def _run_id(tree: Mapping[str, Any]) -> str:
    facts = [tree[key] for key in ("pins", "cell", "seed", "student", "method", "teacher")]
    start = f"{tree['student']['name']}-{tree['method']['name']}-{100 * tree['cell']['fraction']:g}-s{tree['seed']}"
    return f"{start}-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:6]}"


def _plugin(name: str) -> dict[str, Any]:
    return {"name": name, "distribution": "kdbench", "version": "0.1.0", "sha256": "ab" * 32, "options": {}}


def _tree(hits: int, curve: list[float], transfer_hits: int | None, taught: bool) -> dict[str, Any]:
    board, shown = pins(len(curve)), predictions(hits)
    scores = scores_of(shown)
    marks = [max(1, int(share * len(curve) + 0.5)) for share in (0.25, 0.75)]
    stages = [
        {"stage": name, "epoch": at, "top1": curve[at - 1], "top5": 1.0}
        for name, at in zip(("early", "middle"), marks, strict=True)
    ]
    stages.append({"stage": "late", "epoch": len(curve), "top1": scores.top1, "top5": scores.top5})
    return {
        "schema_version": 1,
        "run_id": "",
        "status": "complete",
        "board": {"name": "small", "version": "1.0", "digest": ""},
        "pins": dict(board),
        "cell": _cell(),
        "seed": 0,
        "command": "kdbench run --board small --student slim",
        "student": _plugin("slim") | {"params": 1234, "gmacs": 0.5},
        "method": _plugin(TAUGHT if taught else BASELINE),
        "teacher": _teacher() if taught else None,
        "classes": ["jump", "run", "sit", "walk"],
        "epochs": [_epoch(at + 1, top1, taught) for at, top1 in enumerate(curve)],
        "stages": stages,
        "predictions": msgspec.to_builtins(shown),
        "transfer": _transfer(transfer_hits) if transfer_hits is not None else None,
        "cost": _cost(len(curve)),
        "environment": {"device": {"type": "cpu", "name": "Plain CPU", "count": 1}, "threads": 2, "python": "3.11.2"},
        "code": {"version": "0.1.0", "commit": "c" * 40, "dirty": False},
    }


def _cell() -> dict[str, Any]:
    return {
        "dataset": "moves",
        "split": 1,
        "fraction": 1.0,
        "subset_seed": 0,
        "training_list_sha256": "11" * 32,
        "num_training_videos": 40,
        "test_list_sha256": "22" * 32,
        "num_test_videos": VIDEOS,
        "num_classes": 4,
        "metric": "video_top1_c2",
    }


def _teacher() -> dict[str, Any]:
    return {
        "spec": "broad",
        "plugin": _plugin("trained"),
        "backbone": "broad",
        "weights_sha256": "33" * 32,
        "dataset": "moves",
        "split": 1,
        "fraction": 1.0,
        "training_list_sha256": "11" * 32,
        "top1": 0.8,
        "train_s": 100.0,
        "epochs": 8,
        "run_id": None,
        "privileged": False,
        "trusted": True,
    }


def _epoch(number: int, top1: float, taught: bool) -> dict[str, Any]:
    losses = {"action": round(2 / number, 4)} | ({"soft": round(1 / number, 4)} if taught else {})
    seconds = {"train": 4.0, "data_wait": 0.5, "evaluate": 1.0}
    return {
        "epoch": number,
        "steps": 10 * number,
        "samples": 40 * number,
        "lr": 0.01,
        "losses": losses,
        "train_top1": min(1.0, top1 + 0.05),
        "pretext_top1": None,
        "test_top1": top1,
        "seconds": seconds,
    }


def _transfer(hits: int) -> dict[str, Any]:
    shown = predictions(hits)
    scores = scores_of(shown)
    return {
        "dataset": "steps",
        "split": 1,
        "mode": "full",
        "epochs": 2,
        "top1": scores.top1,
        "top5": scores.top5,
        "training_list_sha256": "44" * 32,
        "test_list_sha256": "55" * 32,
        "classes": ["jump", "run", "sit", "walk"],
        "curve": [0.25, scores.top1],
        "predictions": msgspec.to_builtins(shown),
        "seconds": 6.0,
    }


def _cost(epochs: int) -> dict[str, Any]:
    parts = {"train_s": 4.0 * epochs, "data_wait_s": 0.5 * epochs, "evaluate_s": 1.0 * epochs}
    parts |= {"checkpoint_s": 0.0, "transfer_s": 6.0, "other_s": 2.0}
    return parts | {"wall_s": sum(parts.values()), "peak_memory_mib": 512.0, "resumes": 0}
