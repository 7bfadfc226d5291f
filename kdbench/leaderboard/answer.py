"""The first words of a board's page: does a teacher help here, by how much, how sure are we, what does it cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from kdbench.leaderboard.formats import NOTHING, counted, half, points, spread
from kdbench.leaderboard.scoring import CONFIDENCE, NO_TEACHER, Estimate, RowKey
from kdbench.leaderboard.standings import Row, Standings

TIMES = "\N{MULTIPLICATION SIGN}"
Factors = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """A question, the number that answers it, and what the number is."""

    question: str
    value: str
    note: str


@dataclass(frozen=True)
class Answer:
    """The sentence, what it rests on, the gain in short for a list of boards, and the cost as a sentence.

    `counts` says how the single comparisons came out. `figures` say the same in numbers; without a comparison there
    are none.
    """

    sentence: str
    basis: str
    short: str
    counts: str = ""
    cost: str = ""
    figures: tuple[Figure, ...] = ()


def answer_of(standings: Standings) -> Answer:
    """What a board's rows say about teachers, in words that claim no more than the intervals carry."""
    compared = [row for row in standings.rows if row.gain is not None and row.key.teacher != NO_TEACHER]
    basis = _basis(standings, compared)
    if not compared:
        sentence = "No answer yet: no run with a teacher stands beside its baseline run."
        return Answer(sentence, basis, "no comparison yet")
    measured = [row for row in compared if row.gain and row.gain.half is not None]
    overall, factors = standings.overall, cost_factors(standings.rows)
    costs = [factors[row.key] for row in compared if row.key in factors]
    cost, figures = _cost(costs), _figures(overall, compared, costs)
    if not measured:
        sentence = (
            f"Too early to say: {_kinds(compared)} only. "
            f"Beside its baseline, a teacher changed accuracy by {_span(compared)}."
        )
        return Answer(sentence, basis, f"{_span(compared)}, {_kinds(compared)}", "", cost, figures)
    word, claim = _verdict(measured)
    sentence, counts = f"{word}: {claim}.", [*_rest(measured), *_left_out(compared)]
    if overall and overall.half is not None:
        sentence, method = _on_average(overall), standings.board.methods.taught
        counts = [f"That is {method}, over all teachers and cells. One by one, {claim}.", *counts]
    short = _in_short(overall) if overall else _span(measured)
    return Answer(sentence, basis, short, " ".join(counts), cost, figures)


def cost_factors(rows: Iterable[Row]) -> dict[RowKey, Factors]:
    """For each row but a baseline's the time of a run, without and with its teacher's training, over the baseline's.

    Rows are left out where a time is not known, or where the two were not timed on one and the same class of device.
    """
    rows = list(rows)
    alone = {row.key.cell: row for row in rows if row.is_baseline}
    found: dict[RowKey, Factors] = {}
    for row in rows:
        base = alone.get(row.key.cell)
        if row.is_baseline or base is None or len({*row.devices, *base.devices}) != 1:
            continue
        if base.cost_s and row.cost_s is not None and row.cost_with_teacher_s is not None:
            found[row.key] = (row.cost_s / base.cost_s, row.cost_with_teacher_s / base.cost_s)
    return found


def _figures(overall: Estimate | None, compared: Sequence[Row], costs: Sequence[Factors]) -> tuple[Figure, ...]:
    """One number for each of the four questions, with what it is."""
    gains = [row.gain for row in compared if row.gain]
    halves = [gain.half for gain in gains if gain.half is not None]
    helps, sure = (NOTHING, "too early to say"), (NOTHING, f"no interval yet: {_kinds(compared)} only")
    if halves:
        higher, lower = _surely(compared)
        worse = f", and {len(lower)} worse" if lower else ""
        helps = (f"{len(higher)} of {len(halves)}", f"comparisons better by more than their 95 % interval{worse}")
        judged = [row for row in compared if row.gain and row.gain.half is not None]
        sure = (f"±{100 * median(halves):.1f}", f"points: the median 95 % interval, {_seeds(judged)}")
    where = f"in the median comparison, of {_span(compared)}" if len(gains) > 1 else "in the one comparison"
    much = (points(median(gain.mean for gain in gains)), f"points {where}")
    if overall:
        much = (points(overall.mean), "points on average over all cells")
        seeds = f"the 95 % interval of that average, {counted(overall.n, 'seed')}"
        if overall.half is not None:
            sure = (f"±{100 * overall.half:.1f}", f"points: {seeds}; {sure[0]} in the median comparison")
        elif not halves:
            much = (much[0], f"{much[1]}, {spread(overall, 'seed')}")
    price = (NOTHING, "not timed on one class of device")
    if costs:
        own, full = _middle(costs)
        price = (
            f"{TIMES}{full:.1f}",
            f"the time of a run without a teacher, with the teacher's own training; {TIMES}{own:.1f} if that is done",
        )
    questions = ("Does a teacher help?", "How much?", "How sure is that?", "What does it cost?")
    return tuple(Figure(question, *said) for question, said in zip(questions, (helps, much, sure, price), strict=True))


