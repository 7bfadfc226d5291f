"""Records -> ranked, stale and unranked runs, each ranked run with its paired baseline; and the statistics.

An accuracy is a share between 0 and 1, a gain is a difference of two shares. Intervals are 95 % Student t
intervals over training seeds. No torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from kdbench.board import BOARDS, Board
from kdbench.checks import read_record
from kdbench.errors import RecordError
from kdbench.records import (
    MethodRef,
    PluginRef,
    Predictions,
    Record,
    differing_pins,
    epoch_reaching,
    smoothed,
    unpack_ids,
)

CONFIDENCE = 0.95
NO_TEACHER = "none"
RECORDS, WITHDRAWN = "records", "withdrawn"  # the folders of a board's files
EQUAL = 1e-9  # shares closer than this differ by rounding only
_UNDATED = "9999"  # after every day: a run that is not submitted displaces none that is
_WEIGHT = "weight of "  # no option's name has a space
_List = tuple[tuple[Any, ...], tuple[Any, ...]]  # what a list is for, and its digest
Shared = Mapping[tuple[type[PluginRef], str], Mapping[str, Any]]
_TRUST = {"maintainers": 0, "reproduced": 1, "self-reported": 2, "disputed": 3}


# --- statistics --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds and half the width of its 95 % interval; a single run and equal runs have none."""

    mean: float
    half: float | None
    n: int

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half is None else self.mean + self.half


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and 95 % Student t interval; None for no values, no interval for one value or for equal ones.

    Accuracies are multiples of 1/videos, so that a few seeds may agree by chance: that they do not differ
    says nothing about how much they would.
    """
    n = len(values)
    if not n:
        return None
    mean = math.fsum(values) / n
    if max(values) - min(values) < EQUAL:
        return Estimate(mean, None, n)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Estimate(mean, student_t(n - 1) * math.sqrt(variance / n), n)


@cache
def student_t(freedom: int) -> float:
    """The t with P(|T| < t) = 0.95 for `freedom` degrees of freedom, by bisection."""
    low, high = 0.0, 13.0  # 12.706 for one degree of freedom is the largest
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _two_sided(middle, freedom) < CONFIDENCE else (low, middle)
    return (low + high) / 2


def _two_sided(t: float, freedom: int) -> float:
    """P(|T| < t), exact for a whole number of degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for step in range(1 + odd, freedom, 2):
        total += term
        term *= math.cos(angle) ** 2 * step / (step + 1)
    share = math.sin(angle) * total
    return 2 / math.pi * (angle + share) if odd else share


class Reached(NamedTuple):
    """Epochs to an accuracy over the seeds of a row: the median run's epoch or ">N", and how many got there."""

    median: int | str
    reached: int
    n: int


