"""`kdbench run` and `kdbench sweep` as a user meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdbench.cli import main
from tests.conftest import TINY


def kdbench(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kdbench", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def refusal(*words: str, **environment: str) -> str:
    """The one line of a refused command."""
    answer = kdbench(*words, **environment)
    assert answer.returncode == 1, answer.stderr
    assert answer.stdout == ""
    lines = answer.stderr.strip().splitlines()
    assert len(lines) == 1, answer.stderr
    return lines[0]


def test_without_its_videos_a_run_says_how_to_get_them_and_which_board_needs_none(tmp_path: Path) -> None:
    said = refusal("run", "--student", "c3d", "--teacher", "r3d", "--fraction", "0.02", KDBENCH_HOME=str(tmp_path))
    assert "ucf101" in said
    assert "UCF101.rar" in said
    assert "--board motion-shapes runs without any download" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--board", "camarena2042", "--student", "c3d"], "did you mean camarena2024?"),
        (["--board", "motion-shapes", "--student", "c3d", "--fraction", "0.3"], "has 1, 0.5, 0.25, 0.02"),
        (["--board", "motion-shapes", "--student", "c3"], "no backbone is called 'c3'"),
        (["--board", "motion-shapes", "--student", "c3d", "--teacher", "x"], "no backbone is called 'x'"),
        (["--board", "motion-shapes", "--student", "c3d", "--plugin", "/nowhere.py"], "/nowhere.py"),
        (["--board", "motion-shapes", "--student", "c3d", "--teacher", ""], "--teacher is empty"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line_with_the_way_out(
    tmp_path: Path, words: list[str], said: str
) -> None:
    assert said in refusal("run", *words, "--runs", str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_runs_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    place = tmp_path / "runs"
    place.write_text("a file stands where the folder should be")
    answer = kdbench("run", "--board", str(TINY), "--student", "r3d", "--runs", str(place))
    assert answer.returncode == 1
    assert str(place) in answer.stderr.strip().splitlines()[-1]
    assert "Traceback" not in answer.stderr


def test_a_run_prints_its_scores_and_where_it_lies(tmp_path: Path) -> None:
    answer = kdbench("run", "--board", str(TINY), "--student", "r3d", "--runs", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert "r3d (scratch), 100% of motion_shapes split 1, seed 0" in answer.stdout
    assert f"kdbench submit {tmp_path}/tiny/r3d-alone-scratch-1-s0-" in answer.stdout
    assert "epoch   3/3" in answer.stderr


def test_a_dry_run_of_the_papers_matrix_lists_36_cells_a_seed_and_the_teachers(tmp_path: Path) -> None:
    answer = kdbench("sweep", "--board", "camarena2024", "--seeds", "0", "--dry-run", "--json", "--runs", str(tmp_path))
    found = json.loads(answer.stdout)
    assert len(found["cells"]) == 36
    assert len(found["teachers"]) == 3


def test_a_sweep_fills_the_cells_and_does_not_fill_them_twice(tmp_path: Path) -> None:
    words = ["sweep", "--board", str(TINY), "--students", "c3d", "--teachers", "r3d", "--fractions", "0.5"]
    first = kdbench(*words, "--runs", str(tmp_path))
    assert "3 runs done, 0 failed" in first.stdout, first.stderr
    second = kdbench(*words, "--runs", str(tmp_path))
    assert "0 runs done, 0 failed" in second.stdout


PLUGIN = """
from kdbench.api import Method, hookimpl

class Mine(Method):
    name = "mine"

    {body}

@hookimpl
def kdbench_methods():
    return [Mine]
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def losses(self, *_): return None", "method mine: losses() gave None and no dictionary"),
        ("def losses(self, *_): return {}['stage9']", "mine.py:7: KeyError: 'stage9'; run `kdbench plugins check "),
        ("def __init__(self, options): pass", "method mine: write super().__init__(options)"),
    ],
)
def test_a_failure_of_a_given_plugin_is_one_line(tmp_path: Path, body: str, said: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.format(body=body))
    words = ["--board", str(TINY), "--student", "r3d", "--method", "mine", "--plugin", str(file)]
    result = CliRunner().invoke(main, ["run", *words, "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("kdbench: ")]
    assert said in line
    for failure in tmp_path.rglob("failure.json"):
        assert "Traceback" in json.loads(failure.read_text())["traceback"]
