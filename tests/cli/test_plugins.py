"""`kdbench plugins`: what it lists and shows, for people and for programs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kdbench.cli import main
from kdbench.registry import KINDS, load_registry

METHOD = '''
from dataclasses import dataclass
from kdbench.api import Backbone, Method, hookimpl

class Mine(Method):
    """A method of my own.

    With a second paragraph.
    """
    name = "mine"
    source = "a paper"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`strength` of the pull."""
        strength: float = 0.5
        stages: tuple[str, ...] = ("stage4",)

@hookimpl
def kdbench_methods():
    return [Mine]
'''

BACKBONE = METHOD.replace("Method)", "Backbone)").replace("kdbench_methods", "kdbench_backbones") + (
    "\nMine.build = lambda self, width: None\nMine.__abstractmethods__ = frozenset()\n"
)


def plugins(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["plugins", *map(str, arguments)])


def read(*arguments: str | Path) -> Any:
    result = plugins(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(METHOD)
    return file


def test_the_list_names_every_plugin_once() -> None:
    listed = [(plugin["kind"], plugin["name"]) for plugin in read("list")["plugins"]]
    assert listed == [(plugin.kind, plugin.name) for plugin in load_registry().all()]


def test_the_list_is_grouped_by_kind_with_a_summary_of_each(mine: Path) -> None:
    lines = plugins("list", "--plugin", mine).stdout.splitlines()
    assert [line for line in lines if line in KINDS] == list(KINDS)
    row = next(line for line in lines if line.startswith("  mine "))
    assert lines.index("methods") < lines.index(row) < lines.index("datasets")
    assert "A method of my own." in row
    assert row.endswith("file")


def test_the_list_of_one_kind_holds_no_other() -> None:
    assert {plugin["kind"] for plugin in read("list", "--kind", "methods")["plugins"]} == {"methods"}


def test_the_list_tells_broken_plugins_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_bad.py").write_text("raise SystemExit(3)")
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kdbench]\nbad = acme_bad\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    where, reason = "entry point bad = acme_bad (acme 1.0)", "exits on import (code 3)"
    assert read("list")["broken"] == [{"where": where, "reason": reason}]
    assert plugins("list").stdout.endswith(f"broken\n  {where}  {reason}\n")


def test_the_list_tells_what_a_plugin_should_not_have_done(mine: Path) -> None:
    mine.write_text("print('hello')\n" + METHOD)
    assert "A method of my own. [prints when imported]" in plugins("list", "--plugin", mine).stdout


def test_a_broken_given_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("1 / 0")
    result = plugins("list", "--plugin", tmp_path / "bad.py")
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        result.stderr
        == f"kdbench: error: {tmp_path / 'bad.py'}: ZeroDivisionError: division by zero (bad.py, line 1)\n"
    )


def test_a_plugin_is_shown_in_full(mine: Path) -> None:
    shown = read("show", "mine", "--plugin", mine)
    assert shown == {
        "kind": "methods",
        "name": "mine",
        "summary": "A method of my own.",
        "file": str(mine.resolve()),
        "distribution": "file",
        "version": "",
        "sha256": hashlib.sha256(mine.read_bytes()).hexdigest(),
        "notes": [],
        "source": "a paper",
        "doc": "A method of my own.\n\nWith a second paragraph.",
        "options_doc": "`strength` of the pull.",
        "options": [
            {"name": "strength", "type": "float", "default": 0.5},
            {"name": "stages", "type": "tuple[str, ...]", "default": ["stage4"]},
        ],
    }


def test_a_plugin_is_shown_in_lines_for_people(mine: Path) -> None:
    lines = plugins("show", "mine", "--plugin", mine).stdout.splitlines()
    assert lines[0] == "mine (methods)"
    assert "  option        strength: float = 0.5" in lines
    assert "  options_doc   `strength` of the pull." in lines


@pytest.mark.parametrize(("name", "params"), [("c3d", 27661440), ("r3d", 14361792), ("r2plus1d", 14365303)])
def test_a_backbone_is_measured_as_the_papers_board_uses_it(name: str, params: int) -> None:
    shown = read("show", name)
    assert (shown["board"], shown["clip"], shown["params"]) == ("camarena2024", [3, 10, 112, 112], params)
    assert f"params        {params}" in plugins("show", name).stdout


def test_a_backbone_is_measured_at_the_boards_width() -> None:
    shown = read("show", "r3d", "--board", "motion-shapes")
    assert (shown["width"], shown["clip"], shown["features"]) == (0.25, [3, 10, 32, 32], 128)
    assert shown["taps"]["stage4"] == [128, 2, 2, 2]
    assert "tap stage4    128 x 2 x 2 x 2 (C, T, H, W)" in plugins("show", "r3d", "--board", "motion-shapes").stdout


def test_a_backbone_that_a_board_cannot_use_is_shown_with_the_reason() -> None:
    assert "fixed channel counts" in read("show", "r3d_18", "--board", "motion-shapes")["refused"]


def test_an_unknown_board_is_an_error_of_one_line() -> None:
    result = plugins("show", "r3d", "--board", "nowhere")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


def test_an_unknown_plugin_is_answered_with_the_nearest(mine: Path) -> None:
    result = plugins("show", "mime", "--plugin", mine)
    assert result.exit_code == 1
    assert result.stderr.startswith("kdbench: error: no plugin is called 'mime'; did you mean 'mine'? ")


def test_a_name_of_two_kinds_needs_the_kind(mine: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text(BACKBONE)
    result = plugins("show", "mine", "--plugin", mine, "--plugin", other)
    assert result.exit_code == 1
    assert result.stderr == (
        "kdbench: error: 'mine' stands among backbones and methods; say which with --kind backbones\n"
    )
    assert read("show", "mine", "--kind", "methods", "--plugin", mine, "--plugin", other)["file"] == str(mine.resolve())


def test_a_terminal_gets_a_table_that_fits(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kdbench.cli.plugins import _print_table

    printed: list[str] = []
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("rich.console.Console.print", lambda _console, table: printed.append(type(table).__name__))
    _print_table("methods", [("mine", "[a bracket]", "file")])
    assert printed == ["Table"]