def median_epoch(epochs: Sequence[int | str]) -> Reached | None:
    """The median run's epoch; a run that never got there (">N") sorts last. None for no runs.

    Of an even number of runs the slower of the two in the middle counts, so that the answer is always one
    that a run gave and a missed milestone is never averaged away.
    """
    if not epochs:
        return None
    order = sorted(epochs, key=lambda epoch: (isinstance(epoch, str), int(str(epoch).lstrip(">"))))
    return Reached(order[len(order) // 2], sum(isinstance(epoch, int) for epoch in epochs), len(epochs))


# --- milestones --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Milestone:
    """What a run had spent when its 1-view curve first reached an accuracy; ">N" in each field if it never did.

    `of_baseline` is the share of the paired baseline's last value that the accuracy stands for, or None for
    a milestone of the board. Seconds are those of training and of waiting for data, with those of the method's
    phases before: they were spent, too, until then. Epochs, steps and samples are the board's own.
    """

    accuracy: float
    of_baseline: float | None
    epoch: int | str
    steps: int | str
    samples: int | str
    train_s: float | str


def milestone(record: Record, accuracy: float, of_baseline: float | None = None) -> Milestone:
    """The first epoch of a record's curve (under its board's smoothing rule) that reaches an accuracy."""
    epoch = epoch_reaching(_level(record), accuracy)
    until = record.epochs if isinstance(epoch, str) else record.epochs[:epoch]
    seconds = record.cost.phases_s + math.fsum(row.seconds.train + row.seconds.data_wait for row in until)
    spent = (until[-1].steps, until[-1].samples, seconds)
    if isinstance(epoch, str):
        return Milestone(accuracy, of_baseline, epoch, f">{spent[0]}", f">{spent[1]}", f">{spent[2]:.0f}")
    return Milestone(accuracy, of_baseline, epoch, *spent)


# --- runs --------------------------------------------------------------------------------------------------


class RowKey(NamedTuple):
    """What the seeds of one row share; the first five fields are the cell."""

    dataset: str
    split: int
    fraction: float
    subset_seed: int
    student: str
    teacher: str
    method: str

    @property
    def cell(self) -> tuple[str, int, float, int, str]:
        """Rows are ranked against each other only within it."""
        return self[:5]


@dataclass(frozen=True)
class Run:
    """A record in its place: the file, what speaks against ranking it, and its paired baseline run.

    `stale` names the pins in which it differs from the board; `reason` says why it is not ranked.
    """

    path: Path
    record: Record
    key: RowKey
    stale: tuple[str, ...] = ()
    reason: str | None = None
    baseline: Record | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether the run is of the kind that gains are measured against."""
        return is_baseline(self.record)

    @property
    def gain(self) -> float | None:
        """Accuracy minus that of the paired baseline run."""
        return None if self.baseline is None else self.record.derived.top1 - self.baseline.derived.top1

    def epochs_to_baseline(self, share: float) -> int | str | None:
        """Epochs until the run's 1-view curve reaches `share` of the paired baseline curve's last value."""
        if self.baseline is None:
            return None
        return epoch_reaching(_level(self.record), share * _level(self.baseline)[-1])

    def milestones(self) -> list[Milestone]:
        """The board's milestones, then its shares of the paired baseline's last 1-view accuracy."""
        pins = self.record.pins
        reached = [milestone(self.record, goal) for goal in pins["evaluation.milestones"]]
        if self.baseline is None:
            return reached
        last = _level(self.baseline)[-1]
        shares = pins["evaluation.baseline_milestones"]
        return reached + [milestone(self.record, share * last, share) for share in shares]


@dataclass(frozen=True)
class Runs:
    """All runs of a board: those that are ranked, those of other pins, those shown without a rank.

    `withdrawn` runs keep their pages and are in no table: iteration leaves them out.
    """

    ranked: tuple[Run, ...]
    stale: tuple[Run, ...]
    unranked: tuple[Run, ...]
    withdrawn: tuple[Run, ...] = ()

    def __iter__(self) -> Any:
        return iter(self.ranked + self.stale + self.unranked)


def load_records(board: Board, boards: Path = BOARDS) -> list[tuple[Path, Record]]:
    """Every record of a board, in order of the file name. Raises RecordError for one that cannot be read.

    So it does for two that cannot both be true, see `refuse_contradictions`.
    """
    return records_in(boards / board.name / RECORDS, board)


def records_in(folder: Path, board: Board) -> list[tuple[Path, Record]]:
    """The records of a board that lie in a folder; raises as `load_records` does."""
    loaded = _placed_in(folder, board)
    refuse_contradictions(loaded)
    return loaded


def withdrawn_in(folder: Path, board: Board) -> list[tuple[Path, Record]]:
    """The withdrawn records of a board that lie in a folder; copies, which are a reason to withdraw one, included."""
    return _placed_in(folder, board)


def _placed_in(folder: Path, board: Board) -> list[tuple[Path, Record]]:
    loaded = []
    for path in sorted(folder.glob("*.json")):
        record = read_record(path)
        if record.board.name != board.name:
            raise RecordError(f"{path}: $.board.name is '{record.board.name}'; move the file to that board's records")
        for problem in misplaced(path, record):
            raise RecordError(f"{path}: {problem}")
        loaded.append((path, record))
    return loaded


def misplaced(path: Path, record: Record) -> Iterator[str]:
    """What speaks against the place of a record's file on a board: its name, its folder, a namesake beside it."""
    if record.run_id != path.stem:
        yield f"$.run_id is '{record.run_id}'; name the file {record.run_id}.json"
    withdrawn, folder = record.submission.withdrawn is not None, path.parent.name
    if withdrawn != (folder == WITHDRAWN):
        found, way_out = ("a", f"move the file to {WITHDRAWN}/") if withdrawn else ("no", "use `kdbench withdraw`")
        yield f"$.submission.withdrawn: found {found} withdrawal in the folder {folder}; {way_out}"
    if folder == WITHDRAWN and (path.parent.parent / RECORDS / path.name).exists():
        yield f"lies in {RECORDS}/ too; remove it there, or remove this file if it was reinstated"


def refuse_contradictions(records: Sequence[tuple[Path, Record]]) -> None:
    """Raise RecordError for two records that cannot both be true.

    These are two seeds of one row that measured the same, one of which is a copy, and two that give the videos of
    one test list different classes, in one of which the answers were edited: no record says so by itself.
    """
    _refuse_copies(records)
    _refuse_other_answers(records)


def _refuse_copies(records: Sequence[tuple[Path, Record]]) -> None:
    shared = shared_options([record for _, record in records])
    seen: dict[tuple[Any, ...], tuple[Path, Record]] = {}
    for path, record in records:
        first, known = seen.setdefault((row_key(record, shared), _measured(record)), (path, record))
        if known.seed != record.seed:
            raise RecordError(
                f"{path}: $.epochs and $.predictions: found those of {first} under another seed ({record.seed} and "
                f"{known.seed}), expected two runs to differ; remove the copy"
            )


def _refuse_other_answers(records: Sequence[tuple[Path, Record]]) -> None:
    seen: dict[str, tuple[Path, Predictions, tuple[str, ...]]] = {}
    for path, record in records:
        told = [("$.predictions.labels", record.cell.test_list_sha256, record.predictions, record.classes)]
        if transfer := record.transfer:
            told.append(
                ("$.transfer.predictions.labels", transfer.test_list_sha256, transfer.predictions, transfer.classes)
            )
        for place, test_list, predictions, classes in told:
            first, known, names = seen.setdefault(test_list, (path, predictions, classes))
            if not _same_answers(known.labels, names, predictions.labels, classes):
                raise RecordError(
                    f"{path}: {place}: found other classes for the test videos than in {first}, expected the same: "
                    "both have the same test list; restore the one that was edited, or remove it"
                )


def _same_answers(labels: str, classes: tuple[str, ...], others: str, other_classes: tuple[str, ...]) -> bool:
    """Whether packed labels name the same classes; the order of the classes and the packing may differ."""
    if labels == others and classes == other_classes:
        return True
    ours, theirs = unpack_ids(labels), unpack_ids(others)
    return [classes[at] for at in ours] == [other_classes[at] for at in theirs]


def _measured(record: Record) -> tuple[Any, ...]:
    """What chance makes different from seed to seed: accuracies and losses of every epoch, and the predictions."""
    curve = tuple((row.test_top1, row.train_top1, *sorted(row.losses.items())) for row in record.epochs)
    return (curve, record.predictions.packed)


def place_runs(
    board: Board, records: Sequence[tuple[Path, Record]], withdrawn: Sequence[tuple[Path, Record]] = ()
) -> Runs:
    """Sort records into ranked, stale and unranked runs and give each ranked one its paired baseline."""
    shared = shared_options([record for _, record in records])
    known = {record.run_id: record for _, record in records}
    stale, unranked, sound = [], [], []
    for path, record in records:
        key = row_key(record, shared)
        differing = tuple(differing_pins(record, board.pins))
        reason = why_unranked(record) or _outside(record, board) or _misquoted(record, known)
        if differing:
            stale.append(Run(path, record, key, stale=differing, reason=reason))
        elif reason:
            unranked.append(Run(path, record, key, reason=reason))
        else:
            sound.append(Run(path, record, key))
    kept, strange = _on_the_usual_lists(sound)
    kept, repeats = _one_run_per_seed(kept)
    kept, picked = _without_picked_seeds(kept, board.matrix.seeds)
    baselines = {pair_key(run): run.record for run in reversed(kept) if run.is_baseline}
    ranked = [replace(run, baseline=baselines.get(pair_key(run))) for run in kept]
    apart = sorted(unranked + strange + repeats + picked, key=lambda run: run.record.run_id)
    return Runs(tuple(ranked), tuple(stale), tuple(apart), _withdrawn_runs(records, withdrawn))


def _withdrawn_runs(
    records: Sequence[tuple[Path, Record]], withdrawn: Sequence[tuple[Path, Record]]
) -> tuple[Run, ...]:
    """Named with all records of the board; what they share must not depend on them, or they would rename rows."""
    shared = shared_options([record for _, record in (*records, *withdrawn)])
    return tuple(Run(path, record, row_key(record, shared), reason=why_withdrawn(record)) for path, record in withdrawn)


def why_withdrawn(record: Record) -> str | None:
    """The reason and the day of a record's withdrawal, or None."""
    told = record.submission.withdrawn
    return f"{told.reason} ({told.date})" if told else None


def _outside(record: Record, board: Board) -> str | None:
    """Means are taken over a board's own draws of a fraction; one more of some rows alone would tilt them."""
    drawn = record.cell.subset_seed
    known = record.cell.fraction == 1 or drawn in board.matrix.subset_seeds
    return None if known else f"subset seed {drawn} is not in the board's matrix"


def _misquoted(record: Record, known: Mapping[str, Record]) -> str | None:
    """The gap that a student closes, and whether its teacher is clean, rest on what it says of the teacher."""
    teacher = record.teacher
    own = known.get(teacher.run_id or "") if teacher else None
    if teacher is None or own is None:
        return None
    same_score = teacher.top1 is None or abs(teacher.top1 - own.derived.top1) < EQUAL
    if same_score and teacher.training_list_sha256 in (None, own.cell.training_list_sha256):
        return None
    return f"what it says of its teacher is not what the teacher's own record {own.run_id} says"


def why_unranked(record: Record) -> str | None:
    """What keeps a record of the board's own pins from being ranked, or None."""
    if record.status != "complete":
        return f"the run is {record.status}"
    if record.teacher and not record.teacher.trusted:
        return "nobody has checked what its teacher was trained on"
    if record.teacher and record.teacher.training_list_sha256 in _test_lists(record):
        return "its teacher was trained on the test videos"
    if record.teacher and record.teacher.partial:
        return "some of its teacher's training videos were missing"
    verification = record.submission.verification
    if verification.state == "disputed":
        return f"disputed: {verification.note or 'no note given'}"
    return None


def _test_lists(record: Record) -> set[str]:
    transfer = record.transfer
    return {record.cell.test_list_sha256} | ({transfer.test_list_sha256} if transfer else set())


def row_key(record: Record, shared: Shared) -> RowKey:
    """The row a record belongs to. Options that all records of a plugin share are not spelled out."""
    cell, student, method = record.cell, record.student, record.method
    return RowKey(
        dataset=cell.dataset,
        split=cell.split,
        fraction=cell.fraction,
        subset_seed=cell.subset_seed,
        student=name_with_options(student.name, _telling(student, shared)),
        teacher=record.teacher.spec if record.teacher else NO_TEACHER,
        method=name_with_options(method.name, _telling(method, shared)),
    )


def shared_options(records: Sequence[Record]) -> Shared:
    """For each plugin of a board the options and weights that have one and the same value in all of its records.

    A record holds every option, defaults included; only those that tell two rows apart belong in a name. A weight
    that the baseline gives to a term of the board is always told: it makes it no baseline.
    """
    shared: dict[tuple[type[PluginRef], str], dict[str, Any]] = {}
    for record in records:
        plugins: tuple[PluginRef, ...] = (record.student, record.method)
        for plugin in plugins:
            facts = _facts(plugin)
            known = shared.setdefault((type(plugin), plugin.name), dict(facts))
            for name in [name for name in known if name not in facts or facts[name] != known[name]]:
                del known[name]
        if record.method.name == record.pins["methods.baseline"]:
            for term in record.method.base_weights:
                shared[type(record.method), record.method.name].pop(_WEIGHT + term, None)
    return shared


def _facts(plugin: PluginRef) -> dict[str, Any]:
    """Options, and the weights of the board's terms that a method changed, by what they are called in a name."""
    weights = plugin.base_weights if isinstance(plugin, MethodRef) else {}
    return dict(sorted(plugin.options.items())) | {_WEIGHT + term: weights[term] for term in sorted(weights)}


def _telling(plugin: PluginRef, shared: Shared) -> dict[str, Any]:
    return {name: value for name, value in _facts(plugin).items() if name not in shared[type(plugin), plugin.name]}


def name_with_options(name: str, facts: Mapping[str, Any]) -> str:
    """A plugin with its options and the board terms it re-weighted: `name (rate=0.5, weight of term: 0)`."""
    parts = [f"{key}: {facts[key]:g}" if key.startswith(_WEIGHT) else f"{key}={facts[key]}" for key in facts]
    return f"{name} ({', '.join(parts)})" if parts else name


def is_baseline(record: Record) -> bool:
    """Whether a record is of the board's baseline method: no teacher, and the terms as the board weighs them."""
    named = record.method.name == record.pins["methods.baseline"]
    return named and record.teacher is None and not record.method.base_weights


def pair_key(run: Run) -> tuple[Any, ...]:
    """What a run and its baseline share: same student, videos and seed."""
    return (*run.key.cell, run.record.seed)


def device_class(record: Record) -> str:
    """The class of hardware, as `2 x NAME` or `NAME, 4 threads`: seconds are comparable only within one."""
    device = record.environment.get("device")
    if not isinstance(device, dict):
        return "unknown"
    name, count = device.get("name", "unknown"), device.get("count", 1)
    threads = record.environment.get("threads")
    # A processor's speed depends on how many of its cores a run was given, an accelerator's hardly does.
    suffix = f", {threads} thread{'s' if threads != 1 else ''}" if device.get("type") == "cpu" and threads else ""
    return f"{f'{count} x ' if count != 1 else ''}{name}{suffix}"


def _on_the_usual_lists(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs on the lists of videos that most runs of the board have, and the others with the reason.

    Two data sets of one name may differ on disk; what was measured on the one says nothing of the other.
    """
    wholes = (_test_list, "test"), (_training_list, "training")
    usual = [_most_frequent([list_of(run) for run in runs]) for list_of, _ in wholes]
    kept, strange = [], []
    for run in runs:
        other = [name for (list_of, name), known in zip(wholes, usual, strict=True) if list_of(run) not in known]
        reason = f"its list of {' and of '.join(other)} videos is not the one that most runs of the board have"
        strange.append(replace(run, reason=reason)) if other else kept.append(run)
    return kept, strange


def _test_list(run: Run) -> _List:
    cell = run.record.cell
    return (cell.dataset, cell.split), (cell.test_list_sha256, cell.num_classes)


def _training_list(run: Run) -> _List:
    cell = run.record.cell
    return (cell.dataset, cell.split, cell.fraction, cell.subset_seed), (cell.training_list_sha256,)


def _most_frequent(lists: Sequence[_List]) -> set[_List]:
    """The most frequent list for each use, of equally frequent ones the first by its digest."""
    counts = sorted(Counter(lists).items(), key=lambda each: (-each[1], each[0]))
    first: dict[tuple[Any, ...], _List] = {}
    for found, _ in counts:
        first.setdefault(found[0], found)
    return set(first.values())


def _one_run_per_seed(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """One run for each row and seed: a seed run twice is no second sample.

    The best verified one counts, then the one that was submitted first: a later one may have been chosen by its result.
    """
    chosen: dict[tuple[Any, ...], Run] = {}
    repeats = []
    for run in sorted(runs, key=_first_to_count):
        first = chosen.setdefault((*run.key, run.record.seed), run)
        if first is not run:
            reason = f"repeats seed {run.record.seed} of run {first.record.run_id}"
            repeats.append(replace(run, reason=reason))
    return sorted(chosen.values(), key=lambda run: (run.key, run.record.seed)), repeats


def _first_to_count(run: Run) -> tuple[int, str, str]:
    submission = run.record.submission
    return (_TRUST[submission.verification.state], submission.date or _UNDATED, run.record.run_id)


def _without_picked_seeds(runs: Sequence[Run], own: Sequence[int]) -> tuple[list[Run], list[Run]]:
    """The runs whose seed counts, and the others with the reason.

    Who is free to name the seeds can run many and submit the best. A board's own seeds are known before the run;
    further ones count where all of these are there, and one after another.
    """
    counted, picked = [], []
    for _, group in groupby(runs, key=lambda run: run.key):
        row = list(group)
        taken = {run.record.seed for run in row}
        first = last = max(own, default=-1) + 1
        while last in taken:
            last += 1
        lacking = [seed for seed in own if seed not in taken] or [last]
        for run in row:
            seed = run.record.seed
            if seed in own or (taken.issuperset(own) and first <= seed < last):
                counted.append(run)
            else:
                before = ", ".join(map(str, lacking))
                reason = (
                    f"seed {seed} is out of turn: {before} would come first, so that no seed is picked by its result"
                )
                picked.append(replace(run, reason=reason))
    return counted, picked


def _level(record: Record) -> list[float]:
    """The 1-view curve under the board's smoothing rule."""
    return smoothed([epoch.test_top1 for epoch in record.epochs], int(record.pins["evaluation.smoothing"]))
