"""`kdbench board`: what it prints, and what it says when the board is unknown."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kdbench.board import board_names
from kdbench.cli.board import board
from kdbench.errors import BoardError
from tests.factories import make_record, trio, write_board, write_records


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    write_board(tmp_path)
    write_records(tmp_path, [*trio([10, 10, 10]), *trio([12, 12, 13], taught=True)])
    return tmp_path


def call(boards: Path, *arguments: str) -> Result:
    return CliRunner().invoke(board, [*arguments, "--boards", str(boards)])


def test_list_names_each_board_with_its_gain(boards: Path) -> None:
    write_board(boards, "other")
    lines = call(boards, "list").output.splitlines()
    assert lines[0].split()[:3] == ["board", "runs", "cells"]
    assert lines[1].startswith("other  0     0 of 4  no comparison yet")
    assert lines[2].startswith("small  6     1 of 4  +11.7 points")


def test_show_begins_with_the_answer_and_is_plain_in_a_pipe(boards: Path) -> None:
    output = call(boards, "show", "small").output
    assert output.startswith("Yes: a teacher raises accuracy in the one comparison that can be judged, by +11.7")
    assert "\x1b" not in output
    taught = next(line for line in output.splitlines() if " soft " in line)
    assert taught.split() == "slim 100 % broad soft 3 61.7 ± 7.2 +11.7 ± 7.2 1 6 7".split()  # noqa: SIM905 - a line


def test_show_says_why_a_gain_has_no_interval(tmp_path: Path) -> None:
    write_board(tmp_path)
    write_records(tmp_path, [*trio([10, 12]), *trio([12, 14], taught=True), make_record(hits=14, taught=True, seed=7)])
    assert "+10.0 (2 equal runs)" in call(tmp_path, "show", "small").output


def test_show_json_is_the_table(boards: Path) -> None:
    rows = json.loads(call(boards, "show", "small", "--json").output)
    assert [(row["method"], row["gain"]) for row in rows] == [("alone", None), ("soft", 0.116667)]


def test_show_csv_is_the_table(boards: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(call(boards, "show", "small", "--csv").output)))
    assert [row["accuracy"] for row in rows] == ["0.5", "0.616667"]


def test_show_counts_the_runs_it_does_not_show(boards: Path) -> None:
    write_records(boards, [make_record(seed=5, status="partial")])
    assert "0 stale runs and 1 run without a rank are not shown" in call(boards, "show", "small").output


def test_show_of_an_empty_board_says_so(tmp_path: Path) -> None:
    write_board(tmp_path)
    result = call(tmp_path, "show", "small")
    assert result.exit_code == 0
    assert result.output.startswith("No answer yet")


def test_show_refuses_two_formats(boards: Path) -> None:
    result = call(boards, "show", "small", "--csv", "--json")
    assert result.exit_code == 2
    assert "--json and --csv exclude each other; give one" in result.output
    assert "--csv and --format exclude each other" in call(boards, "show", "small", "--csv", "--format", "json").output


def test_show_gives_the_table_for_a_page_and_for_a_paper(boards: Path) -> None:
    assert "| slim | 100" in call(boards, "show", "small", "--format", "markdown").output
    assert "\nbroad & soft & " in call(boards, "show", "small", "--format", "latex").output


@pytest.mark.parametrize("form", ["json", "csv"])
def test_show_has_a_short_option_for_each_format_of_files(boards: Path, form: str) -> None:
    short, long = (call(boards, "show", "small", *words).output for words in ([f"--{form}"], ["--format", form]))
    assert short == long


def test_explain_gives_every_pin_with_its_reason(boards: Path) -> None:
    output = call(boards, "explain", "small").output
    assert output.startswith("small 1.0: Small board (sha256 ")
    assert "\n[optim]\n" in output
    assert "optim.epochs = 8\n    eight are enough for a test\n" in output
    assert "clip.segments = 1, 1, 1, 1\n    no reason given\n" in output
    assert "Rules the code keeps" not in output


def test_explain_gives_the_rules_that_the_code_keeps_in_a_block_of_their_own(boards: Path) -> None:
    path = boards / "small" / "board.toml"
    path.write_text(path.read_text() + '"rules.last_epoch" = "The last one counts."\n')
    output = call(boards, "explain", "small").output
    assert output.endswith("\nRules the code keeps\nlast epoch\n    The last one counts.\n")


def test_explain_json_holds_pins_reasons_and_rules(boards: Path) -> None:
    facts = json.loads(call(boards, "explain", "small", "--json").output)
    assert {"key": "optim.epochs", "value": 8, "why": "eight are enough for a test"} in facts["pins"]
    assert facts["rules"] == []


def test_explain_of_the_boards_in_the_tree_leaves_no_pin_without_a_reason() -> None:
    for name in board_names():
        output = CliRunner().invoke(board, ["explain", name]).output
        assert "Rules the code keeps" in output
        assert "no reason given" not in output
        assert max(map(len, output.splitlines())) <= 120


def by_path(*arguments: str) -> Result:
    return CliRunner().invoke(board, [*arguments])


def test_show_and_explain_take_the_path_of_a_boards_file(boards: Path) -> None:
    path = str(boards / "small" / "board.toml")
    assert by_path("show", path).output == call(boards, "show", "small").output
    assert by_path("explain", path).output == call(boards, "explain", "small").output


def test_board_given_by_its_path_may_lie_in_a_folder_of_any_name(boards: Path) -> None:
    folder = (boards / "small").rename(boards / "elsewhere")
    assert " soft " in by_path("show", str(folder / "board.toml"), "--csv").output.replace(",", " ")
    assert " soft " in by_path("show", str(folder), "--csv").output.replace(",", " ")


def test_board_without_records_beside_it_is_shown_empty(boards: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((boards / "small" / "board.toml").read_text())
    assert by_path("show", str(path)).output.startswith("No answer yet")


def test_path_without_a_board_is_named(tmp_path: Path) -> None:
    error = by_path("explain", str(tmp_path / "none.toml")).exception
    assert isinstance(error, BoardError)
    assert f"{tmp_path / 'none.toml'}: no such board file" in str(error)


def test_unknown_board_is_the_users_error(boards: Path) -> None:
    error = call(boards, "show", "smal").exception
    assert isinstance(error, BoardError)
    assert "did you mean small?" in str(error)
