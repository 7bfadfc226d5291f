"""Curves and milestones as files: what their columns hold."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kdbench.board import Board
from kdbench.leaderboard.curves import curve_csv, long_csv, milestones_csv, milestones_json
from kdbench.leaderboard.scoring import place_runs
from kdbench.leaderboard.standings import Standings, standings_of
from kdbench.records import Record
from tests.factories import make_record, write_board


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return write_board(tmp_path)


def stand(board: Board, *records: Record) -> Standings:
    return standings_of(board, place_runs(board, [(Path(f"{record.run_id}.json"), record) for record in records]))


def lines_of(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_curve_has_a_line_for_each_epoch_with_its_loss_terms() -> None:
    lines = lines_of(curve_csv(make_record(taught=True)))
    assert [line["epoch"] for line in lines] == [str(number) for number in range(1, 9)]
    assert [line["loss_soft"] for line in lines[:2]] == ["1", "0.5"]
    assert (lines[0]["train_s"], lines[0]["data_wait_s"]) == ("4", "0.5")


def test_curve_leaves_empty_what_is_not_known() -> None:
    record = make_record()
    assert {line["pretext_top1"] for line in lines_of(curve_csv(record))} == {""}


def test_long_form_names_board_run_and_standing(board: Board) -> None:
    lines = lines_of(long_csv([stand(board, make_record(), make_record(seed=1, status="partial"))]))
    assert len(lines) == 16
    assert [lines[0]["standing"], lines[-1]["standing"]] == ["ranked", "unranked"]
    assert (lines[0]["board"], lines[0]["student"], lines[0]["fraction"]) == ("small", "slim", "1")


def test_loss_of_the_long_form_is_the_sum_of_the_terms(board: Board) -> None:
    # The first epoch has 2 of the board's term and 1 of the method's.
    lines = lines_of(long_csv([stand(board, make_record(taught=True))]))
    assert lines[0]["loss"] == "3"


def test_a_name_with_a_comma_stays_one_cell(board: Board) -> None:
    lines = lines_of(long_csv([stand(board, make_record(student__name='slim, "wide"'))]))
    assert lines[0]["student"] == 'slim, "wide"'
    assert lines[0]["train_s"] == "4.5"


def test_milestones_of_both_files_are_the_same(board: Board) -> None:
    standings = stand(board, make_record(), make_record(hits=12, taught=True))
    (_, taught) = json.loads(milestones_json(standings))
    assert [(each["of_baseline"], each["epoch"]) for each in taught["milestones"]] == [
        (None, 4),
        (None, 7),
        (0.9, 6),
        (1.0, 7),
    ]
    lines = [line for line in lines_of(milestones_csv(standings)) if line["run_id"] == taught["run_id"]]
    assert [line["epoch"] for line in lines] == ["4", "7", "6", "7"]


def test_runs_without_a_rank_are_in_no_file_of_milestones(board: Board) -> None:
    standings = stand(board, make_record(), make_record(seed=1, status="partial"), make_record(seed=5))
    assert {line["run_id"] for line in lines_of(milestones_csv(standings))} == {make_record().run_id}
    assert [each["run_id"] for each in json.loads(milestones_json(standings))] == [make_record().run_id]


def test_milestones_keep_five_digits(board: Board) -> None:
    epochs = make_record().epochs
    told = [replace(each, seconds=replace(each.seconds, train=4.12344)) for each in epochs]
    lines = lines_of(milestones_csv(stand(board, replace(make_record(), epochs=tuple(told)))))
    assert lines[0]["train_s"] == "18.494"  # four epochs of 4.62344


def test_milestone_that_was_missed_says_after_how_much(board: Board) -> None:
    lines = lines_of(milestones_csv(stand(board, make_record(hits=8))))
    # Eight epochs of 10 steps, 40 samples, and 4.5 s of training and waiting.
    assert (lines[1]["epoch"], lines[1]["steps"], lines[1]["samples"], lines[1]["train_s"]) == (
        ">8",
        ">80",
        ">320",
        ">36",
    )
