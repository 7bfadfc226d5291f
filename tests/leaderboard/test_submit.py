"""A record on its board: withdrawn, put back, checked and disputed; every step is kept."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from kdbench.checks import read_record
from kdbench.errors import RecordError
from kdbench.leaderboard.scoring import load_records
from kdbench.leaderboard.standings import read_standings
from kdbench.leaderboard.submit import (
    check_together,
    files_below,
    find_record,
    mark,
    problems_of_place,
    submit_run,
    withdraw,
)
from kdbench.records import Event, Record, to_json
from tests.factories import make_record, trio, write_board, write_records


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "boards"
    write_board(folder)
    return folder


def committed(boards: Path, record: Record | None = None) -> Record:
    record = record or make_record(submission={"author": "ada", "date": "2024-01-01"})
    write_records(boards, [record])
    return record


def in_folder(tmp_path: Path, record: Record) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "record.json").write_text(to_json(record), encoding="utf-8")
    return folder


# --- withdrawing -------------------------------------------------------------------------------------------


def test_withdrawn_record_moves_with_its_reason_and_day(boards: Path) -> None:
    record = committed(boards)
    place, goal = withdraw(record.run_id, "wrong labels", boards)
    assert (place.exists(), goal) == (False, boards / "small" / "withdrawn" / f"{record.run_id}.json")
    told = read_record(goal).submission.withdrawn
    assert told is not None
    assert told.reason == "wrong labels"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", told.date)


def test_withdrawn_run_is_in_no_group_but_its_own(boards: Path) -> None:
    write_records(boards, trio([10, 8, 6]))
    gone = committed(boards, make_record(seed=9))
    withdraw(gone.run_id, "wrong labels", boards)
    runs = read_standings("small", boards).runs
    assert [run.record.run_id for run in runs.withdrawn] == [gone.run_id]
    assert gone.run_id not in {run.record.run_id for run in runs}


def test_withdrawn_baseline_pairs_with_nothing(boards: Path) -> None:
    baseline, taught = make_record(), make_record(hits=14, taught=True)
    write_records(boards, [baseline, taught])
    withdraw(baseline.run_id, "wrong labels", boards)
    (row,) = read_standings("small", boards).rows
    assert (row.gain, row.unpaired) == (None, 1)


def test_options_of_a_withdrawn_run_rename_no_row(boards: Path) -> None:
    write_records(boards, trio([10, 12, 13], taught=True, method__options={"rate": 1.0}))
    gone = committed(boards, make_record(seed=3, taught=True, method__options={"rate": 2.0}))
    withdraw(gone.run_id, "wrong rate", boards)
    standings = read_standings("small", boards)
    assert [row.key.method for row in standings.rows] == ["soft"]
    assert standings.runs.withdrawn[0].key.method == "soft (rate=2.0)"


def test_record_in_both_folders_is_refused(boards: Path) -> None:
    record = committed(boards)
    withdraw(record.run_id, "wrong labels", boards)
    write_records(boards, [record])
    with pytest.raises(RecordError, match="lies in records/ too"):
        read_standings("small", boards)


def test_withdrawing_twice_is_refused(boards: Path) -> None:
    record = committed(boards)
    withdraw(record.run_id, "wrong labels", boards)
    with pytest.raises(RecordError, match=r"was withdrawn on .* already; nothing was changed"):
        withdraw(record.run_id, "again", boards)


def test_withdrawing_needs_a_reason(boards: Path) -> None:
    record = committed(boards)
    with pytest.raises(RecordError, match="say with --reason why"):
        withdraw(record.run_id, "  ", boards)
    assert len(load_records(read_standings("small", boards).board, boards)) == 1


def test_withdrawal_that_was_cut_short_is_finished_by_the_same_command(boards: Path) -> None:
    record = committed(boards)
    place, goal = withdraw(record.run_id, "wrong labels", boards)
    place.write_text(to_json(record), encoding="utf-8")
    withdraw(record.run_id, "wrong labels", boards)
    assert (place.exists(), goal.exists()) == (False, True)


def test_withdrawn_record_is_not_submitted_again_in_silence(boards: Path, tmp_path: Path) -> None:
    record = committed(boards)
    place, _ = withdraw(record.run_id, "wrong labels", boards)
    with pytest.raises(RecordError, match=r"was withdrawn on .* \(wrong labels\); `kdbench submit --reinstate`"):
        submit_run(in_folder(tmp_path, record), boards)
    assert not place.exists()


def test_reinstated_record_is_back_and_says_that_it_was_away(boards: Path, tmp_path: Path) -> None:
    record = committed(boards)
    place, goal = withdraw(record.run_id, "wrong labels", boards)
    submit_run(in_folder(tmp_path, record), boards, reinstate=True)
    submission = read_record(place).submission
    assert not goal.exists()
    assert (submission.withdrawn, submission.author, submission.date) == (None, "ada", "2024-01-01")
    assert [(event.what, event.note) for event in submission.earlier] == [
        ("withdrawn", "wrong labels"),
        ("reinstated", None),
    ]


def test_reinstating_takes_no_other_measurements(boards: Path, tmp_path: Path) -> None:
    record = committed(boards, make_record(run_id="same"))
    withdraw(record.run_id, "wrong labels", boards)
    with pytest.raises(RecordError, match="another record is at"):
        submit_run(in_folder(tmp_path, make_record(run_id="same", hits=11)), boards, reinstate=True)


def test_run_cannot_bring_its_own_history(boards: Path, tmp_path: Path) -> None:
    history = {"earlier": [{"what": "maintainers", "date": "2024-01-01"}]}
    place, _ = submit_run(in_folder(tmp_path, make_record(submission=history)), boards)
    assert read_record(place).submission.earlier == ()


def test_run_cannot_bring_its_own_day(boards: Path, tmp_path: Path) -> None:
    place, _ = submit_run(in_folder(tmp_path, make_record(submission={"date": "2999-01-01"})), boards)
    assert str(read_record(place).submission.date) < "2999-01-01"


def test_day_of_the_first_submission_stays(boards: Path, tmp_path: Path) -> None:
    record = committed(boards)
    place, word = submit_run(in_folder(tmp_path, make_record()), boards, link="https://example.org")
    submission = read_record(place).submission
    assert (word, submission.date, submission.author) == ("written to", "2024-01-01", "ada")
    assert record.submission.link is None


# --- beside other records ----------------------------------------------------------------------------------


def test_copy_of_a_committed_run_under_another_seed_is_refused_before_it_is_written(
    boards: Path, tmp_path: Path
) -> None:
    record = committed(boards)
    copy = msgspec.structs.replace(record, run_id="copy", seed=1)
    with pytest.raises(RecordError, match="under another seed"):
        check_together([in_folder(tmp_path, copy)], boards)


def test_copies_among_the_given_runs_are_refused(boards: Path, tmp_path: Path) -> None:
    record = make_record()
    runs = [in_folder(tmp_path, record), tmp_path / "copy.json"]
    runs[1].write_text(to_json(msgspec.structs.replace(record, run_id="copy", seed=1)), encoding="utf-8")
    with pytest.raises(RecordError, match="under another seed"):
        check_together(runs, boards)


def test_run_that_is_on_the_board_already_is_no_copy_of_itself(boards: Path, tmp_path: Path) -> None:
    check_together([in_folder(tmp_path, committed(boards)), tmp_path / "not-finished"], boards)


# --- checking ----------------------------------------------------------------------------------------------


def test_mark_says_who_when_and_with_what_outcome(boards: Path) -> None:
    record = committed(boards)
    place, word = mark(record.run_id, "reproduced", boards, by="bob", note="on another machine")
    checked = read_record(place).submission.verification
    assert word == "self-reported -> reproduced"
    assert (checked.state, checked.by, checked.note) == ("reproduced", "bob", "on another machine")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(checked.date))


def test_second_mark_keeps_the_first(boards: Path) -> None:
    checked = {"state": "disputed", "by": "bob", "date": "2024-02-02", "note": "no gain here"}
    record = committed(boards, make_record(submission={"date": "2024-01-01", "verification": checked}))
    place, _ = mark(record.run_id, "maintainers", boards, by="cy")
    submission = read_record(place).submission
    assert submission.verification.state == "maintainers"
    assert submission.earlier == (Event(what="disputed", date="2024-02-02", by="bob", note="no gain here"),)


def test_same_mark_twice_changes_nothing(boards: Path) -> None:
    record = committed(boards)
    place, _ = mark(record.run_id, "maintainers", boards, by="cy")
    before = place.read_bytes()
    assert mark(record.run_id, "maintainers", boards, by="cy")[1] == "is marked as maintainers already"
    assert place.read_bytes() == before


def test_disputed_run_is_not_ranked_and_the_note_says_why(boards: Path) -> None:
    record = committed(boards)
    mark(record.run_id, "disputed", boards, by="bob", note="labels were swapped")
    (run,) = read_standings("small", boards).runs.unranked
    assert run.reason == "disputed: labels were swapped"


def test_dispute_needs_its_reason(boards: Path) -> None:
    record = committed(boards)
    with pytest.raises(RecordError, match="give it with --note"):
        mark(record.run_id, "disputed", boards, by="bob")


def test_mark_needs_a_name(boards: Path) -> None:
    record = committed(boards)
    with pytest.raises(RecordError, match="say with --by who"):
        mark(record.run_id, "maintainers", boards, by=" ")


def test_who_submitted_a_run_cannot_be_the_someone_else_who_reproduced_it(boards: Path) -> None:
    record = committed(boards)
    with pytest.raises(RecordError, match="'reproduced' means by someone else"):
        mark(record.run_id, "reproduced", boards, by="ada")


def test_withdrawn_record_cannot_be_marked(boards: Path) -> None:
    record = committed(boards)
    withdraw(record.run_id, "wrong labels", boards)
    with pytest.raises(RecordError, match="was withdrawn on"):
        mark(record.run_id, "maintainers", boards, by="cy")


# --- places ------------------------------------------------------------------------------------------------


def test_record_is_found_by_id_by_path_and_by_its_run(boards: Path, tmp_path: Path) -> None:
    record = committed(boards)
    place = boards / "small" / "records" / f"{record.run_id}.json"
    for named in (record.run_id, str(place), str(in_folder(tmp_path, record))):
        assert find_record(named, boards)[0] == place


def test_unknown_record_is_refused_with_the_nearest_known_one(boards: Path) -> None:
    record = committed(boards)
    with pytest.raises(RecordError, match=rf"did you mean {re.escape(record.run_id)}\?"):
        find_record(record.run_id[:-1], boards)


def test_folder_stands_for_all_records_of_the_boards_below_it(boards: Path) -> None:
    records = trio([10, 8])
    write_records(boards, records)
    withdraw(records[0].run_id, "wrong labels", boards)
    assert {path.parent.name for path in files_below(boards)} == {"records", "withdrawn"}


@pytest.mark.parametrize(
    ("folder", "withdrawn"), [("records", {"reason": "x", "date": "2024-01-01"}), ("withdrawn", None)]
)
def test_record_in_the_wrong_folder_is_named(boards: Path, folder: str, withdrawn: dict[str, str] | None) -> None:
    record = make_record(submission={"withdrawn": withdrawn})
    path = boards / "small" / folder / f"{record.run_id}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(to_json(record), encoding="utf-8")
    (problem,) = problems_of_place(path, record)
    assert problem.startswith(f"{path}: $.submission.withdrawn: found ")
    with pytest.raises(RecordError, match=r"\$\.submission\.withdrawn"):
        read_standings("small", boards)


def test_file_of_another_name_is_named(boards: Path) -> None:
    record = make_record()
    (problem,) = problems_of_place(boards / "small" / "records" / "other.json", record)
    assert f"name the file {record.run_id}.json" in problem


def test_file_outside_a_board_may_have_any_name(tmp_path: Path) -> None:
    assert problems_of_place(tmp_path / "record.json", make_record()) == []
