"""Which training videos a fraction of a data set keeps: nested per-class subsets, and the digest of a list.

The choice follows from names and a seed by SHA-256 alone, so it is the same on every machine, with every
version of every library, and can be computed again by anyone with nothing but the rule.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from kdbench.errors import DataError

if TYPE_CHECKING:
    from kdbench.api import Video


def subset(videos: Sequence[Video], train_ids: Sequence[str], fraction: float, seed: int = 0) -> tuple[str, ...]:
    """The training ids a fraction keeps, sorted: of each class's n the first floor(fraction*n + 0.5), at least 1.

    Within a class the order is that of SHA-256 over "seed/label/id", so a smaller fraction of the same seed
    is part of a larger one. Raises DataError for a fraction outside (0, 1] and for an id that is not a video.
    """
    if not 0 < fraction <= 1:
        raise DataError("subset", f"fraction is {fraction}; it must be more than 0 and at most 1")
    labels = {video.id: video.label for video in videos}
    of_class: dict[int, list[str]] = defaultdict(list)
    for video_id in train_ids:
        if video_id not in labels:
            raise DataError(video_id, "is in the training list but is no video of the data set; correct the list")
        of_class[labels[video_id]].append(video_id)
    kept: list[str] = []
    for label, ids in of_class.items():
        ranked = sorted((_rank(seed, label, video_id), video_id) for video_id in ids)
        kept += [video_id for _, video_id in ranked[: kept_count(fraction, len(ids))]]
    return tuple(sorted(kept))


def kept_count(fraction: float, count: int) -> int:
    """floor(fraction*count + 0.5), at least 1, with the fraction taken as the decimal number it is written as."""
    # 0.29 * 50 is 14.499999999999998 in binary; exact arithmetic on the decimal rounds it up, as the rule says.
    return max(1, int(Fraction(str(fraction)) * count + Fraction(1, 2)))


def list_digest(ids: Iterable[str]) -> str:
    """SHA-256 (hex) over the ids, each followed by a line feed, in the order given."""
    return hashlib.sha256("".join(f"{video_id}\n" for video_id in ids).encode()).hexdigest()


def _rank(seed: int, label: int, video_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{label}/{video_id}".encode()).digest()
