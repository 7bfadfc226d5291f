"""What happened to the records of a board, from its committed files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from kdbench.leaderboard.history import Entry, changes_csv, entries_of
from kdbench.leaderboard.standings import folders, read_standings
from kdbench.records import Record, to_json
from tests.factories import make_record, trio, write_board, write_records


def entries(folder: Path, *records: Record) -> tuple[Entry, ...]:
    if not folder.exists():
        write_board(folder)
    write_records(folder, [record for record in records if not record.submission.withdrawn])
    for record in records:
        if record.submission.withdrawn:
            path = folder / "small" / "withdrawn" / f"{record.run_id}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(to_json(record), encoding="utf-8")
    return entries_of([read_standings(name, folder) for name in folders(folder)])


def on(day: str, **more: Any) -> dict[str, Any]:
    return {"date": day} | more


def summary(found: tuple[Entry, ...]) -> list[tuple[str | None, str, int]]:
    return [(entry.date, entry.what, len(entry.changes)) for entry in found]


def test_runs_of_one_day_are_one_entry_with_their_methods_counted(tmp_path: Path) -> None:
    (entry,) = entries(
        tmp_path / "b",
        *trio([10, 11], submission=on("2024-03-01")),
        *trio([12, 13], taught=True, submission=on("2024-03-01")),
    )
    assert (entry.what, len(entry.changes), entry.methods) == ("added", 4, 2)


def test_newest_day_comes_first_and_runs_without_a_day_last(tmp_path: Path) -> None:
    records = [make_record(seed=at, submission=on(day)) for at, day in enumerate(["2024-01-31", "2024-03-01"])]
    found = entries(tmp_path / "b", *records, make_record(seed=5))
    assert [entry.date for entry in found] == ["2024-03-01", "2024-01-31", None]


def test_check_a_dispute_and_a_withdrawal_are_entries_of_their_days(tmp_path: Path) -> None:
    checked = {"state": "maintainers", "by": "cy", "date": "2024-02-01"}
    found = entries(
        tmp_path / "b",
        make_record(seed=0, submission=on("2024-01-01", verification=checked)),
        make_record(seed=1, submission=on("2024-01-01", withdrawn={"reason": "leak", "date": "2024-02-02"})),
    )
    assert summary(found) == [
        ("2024-02-02", "withdrawn", 1),
        ("2024-02-01", "maintainers", 1),
        ("2024-01-01", "added", 2),
    ]
    assert found[0].changes[0].note == "leak"
    assert found[1].changes[0].by == "cy"


def test_withdrawal_stands_before_the_additions_of_its_day(tmp_path: Path) -> None:
    gone = make_record(seed=1, submission=on("2024-01-01", withdrawn={"reason": "leak", "date": "2024-01-01"}))
    found = entries(tmp_path / "b", make_record(submission=on("2024-01-01")), gone)
    assert summary(found) == [("2024-01-01", "withdrawn", 1), ("2024-01-01", "added", 2)]


def test_what_no_longer_holds_stays_in_the_history(tmp_path: Path) -> None:
    earlier = [{"what": "disputed", "date": "2024-02-01", "by": "bob", "note": "no gain"}]
    checked = {"state": "reproduced", "by": "cy", "date": "2024-03-01"}
    found = entries(tmp_path / "b", make_record(submission=on("2024-01-01", earlier=earlier, verification=checked)))
    assert [entry.what for entry in found] == ["reproduced", "disputed", "added"]


def test_boards_of_one_day_are_entries_of_their_own_in_order_of_the_name(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    write_board(folder)
    write_board(folder, "other")
    write_records(folder, [make_record(board__name="other", submission=on("2024-01-01"))], "other")
    found = entries(folder, make_record(submission=on("2024-01-01")))
    assert [entry.board.name for entry in found] == ["other", "small"]


def test_name_of_an_entry_does_not_depend_on_other_entries(tmp_path: Path) -> None:
    first, later = make_record(submission=on("2024-01-01")), make_record(seed=1, submission=on("2024-01-02"))
    (alone,) = entries(tmp_path / "a", first)
    assert entries(tmp_path / "b", first, later)[1].digest == alone.digest


def test_entry_that_grows_gets_another_name(tmp_path: Path) -> None:
    first, second = (make_record(seed=seed, submission=on("2024-01-01")) for seed in (0, 1))
    (before,), (after,) = entries(tmp_path / "a", first), entries(tmp_path / "b", first, second)
    assert before.digest != after.digest


def test_file_of_changes_has_a_line_for_each_run_and_change_newest_first(tmp_path: Path) -> None:
    checked = {"state": "disputed", "by": "bob", "note": 'no "gain",\nhe says', "date": "2024-04-01"}
    folder = tmp_path / "b"
    entries(folder, *trio([10, 11], submission=on("2024-03-01")), make_record(seed=9, submission=on("2024-03-02")))
    disputed = make_record(seed=8, taught=True, submission={"verification": checked})
    entries(folder, disputed)
    lines = list(csv.DictReader(io.StringIO(changes_csv([read_standings("small", folder)]))))
    assert [(line["date"], line["what"], line["seed"]) for line in lines] == [
        ("2024-04-01", "disputed", "8"),
        ("2024-03-02", "added", "9"),
        ("2024-03-01", "added", "0"),
        ("2024-03-01", "added", "1"),
        ("", "added", "8"),
    ]
    assert (lines[0]["run_id"], lines[0]["by"], lines[0]["note"]) == (disputed.run_id, "bob", 'no "gain",\nhe says')
