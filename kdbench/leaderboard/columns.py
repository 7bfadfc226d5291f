"""The columns of a board's standings: what each is called, which word defines it, and what it says of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup

from kdbench.leaderboard import formats
from kdbench.leaderboard.charts import whisker
from kdbench.leaderboard.scoring import Estimate, Reached
from kdbench.leaderboard.standings import Row, Standings, cell_name

RESULT, SPEED, COST = "Result", "Speed", "Cost"
EPOCHS_TO, TIME = "epochs to", "time"
SINGLE_RUN = 4.9  # em that these words take, which are wider than an interval
LETTER = 0.52  # em that a letter of other remarks takes
MANY_SEEDS = 6  # from here on a row links to its cell's page, which has all its runs


@dataclass(frozen=True)
class Cell:
    """What a table shows: the text, a smaller remark, and what to sort by where the text does not begin with it."""

    text: str
    small: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Column:
    """A column of the standings; `key` names it in an address, `over` is a small line above its title.

    `about` are the anchors of the definitions that explain it. Remarks beside its numbers begin below each other where
    `remark` gives them a width, in their own em.
    """

    key: str
    group: str
    title: str
    about: tuple[str, ...]
    cell: Callable[[Row], Cell]
    over: str = ""
    remark: float = 0.0

    @property
    def name(self) -> str:
        """The title with what stands above it."""
        return f"{self.over} {self.title}" if self.over else self.title


def columns_of(standings: Standings) -> tuple[Column, ...]:
    """The columns of a board in their order: what was asked, the gain, stands beside the names, on a phone too."""
    rows, board = standings.rows, standings.board
    columns = _results(reach_of(standings))
    columns += [_PRETEXT] if any(row.pretext for row in rows) else []
    columns += [_to_baseline(share, rows) for share in board.evaluation.baseline_milestones]
    columns += [_to_accuracy(goal, rows) for goal in board.evaluation.milestones]
    columns += _COSTS
    several = len({name for row in rows for name in row.devices}) > 1
    columns += [_DEVICE] if several else []
    return tuple(columns)


def reach_of(standings: Standings) -> float:
    """The end of the axis that all whiskers share.

    Two of three seeds can give an interval as wide as the page; the dots must stay readable beside it.
    """
    gains = [row.gain for row in standings.rows if row.gain]
    return max([1.6 * max((abs(gain.mean) for gain in gains), default=0.0), 0.01])


# --- cells -------------------------------------------------------------------------------------------------


def _results(reach: float) -> list[Column]:
    def stage(name: str) -> Callable[[Row], Cell]:
        return lambda row: Cell(formats.percent(row.stages[name]))

    return [
        Column("gain", RESULT, "Gain", ("gain", "interval"), lambda row: _gain(row, reach)),
        Column("rank", RESULT, "Rank", ("rank",), lambda row: Cell(row.rank or formats.NOTHING)),
        Column("accuracy", RESULT, "Accuracy", ("accuracy", "interval"), _accuracy, remark=SINGLE_RUN),
        Column("seeds", RESULT, "Seeds", ("seeds",), _seeds),
        Column("early", RESULT, "Early", ("stages",), stage("early")),
        Column("middle", RESULT, "Middle", ("stages",), stage("middle")),
        Column("gap", RESULT, "Gap closed", ("gap-closed",), lambda row: Cell(formats.percent(row.gap_closed))),
        Column("transfer", RESULT, "Transfer", ("transfer",), lambda row: _estimate(row.transfer), remark=SINGLE_RUN),
    ]


def _to_baseline(share: float, rows: Iterable[Row]) -> Column:
    def reached(row: Row) -> Reached | None:
        return row.to_baseline.get(f"{share:g}")

    title = f"{formats.fraction(share)} of baseline"
    return _epochs(_slug("baseline", share), title, ("of-baseline", "not-reached"), reached, rows)


def _to_accuracy(goal: float, rows: Iterable[Row]) -> Column:
    def reached(row: Row) -> Reached | None:
        return row.milestones.get(f"{goal:g}")

    return _epochs(_slug("accuracy", goal), formats.fraction(goal), ("milestones", "not-reached"), reached, rows)


def _epochs(
    key: str, title: str, about: tuple[str, ...], reached: Callable[[Row], Reached | None], rows: Iterable[Row]
) -> Column:
    """A column of epochs with room for the longest remark, such as "0 of 3"."""
    lacking = {(value.reached, value.n) for row in rows if (value := reached(row)) and value.reached < value.n}
    longest = max((len(f"{count} of {n}") for count, n in lacking), default=0)
    room = round(LETTER * longest, 2)
    return Column(key, SPEED, title, about, lambda row: _reached(reached(row)), EPOCHS_TO, room)


def _slug(name: str, share: float) -> str:
    return f"{name}-{100 * share:g}".replace(".", "_")


def _pretext(row: Row) -> Cell:
    found = _estimate(row.pretext)
    return Cell(found.text, f"{found.small}, majority {formats.percent(row.majority)}") if row.pretext else found


_PRETEXT = Column("pretext", RESULT, "Pretext", ("pretext",), _pretext, remark=SINGLE_RUN + 7.4)
_COSTS = (
    Column("time", COST, "of one run", ("cost",), lambda row: _seconds(row.cost_s), TIME),
    Column("all", COST, "with teacher", ("cost-with-teacher",), lambda row: _seconds(row.cost_with_teacher_s), TIME),
)
_DEVICE = Column("device", COST, "Device", ("device",), lambda row: Cell("; ".join(row.devices)))


def _seeds(row: Row) -> Cell:
    n = row.accuracy.n
    if n >= MANY_SEEDS:
        return Cell(Markup('<a href="cells/{}.html">{} runs</a>').format(cell_name(row.key), n))
    link = Markup('<a href="runs/{}.html">{}</a>')
    links = [link.format(run.record.run_id, run.record.seed) for run in row.runs]
    return Cell(Markup(" ").join(links), value=n)


def _accuracy(row: Row) -> Cell:
    return _estimate(row.accuracy)


def _gain(row: Row, reach: float) -> Cell:
    gain = row.gain
    if gain is None:
        return Cell("", "reference" if row.is_baseline else "no paired run")
    text = Markup('<span class="{}">{}<b>{}</b></span>').format(
        tone(gain), whisker(gain.mean, gain.low, gain.high, reach), formats.points(gain.mean)
    )
    return Cell(text, formats.spread(gain) + (f", {row.unpaired} unpaired" if row.unpaired else ""))


def tone(gain: Estimate) -> str:
    """The class of a gain's colour: "up" or "down" only where the interval leaves out zero."""
    if gain.low is None or gain.high is None or gain.low <= 0 <= gain.high:
        return "flat"
    return "up" if gain.mean > 0 else "down"


def _estimate(value: Estimate | None) -> Cell:
    return Cell(formats.percent(value.mean), formats.spread(value)) if value else Cell(formats.NOTHING)


def _reached(value: Reached | None) -> Cell:
    some = value is not None and value.reached < value.n
    return Cell(formats.epochs(value), f"{value.reached} of {value.n}" if some and value else "")


def _seconds(value: float | None) -> Cell:
    return Cell(formats.seconds(value), value=None if value is None else round(value))
