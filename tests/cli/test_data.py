from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kdbench.board import DEFAULT_BOARD, board_path
from kdbench.cli import main
from tests.data.films import counted

PLUGIN = '''"""A data set for tests."""

from dataclasses import dataclass

from kdbench.api import Split, Video, VideoDataset, hookimpl
from kdbench.errors import DataError


class Reel(VideoDataset):
    """Numbered films."""

    name = "reel"
    how_to_get = "Draw them yourself."

    @dataclass(frozen=True, kw_only=True)
    class Options:
        films: int = 3

    @property
    def classes(self):
        return ("one", "two")

    @property
    def videos(self):
        return tuple(Video(f"{at:02d}", 0, "g", (f"{at:02d}.avi",)) for at in range(self.options.films))

    def split(self, number):
        if number != 1:
            raise DataError("reel", "no such split")
        return Split(("00",), ("01",))


class Sketch(Reel):
    """Films that are drawn when needed."""

    name = "sketch"
    embedded = True

    def provide(self, say):
        from tests.data.films import counted

        say(f"drawing {self.options.films} films")
        for video in self.videos:
            counted(self.root / video.paths[0], 3)


@hookimpl
def kdbench_datasets():
    return [Reel, Sketch]
'''


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    (tmp_path / "reel.py").write_text(PLUGIN)
    return tmp_path / "home"


@pytest.fixture
def films(home: Path) -> Path:
    root = home / "videos" / "reel"
    for at in range(3):
        counted(root / f"{at:02d}.avi", 4)
    return root


def data(tmp_path: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["data", command, *arguments, "--plugin", str(tmp_path / "reel.py")])


def answer(result: Result) -> Any:
    return json.loads(result.stdout)


def test_data_sets_are_listed(tmp_path: Path) -> None:
    result = data(tmp_path, "list")
    assert result.exit_code == 0
    assert "reel                 to fetch     Numbered films." in result.stdout
    assert "sketch               drawn here   Films that are drawn when needed." in result.stdout


def test_data_sets_are_listed_as_json(tmp_path: Path) -> None:
    listed = {row["name"]: row for row in answer(data(tmp_path, "list", "--json"))}
    assert listed["sketch"] == {"name": "sketch", "summary": "Films that are drawn when needed.", "embedded": True}


@pytest.mark.usefixtures("films")
def test_preparing_a_whole_data_set_says_so_and_ends_well(tmp_path: Path) -> None:
    result = data(tmp_path, "prepare", "reel", "--workers", "1")
    assert result.exit_code == 0
    assert result.stdout.startswith("reel: 3 of 3 videos are prepared (3 now, in ")
    assert "missing" not in result.stdout


def test_missing_and_broken_videos_are_named_with_exit_code_1(tmp_path: Path, films: Path) -> None:
    (films / "00.avi").unlink()
    (films / "02.avi").write_bytes(b"")
    result = data(tmp_path, "prepare", "reel", "--workers", "1")
    assert result.exit_code == 1
    assert f"missing: 1\n  00: expected at {films / '00.avi'}\n" in result.stdout
    assert f"broken: 1\n  {films / '02.avi'}: is an empty file (0 bytes)\n" in result.stdout


def test_a_long_list_is_cut_after_20_lines(tmp_path: Path) -> None:
    result = data(tmp_path, "prepare", "reel", "-o", "films=50")
    assert result.stdout.count("expected at") == 20
    assert "  ... and 30 more; --json lists all\n" in result.stdout


def test_json_lists_everything(tmp_path: Path) -> None:
    result = data(tmp_path, "prepare", "reel", "-o", "films=50", "--json")
    assert result.exit_code == 1
    assert len(answer(result)[0]["missing"]) == 50


def test_who_has_no_file_at_all_is_told_how_to_get_them(tmp_path: Path) -> None:
    assert data(tmp_path, "prepare", "reel").stdout.endswith("Draw them yourself.\n")


def test_videos_may_lie_anywhere(tmp_path: Path, films: Path) -> None:
    elsewhere = films.rename(tmp_path / "elsewhere")
    assert data(tmp_path, "prepare", "reel", "--workers", "1", "--videos", str(elsewhere)).exit_code == 0


def test_an_embedded_data_set_is_drawn_first(tmp_path: Path) -> None:
    result = data(tmp_path, "prepare", "sketch", "--workers", "1")
    assert result.exit_code == 0
    assert result.stderr == "drawing 3 films\n"
    assert "sketch: 3 of 3 videos are prepared" in result.stdout


@pytest.mark.usefixtures("films")
def test_a_prepared_data_set_is_verified(tmp_path: Path) -> None:
    data(tmp_path, "prepare", "reel", "--workers", "1")
    result = data(tmp_path, "verify", "reel")
    assert result.exit_code == 0
    assert result.stdout.startswith("reel: 3 of 3 videos are sound, in ")


