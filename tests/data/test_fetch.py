"""Fetching, against a server in a thread that can be told to misbehave."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kdbench.api import Download
from kdbench.data import fetch as fetching
from kdbench.data.fetch import fetch
from kdbench.errors import DataError

BODY = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file. `cut` lists after how many bytes the next answers break off."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.body = BODY
        self.tag = '"v1"'
        self.ranges = True
        self.cut: list[int] = []
        self.errors: list[int] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set.rar"


class Answer(BaseHTTPRequestHandler):
    """One answer of the server."""

    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers.get("Range", "all"))
        if server.errors:
            self.send_error(server.errors.pop(0))
            return
        start = 0
        if server.ranges and "Range" in self.headers and self.headers.get("If-Range") == server.tag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(server.body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(len(server.body) - start))
        self.end_headers()
        self.wfile.write(server.body[start:][: server.cut.pop(0) if server.cut else None])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetching, "FIRST_PAUSE", 0.001)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: Server, target: Path, **known: object) -> Path:
    download = Download(server.url, "set.rar", **known)  # type: ignore[arg-type]
    return fetch(download, target, lambda done, total, name: None, lambda line: None)


def left(target: Path) -> set[str]:
    return {path.name for path in target.iterdir() if not path.name.endswith(".lock")}


def test_a_file_arrives_whole_with_its_digest_beside_it(server: Server, tmp_path: Path) -> None:
    path = get(server, tmp_path / "new", size=len(BODY), sha256=DIGEST)
    assert path.read_bytes() == BODY
    assert left(tmp_path / "new") == {"set.rar", "set.rar.sha256"}
    assert (tmp_path / "new/set.rar.sha256").read_text() == f"{DIGEST}  set.rar\n"


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path)
    get(server, tmp_path)
    assert server.asked == ["all"]


def test_two_at_once_fetch_it_once(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: get(server, tmp_path), range(2)))
    assert paths[0] == paths[1]
    assert paths[0].read_bytes() == BODY
    assert server.asked == ["all"]


def test_a_file_of_the_wrong_size_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.rar").write_bytes(b"half")
    assert get(server, tmp_path, size=len(BODY)).read_bytes() == BODY


def test_a_digest_that_nobody_knows_is_told(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    fetch(Download(server.url, "set.rar"), tmp_path, lambda done, total, name: None, said.append)
    assert len(said) == 1
    assert DIGEST in said[0]


def test_progress_ends_with_all_bytes(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    fetch(Download(server.url, "set.rar"), tmp_path, lambda *step: seen.append(step), lambda line: None)
    assert seen[-1] == (len(BODY), len(BODY), "set.rar")


def test_a_dropped_connection_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.cut = [400_000, 300_000]
    assert get(server, tmp_path, sha256=DIGEST).read_bytes() == BODY
    assert server.asked == ["all", "bytes=400000-", "bytes=700000-"]


def test_a_later_call_goes_on_where_the_first_gave_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "ATTEMPTS", 1)
    server.cut = [400_000, 0]
    with pytest.raises(DataError, match="cannot be fetched"):
        get(server, tmp_path)
    assert get(server, tmp_path, sha256=DIGEST).read_bytes() == BODY
    assert server.asked == ["all", "bytes=400000-", "bytes=400000-"]


def test_a_part_of_another_version_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.cut = [400_000]
    server.tag = '"old"'
    download = Download(server.url, "set.rar")

    def change(done: int, total: int, name: str) -> None:
        server.tag, server.body = '"new"', BODY[::-1]

    assert fetch(download, tmp_path, change, lambda line: None).read_bytes() == BODY[::-1]
    assert server.asked == ["all", "bytes=400000-"]


def test_a_server_without_ranges_is_asked_for_everything_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cut = [400_000]
    assert get(server, tmp_path, sha256=DIGEST).read_bytes() == BODY


def test_without_a_mark_of_the_version_nothing_is_continued(server: Server, tmp_path: Path) -> None:
    server.tag = ""
    server.cut = [400_000]
    assert get(server, tmp_path, sha256=DIGEST).read_bytes() == BODY
    assert server.asked == ["all", "all"]


def test_a_whole_part_file_is_only_checked(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path)
    (tmp_path / "set.rar").rename(tmp_path / "set.rar.part")
    note = f'{{"url": "{server.url}", "version": "x", "total": {len(BODY)}}}'
    (tmp_path / "set.rar.part.json").write_text(note)
    assert get(server, tmp_path, sha256=DIGEST).read_bytes() == BODY
    assert server.asked == ["all"]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.rar.part").write_bytes(BODY + b"more")
    (tmp_path / "set.rar.part.json").write_text(f'{{"url": "{server.url}", "version": "\\"v1\\"", "total": 0}}')
    assert get(server, tmp_path, sha256=DIGEST).read_bytes() == BODY


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.errors = [503, 429]
    assert get(server, tmp_path).read_bytes() == BODY


def test_a_wrong_digest_is_an_error_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"has SHA-256 {DIGEST} and not {'0' * 64}"):
        get(server, tmp_path, sha256="0" * 64)
    assert left(tmp_path) == set()


def test_a_wrong_size_is_an_error_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"has {len(BODY)} bytes and not 7"):
        get(server, tmp_path, size=7)
    assert left(tmp_path) == set()


def test_a_missing_file_is_an_error_at_once_that_says_how_to_do_it_by_hand(server: Server, tmp_path: Path) -> None:
    server.errors = [404]
    with pytest.raises(DataError, match=r"answers 404.*by hand, put it at .*set\.rar"):
        get(server, tmp_path)
    assert server.asked == ["all"]


def test_without_a_network_the_error_says_how_to_do_it_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetching, "FIRST_PAUSE", 0.001)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    with pytest.raises(DataError, match=r"cannot be fetched.*by hand, put it at .*set\.rar"):
        fetch(Download(f"http://127.0.0.1:{port}/", "set.rar"), tmp_path, lambda *step: None)


def test_a_disk_that_is_too_small_is_an_error_before_the_first_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SPARE", 1 << 60)
    with pytest.raises(DataError, match=r"are needed and .* are free; make room"):
        get(server, tmp_path)


def test_only_http_addresses_are_fetched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only http and https"):
        fetch(Download("file:///etc/passwd", "x"), tmp_path, lambda *step: None)
