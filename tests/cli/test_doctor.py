"""`kdbench doctor` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kdbench.cli import main
from tests.conftest import TINY
from tests.tiny import material


def doctor(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--board", str(TINY), "--device", "cpu", *words])


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_finding_is_a_line_with_its_verdict_first(tmp_path: Path) -> None:
    material()
    answer = doctor("--student", "r3d")
    assert answer.exit_code == 0, answer.output
    lines = [line for line in answer.stdout.splitlines() if not line.startswith(" ")]
    assert len(lines) == 10
    assert all(line.startswith(("ok ", "slow ", "not checked ")) for line in lines)
    assert list(tmp_path.iterdir()) == [], "looking must leave nothing behind"


def test_something_wrong_is_told_with_what_to_do_and_ends_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdbench.doctor._cudnn", lambda device: 91002)
    monkeypatch.setattr("kdbench.doctor._oldest", lambda: {"torch": "99.0"})
    answer = doctor("--student", "r3d")
    assert answer.exit_code == 1
    lines = answer.stdout.splitlines()
    assert lines[0].startswith("wrong        versions       too old: torch")
    assert lines[1].strip() == "-> pip install --upgrade 'torch>=99.0'"
    assert any("9.10.2: before 9.15" in line for line in lines)


def test_the_findings_as_json_say_whether_all_is_well() -> None:
    answer = doctor("--json")
    found = json.loads(answer.stdout)
    assert (found["board"], found["student"], found["ok"]) == ("tiny", "c3d", True)
    assert set(found["findings"][0]) == {"name", "verdict", "told", "advice"}


def test_a_student_that_is_not_there_is_refused_in_one_line() -> None:
    answer = doctor("--student", "r4d")
    assert answer.exit_code == 1
    assert "no backbone is called 'r4d'" in answer.stderr
