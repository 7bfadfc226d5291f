"""Subsets are nested, fair to every class, and pinned by digest."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from subprocess import run

import pytest

from kdbench.api import Split, Video, VideoDataset
from kdbench.data.subsets import kept_count, list_digest, subset
from kdbench.errors import DataError
from kdbench_plugins.datasets.hmdb51 import HMDB51
from kdbench_plugins.datasets.ucf101 import UCF101

SETS: dict[str, VideoDataset] = {"ucf101": UCF101(Path("nowhere")), "hmdb51": HMDB51(Path("nowhere"))}
FRACTIONS = (0.02, 0.25, 0.5, 1.0)

# (data set, fraction) of split 1, seed 0 -> count and SHA-256 of the list. A change here makes every record stale.
PINNED = {
    ("ucf101", 0.02): (196, "0fafd1ca36add03cc8df05ff746e44bfd17410b19b621e04803ca264af8c0b99"),
    ("ucf101", 0.25): (2390, "faf3511a34cbcb6842856997af015fc9cfa60fab29b78ac43f68e91fc789763a"),
    ("ucf101", 0.5): (4795, "9a1200dff3dc6bc5f9504951e390a036638d0242a21490525e79ad6acca9af43"),
    ("ucf101", 1.0): (9537, "65a8fc5b9dbef583c9e89fc4aa7992e65566c879d7b3b0e80517a2306e6ea9d7"),
    ("hmdb51", 0.02): (51, "92a47ae87f751c70ee1bc7264ae0515080e966e5a52da8b377019e9c5f19862b"),
    ("hmdb51", 0.25): (918, "143a8412207023d1b96754fa6860695e554a4a5cc58da5b0e8970683e8765a4b"),
    ("hmdb51", 0.5): (1785, "5f2bf21825bc15fe4e4f12fc74c678aa8a4631bf71c97ca0ef718b25b9963d1b"),
    ("hmdb51", 1.0): (3570, "ad4d9c7450606bc6078c574ade0895248cb4d25285e672aa5544188a93d9a625"),
}


def of_split_1(name: str, fraction: float, seed: int = 0) -> tuple[str, ...]:
    dataset = SETS[name]
    return subset(dataset.videos, dataset.split(1).train, fraction, seed)


def made_up(counts: list[int]) -> tuple[list[Video], list[str]]:
    videos = [
        Video(f"c{label}/v{number:03d}", label, "g", (f"c{label}/v{number:03d}.avi",))
        for label, count in enumerate(counts)
        for number in range(count)
    ]
    return videos, [video.id for video in videos]


@pytest.mark.parametrize(("name", "fraction"), PINNED)
def test_the_list_is_the_pinned_one(name: str, fraction: float) -> None:
    ids = of_split_1(name, fraction)
    assert (len(ids), list_digest(ids)) == PINNED[name, fraction]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", SETS)
def test_a_smaller_fraction_is_part_of_every_larger_one(name: str, seed: int) -> None:
    lists = [set(of_split_1(name, fraction, seed)) for fraction in FRACTIONS]
    assert all(smaller < larger for smaller, larger in pairwise(lists))


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("name", SETS)
def test_no_test_video_is_in_a_training_list(name: str, fraction: float) -> None:
    split: Split = SETS[name].split(1)
    assert not set(of_split_1(name, fraction)) & set(split.test)


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_groups_one_to_seven_of_ucf101_are_in_no_training_list_of_split_1(fraction: float) -> None:
    groups = {video.id: video.group for video in SETS["ucf101"].videos}
    assert {groups[i] for i in of_split_1("ucf101", fraction)} <= {f"g{number:02d}" for number in range(8, 26)}


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("name", SETS)
def test_every_class_keeps_its_share(name: str, fraction: float) -> None:
    of_class = Counter(i.split("/")[0] for i in SETS[name].split(1).train)
    kept = Counter(i.split("/")[0] for i in of_split_1(name, fraction))
    assert kept == {label: kept_count(fraction, count) for label, count in of_class.items()}


def test_everything_is_kept_at_fraction_one_sorted_by_id() -> None:
    videos, ids = made_up([3, 5])
    assert subset(videos, ids[::-1], 1.0, 7) == tuple(sorted(ids))


def test_the_order_of_videos_and_ids_does_not_matter() -> None:
    videos, ids = made_up([30, 50])
    assert subset(videos[::-1], ids[::-1], 0.3, 0) == subset(videos, ids, 0.3, 0)


def test_another_seed_draws_other_videos() -> None:
    videos, ids = made_up([100])
    assert subset(videos, ids, 0.25, 0) != subset(videos, ids, 0.25, 1)


def test_a_class_keeps_at_least_one_video() -> None:
    videos, ids = made_up([1, 3])
    assert len(subset(videos, ids, 0.001, 0)) == 2


@pytest.mark.parametrize(
    ("fraction", "count", "kept"),
    [(0.02, 72, 1), (0.02, 75, 2), (0.25, 70, 18), (0.5, 121, 61), (0.29, 50, 15), (0.145, 100, 15), (1.0, 7, 7)],
)
def test_halves_are_rounded_up(fraction: float, count: int, kept: int) -> None:
    assert kept_count(fraction, count) == kept


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="more than 0 and at most 1"):
        subset(*made_up([3]), fraction, 0)


def test_a_training_id_that_is_no_video_is_refused() -> None:
    videos, ids = made_up([3])
    with pytest.raises(DataError, match="ghost: is in the training list"):
        subset(videos, [*ids, "ghost"], 0.5, 0)


def test_a_digest_depends_on_the_order_and_ends_every_line() -> None:
    assert list_digest(["a", "b"]) == "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2"
    assert list_digest(["a", "b"]) != list_digest(["b", "a"])
    assert list_digest(["ab"]) != list_digest(["a", "b"])


def test_choosing_a_subset_needs_no_torch() -> None:
    code = "import sys, kdbench.data.subsets; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
