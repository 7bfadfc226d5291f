"""Numbers as people read them. Accuracies are shares inside, percentages on a page; gains are points."""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.leaderboard.scoring import Estimate, Reached, Run

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"


def percent(share: float | None) -> str:
    """0.4531 -> "45.3"."""
    return NOTHING if share is None else f"{100 * share:.1f}".replace("-", MINUS)


def points(gain: float | None) -> str:
    """0.032 -> "+3.2": percentage points with their sign."""
    if gain is None:
        return NOTHING
    tenths = round(1000 * gain)
    return f"{'+' if tenths > 0 else MINUS if tenths < 0 else ''}{abs(tenths) / 10:.1f}"


def half(value: Estimate | None) -> str:
    """Half the interval as "± 1.6", or "" where there is none."""
    return f"±{THIN}{100 * value.half:.1f}" if value and value.half is not None else ""


def spread(value: Estimate, noun: str = "run") -> str:
    """Half the interval, or why there is none: "single run", "3 equal runs"."""
    if value.half is not None:
        return half(value)
    return f"single {noun}" if value.n == 1 else f"{value.n} equal {noun}s"


def fraction(share: float) -> str:
    """0.02 -> "2 %"."""
    return f"{round(100 * share, 6):g}{THIN}%"


def seconds(value: float | None) -> str:
    """Seconds, minutes or hours with their unit."""
    if value is None:
        return NOTHING
    if value < 90:
        return f"{value:.0f}{THIN}s"
    return f"{value / 60:.1f}{THIN}min" if value < 5400 else f"{value / 3600:.1f}{THIN}h"


def epochs(reached: Reached | None) -> str:
    """The median run's epoch, or ">N"."""
    return NOTHING if reached is None else str(reached.median)


def reached_by(reached: Reached | None) -> str:
    """ "2 of 3 reached"."""
    return "" if reached is None else f"{reached.reached} of {reached.n} reached"


def reproduced(runs: Sequence[Run]) -> str:
    """ "reproduced, 2 of 3 runs" and who did it where that were the maintainers; "" where nobody did."""
    states = [run.record.submission.verification.state for run in runs]
    own, others = states.count("maintainers"), states.count("reproduced")
    if not own + others:
        return ""
    told = f"{own + others} of {counted(len(runs), 'run')}"
    if not others:
        return f"reproduced by maintainers, {told}"
    return f"reproduced, {told}" + (f", {own} by maintainers" if own else "")


def kappa(value: float) -> str:
    """0.6643 -> "0.66"."""
    return f"{value:.2f}".replace("-", MINUS)


def number(value: float) -> str:
    """A plain number with four significant digits and no needless zeros."""
    return f"{value:.4g}".replace("-", MINUS)


def counted(count: int, noun: str) -> str:
    """1 -> "1 run", 2 -> "2 runs"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
