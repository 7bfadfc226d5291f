"""The plan of a site: every file has a name of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdbench.errors import BoardError, KdbenchError
from kdbench.leaderboard.pages import plan_of, plan_site
from kdbench.leaderboard.standings import read_standings
from tests.factories import make_record, write_board, write_records


@pytest.mark.parametrize("name", ["plugins", "assets", "Plugins", "index.html", "feed.xml", "manifest.txt", "CNAME"])
def test_board_that_is_called_like_a_page_of_the_site_is_refused(tmp_path: Path, name: str) -> None:
    write_board(tmp_path, name)
    with pytest.raises(BoardError) as caught:
        plan_site(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / name / 'board.toml'}: board.name is '{name}', which the site has for pages or files of its own; "
        "give the board and its folder another name"
    )


@pytest.mark.parametrize("name", ["paper", "cells", "runs", "files"])
def test_board_that_is_called_like_a_page_inside_a_board_has_its_own_folder(tmp_path: Path, name: str) -> None:
    write_board(tmp_path, name)
    assert f"{name}/index.html" in plan_site(tmp_path)


def test_two_files_of_one_name_are_an_error_and_not_one_file(tmp_path: Path) -> None:
    write_board(tmp_path)
    write_records(tmp_path, [make_record()])
    standings = read_standings("small", tmp_path)
    with pytest.raises(KdbenchError, match=r"small/index\.html: two pages or files of the site have this name"):
        plan_of([standings, standings], tmp_path)
