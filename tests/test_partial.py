"""Runs on videos some of which are missing or broken."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from kdbench.board import Board
from kdbench.data.places import videos_root
from kdbench.errors import DataError
from kdbench.run import execute
from tests.tiny import bench, material, request, tiny_board


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of class folders, filled with drawn videos; groups are g01 to g25."""
    material()  # draws the videos where they are not drawn yet
    root = tmp_path / "videos"
    for source in sorted(videos_root("motion_shapes").glob("*/S*/v_S*_g*_c01.avi")):
        if source.parent.name in ("SlideX", "SlideY", "Spin", "Shake"):
            (root / source.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / source.parent.name)
    return root


def board(videos: Path) -> Board:
    options: dict[str, Any] = {"group": "_(g[0-9]+)_", "test_groups": ["g01"]}
    return tiny_board(data={"dataset": "folder", "options": options}, transfer=None, optim={"epochs": 1})


def some_video(videos: Path) -> Path:
    return sorted(videos.glob("Spin/*_g0[2-9]*.avi") or videos.glob("Spin/*_g[12]*.avi"))[0]


def test_a_folder_of_videos_is_a_data_set(videos: Path, tmp_path: Path) -> None:
    record = execute(request(board(videos)), bench(tmp_path, access={"videos": {"folder": videos}}))
    assert record.status == "complete"
    assert record.classes == ("Shake", "SlideX", "SlideY", "Spin")


def test_a_broken_video_is_named_with_its_reason_and_stops_the_run(videos: Path, tmp_path: Path) -> None:
    broken = some_video(videos)
    broken.write_bytes(broken.read_bytes()[:3000])
    with pytest.raises(DataError) as caught:
        execute(request(board(videos)), bench(tmp_path, access={"videos": {"folder": videos}}))
    assert "1 of the videos this run needs are missing or broken" in str(caught.value)
    assert broken.name in str(caught.value)
    assert "--allow-missing" in str(caught.value)
    assert not list(tmp_path.rglob("epochs.jsonl"))


def test_a_run_that_accepts_missing_videos_is_partial_and_counts_them(videos: Path, tmp_path: Path) -> None:
    broken = some_video(videos)
    broken.write_bytes(b"")
    access = {"videos": {"folder": videos}, "allow_missing": True}
    record = execute(request(board(videos)), bench(tmp_path, access=access))
    assert record.status == "partial"
    assert record.missing_videos == 1


def test_without_any_training_video_there_is_no_run(videos: Path, tmp_path: Path) -> None:
    for path in videos.rglob("*.avi"):
        if "_g01_" not in path.name:
            path.write_bytes(b"")
    access = {"videos": {"folder": videos}, "allow_missing": True}
    with pytest.raises(DataError, match="0 training and 4 test videos are left; a run needs both"):
        execute(request(board(videos)), bench(tmp_path, access=access))
