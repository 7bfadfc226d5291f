"""Any folder of videos: what is found in it, how it is split, and what each mistake is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kdbench.api import DataError, PluginError
from kdbench_plugins.datasets.folder import Folder, kdbench_datasets

ACTORS = r"^([a-z]+)_"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, each of three actors."""
    for action in ("walk", "run"):
        (tmp_path / action).mkdir()
        for actor in ("ann", "bob", "eve"):
            (tmp_path / action / f"{actor}_{action}.avi").write_bytes(b"video")
    return tmp_path


def folder(root: Path, **options: Any) -> Folder:
    return Folder(root, Folder.Options(**options))


def refusal(root: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        folder(root, **options).split(1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lists(root: Path, train: str, test: str) -> dict[str, str]:
    (root / "train.txt").write_text(train)
    (root / "test.txt").write_text(test)
    return {"train_list": "train.txt", "test_list": "test.txt"}


def test_folders_are_classes_and_files_are_videos(root: Path) -> None:
    dataset = folder(root)
    assert dataset.classes == ("run", "walk")
    assert [video.id for video in dataset.videos][:2] == ["run/ann_run", "run/bob_run"]
    assert dataset.videos[3].paths == ("walk/ann_walk.avi",)
    assert dataset.videos[3].label == 1


def test_what_is_no_video_and_what_is_hidden_is_left_out(root: Path) -> None:
    (root / "walk/notes.md").write_text("x")
    (root / "walk/._ann_walk.avi").write_text("x")
    (root / "notes").mkdir()
    (root / ".cache").mkdir()
    (root / ".cache/a.avi").write_text("x")
    assert folder(root).videos == folder(root, extensions=(".AVI",)).videos
    assert len(folder(root).videos) == 6


def test_extensions_are_those_of_the_option_in_any_case(root: Path) -> None:
    (root / "walk/zoe_walk.MJPEG").write_text("x")
    assert [video.id for video in folder(root, extensions=(".mjpeg",)).videos] == ["walk/zoe_walk"]


def test_held_out_groups_are_the_test_list(root: Path) -> None:
    split = folder(root, group=ACTORS, test_groups=("bob",)).split(1)
    assert split.test == ("run/bob_run", "walk/bob_walk")
    assert split.train == ("run/ann_run", "run/eve_run", "walk/ann_walk", "walk/eve_walk")


def test_a_group_may_be_named_in_the_expression(root: Path) -> None:
    dataset = folder(root, group=r"^(a|b|e)(?P<group>..)_", test_groups=("ob",))
    assert dataset.split(1).test == ("run/bob_run", "walk/bob_walk")


def test_without_an_expression_every_video_is_its_own_group(root: Path) -> None:
    assert folder(root, test_groups=("run/ann_run",)).split(1).test == ("run/ann_run",)


def test_lists_are_taken_in_their_order(root: Path) -> None:
    given = lists(root, "walk/eve_walk\n\nrun/ann_run\n", "walk/bob_walk\n")
    split = folder(root, **given).split(1)
    assert split.train == ("walk/eve_walk", "run/ann_run")
    assert split.test == ("walk/bob_walk",)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "none: no such folder; lay the videos out as <class>/<clip>" in refusal(
        tmp_path / "none", test_groups=("x",)
    )


def test_a_folder_without_class_folders_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loose.avi").write_text("x")
    assert "no class folder with videos" in refusal(tmp_path, test_groups=("x",))


def test_an_expression_that_does_not_match_a_file_is_an_error_with_its_name(root: Path) -> None:
    (root / "walk/7.avi").write_text("x")
    message = refusal(root, group=ACTORS, test_groups=("bob",))
    assert re.search(r"walk/7\.avi: option group '.*' does not match '7'", message)


def test_a_held_out_group_that_is_not_there_is_an_error_with_a_suggestion(root: Path) -> None:
    message = refusal(root, group=ACTORS, test_groups=("bobb",))
    assert "no video is in group 'bobb' of test_groups; did you mean 'bob'?" in message


def test_no_way_of_splitting_is_an_error(root: Path) -> None:
    assert "neither is given" in refusal(root)


def test_both_ways_of_splitting_are_an_error(root: Path) -> None:
    assert "both are given" in refusal(root, test_groups=("run/ann_run",), **lists(root, "", ""))


@pytest.mark.parametrize(("given", "missing"), [("train_list", "test_list"), ("test_list", "train_list")])
def test_one_list_without_the_other_is_an_error(root: Path, given: str, missing: str) -> None:
    assert f"{missing} is not given" in refusal(root, **{given: "x.txt"})


def test_a_list_that_is_not_there_is_an_error(root: Path) -> None:
    assert "gone.txt: cannot be read as a list of ids" in refusal(root, train_list="gone.txt", test_list="gone.txt")


def test_a_list_that_names_an_unknown_video_is_an_error_with_the_line(root: Path) -> None:
    message = refusal(root, **lists(root, "run/ann_run\nrun/ann_run.avi\n", "walk/bob_walk"))
    assert "train.txt: line 2: no video is called 'run/ann_run.avi'; did you mean 'run/ann_run'?" in message


def test_a_video_twice_in_one_list_is_an_error(root: Path) -> None:
    message = refusal(root, **lists(root, "run/ann_run\nrun/ann_run\n", "walk/bob_walk"))
    assert "lines 1 and 2 both name 'run/ann_run'" in message


def test_a_video_in_both_lists_is_an_error(root: Path) -> None:
    message = refusal(root, **lists(root, "run/ann_run", "walk/bob_walk\nrun/ann_run"))
    assert "'run/ann_run' is in train_list and in test_list" in message


def test_a_group_in_both_lists_is_an_error(root: Path) -> None:
    message = refusal(root, group=ACTORS, **lists(root, "run/ann_run", "walk/ann_walk"))
    assert "group 'ann' is in train_list and test_list" in message


def test_a_split_without_training_videos_is_an_error(root: Path) -> None:
    assert "leaves no training video" in refusal(root, group=ACTORS, test_groups=("ann", "bob", "eve"))


def test_a_split_without_test_videos_is_an_error(root: Path) -> None:
    assert "leaves no test video" in refusal(root, **lists(root, "run/ann_run", ""))


def test_two_files_of_one_id_are_an_error(root: Path) -> None:
    (root / "walk/ann_walk.mp4").write_text("x")
    assert "has the same id as walk/ann_walk.avi" in refusal(root, test_groups=("x",))


def test_there_is_no_second_split(root: Path) -> None:
    with pytest.raises(DataError, match="no split 2"):
        folder(root).split(2)


@pytest.mark.parametrize(
    ("group", "words"), [("(", "no regular expression"), ("a", "one group"), ("(a)(b)", "one group")]
)
def test_an_expression_that_cannot_name_a_group_is_refused(root: Path, group: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        folder(root, group=group)


def test_the_identity_follows_names_and_sizes(root: Path) -> None:
    before = folder(root).identity()
    assert folder(root).identity() == before
    (root / "walk/ann_walk.avi").write_bytes(b"longer video")
    assert folder(root).identity() != before


def test_the_hook_offers_the_data_set() -> None:
    assert kdbench_datasets() == [Folder]
