"""Reading a record, and what must hold in it: every number that follows from others is computed again and compared.

No record is used unchecked, so reading stands here, with the checks. No torch, no pandas.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date as Day
from pathlib import Path
from typing import Any

import msgspec

from kdbench.board import digest_of_pins
from kdbench.errors import RecordError
from kdbench.records import (
    MAX_BYTES,
    METRIC,
    SCHEMA_VERSION,
    Derived,
    PretextResult,
    Record,
    Scores,
    Submission,
    derive,
    majority_of,
    scores_of,
    unpack_ids,
)

ROUNDED_S = 0.05  # seconds that a sum of parts may miss its whole by
WAY_OUT = "restore the record from its run's folder, or delete it and do the run again"
NEEDED_PINS = (
    "data.dataset",
    "data.split",
    "evaluation.smoothing",
    "evaluation.milestones",
    "evaluation.stages",
    "evaluation.views",
    "optim.epochs",
    "methods.baseline",
)
LONGEST_NAME, LONG_TEXT = 500, 4000  # characters of a name, and of what is written in sentences
_LONG = (".note", ".reason", ".link", ".message", ".command")
_WITH_TEXTS = (
    *("board", "pins", "cell", "command", "student", "method", "teacher", "classes", "environment", "code", "tuning"),
    *("submission", "failure"),
)
# Controls but tab and newline; marks, embeddings, overrides and isolates of the direction of writing.
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DECODER = msgspec.json.Decoder(Record)


def read_record(path: Path) -> Record:
    """Read and check one record. Raises RecordError that names file, field, what was found and the way out."""
    record = _decode(path)
    for problem in problems_of(record):
        raise RecordError(f"{path}: {problem}")
    return record


def read_finished(run: Path) -> tuple[Path, Record]:
    """The record of a finished run, given by the run's folder or the record's file, after the file it is from.

    Raises RecordError for a run that has failed or has not finished, and for a folder that is not a run's.
    """
    source = run / "record.json" if run.is_dir() else run
    if run.is_dir() and not source.is_file():
        raise RecordError(f"{run}: {_why_no_record(run)}")
    record = read_record(source)
    if record.status == "failed":
        raise RecordError(f"{source}: $.status: found 'failed', a board takes finished runs; start the run again")
    return source, record


def _why_no_record(folder: Path) -> str:
    """Why a folder has no record, and what to give or do instead; a run writes what it was asked before all else."""
    if (folder / "failure.json").is_file():
        return "has no record.json; the run has failed, failure.json says why: start it again, it will resume"
    if (folder / "config.json").is_file():
        return "has no record.json; the run has not finished: start it again, it will resume"
    below = next((below for below in ("*/record.json", "*/*/record.json") if any(folder.glob(below))), None)
    if below:
        return f"is the folder of runs and not one run's; name the finished ones in it: {folder / below}"
    if any(folder.glob("*/config.json")):
        return "is the folder of runs and not one run's, and none of them has finished: start them again"
    return "is no run's folder, it has no record.json; name the folder that `kdbench run` gave at its end"


def problems_of_file(path: Path) -> list[str]:
    """Everything wrong with a record's file, one line each: file, JSON path, found, expected, way out."""
    try:
        record = _decode(path)
    except RecordError as error:
        return [str(error)]
    return [f"{path}: {problem}" for problem in problems_of(record)]


def _decode(path: Path) -> Record:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}; give the path of a record's JSON file") from error
    if len(raw) > MAX_BYTES:
        raise RecordError(f"{path}: has {len(raw)} bytes; a record has at most {MAX_BYTES}: keep other data elsewhere")
    try:
        record: Record = _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        _refuse_other_version(_version_in(raw, path), path)  # what another kdbench wrote may have other fields
        text, _, place = str(error).partition(" - at ")
        field = place.strip("`") or "$"
        raise RecordError(f"{path}: {field}: {text[:1].lower()}{text[1:]}; {WAY_OUT}") from error
    except msgspec.DecodeError as error:
        _refuse_other_version(_version_in(raw, path), path)
        raise RecordError(f"{path}: is not JSON ({error}); {WAY_OUT}") from error
    _refuse_other_version(record.schema_version, path)
    return record


