"""Every kind of corruption of a record is named with its file and JSON path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kdbench.checks import problems_of_file, read_record
from kdbench.errors import RecordError
from kdbench.records import (
    MAX_BYTES,
    Record,
    pack_ids,
    to_json,
)
from tests.factories import broken, make_record


def faults(tmp_path: Path, record: Record | None = None, **changes: Any) -> list[str]:
    """What is said about a record into which values were put afterwards, without the file's name."""
    path = tmp_path / "record.json"
    path.write_bytes(broken(record or make_record(taught=True), **changes))
    lines = problems_of_file(path)
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_sound_record_has_no_faults(tmp_path: Path) -> None:
    assert faults(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"cell__fraction": "all"}, "$.cell.fraction: expected `float`, got `str`"),
        ({"cell__fraction": 1.5}, "$.cell.fraction: found 1.5, expected more than 0 and at most 1"),
        ({"status": "done"}, "$.status: invalid enum value 'done'"),
        ({"student__name": KeyError}, "$.student: object missing required field `name`"),
        ({"tuning": {"trials": -1}}, "$.tuning.trials: expected `int` >= 0"),
        ({"tuning": {"on": "x"}}, "$.tuning: object missing required field `trials`"),
        ({"surprise": 1}, "$: object contains unknown field `surprise`"),
        ({"epochs__2__losses": 1.0}, "$.epochs[2].losses: expected `object`, got `float`"),
        ({"derived__top1": 0.9}, "$.derived.top1: found 0.9, the curve and predictions give 0.5"),
        ({"derived__epochs_to": {"0.25": 1, "0.5": 8}}, "$.derived.epochs_to: found {'0.25': 1, '0.5': 8}"),
        ({"derived__best_epoch": 1}, "$.derived.best_epoch: found 1, the curve and predictions give 8"),
        ({"stages__2__top1": 0.4}, "$.stages[2].top1: found 0.4, the predictions give 0.5"),
        ({"stages": []}, "$.stages: found [], expected early, middle and late"),
        ({"epochs": []}, "$.epochs: found the numbers [], expected 1, 2, 3, ..."),
        ({"epochs__1__epoch": 5}, "$.epochs: found the numbers [1, 5, 3, 4, 5], expected 1, 2, 3, ..."),
        ({"epochs__7__test_top1": 1.5}, "$.epochs[7].test_top1: found 1.5, expected a share between 0 and 1"),
        ({"predictions__packed": "%"}, "$.predictions: predictions cannot be unpacked"),
        ({"predictions__packed": pack_ids([1, 2])}, "$.predictions: predictions hold 2 guesses for 20 labels"),
        ({"predictions__packed": pack_ids([9] * 20)}, "$.predictions: found class 9, the last of 4 is 3"),
        ({"predictions__in_top5": 3}, "$.predictions.in_top5: found 3, expected 10 to 20"),
        ({"cell__num_test_videos": 21}, "$.predictions.packed: found 20 videos, $.cell.num_test_videos is 21"),
        ({"cell__num_classes": 5}, "$.classes: found 4 names, $.cell.num_classes is 5"),
        ({"cell__metric": "top1"}, "$.cell.metric: found 'top1', the board's views make it 'video_top1_c2'"),
        ({"transfer__top1": 0.1}, "$.transfer.top1: found 0.1, its predictions give 0.6"),
        ({"transfer__predictions__packed": ""}, "$.transfer.predictions: predictions cannot be unpacked"),
        ({"board__digest": "0"}, "$.board.digest: does not belong to $.pins"),
        ({"pins": {}}, "$.pins: found no 'evaluation.smoothing', expected every pin of the board"),
        ({"cost__wall_s": 1.0}, "$.cost.wall_s: found 1.0, its parts add up to 52.000"),
        ({"cell__dataset": "other"}, "$.cell.dataset: found 'other', $.pins['data.dataset'] is 'moves'; restore"),
        ({"cell__split": 2}, "$.cell.split: found 2, $.pins['data.split'] is 1; restore"),
        ({"cell__subset_seed": 7, "cell__fraction": 1.0}, "$.cell.subset_seed: found 7, all videos are one subset"),
        ({"stages__0__epoch": 3}, "$.stages[0].epoch: found 3, the early stage ends with epoch 2; restore"),
        ({"transfer__epochs": 3}, "$.transfer.epochs: found 3, $.pins['transfer.epochs'] is 2; restore"),
        ({"transfer__split": 2}, "$.transfer.split: found 2, $.pins['transfer.split'] is 1; restore"),
        ({"transfer__curve": [0.6]}, "$.transfer.curve: found 1 values, $.transfer.epochs is 2; restore"),
        ({"transfer__curve": [0.33, 0.6]}, "$.transfer.curve[0]: found 0.33, expected a multiple of 1/20"),
        ({"epochs__1__test_top1": 0.33}, "$.epochs[1].test_top1: found 0.33, expected a multiple of 1/20"),
        ({"stages__1__top5": 0.99}, "$.stages[1].top5: found 0.99, expected a multiple of 1/20: there are 20 test"),
        ({"epochs__3__steps": 30}, "$.epochs[3].steps: found 30, expected more than 30; restore"),
        ({"epochs__0__samples": 0}, "$.epochs[0].samples: found 0, expected more than 0; restore"),
        ({"epochs__0__seconds__train": 9.0}, "$.cost.train_s: found 32.0, the epochs add up to 37.000; restore"),
        ({"cost__data_wait_s": 1.0}, "$.cost.data_wait_s: found 1.0, the epochs add up to 4.000; restore"),
        ({"missing_videos": 3}, "$.status: found 'complete' with 3 missing videos, expected 'partial'; restore"),
        (
            {"cell__num_training_videos": 83},
            "$.epochs[0]: found 10 steps with 40 samples, 83 videos in batches of 4 make 20 with 80; restore",
        ),
        (
            {"cell__num_training_videos": 3},
            "$.epochs[0]: found 10 steps with 40 samples, 3 videos in batches of 3 make 1 with 3; restore",
        ),
        (
            {"epochs__7__samples": 321},
            "$.epochs[7]: found 80 steps with 321 samples, 40 videos in batches of 4 make 80 with 320; restore",
        ),
        ({"cost__other_s": -9.0}, "$.cost.other_s: found -9.0, expected at least 0; restore"),
        ({"epochs__2__seconds__evaluate": -1.0}, "$.epochs[2].seconds: found -1.0, expected at least 0; restore"),
        ({"epochs__0__train_top1": 7.0}, "$.epochs[0].train_top1: found 7.0, expected a share between 0 and 1"),
        ({"run_id": "../../x"}, "$.run_id: found '../../x', expected letters"),
    ],
)
def test_corruption_is_named_with_its_path(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    lines = faults(tmp_path, **changes)
    assert any(line.startswith(fault) for line in lines), lines


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"teacher__top1": 1.5}, "$.teacher.top1: found 1.5, expected a share between 0 and 1; restore"),
        ({"teacher__train_s": -1.0}, "$.teacher.train_s: found -1.0, expected at least 0; restore"),
        (
            {"teacher__privileged": False, "cell__fraction": 0.5},
            "$.teacher.privileged: found False, it saw 1 of the training videos and its student 0.5; restore",
        ),
        (
            {"teacher__privileged": None},
            "$.teacher.privileged: found None, it saw 1 of the training videos and its student 1; restore",
        ),
    ],
)
def test_what_a_teacher_cannot_be_is_named(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(broken(make_record(taught=True), **changes))
    (line,) = problems_of_file(path)
    assert line.startswith(f"{path}: {fault}")


def test_partial_run_may_have_fewer_steps_than_its_subset(tmp_path: Path) -> None:
    assert faults(tmp_path, status="partial", missing_videos=3, cell__num_training_videos=83) == []


def test_complete_run_has_all_epochs_of_its_board(tmp_path: Path) -> None:
    record = make_record()
    pins = dict(record.pins) | {"optim.epochs": 9}
    lines = faults(tmp_path, make_record(pins=pins))
    assert lines[0].startswith("$.status: found 'complete' with 8 epochs, the board has 9")


def test_every_fault_says_the_way_out(tmp_path: Path) -> None:
    for line in faults(tmp_path, derived__top1=0.9, cell__num_classes=5):
        assert line.endswith("; restore the record from its run's folder, or delete it and do the run again")


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    assert len(faults(tmp_path, derived__top1=0.9, derived__early=0.9, cost__wall_s=1.0)) == 3


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"null", b'{"schema_version": 1'])
def test_file_that_is_no_record_is_named(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(raw)
    with pytest.raises(RecordError, match=f"^{path}: is not a JSON object"):
        read_record(path)


def test_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(to_json(make_record()).replace('"curve_area": 0.2625', '"curve_area": NaN'))
    with pytest.raises(RecordError, match=f"^{path}: is not JSON"):
        read_record(path)


def test_newer_schema_says_what_to_install(tmp_path: Path) -> None:
    assert faults(tmp_path, schema_version=2) == [
        "$.schema_version: found 2, this kdbench reads 1; install the kdbench that wrote it"
    ]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none\.json: cannot be read: No such file or directory"):
        read_record(tmp_path / "none.json")


def test_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(to_json(make_record()) + " " * MAX_BYTES)
    with pytest.raises(RecordError, match=f"a record has at most {MAX_BYTES}"):
        read_record(path)


def test_small_predictions_that_unpack_to_gigabytes_are_refused(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, predictions__packed=pack_ids([0] * 5_000_000))
    assert line.startswith("$.predictions: predictions cannot be unpacked (they are cut short, or too many)")


def test_record_without_transfer_is_sound(tmp_path: Path) -> None:
    pins = {key: value for key, value in make_record().pins.items() if not key.startswith("transfer.")}
    record = make_record(transfer_hits=None, pins=pins | {"transfer": None})
    assert faults(tmp_path, record) == []
    assert msgspec.to_builtins(record)["transfer"] is None


def test_transfer_and_the_pins_of_one_go_together(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, make_record(transfer_hits=None))
    assert line.startswith("$.transfer: found none, expected one: $.pins have a transfer; ")
    pins = {key: value for key, value in make_record().pins.items() if not key.startswith("transfer.")}
    (line,) = faults(tmp_path, make_record(pins=pins | {"transfer": None}))
    assert line.startswith("$.transfer: found one to 'steps', expected none: $.pins have no transfer; ")


def test_record_that_failed_before_its_transfer_is_sound(tmp_path: Path) -> None:
    assert faults(tmp_path, make_record(transfer_hits=None, status="failed")) == []


def test_a_record_from_before_the_revision_may_book_the_pretext_task_outside_its_epochs(tmp_path: Path) -> None:
    spent = {"cost__evaluate_s": 10.0, "cost__other_s": 0.0}  # two seconds more than the eight epochs took
    older = {key: value for key, value in make_record().pins.items() if key != "protocol.revision"}
    assert faults(tmp_path, make_record(pins=older), **spent) == []
    (line,) = faults(tmp_path, make_record(), **spent)
    assert line.startswith("$.cost.evaluate_s: found 10.0, the epochs add up to 8.000; ")


@pytest.mark.parametrize(
    ("pin", "value", "fault"),
    [
        ("evaluation.smoothing", 0, "found 0, expected a whole number of at least 1"),
        ("evaluation.smoothing", "two", "found 'two', expected a whole number of at least 1"),
        ("optim.epochs", None, "found None, expected a whole number of at least 1"),
        ("transfer.epochs", 0.5, "found 0.5, expected a whole number of at least 1"),
        ("evaluation.milestones", ["half"], "found ['half'], expected a list of numbers"),
        ("evaluation.milestones", 0.5, "found 0.5, expected a list of numbers"),
        ("evaluation.stages", [0.5, 1.0], "found 2 numbers, expected 3"),
        ("evaluation.stages", [None, 0.5, 1.0], "found [None, 0.5, 1.0], expected a list of numbers"),
    ],
)
def test_pin_that_nothing_can_be_computed_with_is_named(tmp_path: Path, pin: str, value: object, fault: str) -> None:
    path = tmp_path / "record.json"
    record = make_record()
    path.write_bytes(broken(record, pins=record.pins | {pin: value}))
    with pytest.raises(RecordError, match=re.escape(f"{path}: $.pins['{pin}']: {fault}; restore the record")):
        read_record(path)


TEXTS = [
    "command",
    "student__name",
    "method__version",
    "teacher__spec",
    "submission__author",
    "submission__licence",
    "submission__verification__note",
    "transfer__mode",
    "cell__dataset",
    "code__version",
    "environment__python",
]


@pytest.mark.parametrize("field", TEXTS)
def test_a_text_of_10_kb_is_refused_by_its_place(tmp_path: Path, field: str) -> None:
    found = [line for line in faults(tmp_path, **{field: "x" * 10_000}) if "10000 characters" in line]
    (line,) = found
    place = field.replace("__", ".")
    assert line.startswith(f"$.{place}: found 10000 characters ('xxxxxxxxxxxxxxxxxxxx'...), expected at most ")


@pytest.mark.parametrize("field", TEXTS)
@pytest.mark.parametrize("character", ["\0", "\x1b", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{RIGHT-TO-LEFT MARK}"])
def test_a_character_that_turns_or_hides_text_is_refused(tmp_path: Path, field: str, character: str) -> None:
    found = [line for line in faults(tmp_path, **{field: f"a{character}b"}) if "found the character" in line]
    assert len(found) == 1
    assert repr(character) in found[0]


def test_a_class_of_a_10_kb_name_is_refused(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, classes=["jump", "run", "sit", "x" * 10_000])
    assert line.startswith("$.classes: found 10000 characters")


def test_a_loss_terms_name_is_a_text_too(tmp_path: Path) -> None:
    record = make_record()
    losses = record.epochs[0].losses | {"x" * 10_000: 1.0}
    (line,) = faults(tmp_path, record, epochs__0__losses=losses)
    assert line.startswith("$.epochs: found 10000 characters")


def test_names_in_every_script_are_text(tmp_path: Path) -> None:
    record = make_record(submission={"author": "محمد \N{EM DASH} 王小明", "verification": {"note": "two\nlines"}})
    assert faults(tmp_path, record) == []
