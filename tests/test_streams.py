"""Counter-based draws."""

from __future__ import annotations

from itertools import product

import numpy as np

from kdbench import streams

PINNED = [7838180567005649472, 16666432858162469601]


def test_draws_are_pinned_so_that_no_release_changes_a_run() -> None:
    assert streams.bits(0, "order", 1, [2, 3]).tolist() == PINNED


def test_a_draw_does_not_depend_on_its_neighbours() -> None:
    together = streams.uniform(3, "x", 5, np.arange(100))
    alone = [float(streams.uniform(3, "x", 5, at)) for at in range(100)]
    assert together.tolist() == alone


def test_seed_purpose_and_counter_each_change_the_draw() -> None:
    keys = product((0, 1), "xy", (0, 1), (0, 1))
    draws = {float(streams.uniform(seed, purpose, a, b)) for seed, purpose, a, b in keys}
    assert len(draws) == 16


def test_uniform_draws_fill_the_unit_interval_evenly() -> None:
    draws = streams.uniform(0, "x", np.arange(100_000))
    assert 0 <= draws.min() < 0.001
    assert 0.999 < draws.max() < 1
    counts = np.bincount((draws * 10).astype(int))
    assert np.abs(counts - 10_000).max() < 400  # four standard deviations


def test_integers_are_below_their_bound() -> None:
    draws = streams.integers(np.array([1, 2, 5]), 0, "x", np.arange(3000).reshape(1000, 3))
    assert draws.max(0).tolist() == [0, 1, 4]
    assert draws.min() == 0
