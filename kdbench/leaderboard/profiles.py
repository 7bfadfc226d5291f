"""Entries over epochs, cells and seeds: reached by when, how far from the best of each cell, and what varies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from kdbench.leaderboard.scoring import Reached, RowKey
from kdbench.leaderboard.standings import Row, entry_of

Step = tuple[float, float]
ROUNDING = 1e-12  # a variance or a factor may miss its value by so much


# --- milestones as censored data ---------------------------------------------------------------------------


def reached_by(epochs: Sequence[int | str]) -> tuple[Step, ...]:
    """The steps (epoch, share of the runs) of the curve that says how many had reached an accuracy by when.

    A run that never got there (">N") is one of those the share is taken of, and adds no step. All runs of a
    board are equally long, so that none is lost from sight before the others.
    """
    found = sorted(epoch for epoch in epochs if isinstance(epoch, int))
    return tuple(
        (float(epoch), (at + 1) / len(epochs)) for at, epoch in enumerate(found) if epoch not in found[at + 1 :]
    )


def staircase(steps: Sequence[Step], first: float, last: float) -> tuple[Step, ...]:
    """The corners of a step curve that is 0 at `first`, keeps each value until the next, and ends at `last`."""
    corners, level = [(first, 0.0)], 0.0
    for place, value in steps:
        corners += [(place, level), (place, value)]
        level = value
    return (*corners, (last, level))


def goals_reached(row: Row, milestones: Sequence[float], shares: Sequence[float]) -> dict[str, list[int | str]]:
    """The epochs of a row's runs to each milestone of the board and each share of their paired baseline runs.

    Keys are "0.5" for an accuracy and "baseline 0.9" for a share; runs without a baseline run have no share.
    """
    found = {f"{goal:g}": [run.record.derived.epochs_to[f"{goal:g}"] for run in row.runs] for goal in milestones}
    for share in shares:
        found[f"baseline {share:g}"] = [
            epoch for run in row.runs if (epoch := run.epochs_to_baseline(share)) is not None
        ]
    return found


# --- performance profiles ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """How far one teacher and method is from the best of each cell: the ratios in order, infinite where it failed.

    `cells` says in how many cells anybody can be compared, of which this entry has runs in `len(ratios)`.
    """

    teacher: str
    method: str
    ratios: tuple[float, ...]
    cells: int

    def share_within(self, factor: float) -> float:
        """The share of its cells in which the entry is within `factor` of the best."""
        return sum(ratio <= factor * (1 + ROUNDING) for ratio in self.ratios) / len(self.ratios)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps (factor, share of the cells) of the profile."""
        found = sorted({ratio for ratio in self.ratios if ratio < math.inf})
        return tuple((ratio, self.share_within(ratio)) for ratio in found)


def performance_profiles(rows: Sequence[Row], cost: Callable[[Row], float | None]) -> list[Profile]:
    """The profile of each teacher and method over the cells, best first (Dahl et al., 2023; Dolan and More, 2002).

    `cost` is what should be small: infinite where a row never got there, None where it was not measured. Each
    entry is judged over the cells it has runs in, and against the best of all entries there: one entry with few
    cells takes none from the others. A cell with one entry alone compares nothing and is left out.
    """
    ratios: dict[tuple[str, str], list[float]] = {}
    cells = 0
    for _, group in groupby(sorted(rows, key=lambda row: row.key.cell), key=lambda row: row.key.cell):
        costs = {entry_of(row): value for row in group if (value := cost(row)) is not None}
        if len(costs) > 1:
            cells += 1
            for entry, value in costs.items():
                ratios.setdefault(entry, []).append(_ratio(value, min(costs.values())))
    found = [Profile(*entry, tuple(sorted(values)), cells) for entry, values in ratios.items()]
    return sorted(found, key=lambda each: (-each.share_within(1.0), each.ratios, each.teacher, each.method))


def epochs_needed(reached: Reached | None) -> float | None:
    """The median run's epochs as a cost: infinite for ">N", None where nothing was measured."""
    if reached is None:
        return None
    return float(reached.median) if isinstance(reached.median, int) else math.inf


def _ratio(value: float, best: float) -> float:
    if value == math.inf:
        return math.inf
    return 1.0 if value == best else value / best if best else math.inf


# --- subsets and seeds -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VarianceSplit:
    """What makes the runs of one entry differ: which videos were drawn, the training seed, and the rest of both.

    Standard deviations of accuracy, as shares; None where the estimate of the variance is negative, which says
    that it cannot be told from zero. Degrees of freedom are those of the mean squares.
    """

    subsets: int
    seeds: int
    subset: float | None
    seed: float | None
    rest: float

    @property
    def freedom(self) -> tuple[int, int, int]:
        """Degrees of freedom of subsets, seeds and the rest."""
        return self.subsets - 1, self.seeds - 1, (self.subsets - 1) * (self.seeds - 1)


def split_variance(values: Mapping[tuple[int, int], float]) -> VarianceSplit | None:
    """Variance components of (subset seed, training seed) -> accuracy: two-way random effects, one run for each pair.

    Estimates are those of the analysis of variance (Searle, Casella and McCulloch, 1992, chapter 4). Training
    seeds that some subset lacks are left out. None for fewer than two subsets or two seeds: then the two cannot be
    told apart.
    """
    subsets = sorted({subset for subset, _ in values})
    seeds = [seed for seed in sorted({seed for _, seed in values}) if all((at, seed) in values for at in subsets)]
    if len(subsets) < 2 or len(seeds) < 2:
        return None
    many, few = len(subsets), len(seeds)
    grand = _mean([values[subset, seed] for subset in subsets for seed in seeds])
    of_subset = {subset: _mean([values[subset, seed] for seed in seeds]) for subset in subsets}
    of_seed = {seed: _mean([values[subset, seed] for subset in subsets]) for seed in seeds}
    between_subsets = few * math.fsum((mean - grand) ** 2 for mean in of_subset.values()) / (many - 1)
    between_seeds = many * math.fsum((mean - grand) ** 2 for mean in of_seed.values()) / (few - 1)
    rest = math.fsum(
        (values[subset, seed] - of_subset[subset] - of_seed[seed] + grand) ** 2 for subset in subsets for seed in seeds
    ) / ((many - 1) * (few - 1))
    return VarianceSplit(
        subsets=many,
        seeds=few,
        subset=_deviation((between_subsets - rest) / few),
        seed=_deviation((between_seeds - rest) / many),
        rest=math.sqrt(rest),
    )


def runs_by_seeds(rows: Iterable[Row]) -> dict[RowKey, dict[tuple[int, int], float]]:
    """The accuracies of each student, fraction, teacher and method by subset and training seed.

    A key is that of the entry's rows with subset seed 0, whether or not there is such a row.
    """
    found: dict[RowKey, dict[tuple[int, int], float]] = {}
    for row in rows:
        accuracies = found.setdefault(row.key._replace(subset_seed=0), {})
        accuracies |= {(row.key.subset_seed, run.record.seed): run.record.derived.top1 for run in row.runs}
    return found


def _deviation(variance: float) -> float | None:
    return math.sqrt(max(0.0, variance)) if variance > -ROUNDING else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
