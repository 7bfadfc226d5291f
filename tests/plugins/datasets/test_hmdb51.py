"""The packed lists of HMDB51 say what the official ones say, byte for byte."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from kdbench.api import DataError
from kdbench_plugins.datasets.hmdb51 import HMDB51, _marks, kdbench_datasets

# SHA-256 over the 51 official files of a split, one after the other in the order of their names.
OFFICIAL = {
    1: "7316efbd9ee15e503e79cf7cfd9b74e3e54e9f7afc47bf99d74f79925c0a4312",
    2: "23a154a27202f31f202190f77890cdc2a14a34f3bf9808486df553efff1ab4da",
    3: "3cb5f5d19159d3e6f4897fe6113bdeda745345878533c5dd1049577cb65664be",
}
DATASET = HMDB51(Path("nowhere"))


@pytest.mark.parametrize("number", OFFICIAL)
def test_the_official_files_can_be_made_again_byte_for_byte(number: int) -> None:
    lines = (f"{stem}.avi {marks[number - 1]} \n" for clips in _marks().values() for stem, marks in clips.items())
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == OFFICIAL[number]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_split_has_70_training_and_30_test_clips_of_each_class(number: int) -> None:
    split = DATASET.split(number)
    for ids, count in ((split.train, 70), (split.test, 30)):
        assert Counter(i.split("/")[0] for i in ids) == dict.fromkeys(DATASET.classes, count)


def test_all_6766_clips_of_the_release_are_listed_in_the_order_of_their_ids() -> None:
    ids = [video.id for video in DATASET.videos]
    assert (len(ids), len(DATASET.classes)) == (6766, 51)
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_video_and_no_group_stands_on_both_sides(number: int) -> None:
    split = DATASET.split(number)
    groups = {video.id: video.group for video in DATASET.videos}
    assert not set(split.train) & set(split.test)
    assert not {groups[i] for i in split.train} & {groups[i] for i in split.test}


def test_a_name_with_marks_of_all_kinds_is_kept_as_it_is() -> None:
    stem = "Golf_Tips_-_Hit_The_Driver_300+_Yards!!!_golf_f_nm_np1_fr_med_0"
    video = next(video for video in DATASET.videos if video.id == f"golf/{stem}")
    assert video.paths == (f"golf/{stem}.avi",)
    assert video.group == "golf/Golf_Tips_-_Hit_The_Driver_300+_Yards!!!"


def test_there_is_no_split_zero() -> None:
    with pytest.raises(DataError, match="no split 0; the official splits are 1, 2 and 3"):
        DATASET.split(0)


def test_without_videos_the_way_to_them_is_told() -> None:
    with pytest.raises(DataError, match=r"hmdb51_org\.rar.*kdbench data prepare hmdb51 --videos PATH"):
        DATASET.provide(lambda line: None)


def test_the_hook_offers_the_data_set() -> None:
    assert kdbench_datasets() == [HMDB51]
