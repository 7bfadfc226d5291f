"""`kdbench site`: build, check and serve."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kdbench.cli.site import site
from tests.factories import make_record, write_board, write_records


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "boards"
    write_board(folder)
    write_records(folder, [make_record()])
    return folder


def call(boards: Path, command: str, out: Path) -> Result:
    return CliRunner().invoke(site, [command, "--out", str(out), "--boards", str(boards)])


def test_build_writes_the_pages_and_says_where(boards: Path, tmp_path: Path) -> None:
    result = call(boards, "build", tmp_path / "site")
    assert (tmp_path / "site" / "index.html").is_file()
    assert f"open {tmp_path / 'site' / 'index.html'}" in result.output


def test_check_of_a_fresh_site_succeeds(boards: Path, tmp_path: Path) -> None:
    call(boards, "build", tmp_path / "site")
    result = call(boards, "check", tmp_path / "site")
    assert result.exit_code == 0
    assert result.output.startswith(f"{tmp_path / 'site'}: every page is fresh")


def test_check_fails_for_a_file_that_no_build_wrote(boards: Path, tmp_path: Path) -> None:
    call(boards, "build", tmp_path / "site")
    (tmp_path / "site" / "small" / "better.html").write_text("99.9 %")
    result = call(boards, "check", tmp_path / "site")
    assert result.exit_code == 1
    assert result.stderr == f"{tmp_path / 'site' / 'small' / 'better.html'}: is in no manifest; remove it\n"


def test_check_of_a_stale_site_fails_and_names_the_files(boards: Path, tmp_path: Path) -> None:
    call(boards, "build", tmp_path / "site")
    write_records(boards, [make_record(seed=1, run_id="new")])
    result = call(boards, "check", tmp_path / "site")
    assert result.exit_code == 1
    assert f"{tmp_path / 'site' / 'small' / 'runs' / 'new.html'}\n" in result.stdout
    assert "run `kdbench site build" in result.stderr


def test_serve_needs_a_built_site(tmp_path: Path) -> None:
    result = CliRunner().invoke(site, ["serve", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "has no index.html; run `kdbench site build" in result.output


def test_serve_names_a_port_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "index.html").touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = CliRunner().invoke(site, ["serve", "--out", str(tmp_path), "--port", str(port)])
    assert result.exit_code == 1
    assert result.stderr == f"Error: port {port}: Address already in use; name another with --port, 0 for any\n"


def test_serve_answers_on_this_machine_alone(boards: Path, tmp_path: Path) -> None:
    call(boards, "build", tmp_path / "site")
    code = "from kdbench.cli.site import site; site()"
    command = [sys.executable, "-u", "-c", code, "serve", "--port", "0", "--out", str(tmp_path / "site")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            address = server.stdout.readline().split()[0]
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert b"How much does a teacher help" in answer.read()
        finally:
            server.terminate()


def test_neither_pages_nor_records_import_torch() -> None:
    modules = "kdbench.cli.board, kdbench.cli.site, kdbench.cli.records, kdbench.leaderboard.pages"
    code = f"import sys, {modules}, kdbench.leaderboard.submit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
