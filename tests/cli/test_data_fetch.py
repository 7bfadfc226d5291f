"""`kdbench data fetch`, `data subset`, and archives given to `data prepare`."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import run

import pytest
from click.testing import CliRunner, Result

from kdbench.cli import main
from tests.data.films import counted

PLUGIN = '''"""A data set for tests."""

from kdbench.api import Download, Split, Video, VideoDataset, hookimpl


class Reel(VideoDataset):
    """Films to fetch."""

    name = "reel"
    how_to_get = "ask the projectionist"
    downloads = (Download("URL/reel.zip", "reel.zip"),)

    @property
    def classes(self):
        return ("walk",)

    @property
    def videos(self):
        return tuple(Video(f"walk/{at}", 0, "g", (f"walk/{at}.avi",)) for at in range(3))

    def split(self, number):
        return Split(("walk/0", "walk/1"), ("walk/2",))


class Spool(Reel):
    """Films nobody offers."""

    name = "spool"
    downloads = ()


@hookimpl
def kdbench_datasets():
    return [Reel, Spool]
'''


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and writes no log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The kdbench home; beside it reel.zip, its server and the plugin that names the server's address."""
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = tmp_path / "served"
    with_films(served / "reel.zip", tmp_path / "films")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(served))) as server:
        (tmp_path / "reel.py").write_text(PLUGIN.replace("URL", f"http://127.0.0.1:{server.server_port}"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield tmp_path / "home"
        server.shutdown()
        thread.join()


def with_films(archive: Path, films: Path) -> None:
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as packed:
        for at in range(3):
            counted(films / f"{at}.avi", 4)
            packed.write(films / f"{at}.avi", f"release-1/walk/{at}.avi")


def data(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["data", *arguments, "--plugin", str(tmp_path / "reel.py")])


def test_fetched_videos_are_unpacked_and_can_be_prepared(tmp_path: Path, home: Path) -> None:
    result = data(tmp_path, "fetch", "reel")
    assert result.exit_code == 0
    assert result.stdout == f"reel: the videos are in {home}/videos/reel; now run: kdbench data prepare reel\n"
    assert (home / "downloads/reel/reel.zip").is_file()
    assert data(tmp_path, "prepare", "reel", "--workers", "1").exit_code == 0


def test_videos_are_unpacked_into_the_folder_that_is_named(tmp_path: Path) -> None:
    result = data(tmp_path, "fetch", "reel", "--videos", str(tmp_path / "mine"))
    assert result.stdout.endswith(f"now run: kdbench data prepare reel --videos {tmp_path / 'mine'}\n")
    assert sorted(path.name for path in (tmp_path / "mine/walk").iterdir()) == ["0.avi", "1.avi", "2.avi"]


def test_fetching_is_told_as_json(tmp_path: Path, home: Path) -> None:
    answer = json.loads(data(tmp_path, "fetch", "reel", "--json").stdout)
    assert answer == {"videos": f"{home}/videos/reel", "downloads": [f"{home}/downloads/reel/reel.zip"]}


def test_a_data_set_without_downloads_says_how_to_get_it(tmp_path: Path) -> None:
    result = data(tmp_path, "fetch", "spool")
    assert result.exit_code == 1
    assert result.stderr == "kdbench: error: spool: names nothing to download; ask the projectionist\n"


def test_a_file_that_the_server_does_not_have_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "served/reel.zip").unlink()
    result = data(tmp_path, "fetch", "reel")
    assert result.exit_code == 1
    assert "answers 404" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_embedded_data_set_is_drawn(tmp_path: Path, home: Path) -> None:
    few = ("-o", "train_per_class=1", "-o", "test_per_class=1")
    assert data(tmp_path, "fetch", "motion_shapes", *few).exit_code == 0
    assert len(list((home / "videos/motion_shapes").rglob("*.avi"))) == 16


def test_an_archive_is_unpacked_before_it_is_prepared(tmp_path: Path, home: Path) -> None:
    result = data(tmp_path, "prepare", "reel", "--workers", "1", "--videos", str(tmp_path / "served/reel.zip"))
    assert result.exit_code == 0
    assert result.stderr == f"{tmp_path}/served/reel.zip is unpacked in {home}/videos/reel\n"
    assert result.stdout.startswith("reel: 3 of 3 videos are prepared")


def test_a_file_that_is_no_archive_is_one_line(tmp_path: Path) -> None:
    result = data(tmp_path, "prepare", "reel", "--videos", str(tmp_path / "reel.py"))
    assert result.exit_code == 1
    assert "is no zip, tar or rar archive" in result.stderr


def test_only_preparing_takes_an_archive(tmp_path: Path) -> None:
    result = data(tmp_path, "verify", "reel", "--videos", str(tmp_path / "served/reel.zip"))
    assert result.exit_code == 1
    assert "is a file; name a folder" in result.stderr


def test_a_subset_is_printed_with_the_digest_of_what_is_printed(tmp_path: Path) -> None:
    result = data(tmp_path, "subset", "ucf101", "--fraction", "0.02")
    assert result.exit_code == 0
    digest = hashlib.sha256(result.stdout.encode()).hexdigest()
    assert digest == "0fafd1ca36add03cc8df05ff746e44bfd17410b19b621e04803ca264af8c0b99"
    assert result.stderr == f"196 videos of ucf101, split 1, seed 0; SHA-256 {digest}\n"


def test_a_subset_is_told_as_json(tmp_path: Path) -> None:
    arguments = ("hmdb51", "--fraction", "0.5", "--split", "2", "--seed", "1", "--json")
    answer = json.loads(data(tmp_path, "subset", *arguments).stdout)
    assert (answer["dataset"], answer["split"], answer["fraction"], answer["seed"]) == ("hmdb51", 2, 0.5, 1)
    assert answer["count"] == len(answer["videos"]) == 1785


@pytest.mark.parametrize("fraction", ["0", "1.5", "half"])
def test_a_fraction_that_cannot_be_is_refused(tmp_path: Path, fraction: str) -> None:
    assert data(tmp_path, "subset", "ucf101", "--fraction", fraction).exit_code == 2


def test_a_split_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = data(tmp_path, "subset", "ucf101", "--fraction", "1", "--split", "4")
    assert result.exit_code == 1
    assert result.stderr == "kdbench: error: ucf101: there is no split 4; the official splits are 1, 2 and 3\n"


def test_help_imports_no_torch() -> None:
    program = (
        "import sys\nfrom kdbench.cli import main\n"
        "main(['data', 'subset', '--help'], standalone_mode=False)\nsys.exit('torch' in sys.modules)"
    )
    assert run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0
