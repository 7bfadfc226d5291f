"""The life of a record on its board: submitted, verified or disputed, withdrawn, and put back.

Each step checks the record and writes its file at once; what was said before is kept in `submission.earlier`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from kdbench.board import BOARDS, Board
from kdbench.checks import WAY_OUT, problems_of, read_finished, read_record
from kdbench.errors import KdbenchError, RecordError
from kdbench.leaderboard.scoring import RECORDS, WITHDRAWN, load_records, misplaced, refuse_contradictions
from kdbench.leaderboard.standings import folders, read_board
from kdbench.records import (
    Event,
    Record,
    Submission,
    Tuning,
    Verification,
    Withdrawal,
    differing_pins,
    measured_json,
    write_record,
)

State = Literal["reproduced", "maintainers", "disputed"]


def submit_run(
    run: Path,
    boards: Path = BOARDS,
    *,
    author: str | None = None,
    link: str | None = None,
    licence: str | None = None,
    tuning: Tuning | None = None,
    reinstate: bool = False,
) -> tuple[Path, str]:
    """Copy RUN/record.json to its board and say where it went and how ("written to", "is already at", ...).

    Raises RecordError for a record that is unsound, failed, withdrawn (unless `reinstate`), or would replace
    another one, and for texts that no page can show; BoardError for an unknown board. What it says beside other
    records, `check_together` checks.
    """
    entry = _entry(run, boards, Said(author, link, licence, tuning), reinstate=reinstate)
    place, record = entry.place, entry.record
    if entry.known == record:
        return place, "is already at"
    place.parent.mkdir(exist_ok=True)
    write_record(record, place)
    _apart(place).unlink(missing_ok=True)
    stale = differing_pins(record, entry.board.pins)
    note = (
        f"written (stale: {', '.join(stale)} differ from the board's, it is shown apart) to" if stale else "written to"
    )
    return place, note


@dataclass(frozen=True)
class Said:
    """What only a person can say of a run; None for what is not said, which leaves it as it was."""

    author: str | None = None
    link: str | None = None
    licence: str | None = None
    tuning: Tuning | None = None


@dataclass(frozen=True)
class _Entry:
    """A record as it will stand on its board, and what stands there now under its name."""

    board: Board
    place: Path
    record: Record
    known: Record | None


def _entry(run: Path, boards: Path, said: Said, *, reinstate: bool) -> _Entry:
    """What submitting a run would write. Raises as `submit_run` does, and writes nothing."""
    source, record = read_finished(run)
    board = read_board(record.board.name, boards)
    place = boards / board.name / RECORDS / f"{record.run_id}.json"
    known, withdrawn = _known(place), _known(_apart(place))
    if withdrawn and not reinstate:
        raise RecordError(_was_withdrawn(source, withdrawn))
    record = _signed(record, _reinstated(withdrawn) if withdrawn else known, said)
    before = withdrawn or known
    if before and measured_json(before) != measured_json(record):
        raise RecordError(f"{source}: another record is at {place}; remove that one first if this one shall replace it")
    for problem in problems_of(record):
        raise RecordError(f"{source}: {problem.removesuffix(f'; {WAY_OUT}')}; give another text with the option")
    return _Entry(board, place, record, known)


def refusals(runs: Iterable[Path], boards: Path = BOARDS, *, reinstate: bool = False) -> list[KdbenchError]:
    """Why runs cannot be submitted, one error for each of those that cannot; nothing is written.

    All are checked before the first is written, and one that cannot be submitted stops them all: to skip it would
    leave a row of other seeds on the board than its author believes. `runs/BOARD/*/record.json` names finished ones.
    """
    found: list[KdbenchError] = []
    first: dict[str, tuple[Path, Record]] = {}
    for run in runs:
        try:
            record = _entry(run, boards, Said(), reinstate=reinstate).record
        except KdbenchError as error:
            found.append(error)
            continue
        other, known = first.setdefault(record.run_id, (run, record))
        if measured_json(known) != measured_json(record):
            found.append(RecordError(f"{run}: another record of {record.run_id} is {other}; give one of the two"))
    return found


def check_together(runs: Iterable[Path], boards: Path = BOARDS) -> None:
    """Raise RecordError where runs that shall be submitted contradict each other, or records of their board.

    A board's records are read once for all of them. Runs that have no record yet are left to `refusals`.
    """
    given: dict[str, dict[str, tuple[Path, Record]]] = {}
    for source in filter(Path.is_file, map(_source, runs)):
        record = read_record(source)
        given.setdefault(record.board.name, {})[record.run_id] = (source, record)
    for name, records in given.items():
        refuse_contradictions([*load_records(read_board(name, boards), boards), *records.values()])


def withdraw(named: str, reason: str, boards: Path = BOARDS) -> tuple[Path, Path]:
    """Take a record out of its board's tables, with the reason; returns where it lay and where it lies.

    Raises RecordError for a record that is not on a board, is withdrawn already, or without a reason.
    """
    place, record = find_record(named, boards)
    if record.submission.withdrawn:
        raise RecordError(f"{place}: was withdrawn on {record.submission.withdrawn.date} already; nothing was changed")
    if not reason.strip():
        raise RecordError(f"{place}: no reason is given; say with --reason why the record is withdrawn")
    withdrawn = Withdrawal(reason=reason.strip(), date=_today())
    goal = _apart(place)
    goal.parent.mkdir(exist_ok=True)
    write_record(_resubmitted(record, withdrawn=withdrawn), goal)
    place.unlink()
    return place, goal


def mark(named: str, state: State, boards: Path = BOARDS, *, by: str, note: str | None = None) -> tuple[Path, str]:
    """Write into a record who checked it, today, and with what outcome; returns its file and what was done.

    Raises RecordError for a record that is not on a board or is withdrawn, for a dispute without a note, and for
    a reproduction by the one who submitted the record.
    """
    place, record = find_record(named, boards)
    submission, before = record.submission, record.submission.verification
    if submission.withdrawn:
        raise RecordError(_was_withdrawn(place, record))
    if not by.strip():
        raise RecordError(f"{place}: nobody is named; say with --by who checked the record")
    if state == "disputed" and not (note or "").strip():
        raise RecordError(f"{place}: a dispute needs its reason; give it with --note")
    if state == "reproduced" and submission.author is not None and by.strip() == submission.author:
        raise RecordError(f"{place}: {by.strip()} submitted it; 'reproduced' means by someone else")
    if (before.state, before.by, before.note) == (state, by.strip(), note):
        return place, f"is marked as {state} already"
    checked = Verification(state=state, by=by.strip(), date=_today(), note=note)
    write_record(_resubmitted(record, verification=checked, earlier=(*submission.earlier, *_superseded(before))), place)
    return place, f"{before.state} -> {state}"


# --- where records lie -------------------------------------------------------------------------------------


def find_record(named: str, boards: Path = BOARDS) -> tuple[Path, Record]:
    """A record on a board, by its run id or by the path of its file, withdrawn ones included.

    A path that lies elsewhere, as in a run's folder, means the record of the same run id. Raises RecordError.
    """
    path = Path(named)
    given = path / "record.json" if path.is_dir() else path
    run_id = read_record(given).run_id if given.is_file() else path.name.removesuffix(".json")
    known = {place.stem: place for board in folders(boards) for place in _files_of(boards / board)}
    if run_id not in known:
        near = difflib.get_close_matches(run_id, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise RecordError(
            f"{named}: no record of {run_id} on a board in {boards}; {hint}`kdbench submit` puts one there"
        )
    place = known[run_id]
    return place, read_record(place)


def files_below(path: Path) -> list[Path]:
    """The records that a path stands for: the file itself, a run's, or all in the boards' folders below it."""
    if not path.is_dir():
        return [path]
    if (path / "record.json").is_file():
        return [path / "record.json"]
    found = sorted(file for file in path.rglob("*.json") if file.parent.name in (RECORDS, WITHDRAWN))
    if not found:
        raise RecordError(f"{path}: holds no record; name a record's file, a run's folder, or the folder of the boards")
    return found


def problems_of_place(path: Path, record: Record) -> list[str]:
    """What is wrong with where a record lies, one line each; nothing for one that is not on a board."""
    if path.parent.name not in (RECORDS, WITHDRAWN):
        return []
    return [f"{path}: {problem}" for problem in misplaced(path, record)]


def _files_of(board: Path) -> Iterator[Path]:
    """A record that lies in both folders, after a move that was cut short, is the one that is not withdrawn."""
    yield from (board / WITHDRAWN).glob("*.json")
    yield from (board / RECORDS).glob("*.json")


def _source(run: Path) -> Path:
    return run / "record.json" if run.is_dir() else run


def _apart(place: Path) -> Path:
    return place.parent.parent / WITHDRAWN / place.name


def _known(place: Path) -> Record | None:
    return read_record(place) if place.is_file() else None


# --- what is said of them ----------------------------------------------------------------------------------


def tuning_of(trials: int | None, chosen_on: str | None) -> Tuning | None:
    """What a submitter says of the choice of options: the number of trials, and the videos or cells they were made on.

    None where nothing is said. Raises RecordError for trials of which the second is missing, and the reverse.
    """
    if trials is None and chosen_on is None:
        return None
    if trials is None:
        raise RecordError("tuning: how many trials is not said; add --trials N, 0 where the options were not chosen")
    where = (chosen_on or "").strip()
    if trials and not where:
        raise RecordError(f"tuning: {trials} trials on what? add --tuned-on with the videos or cells they were made on")
    return Tuning(trials=trials, on=where or None)


def _signed(record: Record, known: Record | None, said: Said) -> Record:
    """The record with what its submitter said; what was said before, and the board's verification, stays.

    A new record is self-reported and of today, whatever it says of itself: only a board's maintainers verify, and
    of two runs of one seed the earlier one counts.
    """
    before = known.submission if known else _unchecked(record.submission)
    given = {"author": said.author, "link": said.link, "licence": said.licence}
    texts = {name: text for name, text in given.items() if text is not None}
    # The day of the first submission stays: the changelog is ordered by it.
    submission: Submission = msgspec.structs.replace(before, **texts, date=before.date or _today())
    tuning = next((each for each in (said.tuning, known.tuning if known else None) if each is not None), record.tuning)
    return msgspec.structs.replace(record, submission=submission, tuning=tuning)


def _unchecked(submission: Submission) -> Submission:
    return msgspec.structs.replace(submission, verification=Verification(), date=None, withdrawn=None, earlier=())


def _reinstated(record: Record) -> Record:
    told = record.submission.withdrawn
    assert told is not None, "only a withdrawn record is put back"
    events = (Event(what="withdrawn", date=told.date, note=told.reason), Event(what="reinstated", date=_today()))
    return _resubmitted(record, withdrawn=None, earlier=(*record.submission.earlier, *events))


def _superseded(before: Verification) -> Iterator[Event]:
    if before.state != "self-reported":
        yield Event(what=before.state, date=before.date, by=before.by, note=before.note)


def _resubmitted(record: Record, **changes: object) -> Record:
    submission = msgspec.structs.replace(record.submission, **changes)
    return msgspec.structs.replace(record, submission=submission)


def _was_withdrawn(source: Path, withdrawn: Record) -> str:
    told = withdrawn.submission.withdrawn
    assert told is not None, "it lies among the withdrawn"
    return (
        f"{source}: was withdrawn on {told.date} ({told.reason}); "
        "`kdbench submit --reinstate` puts it back, and the changelog says so"
    )


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