def _version_in(raw: bytes, path: Path) -> Any:
    try:
        return json.loads(raw).get("schema_version")
    except (ValueError, AttributeError) as error:
        raise RecordError(f"{path}: is not a JSON object ({error}); {WAY_OUT}") from error


def _refuse_other_version(version: Any, path: Path) -> None:
    """There is one version so far; an older one will be brought up to date here."""
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: $.schema_version: found {version!r}, this kdbench reads {SCHEMA_VERSION}; "
            "install the kdbench that wrote it"
        )


def problems_of(record: Record) -> list[str]:
    """Everything in a record that does not follow from the rest of it: `$.path: found, expected; way out`."""
    # The other checks compute with these fields, and would fail on them instead of naming them.
    problems = [*_text_problems(record), *_missing_parts(record)] or [
        *_derived_problems(record),
        *_list_problems(record),
        *_reference_problems(record),
        *_pinned_problems(record),
        *_transfer_problems(record),
        *_share_problems(record),
        *_sum_problems(record),
        *_size_problems(record),
        *_seconds_problems(record),
        *_teacher_problems(record),
        *_phase_problems(record),
        *_date_problems(record.submission),
    ]
    return [f"{problem}; {WAY_OUT}" for problem in problems]


def _text_problems(record: Record) -> Iterator[str]:
    """Texts that no page can show: too long, or with characters that are no text or turn the text around them."""
    parts = [(f"$.{name}", getattr(record, name)) for name in _WITH_TEXTS]
    parts.append(("$.epochs", sorted({term for row in record.epochs for term in row.losses})))
    parts.append(("$.phases", sorted({text for row in record.phases for text in (row.phase, *row.losses)})))
    if record.transfer:
        names = ("dataset", "mode", "classes")
        parts += [(f"$.transfer.{name}", getattr(record.transfer, name)) for name in names]
    if _plainly_texts([part for _, part in parts]):
        return
    for start, part in parts:
        for place, text in _texts(start, part):
            limit = LONG_TEXT if place.endswith(_LONG) else LONGEST_NAME
            if len(text) > limit:
                yield f"{place}: found {len(text)} characters ({text[:20]!r}...), expected at most {limit}"
            elif found := _NO_TEXT.search(text):
                yield f"{place}: found the character {found[0]!r}, expected none that controls how text is shown"


def _plainly_texts(parts: list[Any]) -> bool:
    """Whether one look at the parts' JSON is enough: nothing escaped, ASCII, and no quotes too far apart.

    It spares all but a few records the walk over each of their texts. A traceback is looked at too: it has line ends.
    """
    raw = msgspec.json.encode(parts)
    return b"\\" not in raw and b"\x7f" not in raw and raw.isascii() and max(map(len, raw.split(b'"'))) <= LONGEST_NAME


