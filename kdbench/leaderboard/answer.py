"""The first sentence of a board's page: does a teacher help here, by how much, and how sure are we."""

from __future__ import annotations

from dataclasses import dataclass

from kdbench.leaderboard.formats import counted, half, points, spread
from kdbench.leaderboard.scoring import Estimate
from kdbench.leaderboard.standings import Row, Standings


@dataclass(frozen=True)
class Answer:
    """The sentence, what it rests on, and the gain in short for a list of boards. `tone` picks a mark."""

    sentence: str
    basis: str
    short: str
    tone: str


def answer_of(standings: Standings) -> Answer:
    """What a board's rows say about teachers, in words that claim no more than the intervals carry."""
    compared = [row for row in standings.rows if row.gain is not None]
    basis = _basis(standings, compared)
    if not compared:
        sentence = "No answer yet: no run with a teacher stands beside its baseline run."
        return Answer(sentence, basis, "no comparison yet", "open")
    measured = [row for row in compared if row.gain and row.gain.half is not None]
    if not measured:
        sentence = (
            f"Too early to say: {_kinds(compared)} only. "
            f"Beside its baseline, a teacher changed accuracy by {_span(compared)}."
        )
        return Answer(sentence, basis, f"{_span(compared)}, {_kinds(compared)}", "open")
    sentence, tone = _verdict(measured)
    bare = [row for row in compared if row not in measured]
    if bare:
        sentence += f" Not counted for want of an interval: {counted(len(bare), 'comparison')} ({_kinds(bare)})."
    overall = standings.overall
    short = _in_short(overall) if overall else _span(measured)
    return Answer(sentence, basis, short, tone)


def _verdict(rows: list[Row]) -> tuple[str, str]:
    higher = [row for row in rows if row.gain and row.gain.low is not None and row.gain.low > 0]
    lower = [row for row in rows if row.gain and row.gain.high is not None and row.gain.high < 0]
    total, unsure = len(rows), len(rows) - len(higher) - len(lower)
    rest = (
        f" In the other {unsure if unsure > 1 else 'one'} the difference is smaller than its interval."
        if unsure
        else ""
    )
    if higher and lower:
        text = f"It depends: a teacher raises accuracy in {len(higher)} of {total} comparisons ({_span(higher)}) "
        return f"{text}and lowers it in {len(lower)} ({_span(lower)}).{rest}", "mixed"
    if higher:
        where = _everywhere(len(higher), total)
        word = "Yes" if 2 * len(higher) > total else "Sometimes"
        return f"{word}: a teacher raises accuracy in {where}, by {_span(higher)}.{rest}", "up"
    if lower:
        return f"No: a teacher lowers accuracy in {_everywhere(len(lower), total)}, by {_span(lower)}.{rest}", "down"
    found = f"none of {total} differences is" if total > 1 else "the one difference is not"
    return f"Not that we can tell: {found} larger than its 95 % interval ({_span(rows)}).", "flat"


def _in_short(overall: Estimate) -> str:
    if overall.half is None:
        return f"{points(overall.mean)} points ({spread(overall, 'seed')})"
    return f"{points(overall.mean)} {half(overall)} points"


def _kinds(rows: list[Row]) -> str:
    """Why these comparisons have no interval."""
    single = {row.gain.n == 1 for row in rows if row.gain}
    return " and ".join(word for word, kind in (("single runs", True), ("equal runs", False)) if kind in single)


def _everywhere(some: int, total: int) -> str:
    if some < total:
        return f"{some} of {total} comparisons"
    return "every comparison" if total > 1 else "the one comparison that can be judged"


def _basis(standings: Standings, compared: list[Row]) -> str:
    cells = f"{standings.filled} of {standings.cells} cells"
    if not compared:
        return f"{counted(len(standings.runs.ranked), 'ranked run')}; {cells} hold a comparison."
    counts = sorted({row.gain.n for row in compared if row.gain})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    word = "seed" if counts[-1] == 1 else "seeds"
    return (
        f"{counted(len(compared), 'comparison')} in {cells}, {seeds} {word} each. Every run with a teacher is compared "
        "with the run without one that has the same student, the same videos and the same seed."
    )


def _span(rows: list[Row]) -> str:
    means = sorted(row.gain.mean for row in rows if row.gain)
    low, high = points(means[0]), points(means[-1])
    return f"{low} points" if low == high else f"{low} to {high} points"
