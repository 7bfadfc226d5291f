"""Repeated arguments: KEY=VALUE, and folders of videos."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from kdbench.cli.arguments import key_values, videos_by_dataset
from tests.factories import write_board


def test_values_may_hold_an_equals_sign() -> None:
    assert key_values(["a=b=c", "d="]) == {"a": "b=c", "d": ""}


@pytest.mark.parametrize("pair", ["a", "=b", ""])
def test_what_is_no_key_with_a_value_is_refused(pair: str) -> None:
    with pytest.raises(click.BadParameter, match=f"'{pair}' must be KEY=VALUE"):
        key_values([pair])


def test_a_bare_folder_is_that_of_the_boards_own_data_set(tmp_path: Path) -> None:
    found = videos_by_dataset(["/a", "steps=/b"], write_board(tmp_path))
    assert found == {"moves": Path("/a"), "steps": Path("/b")}


def test_a_folder_with_an_equals_sign_in_its_path_is_a_bare_one(tmp_path: Path) -> None:
    assert videos_by_dataset(["/sets/size=small/a"], write_board(tmp_path)) == {"moves": Path("/sets/size=small/a")}


def test_a_data_set_that_the_board_does_not_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match="has no data set 'mvoes'; it has: moves, steps"):
        videos_by_dataset(["mvoes=/a"], write_board(tmp_path))
