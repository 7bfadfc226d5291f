"""Runs against each other on the same test videos: who is right where, how often they agree, which classes gain.

All of it is computed from the predictions of the last epoch, and only for runs whose test lists, labels and classes
are equal. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdbench.leaderboard.scoring import Run
from kdbench.records import Record, unpack_ids

Ids = npt.NDArray[np.uint16]
Truth = npt.NDArray[np.bool_]
DEVIATIONS = 7  # a binomial is cut off there: less than 1e-11 of it is left


@lru_cache(maxsize=4096)
def class_ids(packed: str) -> Ids:
    """The packed class ids of a record as an array, unpacked once."""
    return np.asarray(unpack_ids(packed), dtype=np.uint16)


def right_answers(record: Record) -> Truth:
    """For each test video whether its class was named."""
    truth: Truth = class_ids(record.predictions.packed) == class_ids(record.predictions.labels)
    return truth


def same_test_videos(one: Record, other: Record) -> bool:
    """Whether two runs named classes of one list for the videos of one list."""
    return (
        one.cell.test_list_sha256 == other.cell.test_list_sha256
        and one.classes == other.classes
        and _same_ids(one.predictions.labels, other.predictions.labels)
    )


def _same_ids(packed: str, other: str) -> bool:
    """Two packings of the same ids may differ, equal ones are equal at a glance."""
    return packed == other or np.array_equal(class_ids(packed), class_ids(other))


# --- paired tests ------------------------------------------------------------------------------------------


class SeedCounts(NamedTuple):
    """One seed of two rows: videos that only the first, and only the second run had right; McNemar's mid-p."""

    seed: int
    first_only: int
    second_only: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """Two rows on the same test videos, over the seeds that both have.

    `first_only` and `second_only` are sums over the seeds, `answers` is seeds times videos. `p` is that of
    `sign_flip_p` over the videos, which for one seed is McNemar's.
    """

    by_seed: tuple[SeedCounts, ...]
    first_only: int
    second_only: int
    answers: int
    p: float

    @property
    def difference(self) -> float:
        """Accuracy of the first row minus that of the second, mean over the seeds."""
        return (self.first_only - self.second_only) / self.answers

    def reversed(self) -> Comparison:
        """The same comparison seen from the second row."""
        seeds = tuple(SeedCounts(each.seed, each.second_only, each.first_only, each.p) for each in self.by_seed)
        return Comparison(seeds, self.second_only, self.first_only, self.answers, self.p)


def compare(first: Sequence[Run], second: Sequence[Run]) -> Comparison | None:
    """Two rows seed by seed, and the test of their difference; None where no seed has both on the same videos.

    The runs of several seeds are scored on the same videos, so that their answers are no independent samples:
    counting them as such would give too small a p. A video's answers are therefore added up over the seeds, and
    the videos alone are taken as drawn. What follows holds for the networks that were trained; how much other
    seeds would differ, the interval of the gain says.
    """
    seconds = {run.record.seed: run.record for run in second}
    pairs = [(run.record, seconds[run.record.seed]) for run in first if run.record.seed in seconds]
    pairs = [(a, b) for a, b in pairs if same_test_videos(a, b) and same_test_videos(a, pairs[0][0])]
    if not pairs:
        return None
    by_seed, total = [], np.zeros(pairs[0][0].cell.num_test_videos, dtype=np.int16)
    for a, b in pairs:
        difference = right_answers(a).astype(np.int8) - right_answers(b).astype(np.int8)
        ahead, behind = int((difference > 0).sum()), int((difference < 0).sum())
        by_seed.append(SeedCounts(a.seed, ahead, behind, mcnemar(ahead, behind)))
        total += difference
    counts = np.bincount(np.abs(total), minlength=len(pairs) + 1)[1:]
    first_only, second_only = sum(each.first_only for each in by_seed), sum(each.second_only for each in by_seed)
    p = sign_flip_p(tuple(int(count) for count in counts), abs(first_only - second_only))
    return Comparison(tuple(by_seed), first_only, second_only, len(pairs) * len(total), p)


def mcnemar(first_only: int, second_only: int) -> float:
    """McNemar's exact test with the mid-p correction (Fagerland, Lydersen and Laake, 2013), two-sided."""
    return sign_flip_p((first_only + second_only,), abs(first_only - second_only))


