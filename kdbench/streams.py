"""Counter-based random draws: every draw is a pure function of (seed, purpose, counters).

No generator is advanced, so a draw does not depend on how many were made before it, on the number of
workers, on the device, on where a run was resumed, or on the version of any library. The mixing function
is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), applied once for each counter.

Shape legend: every counter may be an array; they broadcast, and the draws have the broadcast shape.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream_seed(seed: int, purpose: str) -> int:
    """The 63-bit seed of one purpose ("initialisation", "order", ...), for torch generators and `draw`."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def bits(seed: int, purpose: str, *counters: ArrayLike) -> NDArray[np.uint64]:
    """64 random bits for each combination of the counters (integers of at least 0)."""
    state = np.asarray(stream_seed(seed, purpose), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for counter in counters:
            state = _mix(state + (np.asarray(counter).astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return state


def uniform(seed: int, purpose: str, *counters: ArrayLike) -> NDArray[np.float64]:
    """Draws from [0, 1), with 53 random bits each."""
    return (bits(seed, purpose, *counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(high: ArrayLike, seed: int, purpose: str, *counters: ArrayLike) -> NDArray[np.int64]:
    """Draws from {0, ..., high - 1}; `high` broadcasts against the counters."""
    drawn: NDArray[np.int64] = np.floor(uniform(seed, purpose, *counters) * np.asarray(high)).astype(np.int64)
    return drawn


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))
