"""The argument of a checkpoint: a path, or a backbone and a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdbench_plugins.teachers.checkpoint import backbone_and_path


@pytest.mark.parametrize(
    ("argument", "backbone", "path"),
    [
        ("weights.pt", None, "weights.pt"),
        ("r3d@weights.pt", "r3d", "weights.pt"),
        ("r3d@/mnt/me@host/weights.pt", "r3d", "/mnt/me@host/weights.pt"),
        ("r3d@runs/v@2.pt", "r3d", "runs/v@2.pt"),
        ("/mnt/me@host/weights.pt", None, "/mnt/me@host/weights.pt"),
        ("./v@2.pt", None, "./v@2.pt"),
        ("runs/v@2.pt", None, "runs/v@2.pt"),
    ],
)
def test_only_an_at_sign_behind_a_name_ends_the_backbone(argument: str, backbone: str | None, path: str) -> None:
    assert backbone_and_path(argument) == (backbone, Path(path))


def test_a_file_that_is_there_is_a_path_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r3d@home.pt").touch()
    monkeypatch.chdir(tmp_path)
    assert backbone_and_path("r3d@home.pt") == (None, Path("r3d@home.pt"))