def _texts(place: str, part: Any) -> Iterator[tuple[str, str]]:
    """Every text in a part of a record, keys included, with its place."""
    if isinstance(part, str):
        yield place, part
    elif isinstance(part, dict):
        for key, value in part.items():
            yield place, key
            if isinstance(value, (str, dict, list)):
                yield from _texts(f"{place}.{key[:40]}", value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from _texts(place, value)
    elif isinstance(part, msgspec.Struct):
        for name in part.__struct_fields__:
            if name != "traceback":  # as long as it is, and on no page
                yield from _texts(f"{place}.{name}", getattr(part, name))


def _missing_parts(record: Record) -> Iterator[str]:
    if not _FILE_NAME.fullmatch(record.run_id):
        yield f"$.run_id: found {record.run_id!r}, expected letters, digits, '.', '_' and '-' (it names a file)"
    numbers = [row.epoch for row in record.epochs]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        yield f"$.epochs: found the numbers {numbers[:5]}, expected 1, 2, 3, ..."
    stages = [mark.stage for mark in record.stages]
    if stages != ["early", "middle", "late"]:
        yield f"$.stages: found {stages}, expected early, middle and late"
    yield from _pin_problems(record.pins)
    results = {"$.predictions": record.predictions}
    if record.pretext:
        results["$.pretext.predictions"] = record.pretext.predictions
    if record.transfer:
        results["$.transfer.predictions"] = record.transfer.predictions
    for place, predictions in results.items():
        try:
            scores_of(predictions)
        except RecordError as error:
            yield f"{place}: {error}"


def _pin_problems(pins: dict[str, Any]) -> Iterator[str]:
    for key in NEEDED_PINS:
        if key not in pins:
            yield f"$.pins: found no '{key}', expected every pin of the board"
    for key in ("evaluation.smoothing", "optim.epochs", "transfer.epochs"):
        count = pins.get(key, 1)
        if type(count) is not int or count < 1:
            yield f"$.pins['{key}']: found {count!r}, expected a whole number of at least 1"
    for key in ("evaluation.milestones", "evaluation.baseline_milestones", "evaluation.stages"):
        numbers = pins.get(key, [])
        if not isinstance(numbers, list) or any(type(number) not in (int, float) for number in numbers):
            yield f"$.pins['{key}']: found {numbers!r}, expected a list of numbers"
    stages = pins.get("evaluation.stages")
    if isinstance(stages, list) and len(stages) != 3:
        yield f"$.pins['evaluation.stages']: found {len(stages)} numbers, expected 3"


def _derived_problems(record: Record) -> Iterator[str]:
    expected = derive(record.epochs, record.stages, record.predictions, record.pins)
    for name in Derived.__struct_fields__:
        found, wanted = getattr(record.derived, name), getattr(expected, name)
        if not _same(found, wanted):
            yield f"$.derived.{name}: found {found!r}, the curve and predictions give {wanted!r}"
    if not _same(record.stages[-1].top1, expected.top1):
        yield f"$.stages[2].top1: found {record.stages[-1].top1!r}, the predictions give {expected.top1!r}"
    transfer = record.transfer
    if transfer:
        scores = scores_of(transfer.predictions)
        for name in Scores.__struct_fields__:
            if not _same(getattr(transfer, name), getattr(scores, name)):
                found, wanted = getattr(transfer, name), getattr(scores, name)
                yield f"$.transfer.{name}: found {found!r}, its predictions give {wanted!r}"
    if record.pretext:
        yield from _pretext_problems(record.pretext, record.cell.num_test_videos)
    last = record.stages[-1].pretext_top1
    if last is not None and not (record.pretext and _same(last, record.pretext.top1)):
        yield f"$.stages[2].pretext_top1: found {last!r}, $.pretext.top1 says otherwise"


def _pretext_problems(pretext: PretextResult, videos: int) -> Iterator[str]:
    shown = pretext.predictions
    expected = {"top1": scores_of(shown).top1, "majority": majority_of(shown)}
    for name, wanted in expected.items():
        found = getattr(pretext, name)
        if not _same(found, wanted):
            yield f"$.pretext.{name}: found {found!r}, its predictions give {wanted!r}"
    count = len(unpack_ids(shown.labels))
    if count != videos:
        yield f"$.pretext.predictions.labels: found {count} videos, $.cell.num_test_videos is {videos}"


def _list_problems(record: Record) -> Iterator[str]:
    guesses, labels = unpack_ids(record.predictions.packed), unpack_ids(record.predictions.labels)
    cell = record.cell
    if len(guesses) != cell.num_test_videos:
        yield f"$.predictions.packed: found {len(guesses)} videos, $.cell.num_test_videos is {cell.num_test_videos}"
    if len(record.classes) != cell.num_classes:
        yield f"$.classes: found {len(record.classes)} names, $.cell.num_classes is {cell.num_classes}"
    largest = max(guesses + labels)
    if largest >= cell.num_classes:
        yield f"$.predictions: found class {largest}, the last of {cell.num_classes} is {cell.num_classes - 1}"
    hits = sum(map(operator.eq, guesses, labels))
    if not hits <= record.predictions.in_top5 <= len(labels):
        yield f"$.predictions.in_top5: found {record.predictions.in_top5}, expected {hits} to {len(labels)}"


def _reference_problems(record: Record) -> Iterator[str]:
    if record.board.digest != digest_of_pins(record.pins):
        yield "$.board.digest: does not belong to $.pins, one of them was edited"
    metric = METRIC.format(views=record.pins["evaluation.views"])
    if record.cell.metric != metric:
        yield f"$.cell.metric: found {record.cell.metric!r}, the board's views make it {metric!r}"
    epochs = record.pins["optim.epochs"]
    if record.status == "complete" and len(record.epochs) != epochs:
        yield f"$.status: found 'complete' with {len(record.epochs)} epochs, the board has {epochs}"
    cost = record.cost
    parts = [cost.train_s, cost.data_wait_s, cost.evaluate_s, cost.checkpoint_s]
    parts += [cost.phases_s, cost.transfer_s, cost.other_s]
    if not math.isclose(math.fsum(parts), cost.wall_s, rel_tol=1e-3, abs_tol=ROUNDED_S):
        yield f"$.cost.wall_s: found {cost.wall_s!r}, its parts add up to {math.fsum(parts):.3f}"
    if not 0 < record.cell.fraction <= 1:
        yield f"$.cell.fraction: found {record.cell.fraction!r}, expected more than 0 and at most 1"
    if record.cell.fraction == 1 and record.cell.subset_seed:
        yield f"$.cell.subset_seed: found {record.cell.subset_seed!r}, all videos are one subset: expected 0"


def _pinned_problems(record: Record) -> Iterator[str]:
    pins, cell = record.pins, record.cell
    for name, key in (("dataset", "data.dataset"), ("split", "data.split")):
        if getattr(cell, name) != pins[key]:
            yield f"$.cell.{name}: found {getattr(cell, name)!r}, $.pins['{key}'] is {pins[key]!r}"
    for at, (mark, share) in enumerate(zip(record.stages, pins["evaluation.stages"], strict=True)):
        epoch = max(1, int(share * pins["optim.epochs"] + 0.5))
        if mark.epoch != epoch:
            yield f"$.stages[{at}].epoch: found {mark.epoch}, the {mark.stage} stage ends with epoch {epoch}"


def _transfer_problems(record: Record) -> Iterator[str]:
    transfer, pins = record.transfer, record.pins
    pinned = any(key.startswith("transfer.") for key in pins)
    if transfer is None:
        if pinned and record.status != "failed":
            yield "$.transfer: found none, expected one: $.pins have a transfer"
    elif not pinned:
        yield f"$.transfer: found one to {transfer.dataset!r}, expected none: $.pins have no transfer"
    else:
        for name in ("dataset", "split", "mode", "epochs"):
            found, wanted = getattr(transfer, name), pins.get(f"transfer.{name}")
            if found != wanted:
                yield f"$.transfer.{name}: found {found!r}, $.pins['transfer.{name}'] is {wanted!r}"
        if len(transfer.curve) != transfer.epochs:
            yield f"$.transfer.curve: found {len(transfer.curve)} values, $.transfer.epochs is {transfer.epochs}"


def _share_problems(record: Record) -> Iterator[str]:
    """Accuracies that no number of right videos gives."""
    videos = record.cell.num_test_videos
    shares = [(f"$.epochs[{at}].test_top1", row.test_top1, videos) for at, row in enumerate(record.epochs)]
    for at, mark in enumerate(record.stages):
        told = [name for name in ("top1", "top5", "pretext_top1") if getattr(mark, name) is not None]
        shares += [(f"$.stages[{at}].{name}", getattr(mark, name), videos) for name in told]
    if record.transfer:
        count = len(unpack_ids(record.transfer.predictions.labels))
        shares += [(f"$.transfer.curve[{at}]", value, count) for at, value in enumerate(record.transfer.curve)]
    for at, row in enumerate(record.epochs):
        for name, trained in (("train_top1", row.train_top1), ("pretext_top1", row.pretext_top1)):
            if trained is not None and not 0 <= trained <= 1:
                yield f"$.epochs[{at}].{name}: found {trained!r}, expected a share between 0 and 1"
    for place, share, count in shares:
        if not 0 <= share <= 1:
            yield f"{place}: found {share!r}, expected a share between 0 and 1"
        elif abs(share * count - round(share * count)) > 1e-6:
            yield f"{place}: found {share!r}, expected a multiple of 1/{count}: there are {count} test videos"


def _sum_problems(record: Record) -> Iterator[str]:
    """Totals so far that do not rise, and costs that are not the sum of their epochs."""
    for name in ("steps", "samples"):
        before = 0
        for at, row in enumerate(record.epochs):
            if getattr(row, name) <= before:
                yield f"$.epochs[{at}].{name}: found {getattr(row, name)}, expected more than {before}"
            before = getattr(row, name)
    for name in ("train", "data_wait", "evaluate"):
        found = getattr(record.cost, f"{name}_s")
        total = math.fsum(getattr(row.seconds, name) for row in record.epochs)
        # Before boards pinned the revision, scoring the pretext task after the last epoch was booked here too.
        older = name == "evaluate" and "protocol.revision" not in record.pins and found > total
        if not older and not math.isclose(found, total, rel_tol=1e-6, abs_tol=1e-3):
            yield f"$.cost.{name}_s: found {found!r}, the epochs add up to {total:.3f}"


def _size_problems(record: Record) -> Iterator[str]:
    """A complete run whose steps are not those of its subset: it saw other videos, or more of them, than it says."""
    if record.status != "complete":
        return
    if record.missing_videos:
        yield f"$.status: found 'complete' with {record.missing_videos} missing videos, expected 'partial'"
    batch, videos = record.pins.get("optim.batch"), record.cell.num_training_videos
    if not isinstance(batch, int) or min(batch, videos) < 1:
        return
    batch = min(batch, videos)  # a smaller subset is one batch; of a larger one the last, incomplete batch is dropped
    steps = videos // batch
    for number, row in enumerate(record.epochs, start=1):
        if (row.steps, row.samples) != (number * steps, number * steps * batch):
            yield (
                f"$.epochs[{number - 1}]: found {row.steps} steps with {row.samples} samples, {videos} videos in "
                f"batches of {batch} make {number * steps} with {number * steps * batch}"
            )
            return


def _seconds_problems(record: Record) -> Iterator[str]:
    """Seconds below zero: they would make other parts, or a whole run, look cheaper than they were."""
    cost = record.cost
    for name in ("train_s", "data_wait_s", "evaluate_s", "checkpoint_s", "phases_s", "transfer_s", "other_s"):
        if getattr(cost, name) < -ROUNDED_S:
            yield f"$.cost.{name}: found {getattr(cost, name)!r}, expected at least 0"
    for at, row in enumerate(record.epochs):
        spent = row.seconds
        if (least := min(spent.train, spent.data_wait, spent.evaluate, spent.checkpoint)) < 0:
            yield f"$.epochs[{at}].seconds: found {least!r}, expected at least 0"


def _teacher_problems(record: Record) -> Iterator[str]:
    """What a record says of its teacher that cannot be, or that its own fraction contradicts."""
    teacher = record.teacher
    if teacher is None:
        return
    if teacher.top1 is not None and not 0 <= teacher.top1 <= 1:
        yield f"$.teacher.top1: found {teacher.top1!r}, expected a share between 0 and 1"
    if teacher.train_s is not None and teacher.train_s < 0:
        yield f"$.teacher.train_s: found {teacher.train_s!r}, expected at least 0"
    if teacher.fraction is not None and teacher.privileged != (teacher.fraction > record.cell.fraction):
        yield (
            f"$.teacher.privileged: found {teacher.privileged}, it saw {teacher.fraction:g} of the training videos and "
            f"its student {record.cell.fraction:g}"
        )


def _date_problems(submission: Submission) -> Iterator[str]:
    """Days that no calendar has: the changelog and its feed are ordered by them."""
    dates = {"date": submission.date, "verification.date": submission.verification.date}
    dates |= {"withdrawn.date": submission.withdrawn.date if submission.withdrawn else None}
    dates |= {f"earlier[{at}].date": event.date for at, event in enumerate(submission.earlier)}
    for place, date in dates.items():
        if date is not None and not _is_day(date):
            yield f"$.submission.{place}: found {date!r}, expected a day as YYYY-MM-DD"


def _is_day(text: str) -> bool:
    try:
        return Day.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _phase_problems(record: Record) -> Iterator[str]:
    """Rows of phases that are not those the method had; older records have none."""
    if record.phases and len(record.phases) != record.method.phase_epochs:
        yield f"$.phases: found {len(record.phases)} epochs, $.method.phase_epochs is {record.method.phase_epochs}"
    counted: Counter[str] = Counter()
    for at, row in enumerate(record.phases):
        counted[row.phase] += 1
        if row.epoch != counted[row.phase]:
            yield f"$.phases[{at}].epoch: found {row.epoch}, expected {counted[row.phase]} of '{row.phase}'"


def _same(found: object, wanted: object) -> bool:
    if isinstance(found, float) and isinstance(wanted, float):
        return math.isclose(found, wanted, rel_tol=0, abs_tol=1e-9)
    return found == wanted
