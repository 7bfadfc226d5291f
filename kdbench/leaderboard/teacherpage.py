"""What the page of a teacher on a board shows: where its weights come from, what they have seen, whom they taught.

A teacher is told by the digest of its weights. Several trainings under one name are several lineages.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.leaderboard import formats
from kdbench.leaderboard.boardcharts import entry_styles, legend
from kdbench.leaderboard.methodpage import MANY_SEEDS, Tally, apart, gain_charts, reach_of, tally
from kdbench.leaderboard.pagenames import method_name, plugin_name
from kdbench.leaderboard.scoring import EQUAL, NO_TEACHER, Estimate, Run, estimate
from kdbench.leaderboard.standings import Coverage, Row, Standings, cell_name, gap_closed
from kdbench.records import TeacherRef

DIGEST = 12  # characters of a digest in a heading


@dataclass(frozen=True)
class TeacherRuns:
    """A teacher on a board: its rows in the board's order, all runs it taught, and every run of the board by id."""

    name: str
    rows: tuple[Row, ...]
    runs: tuple[Run, ...]
    board_runs: Mapping[str, Run]


@dataclass(frozen=True)
class Fact:
    """What the records say of a teacher; more than one value where they do not agree."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Own:
    """A record that the teacher's weights come from: its run, None where it is not among the records; and misfits."""

    run_id: str
    run: Run | None
    misfits: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What was checked of a teacher against one test list. Counts are runs; `more` is None where nobody knows."""

    use: str
    dataset: str
    split: int
    digest: str
    runs: int
    checked: int
    is_training_list: bool

    @property
    def words(self) -> str:
        """The verdict as a person reads it."""
        if self.is_training_list:
            return "leak: its list of training videos is this test list"
        if self.checked == self.runs:
            return "none found: its list of training videos was compared with this list, and they share no video"
        where = f" in {self.runs - self.checked} of {self.runs} runs, where" if self.checked else ":"
        return f"not checked{where} it does not say which videos it was trained on"

    @property
    def sound(self) -> bool:
        """Whether every run was checked, and nothing speaks against it."""
        return self.checked == self.runs and not self.is_training_list


@dataclass(frozen=True)
class Lesson:
    """The runs of a row that one lineage taught; `mixed` where another taught other seeds of the row."""

    row: Row
    runs: tuple[Run, ...]
    gain: Estimate | None
    gap_closed: float | None
    mixed: bool
    privileged: bool


@dataclass(frozen=True)
class Lineage:
    """The weights of one digest."""

    digest: str
    facts: tuple[Fact, ...]
    own: tuple[Own, ...]
    verdicts: tuple[Verdict, ...]
    seen: tuple[str, ...]
    lessons: tuple[Lesson, ...]
    tally: Tally

    @property
    def anchor(self) -> str:
        """Where it stands on the page."""
        return "weights-" + "".join(letter for letter in self.digest if letter.isalnum())


def teachers_of(standings: Standings) -> list[TeacherRuns]:
    """Every teacher of a board by name; the records are gone through once."""
    rows: dict[str, list[Row]] = defaultdict(list)
    runs: dict[str, list[Run]] = defaultdict(list)
    everything = (*standings.runs, *standings.runs.withdrawn)
    for row in standings.rows:
        rows[row.key.teacher].append(row)
    for run in everything:
        runs[run.key.teacher].append(run)
    board_runs = {run.record.run_id: run for run in everything}
    names = sorted(runs.keys() - {NO_TEACHER})
    return [TeacherRuns(name, tuple(rows[name]), tuple(runs[name]), board_runs) for name in names]


def teacher_context(standings: Standings, teacher: TeacherRuns) -> dict[str, Any]:
    """The names that the teacher template uses."""
    found, styles = lineages(teacher), entry_styles(teacher.rows)
    return {
        "board": standings.board,
        "teacher": teacher,
        "lineages": found,
        "coverage": coverage(standings, teacher),
        "reach": reach_of(teacher.rows),
        "many": MANY_SEEDS,
        # One line for several trainings would be of none of them.
        "gains": gain_charts(teacher.rows, styles) if len(found) == 1 else [],
        "legend": legend(styles, baseline=False),
        "undrawn": sum(style is None for style in styles.values()),
        "apart": apart(teacher.runs),
        "cell_name": cell_name,
        "method_page": method_name,
        "plugins": sorted({_plugin_link(_ref(run)) for run in teacher.runs}),
    }


def lineages(teacher: TeacherRuns) -> list[Lineage]:
    """The trainings that go by one name, told apart by the digest of their weights, that of most runs first."""
    of_digest: dict[str, list[Run]] = defaultdict(list)
    for run in teacher.runs:
        of_digest[_ref(run).weights_sha256].append(run)
    lessons: dict[str, list[Lesson]] = defaultdict(list)
    for row in teacher.rows:
        for digest, lesson in _lessons(row):
            lessons[digest].append(lesson)
    order = sorted(of_digest, key=lambda digest: (-len(of_digest[digest]), digest))
    return [_lineage(digest, of_digest[digest], lessons[digest], teacher.board_runs) for digest in order]


def coverage(standings: Standings, teacher: TeacherRuns) -> list[Coverage]:
    """How many of the board's cells the teacher fills with each method."""
    return [entry for entry in standings.coverage if entry.teacher == teacher.name]


