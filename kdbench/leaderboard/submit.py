"""A finished run's record -> its board's folder, checked, complete and written at once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from kdbench.board import BOARDS
from kdbench.errors import RecordError
from kdbench.leaderboard.standings import read_board
from kdbench.records import Record, Submission, Verification, differing_pins, read_record, to_json, write_record


def submit_run(
    run: Path,
    boards: Path = BOARDS,
    *,
    author: str | None = None,
    link: str | None = None,
    licence: str | None = None,
) -> tuple[Path, str]:
    """Copy RUN/record.json to its board and say where it went and how ("written to", "is already at", ...).

    Raises RecordError for a record that is unsound, failed, or would replace another one; BoardError for an
    unknown board.
    """
    source = run / "record.json" if run.is_dir() else run
    if run.is_dir() and not source.is_file():
        raise RecordError(f"{run}: has no record.json; the run has not finished: start it again, it will resume")
    record = read_record(source)
    if record.status == "failed":
        raise RecordError(f"{source}: $.status: found 'failed', a board takes finished runs; start the run again")
    board = read_board(record.board.name, boards)
    place = boards / board.name / "records" / f"{record.run_id}.json"
    known = read_record(place) if place.is_file() else None
    record = _signed(record, known, author=author, link=link, licence=licence)
    if known == record:
        return place, "is already at"
    if known and _measured(known) != _measured(record):
        raise RecordError(f"{source}: another record is at {place}; remove that one first if this one shall replace it")
    place.parent.mkdir(exist_ok=True)
    write_record(record, place)
    stale = differing_pins(record, board.pins)
    note = (
        f"written (stale: {', '.join(stale)} differ from the board's, it is shown apart) to" if stale else "written to"
    )
    return place, note


def _signed(record: Record, known: Record | None, **given: str | None) -> Record:
    """The record with what its submitter said; what was said before, and the board's verification, stays.

    A new record is self-reported, whatever it says of itself: only a board's maintainers verify.
    """
    before = known.submission if known else msgspec.structs.replace(record.submission, verification=Verification())
    said = {name: text for name, text in given.items() if text is not None}
    changed = any(getattr(before, name) != text for name, text in said.items())
    date = datetime.now(UTC).date().isoformat() if changed or before.date is None else before.date
    submission: Submission = msgspec.structs.replace(before, **said, date=date)
    return msgspec.structs.replace(record, submission=submission)


def _measured(record: Record) -> str:
    return to_json(msgspec.structs.replace(record, submission=Submission()))
