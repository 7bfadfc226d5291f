"""Boards with thousands of valid records, written fast: what the site must carry when many people take part."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from kdbench.board import Board, load_board
from kdbench.records import Predictions, Record, derive, majority_of, pack_ids, scores_of, to_json
from tests.factories import make_record, write_board

EPOCHS, VIDEOS, CLASSES, TRANSFORMS = 30, 160, 8, 5
TRAINING_VIDEOS, STEPS = 256, 64  # of an epoch, in the batches of four that the board has
STUDENTS, FRACTIONS, SEEDS = ("deep", "slim", "wide"), (1.0, 0.5, 0.25, 0.02), (0, 1, 2)
TEACHERS, METHODS = ("broad", "old", "tall"), tuple(f"way{at:02}" for at in range(31))
TERMS = ("action", "contrast", "pretext")


class Place(NamedTuple):
    """What tells two records of a board apart; no teacher is the baseline."""

    student: str
    fraction: float
    teacher: str | None
    method: str
    seed: int


def write_crowd(boards: Path, records: int, names: tuple[str, ...] = ("crowd",)) -> list[Path]:
    """So many records over boards of these names, cell after cell; at most 3,384 a board. Returns the records."""
    paths = []
    for at, name in enumerate(names):
        board = _board(boards, name)
        template = _template(board)
        for place in islice(places(), records // len(names) + (at < records % len(names))):
            record = _record(template, name, place)
            path = boards / name / "records" / f"{record.run_id}.json"
            text = msgspec.json.encode(record, order="sorted")
            path.write_bytes(msgspec.json.format(text, indent=1) + b"\n")
            paths.append(path)
    return paths


def places() -> Iterator[Place]:
    """Cell after cell: the baseline's seeds, then those of each method and teacher."""
    for student, fraction in product(STUDENTS, FRACTIONS):
        for seed in SEEDS:
            yield Place(student, fraction, None, "alone", seed)
        for method, teacher, seed in product(METHODS, TEACHERS, SEEDS):
            yield Place(student, fraction, teacher, method, seed)


def _board(boards: Path, name: str) -> Board:
    write_board(boards, name, EPOCHS)
    path = boards / name / "board.toml"
    text, _, _ = path.read_text(encoding="utf-8").partition("[matrix]")
    lists = {"students": STUDENTS, "teachers": TEACHERS, "fractions": FRACTIONS, "seeds": SEEDS}
    matrix = "".join(f"{key} = {json.dumps(list(values))}\n" for key, values in lists.items())
    path.write_text(f"{text}[matrix]\n{matrix}", encoding="utf-8")
    return load_board(str(path))


def _template(board: Board) -> dict[str, Any]:
    """What all records of a board share, and the places for what they do not."""
    record = make_record(curve=[0.5] * EPOCHS, taught=True, board__name=board.name, pins=dict(board.pins))
    tree: dict[str, Any] = json.loads(to_json(record))
    tree["classes"] = tree["transfer"]["classes"] = [f"moves {way}" for way in "abcdefgh"]
    tree["cell"] |= {"num_test_videos": VIDEOS, "num_training_videos": TRAINING_VIDEOS, "num_classes": CLASSES}
    packages = {"av": "18.1.0", "msgspec": "0.22.0", "numpy": "2.4.6", "torch": "2.15.0", "torchvision": "0.29.2"}
    tree["environment"] |= {"packages": packages, "os": "Linux x86_64", "precision": "bf16"}
    return tree


def _record(template: dict[str, Any], name: str, place: Place) -> Record:
    draw = random.Random(f"{name} {place}")
    tree = copy.copy(template)
    tree["run_id"] = "-".join(str(part) for part in place if part is not None)
    tree["seed"] = place.seed
    tree["cell"] = template["cell"] | {"fraction": place.fraction}
    tree["student"] = template["student"] | {"name": place.student}
    tree["method"] = template["method"] | {"name": place.method}
    seen = {"spec": place.teacher, "privileged": place.fraction < 1}
    tree["teacher"] = template["teacher"] | seen if place.teacher else None
    tree["command"] = f"kdbench run --board {name} --student {place.student} --method {place.method}"
    share = draw.uniform(0.2, 0.5) + 0.2 * place.fraction
    tree["epochs"] = [_epoch(draw, at + 1, share, place.method) for at in range(EPOCHS)]
    tree["predictions"] = _predictions(draw, CLASSES, share)
    tree["transfer"] = _transfer(draw, template, share)
    tree["pretext"] = _pretext(draw)
    _add_up(tree)
    record = msgspec.convert(tree, Record)
    derived = derive(record.epochs, record.stages, record.predictions, record.pins)
    return msgspec.structs.replace(record, derived=derived)


def _epoch(draw: random.Random, number: int, share: float, method: str) -> dict[str, Any]:
    level = share * (1 - 0.9**number) + draw.uniform(-0.02, 0.02)
    terms = TERMS if method == "alone" else (*TERMS, "taught")
    return {
        "epoch": number,
        "steps": STEPS * number,
        "samples": TRAINING_VIDEOS * number,
        "lr": 0.01 if number < 20 else 0.001,
        "losses": {term: _single(2.0 - level + draw.random()) for term in terms},
        "train_top1": round(TRAINING_VIDEOS * max(0.0, level)) / TRAINING_VIDEOS,
        "pretext_top1": draw.randrange(TRANSFORMS * 10) / 50,
        "test_top1": round(VIDEOS * max(0.0, level)) / VIDEOS,
        "seconds": {"train": 4 + draw.random(), "data_wait": draw.random() / 9, "evaluate": 1 + draw.random()},
    }


def _single(value: float) -> float:
    """A number as a network's mean loss has it: of single precision, with all its digits."""
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    return single


def _predictions(draw: random.Random, classes: int, share: float) -> dict[str, Any]:
    labels = [at % classes for at in range(VIDEOS)]
    guesses = [label if draw.random() < share else draw.randrange(classes) for label in labels]
    return {"packed": pack_ids(guesses), "labels": pack_ids(labels), "in_top5": VIDEOS}


def _transfer(draw: random.Random, template: dict[str, Any], share: float) -> dict[str, Any]:
    shown = _predictions(draw, CLASSES, share)
    scores = msgspec.to_builtins(scores_of(msgspec.convert(shown, Predictions)))
    curve = [draw.randrange(VIDEOS) / VIDEOS, scores["top1"]]
    return template["transfer"] | scores | {"predictions": shown, "curve": curve}


def _pretext(draw: random.Random) -> dict[str, Any]:
    shown = _predictions(draw, TRANSFORMS, 0.5)
    read = msgspec.convert(shown, Predictions)
    return {"top1": scores_of(read).top1, "majority": majority_of(read), "predictions": shown}


def _add_up(tree: dict[str, Any]) -> None:
    """Stages and costs, as they follow from the epochs and the predictions."""
    epochs, scores = tree["epochs"], scores_of(msgspec.convert(tree["predictions"], Predictions))
    stages = [dict(mark) for mark in tree["stages"]]
    for mark in stages:
        mark |= {"top1": epochs[mark["epoch"] - 1]["test_top1"], "top5": 1.0}
    stages[-1]["top1"] = scores.top1
    tree["stages"] = stages
    cost = dict(tree["cost"])
    cost |= {f"{part}_s": sum(row["seconds"][part] for row in epochs) for part in ("train", "data_wait", "evaluate")}
    cost["wall_s"] = 0.0
    cost["wall_s"] = sum(value for name, value in cost.items() if name.endswith("_s"))
    tree["cost"] = cost
