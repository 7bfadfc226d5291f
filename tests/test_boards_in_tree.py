"""The boards that come with kdbench: every pin has a reason, and siblings differ in what their names say."""

from __future__ import annotations

from typing import Any

import pytest

from kdbench.board import Board, board_names, load_board
from kdbench.objective import Objective
from kdbench.registry import load_registry
from kdbench.run import RunRequest, check

PAPER = "camarena2024"
RULE = "rules."


@pytest.fixture(params=board_names())
def board(request: pytest.FixtureRequest) -> Board:
    return load_board(request.param)


def differing(name: str) -> dict[str, tuple[Any, Any]]:
    """The pins in which a board differs from the paper's, with both values."""
    paper, other = load_board(PAPER).pins, load_board(name).pins
    assert paper.keys() == other.keys()
    return {key: (paper[key], other[key]) for key in paper if paper[key] != other[key]}


def test_every_pin_has_a_reason(board: Board) -> None:
    assert sorted(board.pins.keys() - board.why.keys()) == []


def test_no_reason_is_without_a_pin(board: Board) -> None:
    assert sorted(key for key in board.why.keys() - board.pins.keys() if not key.startswith(RULE)) == []


def test_every_reason_is_one_sentence_that_names_its_source(board: Board) -> None:
    sources = ("Paper", "paper", "PCL code", "Ours", "ours", "As board", "torchvision")
    for key, reason in board.why.items():
        assert reason.endswith("."), key
        assert any(source in reason for source in sources), key
        assert ". " not in reason.replace("Section 3.", "").replace("J. Imaging", "").replace("et al. ", ""), (
            f"{key} has two sentences"
        )


def test_all_boards_explain_the_rules_that_the_code_keeps(board: Board) -> None:
    paper = {key for key in load_board(PAPER).why if key.startswith(RULE)}
    without_transfer = set() if board.transfer else {f"{RULE}transfer_head"}
    assert len(paper) >= 9
    assert paper - without_transfer <= board.why.keys()


def test_every_run_of_the_matrix_can_be_asked_for(board: Board) -> None:
    registry, matrix = load_registry(), board.matrix
    for student in matrix.students:
        check(RunRequest(board=board, student=student), registry)
        for teacher in matrix.teachers:
            check(RunRequest(board=board, student=student, teacher=teacher), registry)


def test_the_board_of_16_frames_differs_from_the_papers_in_the_length_of_its_clips_alone() -> None:
    assert differing(f"{PAPER}-16f") == {"clip.length": (10, 16), "clip.segments": ([3, 3, 2, 2], [4, 4, 4, 4])}
    assert load_board(f"{PAPER}-16f").methods == load_board(PAPER).methods
    assert load_board(f"{PAPER}-16f").matrix == load_board(PAPER).matrix


def test_clips_of_16_frames_start_24_frames_apart() -> None:
    clip = load_board(f"{PAPER}-16f").clip
    assert clip.length + clip.interval == 24
    assert load_board(f"{PAPER}-16f").clip_span == 64


def test_the_self_supervised_board_differs_from_the_papers_in_its_objective_and_taught_method_alone() -> None:
    paper, other = load_board(PAPER), load_board(f"{PAPER}-ssl")
    assert differing(other.name) == {"objective.kind": ("joint", "ssl")}
    assert (paper.methods.taught, other.methods.taught) == ("kd", "kd-pretext")
    assert other.matrix == paper.matrix


def test_on_the_self_supervised_board_the_action_head_is_a_probe_on_detached_features() -> None:
    objective = Objective(load_board(f"{PAPER}-ssl").objective, 10, 0, {})
    assert objective.detach_action
    assert set(objective.weights) == {"action", "pretext", "contrast"}


def test_the_papers_board_has_the_values_of_its_table_1() -> None:
    pins = load_board(PAPER).pins
    table = {"clip.length": 10, "clip.interval": 8, "clip.per_tuple": 3, "frames.modality": "res"}
    table |= {"optim.lr": 0.01, "optim.momentum": 0.9, "optim.weight_decay": 0.0005, "optim.batch": 16}
    table |= {"optim.epochs": 200, "objective.contrast": 0.5}
    assert {key: pins[key] for key in table} == table
