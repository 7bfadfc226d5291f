"""How many times faster one way is than another, measured so that a busy machine disturbs it little.

    measured = compare(benchmark, slow=read_the_file, fast=read_the_store)
    assert measured.median >= 100

Both sides must do the same amount of work, which should take a millisecond or more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

RECORDED: list[tuple[str, Ratio]] = []
"""What `compare` measured in this process, as (name of the test, ratio); printed at the end of the session."""


@dataclass(frozen=True)
class Ratio:
    """Time of `slow` / time of `fast` over alternating rounds: median and range; and each side's median seconds."""

    median: float
    lowest: float
    highest: float
    slow_s: float
    fast_s: float
    rounds: int

    def __str__(self) -> str:
        return (
            f"{self.median:.2f}x (range {self.lowest:.2f} to {self.highest:.2f} in {self.rounds} rounds; "
            f"{1000 * self.slow_s:.4g} ms against {1000 * self.fast_s:.4g} ms)"
        )


def ratio(
    slow: Callable[[], Any],
    fast: Callable[[], Any],
    rounds: int = 7,
    calls: int = 1,
    before: Callable[[], Any] = lambda: None,
) -> Ratio:
    """Time both sides in turn, `rounds` times after one call each to warm up.

    Each round gives one ratio, so what slows the machine for a while slows both sides of it; every second round
    begins with the other side. A round times `calls` calls of `fast`, and counts their mean: a side that is a
    hundred times as fast is over too soon to be timed alone. `before` runs before each timed part, untimed.
    """
    sides = (slow, fast)
    for side in sides:
        before()
        side()
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            before()
            seconds[side].append(_seconds(sides[side], calls if side else 1))
    ratios = [slow_s / fast_s for slow_s, fast_s in zip(*seconds, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios), median(seconds[0]), median(seconds[1]), rounds)


def compare(benchmark: BenchmarkFixture, slow: Callable[[], Any], fast: Callable[[], Any], **how: Any) -> Ratio:
    """`ratio` as the one round of a benchmark, kept in its `extra_info` and printed at the end of the session."""
    measured: Ratio = benchmark.pedantic(ratio, args=(slow, fast), kwargs=how, rounds=1)
    benchmark.extra_info.update(asdict(measured))
    RECORDED.append((benchmark.name, measured))
    return measured


def _seconds(side: Callable[[], Any], calls: int) -> float:
    begin = perf_counter()
    for _ in range(calls):
        side()
    return (perf_counter() - begin) / calls