@lru_cache(maxsize=8192)
def sign_flip_p(counts: tuple[int, ...], total: int) -> float:
    """Two-sided mid-p of a sum whose every summand is as likely negative as positive.

    `counts[m - 1]` summands have the size m, and the sum came out as +-`total`. With summands of size 1 alone this
    is McNemar's test; with one summand for each test video it is its form for clustered pairs (Durkalski et al.,
    2003), with the exact distribution in place of the normal one.
    """
    low, chances = 0, np.ones(1)  # of the sum of the sizes of the positive summands
    for size, summands in enumerate(counts, start=1):
        if summands:
            first, term = _fair_binomial(summands)
            spread = np.zeros((len(term) - 1) * size + 1)
            spread[::size] = term
            low, chances = low + first * size, np.convolve(chances, spread)
    largest = sum(size * summands for size, summands in enumerate(counts, start=1))
    at = (largest + total) // 2 - low
    if at >= len(chances):
        return 0.0
    return min(1.0, float(2 * chances[at + 1 :].sum() + chances[at]))


def _fair_binomial(trials: int) -> tuple[int, npt.NDArray[np.float64]]:
    """The first number of successes that is not cut off, and the chances from there on."""
    reach = math.ceil(DEVIATIONS * math.sqrt(trials) / 2)
    first, last = max(0, trials // 2 - reach), min(trials, (trials + 1) // 2 + reach)
    start = math.lgamma(trials + 1) - math.lgamma(first + 1) - math.lgamma(trials - first + 1)
    steps = np.arange(first, last, dtype=np.float64)
    ratios = (trials - steps) / (steps + 1)
    return first, math.exp(start - trials * math.log(2)) * np.concatenate(([1.0], np.cumprod(ratios)))


def holm(values: Sequence[float], family: int | None = None) -> list[float]:
    """p values corrected for many tests (Holm, 1979), in the order given.

    Of a `family` larger than the values only these were computed: then each is an upper bound of what the
    correction over the whole family would give.
    """
    tests = len(values) if family is None else family
    corrected, least = [0.0] * len(values), 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=lambda at: values[at])):
        least = max(least, min(1.0, (tests - rank) * values[at]))
        corrected[at] = least
    return corrected


# --- agreement ---------------------------------------------------------------------------------------------


class Agreement(NamedTuple):
    """How often two runs name the same class, as a share of the test videos, and Cohen's kappa of that."""

    share: float
    kappa: float


def agreement(one: Record, other: Record) -> Agreement | None:
    """How far two runs give the same answers, right or wrong; None for runs on other videos.

    Kappa (Cohen, 1960) takes off what two runs that name each class as often as these do would agree on by
    chance. It is 1 for runs that always agree.
    """
    if not same_test_videos(one, other):
        return None
    first, second = class_ids(one.predictions.packed), class_ids(other.predictions.packed)
    classes = len(one.classes)
    expected = float(np.bincount(first, minlength=classes) @ np.bincount(second, minlength=classes)) / len(first) ** 2
    share = float((first == second).mean())
    return Agreement(share, 1.0 if expected == 1 else (share - expected) / (1 - expected))


def mean_agreement(pairs: Sequence[tuple[Record, Record]]) -> Agreement | None:
    """The mean over the pairs that can be compared; None without one."""
    found = [each for one, other in pairs if (each := agreement(one, other))]
    if not found:
        return None
    shares, kappas = zip(*found, strict=True)
    return Agreement(math.fsum(shares) / len(found), math.fsum(kappas) / len(found))


# --- classes -----------------------------------------------------------------------------------------------


class ClassGain(NamedTuple):
    """One class: its test videos, and by how much its share of right ones exceeds the baseline's, mean over seeds."""

    name: str
    videos: int
    gain: float


def class_gains(runs: Sequence[Run]) -> list[ClassGain]:
    """The gain of each class that has test videos over the paired baseline runs; largest first, then by name.

    Only runs on the videos of the first paired run count, which on a board is all of them.
    """
    pairs = [(run.record, run.baseline) for run in runs if run.baseline and same_test_videos(run.record, run.baseline)]
    pairs = [(record, baseline) for record, baseline in pairs if same_test_videos(record, pairs[0][0])]
    if not pairs:
        return []
    first = pairs[0][0]
    labels = class_ids(first.predictions.labels)
    videos = np.bincount(labels, minlength=len(first.classes))
    more = sum(
        np.bincount(labels[right_answers(record)], minlength=len(videos)).astype(np.int64)
        - np.bincount(labels[right_answers(baseline)], minlength=len(videos))
        for record, baseline in pairs
    )
    gains = [
        ClassGain(name, int(count), int(ahead) / (len(pairs) * int(count)))
        for name, count, ahead in zip(first.classes, videos, np.asarray(more), strict=True)
        if count
    ]
    return sorted(gains, key=lambda each: (-each.gain, each.name))
