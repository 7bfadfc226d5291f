"""Where a further run would lie, by the committed runs of its row."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from kdbench.leaderboard.reference import band_of, baseline_notes, row_of
from kdbench.leaderboard.scoring import load_records, student_t
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records


def notes(folder: Path, record: Record, *committed: Record) -> list[str]:
    write_board(folder)
    return notes_of(folder, record, *committed)


def notes_of(folder: Path, record: Record, *committed: Record) -> list[str]:
    write_records(folder, committed)
    return list(baseline_notes({folder / "new.json": record}, folder).values())


def test_band_is_wider_than_the_interval_of_the_mean_by_the_new_observation() -> None:
    band = band_of([0.5, 0.4, 0.3])
    assert band is not None
    half = student_t(2) * 0.1 * math.sqrt(1 + 1 / 3)
    assert (band.low, band.high, band.n) == (pytest.approx(0.4 - half), pytest.approx(0.4 + half), 3)


def test_band_needs_three_values_that_differ() -> None:
    assert band_of([0.5, 0.4]) is None
    assert band_of([0.5, 0.5, 0.5]) is None


def test_baseline_far_from_the_others_of_its_cell_is_named(tmp_path: Path) -> None:
    (note,) = notes(tmp_path, make_record(hits=20, seed=7), *trio([10, 11, 10]))
    assert note.startswith("this baseline reaches 100.0 % top-1; by the 3 other committed baselines of its cell")
    assert note.endswith("the protocol may have changed on your machine")


def test_baseline_among_the_others_is_not_worth_a_line(tmp_path: Path) -> None:
    assert notes(tmp_path, make_record(hits=11, seed=7), *trio([10, 11, 10])) == []


def test_committed_baseline_is_compared_with_the_others_alone(tmp_path: Path) -> None:
    # With itself among them, three baselines would make its own band wide enough to hold it.
    committed = trio([10, 11, 10, 18])
    assert len(notes(tmp_path, committed[3], *committed)) == 1


def test_two_other_baselines_are_too_few_to_say_anything(tmp_path: Path) -> None:
    assert notes(tmp_path, make_record(hits=20, seed=7), *trio([10, 11])) == []


def test_run_with_a_teacher_is_no_baseline(tmp_path: Path) -> None:
    assert notes(tmp_path, make_record(hits=20, seed=7, taught=True), *trio([10, 11, 10], taught=True)) == []


def test_run_of_other_pins_is_not_compared(tmp_path: Path) -> None:
    other = make_record(hits=20, seed=7, pins=dict(make_record().pins) | {"optim.lr": 0.5})
    assert notes(tmp_path, other, *trio([10, 11, 10])) == []


def test_board_with_a_broken_record_has_no_band_and_hides_no_other_fault(tmp_path: Path) -> None:
    write_board(tmp_path)
    (tmp_path / "small" / "records" / "broken.json").write_text("{")
    assert notes_of(tmp_path, make_record(hits=20, seed=7), *trio([10, 11, 10])) == []


def test_record_of_an_unknown_board_gets_no_note(tmp_path: Path) -> None:
    write_board(tmp_path)
    assert notes_of(tmp_path, make_record(board__name="elsewhere")) == []


def test_row_of_a_record_with_other_options_is_another_row(tmp_path: Path) -> None:
    board = write_board(tmp_path)
    write_records(tmp_path, trio([10, 11, 12], taught=True, method__options={"rate": 1.0}))
    committed = load_records(board, tmp_path)
    same = make_record(taught=True, seed=5, method__options={"rate": 1.0})
    other = make_record(taught=True, seed=5, method__options={"rate": 2.0})
    assert [len(row_of(record, board, committed)) for record in (same, other)] == [3, 0]
