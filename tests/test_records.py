"""The record schema: round trip, predictions, and the numbers that follow from others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdbench.checks import read_record
from kdbench.records import (
    Record,
    Tuning,
    differing_pins,
    epoch_reaching,
    json_schema,
    pack_ids,
    scores_of,
    smoothed,
    to_json,
    unpack_ids,
    write_record,
)
from tests.factories import make_record, predictions


def test_record_survives_writing_and_reading(tmp_path: Path) -> None:
    record = make_record(taught=True)
    write_record(record, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == record


def test_written_twice_a_record_has_the_same_bytes(tmp_path: Path) -> None:
    write_record(make_record(), tmp_path / "a.json")
    write_record(read_record(tmp_path / "a.json"), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_writing_leaves_nothing_beside_the_record(tmp_path: Path) -> None:
    write_record(make_record(), tmp_path / "record.json")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_record_of_two_hundred_epochs_is_small(tmp_path: Path) -> None:
    assert len(to_json(make_record(curve=[0.5] * 200))) < 150_000


def test_class_ids_survive_packing() -> None:
    assert unpack_ids(pack_ids([0, 100, 65535, 7])) == [0, 100, 65535, 7]


def test_accuracy_is_recomputed_from_the_predictions() -> None:
    scores = scores_of(predictions(13))
    assert (scores.top1, scores.top5) == (13 / 20, 1.0)


def test_smoothing_is_the_mean_of_the_last_values() -> None:
    assert smoothed([1.0, 2.0, 3.0, 6.0], 2) == [1.0, 1.5, 2.5, 4.5]


def test_first_epoch_that_reaches_an_accuracy_counts_from_one() -> None:
    assert epoch_reaching([0.1, 0.5, 0.4], 0.5) == 2


def test_accuracy_that_is_never_reached_is_censored() -> None:
    assert epoch_reaching([0.1, 0.5, 0.4], 0.6) == ">3"


def test_derived_numbers_are_those_of_the_curve() -> None:
    record = make_record(hits=10, curve=[0.1, 0.2, 0.3, 0.6, 0.4, 0.45, 0.5, 0.45])
    derived = record.derived
    assert (derived.top1, derived.top5, derived.early, derived.middle, derived.late) == (0.5, 1.0, 0.2, 0.45, 0.5)
    assert derived.epochs_to == {"0.25": 3, "0.5": 4}
    assert derived.curve_area == pytest.approx(3.0 / 8)
    assert (derived.best_top1, derived.best_epoch) == (0.6, 4)


def test_pins_that_differ_are_named() -> None:
    record = make_record()
    pins = {key: value for key, value in record.pins.items() if key != "optim.lr"} | {"clip.length": 8, "new.pin": 1}
    assert differing_pins(record, pins) == ["clip.length", "new.pin", "optim.lr"]


def test_schema_is_json_and_names_every_field() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert set(schema["$defs"]["Record"]["properties"]) == set(Record.__struct_fields__)


def test_words_of_the_schema_have_no_indents_of_the_source() -> None:
    words = [definition["description"] for definition in json_schema()["$defs"].values()]
    assert [text for text in words if "\n " in text] == []
    assert any("\n" in text for text in words)


def test_record_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        make_record().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("tuning", "shown"),
    [
        (Tuning(trials=0), "no trials"),
        (Tuning(trials=1, on="split 2"), "1 trial, on: split 2"),
        (Tuning(trials=12), "12 trials"),
    ],
)
def test_the_choice_of_options_is_shown_in_words(tuning: Tuning, shown: str) -> None:
    assert str(tuning) == shown