def _ref(run: Run) -> TeacherRef:
    teacher = run.record.teacher
    assert teacher is not None, "the run was found under its teacher's name"
    return teacher


def _plugin_link(ref: TeacherRef) -> tuple[str, str]:
    return ref.plugin.name, plugin_name("teachers", ref.plugin.name)


def _lineage(digest: str, runs: Sequence[Run], lessons: Sequence[Lesson], board_runs: Mapping[str, Run]) -> Lineage:
    refs = [_ref(run) for run in runs]
    ids = sorted({name for ref in refs if ref.run_id for name in ref.run_id.split("+")})
    return Lineage(
        digest=digest,
        facts=tuple(facts_of(refs)),
        own=tuple(_own(name, board_runs.get(name), refs) for name in ids),
        verdicts=tuple(verdicts_of(runs)),
        seen=tuple(seen_of(refs)),
        lessons=tuple(lessons),
        tally=tally(lesson.gain for lesson in lessons),
    )


def facts_of(refs: Sequence[TeacherRef]) -> Iterator[Fact]:
    """What the records declare of a teacher, in words."""
    unknown = "not declared"

    def fact(label: str, texts: Iterable[str]) -> Fact:
        return Fact(label, tuple(sorted(set(texts))))

    yield fact("Backbone", (ref.backbone for ref in refs))
    yield fact("Plugin", (f"{ref.plugin.name}, {ref.plugin.distribution} {ref.plugin.version}" for ref in refs))
    yield fact("Weights", (f"sha256 {ref.weights_sha256}" for ref in refs))
    yield fact("Data set", (ref.dataset or unknown for ref in refs))
    yield fact("Split", (unknown if ref.split is None else str(ref.split) for ref in refs))
    yield fact(
        "Fraction of the training videos",
        (unknown if ref.fraction is None else formats.fraction(ref.fraction) for ref in refs),
    )
    lists = (ref.training_list_sha256 for ref in refs)
    yield fact("Training list", (unknown if digest is None else f"sha256 {digest}" for digest in lists))
    scores = (ref.top1 for ref in refs)
    yield fact("Accuracy", ("not measured" if top1 is None else f"{formats.percent(top1)} %" for top1 in scores))
    yield fact("Epochs", (unknown if ref.epochs is None else str(ref.epochs) for ref in refs))
    yield fact("Training time", (unknown if ref.train_s is None else formats.seconds(ref.train_s) for ref in refs))


def _own(run_id: str, run: Run | None, refs: Sequence[TeacherRef]) -> Own:
    """A record that a teacher names as its own, and where the two contradict each other."""
    if run is None:
        return Own(run_id, None, ())
    record, misfits = run.record, set()
    for ref in refs:
        if ref.run_id != run_id:
            continue  # one of several that were joined: what they declare is of all of them together
        if ref.top1 is not None and abs(ref.top1 - record.derived.top1) > EQUAL:
            misfits.add(
                f"declared {formats.percent(ref.top1)} %, its record says {formats.percent(record.derived.top1)} %"
            )
        if ref.training_list_sha256 not in (None, record.cell.training_list_sha256):
            misfits.add("its record has another training list")
        if ref.backbone != record.student.name:
            misfits.add(f"its record is of {record.student.name}")
    return Own(run_id, run, tuple(sorted(misfits)))


def verdicts_of(runs: Iterable[Run]) -> list[Verdict]:
    """What was checked of a teacher, for each test list of its students; that of a transfer is checked as well."""
    counts: Counter[tuple[str, str, int, str]] = Counter()
    checked: Counter[tuple[str, str, int, str]] = Counter()
    same: set[tuple[str, str, int, str]] = set()
    for run in runs:
        record, ref = run.record, _ref(run)
        lists = [("test", record.cell.dataset, record.cell.split, record.cell.test_list_sha256)]
        if record.transfer:
            second = record.transfer
            lists.append(("transfer", second.dataset, second.split, second.test_list_sha256))
        for each in lists:
            counts[each] += 1
            checked[each] += ref.trusted
            same |= {each} if ref.training_list_sha256 == each[3] else set()
    return [Verdict(*each, counts[each], checked[each], each in same) for each in sorted(counts)]


def seen_of(refs: Sequence[TeacherRef]) -> Iterator[str]:
    """How much a teacher had seen beside its students, in sentences."""
    privileged = Counter(ref.privileged for ref in refs)
    n = len(refs)
    if privileged[True]:
        yield f"It saw a larger fraction of the training videos than its student in {privileged[True]} of {n} runs."
    if privileged[False]:
        yield f"It saw no larger fraction than its student in {privileged[False]} of {n} runs."
    if privileged[None]:
        yield f"Which fraction it saw is not known in {privileged[None]} of {n} runs."
    partial = sum(ref.partial for ref in refs)
    if partial:
        yield f"Some of its own training videos were missing in {partial} of {n} runs."


def _lessons(row: Row) -> Iterator[tuple[str, Lesson]]:
    """The runs of a row by the weights that taught them, each with its own gain."""
    of_digest: dict[str, list[Run]] = defaultdict(list)
    for run in row.runs:
        of_digest[_ref(run).weights_sha256].append(run)
    for digest, runs in of_digest.items():
        gain = estimate([run.gain for run in runs if run.gain is not None])
        privileged = any(_ref(run).privileged for run in runs)
        yield digest, Lesson(row, tuple(runs), gain, gap_closed(runs), len(of_digest) > 1, privileged)