def test_a_changed_file_fails_the_verification(tmp_path: Path, films: Path) -> None:
    data(tmp_path, "prepare", "reel", "--workers", "1")
    counted(films / "01.avi", 9)
    result = data(tmp_path, "verify", "reel")
    assert result.exit_code == 1
    assert f"changed: 1\n  {films / '01.avi'}: has " in result.stdout


@pytest.mark.usefixtures("films")
def test_a_verification_is_told_as_json(tmp_path: Path) -> None:
    result = data(tmp_path, "verify", "reel", "--json")
    assert result.exit_code == 1
    assert answer(result)[0]["unprepared"] == ["00", "01", "02"]
    assert answer(result)[0]["ok"] is False


@pytest.mark.usefixtures("films")
def test_a_data_set_is_described(tmp_path: Path) -> None:
    described = answer(data(tmp_path, "info", "reel", "--json"))[0]
    assert (described["classes"], described["videos"], described["files_found"]) == (2, 3, 3)
    assert described["splits"] == {"1": "1 + 1"}
    assert described["frame_size"] == "128 x 171, bilinear"
    assert "frame size       128 x 171, bilinear" in data(tmp_path, "info", "reel").stdout


@pytest.fixture
def board(tmp_path: Path) -> str:
    """A board that learns from 2 films, and transfers to 5 films of the same data set."""
    text = board_path(DEFAULT_BOARD).read_text()
    datasets = re.findall(r'^dataset = ".*"$', text, re.MULTILINE)
    for line, films in zip(datasets, (2, 5), strict=True):
        text = text.replace(line, f'dataset = "reel"\noptions = {{ films = {films} }}')
    path = tmp_path / "board.toml"
    path.write_text(text.replace("height = 128", "height = 120"))
    return str(path)


def test_a_board_gives_the_frame_size_and_all_options_under_which_it_uses_the_data_set(
    tmp_path: Path, board: str
) -> None:
    described = answer(data(tmp_path, "info", "reel", "--board", board, "--json"))
    assert [one["options"] for one in described] == [{"films": 2}, {"films": 5}]
    assert {one["frame_size"] for one in described} == {"120 x 171, bilinear"}


def test_an_option_of_the_command_line_overrides_the_boards(tmp_path: Path, board: str) -> None:
    described = answer(data(tmp_path, "info", "reel", "--board", board, "-o", "films=7", "--json"))
    assert [one["options"] for one in described] == [{"films": 7}]


def test_an_unknown_data_set_is_one_line(tmp_path: Path) -> None:
    result = data(tmp_path, "prepare", "reels")
    assert result.exit_code == 1
    assert result.stderr.startswith("kdbench: error: no data set is called 'reels'; did you mean 'reel'?")
    assert result.stderr.count("\n") == 1


def test_an_option_without_a_value_is_refused(tmp_path: Path) -> None:
    result = data(tmp_path, "prepare", "reel", "-o", "films")
    assert result.exit_code == 2
    assert "'films' must be KEY=VALUE" in result.stderr


def test_help_imports_neither_torch_nor_av() -> None:
    program = (
        "import sys\nfrom kdbench.cli import main\n"
        "main(['data', 'prepare', '--help'], standalone_mode=False)\n"
        "print([name for name in ('torch', 'av', 'numpy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("[]\n")


@pytest.mark.usefixtures("films")
def test_a_codec_of_the_command_line_overrides_the_boards_and_says_what_runs_read(tmp_path: Path) -> None:
    result = data(tmp_path, "prepare", "reel", "--workers", "1", "--codec", "jpeg95")
    assert result.exit_code == 0
    assert "/stores/reel-128x171-jpeg95-" in result.stdout
    assert f"runs of {DEFAULT_BOARD} read frames of codec yuv420p; only its board.toml can change that" in result.stdout
    assert data(tmp_path, "verify", "reel", "--codec", "jpeg95").exit_code == 0
    assert data(tmp_path, "verify", "reel").exit_code == 1
    prepared = [
        answer(data(tmp_path, "info", "reel", "--json", *codec))[0]["prepared"]
        for codec in (["--codec", "jpeg95"], ["--codec", "yuv420p"], [])
    ]
    assert prepared == [3, 0, 0]


@pytest.mark.usefixtures("films")
def test_the_codec_of_the_board_is_the_one_that_is_prepared(tmp_path: Path, board: str) -> None:
    path = Path(board)
    path.write_text(path.read_text().replace('codec = "yuv420p"', 'codec = "jpeg95"'))
    result = data(tmp_path, "prepare", "reel", "--workers", "1", "--board", board, "-o", "films=3")
    assert "/stores/reel-120x171-jpeg95-" in result.stdout
    assert "runs of" not in result.stdout


def test_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    result = data(tmp_path, "prepare", "reel", "--codec", "png")
    assert result.exit_code == 2
    assert "'png' is not one of 'yuv420p', 'jpeg95'" in result.stderr
