"""`kdbench submit`, `validate`, `withdraw`, `mark` and `reproduce` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from kdbench.board import BOARDS, load_board
from kdbench.checks import read_record
from kdbench.cli.records import _next, mark, reproduce, submit, validate, withdraw
from kdbench.errors import BoardError, RecordError, RunFailed
from kdbench.leaderboard.submit import submit_run
from kdbench.records import Record, Tuning, Verification, to_json
from kdbench.run import execute
from tests.conftest import TINY
from tests.factories import broken, make_record, trio, write_board, write_records
from tests.tiny import bench, request


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "boards"
    write_board(folder)
    return folder


def run_folder(tmp_path: Path, record: Record, name: str = "run") -> Path:
    folder = tmp_path / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(to_json(record), encoding="utf-8")
    return folder


def call(boards: Path, *arguments: Any) -> Result:
    return CliRunner().invoke(submit, [*map(str, arguments), "--boards", str(boards)])


def test_submit_copies_the_record_and_says_where_and_what_next(boards: Path, tmp_path: Path) -> None:
    record = make_record()
    place = boards / "small" / "records" / f"{record.run_id}.json"
    result = call(boards, run_folder(tmp_path, record))
    assert f"written to {place}\n" in result.output
    assert "next: `kdbench site build " in result.output
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
    unfinished(tmp_path / "run")
    error = call(boards, tmp_path / "run").exception
    assert isinstance(error, RecordError)
    assert "has no record.json; the run has not finished" in str(error)


def unfinished(folder: Path, *further: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", *further):
        (folder / name).write_text("{}")
    return folder


def test_submit_names_every_run_that_it_cannot_take_and_writes_none(boards: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "small"
    unfinished(runs / "open")
    unfinished(runs / "broken", "failure.json")
    good = run_folder(runs, make_record(), "a-good")
    result = call(boards, good, runs / "broken", runs / "open")
    assert result.stderr.splitlines() == [
        f"kdbench: error: {runs}/broken: has no record.json; the run has failed, failure.json says why: start it "
        "again, it will resume",
        f"kdbench: error: {runs}/open: has no record.json; the run has not finished: start it again, it will resume",
    ]
    assert str(result.exception).startswith("nothing was written: 2 of 3 runs cannot be submitted; leave them out")
    assert list((boards / "small" / "records").iterdir()) == []


def test_submit_takes_two_records_of_one_run_only_where_they_are_equal(boards: Path, tmp_path: Path) -> None:
    runs = [run_folder(tmp_path, make_record(run_id="same", hits=hits), str(hits)) for hits in (10, 11)]
    result = call(boards, *runs)
    assert f"{runs[1]}: another record of same is {runs[0]}; give one of the two" in result.stderr
    assert list((boards / "small" / "records").iterdir()) == []


@pytest.mark.parametrize(("level", "named"), [("runs/small", "*/record.json"), ("runs", "*/*/record.json")])
def test_submit_of_the_folder_of_runs_says_what_to_name(boards: Path, tmp_path: Path, level: str, named: str) -> None:
    (tmp_path / "runs" / "small").mkdir(parents=True)
    run_folder(tmp_path / "runs" / "small", make_record())
    error = call(boards, tmp_path / level).exception
    assert isinstance(error, RecordError)
    assert str(error).endswith(
        f"{level}: is the folder of runs and not one run's; name the finished ones in it: {tmp_path / level / named}"
    )


def test_submit_of_a_folder_whose_runs_have_not_finished_says_so(boards: Path, tmp_path: Path) -> None:
    unfinished(tmp_path / "runs" / "small" / "open")
    error = call(boards, tmp_path / "runs" / "small").exception
    assert isinstance(error, RecordError)
    assert str(error).endswith(
        "is the folder of runs and not one run's, and none of them has finished: start them again"
    )


def test_submit_of_another_folder_says_which_to_name(boards: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    error = call(boards, tmp_path / "notes").exception
    assert isinstance(error, RecordError)
    assert "is no run's folder, it has no record.json; name the folder that `kdbench run` gave" in str(error)


def test_what_comes_next_names_the_boards_that_were_given(boards: Path, tmp_path: Path) -> None:
    last = call(boards, run_folder(tmp_path, make_record())).output.splitlines()[-1]
    assert last == f"next: `kdbench site build --boards {boards} --out my-site`, and look at the pages"
    assert _next(None).endswith("then commit the records and the site together")
    assert _next(BOARDS) == _next(None)


# --- how the options were chosen ---------------------------------------------------------------------------


def tuning_on_board(boards: Path) -> Tuning | None:
    (place,) = (boards / "small" / "records").iterdir()
    return read_record(place).tuning


def test_submit_writes_how_many_trials_the_options_took_and_on_what(boards: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, make_record())
    call(boards, folder, "--trials", 12, "--tuned-on", "a fifth of the training videos")
    assert tuning_on_board(boards) == Tuning(trials=12, on="a fifth of the training videos")


def test_options_that_nobody_chose_took_no_trials(boards: Path, tmp_path: Path) -> None:
    call(boards, run_folder(tmp_path, make_record()), "--trials", 0)
    assert tuning_on_board(boards) == Tuning(trials=0)


def test_what_was_said_of_the_choice_stays_and_can_be_said_later(boards: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, make_record())
    for words, found in (((), None), (("--trials", 3, "--tuned-on", "x"), 3), (("--author", "ada"), 3)):
        assert call(boards, folder, *words).exit_code == 0
        tuning = tuning_on_board(boards)
        assert (tuning.trials if tuning else None) == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--trials", 3), "tuning: 3 trials on what? add --tuned-on"),
        (("--tuned-on", "x"), "tuning: how many trials is not said; add --trials N"),
        (("--trials", 3, "--tuned-on", "x" * 501), "$.tuning.on: found 501 characters"),
        (("--trials", 3, "--tuned-on", "a\u202eb"), "$.tuning.on: found the character"),
        (("--author", "a\u202eb"), "$.submission.author: found the character"),
    ],
)
def test_what_no_page_can_show_is_not_submitted(
    boards: Path, tmp_path: Path, words: tuple[Any, ...], said: str
) -> None:
    error = call(boards, run_folder(tmp_path, make_record()), *words).exception
    assert isinstance(error, RecordError)
    assert said in str(error)
    assert list((boards / "small" / "records").iterdir()) == []


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


def test_validate_of_a_folder_checks_every_record_of_its_boards_withdrawn_ones_too(boards: Path) -> None:
    kept, gone = make_record(), make_record(seed=1)
    write_records(boards, [kept, gone])
    CliRunner().invoke(withdraw, [gone.run_id, "--reason", "wrong labels", "--boards", str(boards)])
    result = CliRunner().invoke(validate, [str(boards)])
    assert result.output.splitlines() == [
        f"{boards}/small/records/{kept.run_id}.json: sound",
        f"{boards}/small/withdrawn/{gone.run_id}.json: sound",
    ]


def test_validate_of_a_folder_without_records_says_what_to_give(tmp_path: Path) -> None:
    error = CliRunner().invoke(validate, [str(tmp_path)]).exception
    assert isinstance(error, RecordError)
    assert "holds no record" in str(error)


def test_validate_names_a_record_in_the_wrong_folder(boards: Path) -> None:
    record = make_record(submission={"withdrawn": {"reason": "leak", "date": "2024-01-01"}})
    (path,) = write_records(boards, [record])
    result = CliRunner().invoke(validate, [str(path)])
    assert result.exit_code == 1
    assert "move the file to withdrawn/" in result.output


def test_validate_notes_a_baseline_far_from_the_others_and_refuses_nothing(boards: Path, tmp_path: Path) -> None:
    write_records(boards, trio([10, 11, 10]))
    path = run_folder(tmp_path, make_record(hits=20, seed=7)) / "record.json"
    result = CliRunner().invoke(validate, [str(path), "--boards", str(boards)])
    assert result.exit_code == 0
    sound, note = result.output.splitlines()
    assert sound == f"{path}: sound"
    assert note.startswith(f"{path}: note: this baseline reaches 100.0 % top-1")


def test_submit_notes_a_baseline_far_from_the_others(boards: Path, tmp_path: Path) -> None:
    write_records(boards, trio([10, 11, 10]))
    result = call(boards, run_folder(tmp_path, make_record(hits=20, seed=7)))
    assert "the protocol may have changed on your machine" in result.output


def test_withdraw_says_where_the_record_went(boards: Path) -> None:
    record = make_record()
    write_records(boards, [record])
    result = CliRunner().invoke(withdraw, [record.run_id, "--reason", "wrong labels", "--boards", str(boards)])
    assert f"withdrawn to {boards}/small/withdrawn/{record.run_id}.json\n" in result.output


def test_submit_puts_a_withdrawn_record_back_when_it_is_told_to(boards: Path, tmp_path: Path) -> None:
    record = make_record()
    (place,) = write_records(boards, [record])
    CliRunner().invoke(withdraw, [record.run_id, "--reason", "wrong labels", "--boards", str(boards)])
    assert isinstance(call(boards, run_folder(tmp_path, record)).exception, RecordError)
    assert f"written to {place}" in call(boards, run_folder(tmp_path, record), "--reinstate").output


def test_mark_says_what_changed(boards: Path) -> None:
    record = make_record()
    (place,) = write_records(boards, [record])
    words = [record.run_id, "maintainers", "--by", "cy", "--boards", str(boards)]
    assert f"{place}: self-reported -> maintainers\n" in CliRunner().invoke(mark, words).output


def test_mark_knows_three_outcomes(boards: Path) -> None:
    result = CliRunner().invoke(mark, ["any", "perfect", "--by", "cy", "--boards", str(boards)])
    assert result.exit_code == 2
    assert "'reproduced', 'maintainers', 'disputed'" in result.output


# --- reproduce ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repeatable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """A board with one real run."""
    boards = tmp_path_factory.mktemp("boards")
    (boards / "tiny").mkdir()
    (boards / "tiny" / "board.toml").write_text(TINY.read_text())
    record = execute(request(load_board(str(TINY))), bench(boards / "runs"))
    submit_run(boards / "runs" / "tiny" / record.run_id, boards)
    return boards, record


def again(boards: Path, *words: Any) -> Result:
    return CliRunner().invoke(reproduce, [*map(str, words), "--boards", str(boards)])


def test_reproduce_of_a_sound_record_agrees_reports_and_offers_the_mark(
    repeatable: tuple[Path, Record], tmp_path: Path
) -> None:
    boards, record = repeatable
    result = again(boards, record.run_id, "--runs", tmp_path, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert f"{record.run_id}: every measured value is equal" in result.output
    assert f"next: kdbench mark {record.run_id} reproduced --note" in result.output
    report = json.loads((tmp_path / "tiny" / record.run_id / "reproduction.json").read_text())
    assert (report["agrees"], report["exact"], report["first_differing_epoch"]) == (True, True, None)


def test_reproduce_of_a_record_with_other_numbers_fails_and_names_the_first_epoch(
    repeatable: tuple[Path, Record], tmp_path: Path
) -> None:
    boards, record = repeatable
    forged = msgspec.json.decode(broken(record, epochs__1__train_top1=0.125, predictions=everything_right(record)))
    forged["derived"] |= {"top1": 1.0, "top5": 1.0, "late": 1.0}
    forged["stages"][2] |= {"top1": 1.0, "top5": 1.0}
    path = tmp_path / "record.json"
    path.write_text(json.dumps(forged))
    result = again(boards, path, "--runs", tmp_path / "runs", "--device", "cpu")
    assert result.exit_code == 1, result.output
    assert "does not agree: top-1" in result.output
    assert "the runs differ first in epoch 2: training top-1" in result.output
    assert "its row has no band: that takes 3 committed seeds that differ" in result.output
    assert f"next: kdbench mark {record.run_id} disputed" in result.output


def everything_right(record: Record) -> dict[str, Any]:
    labels = record.predictions.labels
    return {"packed": labels, "labels": labels, "in_top5": record.cell.num_test_videos}


def test_dry_run_prints_the_command_and_does_nothing(repeatable: tuple[Path, Record], tmp_path: Path) -> None:
    boards, record = repeatable
    result = again(boards, record.run_id, "--dry-run", "--runs", tmp_path / "new")
    assert result.output == (
        f"kdbench run --board {boards}/tiny/board.toml --student r3d --method scratch --fraction 1 --seed 0 "
        f"--runs {tmp_path / 'new'}\n"
    )
    assert not (tmp_path / "new").exists()


def test_reproduce_does_not_read_the_records_own_run_again(repeatable: tuple[Path, Record]) -> None:
    boards, record = repeatable
    error = again(boards, record.run_id, "--runs", boards / "runs").exception
    assert isinstance(error, RunFailed)
    assert "name another folder with --runs" in str(error)
