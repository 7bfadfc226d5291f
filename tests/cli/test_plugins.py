"""`kdbench plugins`: what it lists and shows, for people and for programs."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kdbench.cli import main
from kdbench.registry import KINDS, load_registry
from kdbench.templates import KIND_OF

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


def broken_distribution(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution called acme whose one plugin exits on import."""
    (folder / "acme_bad.py").write_text("raise SystemExit(3)")
    info = folder / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kdbench]\nbad = acme_bad\n")
    monkeypatch.syspath_prepend(str(folder))


def test_the_list_tells_broken_plugins_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_distribution(tmp_path, monkeypatch)
    where, reason = "entry point bad = acme_bad (acme 1.0)", "exits on import (code 3)"
    assert read("list")["broken"] == [{"where": where, "reason": reason}]
    assert plugins("list").stdout.endswith(f"broken\n  {where}  {reason}\n")


def test_the_list_tells_what_a_plugin_should_not_have_done(mine: Path) -> None:
    mine.write_text("print('hello')\n" + METHOD)
    assert "A method of my own. [prints when imported]" in plugins("list", "--plugin", mine).stdout


def test_the_list_names_a_slow_import_with_its_seconds(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdbench.registry._SLOW_IMPORT_S", 0.01)
    mine.write_text("import time\ntime.sleep(0.06)\n" + METHOD)
    assert re.search(r"A method of my own\. \[took 0\.\d s to import\]", plugins("list", "--plugin", mine).stdout)


def test_a_broken_distribution_breaks_no_other_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_distribution(tmp_path, monkeypatch)
    name = load_registry().names("methods")[0]
    assert plugins("show", name).exit_code == 0


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


def test_a_file_is_shown_by_its_path(mine: Path) -> None:
    assert read("show", mine) == read("show", "mine", "--plugin", mine)


def test_a_file_of_two_plugins_is_asked_which_one_to_show(mine: Path) -> None:
    mine.write_text(METHOD.replace("return [Mine]", "return [Mine, type('Other', (Mine,), {'name': 'other'})]"))
    result = plugins("show", mine)
    assert result.exit_code == 1
    assert f"{mine} offers mine, other; name one, with --plugin {mine}" in result.stderr


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


# --- check -------------------------------------------------------------------------------------------------

LAUNCHER = '''
from kdbench.api import Launcher, hookimpl

class Mine(Launcher):
    """Does {what}."""
    name = "mine"
    source = "own work"

    def launch(self, jobs, say):
        failures = 0
        for job in jobs:
            try:
                job.here()
                job.ended()
            except Exception as error:
                failures += {count}
                say(f"{{job.name}}: {{error}}")
        return failures

@hookimpl
def kdbench_launchers():
    return [Mine]
'''


def test_a_file_whose_plugins_keep_to_their_interface_passes(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(LAUNCHER.format(what="all", count=1))
    result = plugins("check", file)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"mine (launchers, {file.resolve()})"
    assert "  ok    all jobs are run and failures counted" in result.stdout.splitlines()
    assert result.stdout.splitlines()[-1].startswith("1 of 1 plugins keep to their interface (")


def test_a_check_that_fails_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(LAUNCHER.format(what="not count", count=0))
    result = plugins("check", file)
    assert result.exit_code == 1
    assert (
        "  FAIL  all jobs are run and failures counted: returned 0 where one job and one `ended` failed; "
        "return how many failed, 2\n"
    ) in result.stdout


def test_checks_that_are_skipped_for_one_reason_share_a_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(METHOD.replace('    name = "mine"\n', '    name = "mine"\n    student_taps = "stage4"\n'))
    result = plugins("check", file)
    *_, failed, skipped, total = result.stdout.splitlines()
    assert 'student_taps is the string "stage4"; write ("stage4",)' in failed
    assert re.fullmatch(r"  skip  the other \d+ checks: it could not be made", skipped)
    assert total.startswith("0 of 1 plugins keep to their interface")


def test_the_findings_are_json_for_programs(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("print('hello')\n" + LAUNCHER.format(what="not count", count=0))
    result = plugins("check", file, "--json")
    report = json.loads(result.stdout)
    (plugin,) = report["plugins"]
    assert (result.exit_code, report["failed"], plugin["name"]) == (1, 1, "mine")
    assert plugin["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert {check["status"] for check in plugin["checks"]} == {"passed", "failed"}


def test_a_plugin_is_checked_by_name_and_those_of_a_kind_with_all() -> None:
    names = set(load_registry().names("launchers"))
    assert {each["name"] for each in read("check", "--all", "--kind", "launchers")["plugins"]} == names
    name = min(names)
    assert [each["name"] for each in read("check", name, "--kind", "launchers")["plugins"]] == [name]


def test_all_plugins_are_announced_one_by_one_and_summed_up_in_a_line_each() -> None:
    names = load_registry().names("launchers")
    result = plugins("check", "--all", "--kind", "launchers")
    assert result.exit_code == 0, result.output
    said = [f"[{number}/{len(names)}] {name} (launchers)" for number, name in enumerate(names, 1)]
    assert [line for line in result.stderr.splitlines() if line.startswith("[")] == said
    *lines, total = result.stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [["ok", name, "(launchers)"] for name in names]
    assert all(re.search(r" \d+\.\d s  \d+ passed", line) for line in lines)
    assert total.startswith(f"{len(names)} of {len(names)} plugins keep to their interface (")


def test_all_ends_with_code_1_and_names_the_problem_where_one_plugin_fails(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(LAUNCHER.format(what="not count", count=0))
    result = plugins("check", "--all", "--kind", "launchers", "--plugin", file)
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("FAIL")]
    assert line.split()[1:3] == ["mine", "(launchers)"]
    assert line.endswith("1 failed")
    assert "\n      all jobs are run and failures counted: returned 0 where one job" in result.stdout


def test_a_broken_distribution_fails_its_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_distribution(tmp_path, monkeypatch)
    result = plugins("check", "Acme")
    assert result.exit_code == 1
    assert "  FAIL  it can be loaded: exits on import (code 3)\n0 of 1 plugins" in result.stdout


def test_a_file_that_prints_when_it_is_imported_is_told_so_by_its_check(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("print('hello')\n" + LAUNCHER.format(what="all", count=1))
    result = plugins("check", file)
    assert (result.exit_code, result.stdout.splitlines()[1]) == (0, "  note  prints when imported")


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_file_whose_hook_returns_nothing_is_told_what_to_return(command: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(LAUNCHER.format(what="all", count=1).replace("return [Mine]", "[Mine]"))
    result = plugins(command, file)
    assert result.exit_code == 1
    assert f"{file}: its hooks return no class; write return [MyClass]" in result.stderr


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    name = load_registry().names("launchers")[0]
    result = plugins("check", f"{name}x")
    assert result.exit_code == 1
    assert f"did you mean '{name}'? " in result.stderr


@pytest.mark.parametrize("arguments", [(), ("mine", "--all")])
def test_what_to_check_is_said_once(arguments: tuple[str, ...]) -> None:
    assert plugins("check", *arguments).exit_code == 2


# --- new ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "kind"), KIND_OF.items())
def test_a_new_plugin_is_a_file_that_loads_under_its_name(what: str, kind: str, tmp_path: Path) -> None:
    result = plugins("new", what, "fancy-thing", "--out", tmp_path)
    file = tmp_path / "fancy_thing.py"
    assert result.stdout == f"{file}\n"
    assert result.stderr == f"next: kdbench plugins check {file}\n"
    plugin = load_registry([file]).get(kind, "fancy-thing")
    assert plugin.cls.__name__ == f"FancyThing{what.capitalize()}"
    assert not re.search(f"my[-_]{what}|My{what.capitalize()}", file.read_text())


def test_a_new_distribution_has_an_entry_point_a_module_and_a_test(tmp_path: Path) -> None:
    result = plugins("new", "method", "fancy", "--package", "--out", tmp_path)
    folder = tmp_path / "kdbench-fancy"
    assert (result.exit_code, result.stderr) == (
        0,
        f"next: pip install -e {folder}, then kdbench plugins check kdbench-fancy\n",
    )
    names = ["kdbench_fancy.py", "pyproject.toml", "test_kdbench_fancy.py"]
    assert sorted(path.name for path in folder.iterdir()) == names
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["kdbench"] == {"fancy": "kdbench_fancy"}
    assert (project["project"]["name"], project["tool"]["setuptools"]["py-modules"]) == (
        "kdbench-fancy",
        ["kdbench_fancy"],
    )
    assert "import kdbench_fancy\n" in (folder / "test_kdbench_fancy.py").read_text()


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "fancy.py").write_text("mine")
    result = plugins("new", "method", "fancy", "--out", tmp_path)
    assert result.exit_code == 1
    assert "fancy.py: is there already; choose another name, or another folder with --out" in result.stderr
    assert (tmp_path / "fancy.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["Fancy", "2fast", "a.b", "../up", "a--b", ""])
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    result = plugins("new", "method", name, "--out", tmp_path)
    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])


def test_a_file_that_would_hide_a_module_of_python_is_not_written(tmp_path: Path) -> None:
    result = plugins("new", "method", "random", "--out", tmp_path)
    assert "Python finds a module 'random' already; choose another name than 'random'" in result.stderr
    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])


def test_a_name_that_is_taken_is_refused_with_its_file(tmp_path: Path) -> None:
    plugin = next(plugin for plugin in load_registry().all() if plugin.kind == "methods")
    result = plugins("new", "method", plugin.name, "--out", tmp_path)
    assert f"is called '{plugin.name}' already: plugins/methods/" in result.stderr


def test_a_terminal_gets_a_table_that_fits(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kdbench.cli.plugins import _print_table

    printed: list[str] = []
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("rich.console.Console.print", lambda _console, table: printed.append(type(table).__name__))
    _print_table("methods", [("mine", "[a bracket]", "file")])
    assert printed == ["Table"]
