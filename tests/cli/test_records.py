"""`kdbench submit` and `kdbench validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kdbench.cli.records import submit, validate
from kdbench.errors import BoardError, RecordError
from kdbench.records import Record, Verification, read_record, to_json
from tests.factories import broken, make_record, write_board, write_records


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "boards"
    write_board(folder)
    return folder


def run_folder(tmp_path: Path, record: Record, name: str = "run") -> Path:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "record.json").write_text(to_json(record), encoding="utf-8")
    return folder


def call(boards: Path, *arguments: Any) -> Result:
    return CliRunner().invoke(submit, [*map(str, arguments), "--boards", str(boards)])


def test_submit_copies_the_record_and_says_where_and_what_next(boards: Path, tmp_path: Path) -> None:
    record = make_record()
    place = boards / "small" / "records" / f"{record.run_id}.json"
    result = call(boards, run_folder(tmp_path, record))
    assert f"written to {place}\n" in result.output
    assert "next: `kdbench site build`" in result.output
    assert read_record(place).derived == record.derived


def test_submit_fills_what_only_a_person_knows(boards: Path, tmp_path: Path) -> None:
    record = make_record()
    said = ("--author", "ada", "--link", "https://example.org", "--licence", "CC0-1.0")
    call(boards, run_folder(tmp_path, record), *said)
    submission = read_record(boards / "small" / "records" / f"{record.run_id}.json").submission
    assert (submission.author, submission.link, submission.licence) == ("ada", "https://example.org", "CC0-1.0")
    assert submission.date
    assert submission.verification.state == "self-reported"


def test_first_submission_cannot_verify_itself(boards: Path, tmp_path: Path) -> None:
    record = make_record(submission={"author": "ada", "verification": {"state": "maintainers", "by": "ada"}})
    call(boards, run_folder(tmp_path, record))
    submission = read_record(boards / "small" / "records" / f"{record.run_id}.json").submission
    assert (submission.author, submission.verification) == ("ada", Verification())


def test_verification_on_the_board_survives_a_second_submission(boards: Path, tmp_path: Path) -> None:
    record = make_record()
    checked = make_record(submission={"date": "2024-01-01", "verification": {"state": "reproduced", "by": "bob"}})
    write_records(boards, [checked])
    call(boards, run_folder(tmp_path, record), "--author", "ada")
    submission = read_record(boards / "small" / "records" / f"{record.run_id}.json").submission
    assert (submission.author, submission.verification.state) == ("ada", "reproduced")


def test_submit_takes_several_runs(boards: Path, tmp_path: Path) -> None:
    call(boards, run_folder(tmp_path, make_record(), "a"), run_folder(tmp_path, make_record(seed=1), "b"))
    assert len(list((boards / "small" / "records").iterdir())) == 2


def test_submitting_twice_changes_nothing(boards: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, make_record())
    call(boards, folder)
    before = {path: path.read_bytes() for path in (boards / "small" / "records").iterdir()}
    assert "is already at" in call(boards, folder).output
    assert {path: path.read_bytes() for path in (boards / "small" / "records").iterdir()} == before


def test_submit_refuses_to_replace_another_record(boards: Path, tmp_path: Path) -> None:
    call(boards, run_folder(tmp_path, make_record(run_id="same")))
    error = call(boards, run_folder(tmp_path, make_record(run_id="same", hits=11))).exception
    assert isinstance(error, RecordError)
    assert "remove that one first" in str(error)


def test_submit_refuses_a_failed_run(boards: Path, tmp_path: Path) -> None:
    error = call(boards, run_folder(tmp_path, make_record(status="failed"))).exception
    assert isinstance(error, RecordError)
    assert "$.status: found 'failed', a board takes finished runs" in str(error)


def test_submit_refuses_an_unknown_board(boards: Path, tmp_path: Path) -> None:
    error = call(boards, run_folder(tmp_path, make_record(board__name="smal"))).exception
    assert isinstance(error, BoardError)
    assert "no board is called 'smal'; did you mean small?" in str(error)


def test_submit_refuses_a_record_that_contradicts_itself(boards: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, make_record())
    (folder / "record.json").write_bytes(broken(make_record(), derived__top1=0.99))
    error = call(boards, folder).exception
    assert isinstance(error, RecordError)
    assert f"{folder / 'record.json'}: $.derived.top1: found 0.99" in str(error)
    assert list((boards / "small" / "records").iterdir()) == []


def test_submit_of_a_run_that_has_not_finished_says_what_to_do(boards: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    error = call(boards, tmp_path / "run").exception
    assert isinstance(error, RecordError)
    assert "has no record.json; the run has not finished" in str(error)


def test_submit_of_other_pins_says_that_the_run_is_stale(boards: Path, tmp_path: Path) -> None:
    pins = dict(make_record().pins) | {"optim.lr": 0.5}
    assert (
        "stale: optim.lr differ from the board's" in call(boards, run_folder(tmp_path, make_record(pins=pins))).output
    )


def test_validate_of_a_sound_record_succeeds(tmp_path: Path) -> None:
    path = run_folder(tmp_path, make_record()) / "record.json"
    result = CliRunner().invoke(validate, [str(path)])
    assert (result.exit_code, result.output) == (0, f"{path}: sound\n")


def test_validate_names_every_fault_of_every_file_and_fails(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(to_json(make_record()))
    bad.write_bytes(broken(make_record(), derived__top1=0.9, cost__wall_s=1.0))
    result = CliRunner().invoke(validate, [str(bad), str(good), str(tmp_path / "none.json")])
    lines = result.output.splitlines()
    assert result.exit_code == 1
    assert [line.split(": ")[:2] for line in lines] == [
        [str(bad), "$.derived.top1"],
        [str(bad), "$.cost.wall_s"],
        [str(good), "sound"],
        [str(tmp_path / "none.json"), "cannot be read"],
    ]


def test_validate_prints_the_schema(tmp_path: Path) -> None:
    schema = json.loads(CliRunner().invoke(validate, ["--schema"]).output)
    assert "epochs" in schema["$defs"]["Record"]["properties"]


def test_validate_of_nothing_says_what_to_give() -> None:
    result = CliRunner().invoke(validate, [])
    assert result.exit_code == 2
    assert "name at least one FILE, or give --schema" in result.output
