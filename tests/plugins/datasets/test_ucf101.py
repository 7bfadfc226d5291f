"""The packed lists of UCF101 say what the official ones say, byte for byte."""

from __future__ import annotations

import hashlib
from itertools import combinations
from pathlib import Path

import pytest

from kdbench.api import DataError
from kdbench_plugins.datasets.ucf101 import UCF101, kdbench_datasets

# MD5 of the files of the official ucfTrainTestlist.
OFFICIAL = {
    "classInd": "36f36c4ca2b4401bfc7d2c702ca93ede",
    "trainlist01": "8abbe5a3cc2b0b9c6bc8aea9361e5344",
    "testlist01": "dc64a3bf72c4c4c776027547b9b13109",
    "trainlist02": "4428742d4936fbb9eb0f10053bc3a0c6",
    "testlist02": "3322c8da17cd18c791d19378ae441975",
    "trainlist03": "558b2c0ed5bfc5a622ef6d4fa32db089",
    "testlist03": "10749ac9fb51aa7c9f22cf4bb388c2b9",
}
DATASET = UCF101(Path("nowhere"))


def official_text(name: str) -> str:
    """The text of an official list, made again from the data set."""
    if name == "classInd":
        return "".join(f"{label} {folder}\r\n" for label, folder in enumerate(DATASET.classes, start=1))
    split = DATASET.split(int(name[-1]))
    videos = {video.id: video for video in DATASET.videos}
    if name.startswith("train"):
        return "".join(f"{videos[i].paths[0]} {videos[i].label + 1}\r\n" for i in split.train)
    return "".join(f"{videos[i].paths[0]}\r\n" for i in split.test)


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_official_list_can_be_made_again_byte_for_byte(name: str) -> None:
    assert hashlib.md5(official_text(name).encode()).hexdigest() == OFFICIAL[name]


@pytest.mark.parametrize(("number", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_a_split_has_the_official_counts(number: int, train: int, test: int) -> None:
    split = DATASET.split(number)
    assert (len(split.train), len(split.test)) == (train, test)


def test_there_are_13320_clips_of_101_classes_in_the_order_of_their_ids() -> None:
    ids = [video.id for video in DATASET.videos]
    assert (len(ids), len(DATASET.classes)) == (13320, 101)
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_video_and_no_group_stands_on_both_sides(number: int) -> None:
    split = DATASET.split(number)
    groups = {video.id: video.group for video in DATASET.videos}
    assert not set(split.train) & set(split.test)
    assert set(split.train) | set(split.test) == set(groups)
    assert not {groups[i] for i in split.train} & {groups[i] for i in split.test}


def test_no_clip_is_tested_in_two_splits() -> None:
    for one, other in combinations((1, 2, 3), 2):
        assert not set(DATASET.split(one).test) & set(DATASET.split(other).test)


def test_a_video_knows_its_class_and_group() -> None:
    video = next(video for video in DATASET.videos if video.id == "Biking/v_Biking_g05_c02")
    assert (DATASET.classes[video.label], video.group) == ("Biking", "g05")
    assert video.paths == ("Biking/v_Biking_g05_c02.avi",)


def test_both_spellings_of_the_handstand_push_ups_are_looked_for() -> None:
    video = next(video for video in DATASET.videos if video.id == "HandstandPushups/v_HandStandPushups_g01_c01")
    assert video.paths == (
        "HandstandPushups/v_HandStandPushups_g01_c01.avi",
        "HandStandPushups/v_HandStandPushups_g01_c01.avi",
        "HandstandPushups/v_HandstandPushups_g01_c01.avi",
    )


def test_there_is_no_fourth_split() -> None:
    with pytest.raises(DataError, match="no split 4; the official splits are 1, 2 and 3"):
        DATASET.split(4)


def test_without_videos_the_way_to_them_is_told() -> None:
    with pytest.raises(DataError, match=r"UCF101\.rar.*kdbench data prepare ucf101 --videos PATH"):
        DATASET.provide(lambda line: None)


def test_the_hook_offers_the_data_set() -> None:
    assert kdbench_datasets() == [UCF101]