def _cost(costs: Sequence[Factors]) -> str:
    if not costs:
        return ""
    own, full = _middle(costs)
    where = "In the median comparison a" if len(costs) > 1 else "A"
    return (
        f"{where} run with a teacher takes {own:.1f} times as long as the run without one, "
        f"{full:.1f} times with the teacher's own training."
    )


def _middle(costs: Sequence[Factors]) -> Factors:
    return (median(own for own, _ in costs), median(full for _, full in costs))


def _surely(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The rows whose interval lies above zero, and those whose interval lies below."""
    rows = list(rows)
    higher = [row for row in rows if row.gain and row.gain.low is not None and row.gain.low > 0]
    lower = [row for row in rows if row.gain and row.gain.high is not None and row.gain.high < 0]
    return higher, lower


def _on_average(overall: Estimate) -> str:
    """Whether teachers help on the average of all cells."""
    size = f"{points(abs(overall.mean)).lstrip('+')} {half(overall)} points"
    if overall.low is not None and overall.low > 0:
        return f"Yes, on average: a teacher raises accuracy by {size}."
    if overall.high is not None and overall.high < 0:
        return f"No, on average: a teacher lowers accuracy by {size}."
    return f"Not that we can tell, on average: a teacher changes accuracy by {_in_short(overall)}."


def _verdict(rows: list[Row]) -> tuple[str, str]:
    """The answer in a word or two, and the claim that it stands for."""
    higher, lower = _surely(rows)
    total = len(rows)
    if higher and lower:
        claim = f"a teacher raises accuracy in {len(higher)} of {total} comparisons ({_span(higher)}) "
        return "It depends", f"{claim}and lowers it in {len(lower)} ({_span(lower)})"
    if higher:
        word = "Yes" if 2 * len(higher) > total else "Sometimes"
        return word, f"a teacher raises accuracy in {_everywhere(len(higher), total)}, by {_span(higher)}"
    if lower:
        return "No", f"a teacher lowers accuracy in {_everywhere(len(lower), total)}, by {_span(lower)}"
    found = f"none of {total} differences is" if total > 1 else "the one difference is not"
    return "Not that we can tell", f"{found} larger than its 95 % interval ({_span(rows)})"


def _rest(rows: list[Row]) -> Iterator[str]:
    """How many comparisons tell nothing, and how many of many would seem to tell something by chance."""
    higher, lower = _surely(rows)
    total, unsure = len(rows), len(rows) - len(higher) - len(lower)
    if unsure and unsure < total:
        yield f"In the other {unsure if unsure > 1 else 'one'} the difference is smaller than its interval."
    lucky = round(total * (1 - CONFIDENCE) / 2)
    if lucky:
        yield (
            f"If teachers changed nothing, chance alone would put about {lucky} of {total} intervals above zero, "
            "and as many below."
        )


def _left_out(rows: Iterable[Row]) -> Iterator[str]:
    """What is not counted because it has no interval."""
    bare = [row for row in rows if row.gain and row.gain.half is None]
    if bare:
        yield f"Not counted for want of an interval: {counted(len(bare), 'comparison')} ({_kinds(bare)})."


def _in_short(overall: Estimate) -> str:
    if overall.half is None:
        return f"{points(overall.mean)} points ({spread(overall, 'seed')})"
    return f"{points(overall.mean)} {half(overall)} points"


def _kinds(rows: Iterable[Row]) -> str:
    """Why these comparisons have no interval."""
    single = {row.gain.n == 1 for row in rows if row.gain and row.gain.half is None}
    return " and ".join(word for word, kind in (("single runs", True), ("equal runs", False)) if kind in single)


def _everywhere(some: int, total: int) -> str:
    if some < total:
        return f"{some} of {total} comparisons"
    return "every comparison" if total > 1 else "the one comparison that can be judged"


def _basis(standings: Standings, compared: list[Row]) -> str:
    cells = f"{standings.filled} of {standings.cells} cells"
    if not compared:
        return f"{counted(len(standings.runs.ranked), 'ranked run')}; {cells} hold a comparison."
    alone = any(row.gain and row.key.teacher == NO_TEACHER for row in standings.rows)
    return (
        f"{counted(len(compared), 'comparison')} in {cells}, {_seeds(compared)} each. Every run with a teacher is "
        "compared with the run without one that has the same student, the same videos and the same seed."
        f"{' Methods without a teacher stand in the table, and are not counted here.' if alone else ''}"
    )


def _seeds(rows: Iterable[Row]) -> str:
    counts = sorted({row.gain.n for row in rows if row.gain})
    return counted(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def _span(rows: Iterable[Row]) -> str:
    means = sorted(row.gain.mean for row in rows if row.gain)
    low, high = points(means[0]), points(means[-1])
    return f"{low} points" if low == high else f"{low} to {high} points"
