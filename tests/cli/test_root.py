"""The root command: lazy subcommands, one place for errors, quiet ends."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import kdbench
from kdbench.cli import COMMANDS, main
from kdbench.errors import DataError, KdbenchError


@pytest.fixture
def ending_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], Result]:
    """Run a subcommand that raises."""

    def run(error: BaseException) -> Result:
        @click.command()
        def fail() -> None:
            raise error

        module = types.ModuleType("failing_command")
        module.fail = fail  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "failing_command", module)
        monkeypatch.setitem(COMMANDS, "fail", ("failing_command:fail", "Fails."))  # type: ignore[arg-type]
        return CliRunner().invoke(main, ["fail"])

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_in_the_table_is_the_commands_own(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name][1]


@pytest.mark.parametrize("name", ["data", "board", "site", "plugins"])
def test_no_line_of_a_list_of_commands_is_cut_off(name: str) -> None:
    lines = CliRunner().invoke(main, [name, "--help"]).output.splitlines()
    listed = lines[lines.index("Commands:") + 1 :]
    assert listed
    assert [line for line in listed if line.endswith("...")] == []


def test_the_help_names_every_command_on_one_line() -> None:
    lines = CliRunner().invoke(main, ["--help"]).output.splitlines()
    width = max(map(len, COMMANDS))
    assert [name for name, (_, summary) in COMMANDS.items() if f"  {name:<{width}}  {summary}" not in lines] == []


def test_the_help_imports_no_command() -> None:
    program = (
        "import sys; from kdbench.cli import main; main(['--help'], standalone_mode=False);"
        "print(*[name for name in sys.modules if name.startswith('kdbench.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "kdbench.errors kdbench.cli"


@pytest.mark.parametrize("name", ["validate", "board", "site", "submit"])
def test_a_command_that_reads_records_does_not_import_torch(name: str) -> None:
    program = (
        f"import sys; from kdbench.cli import main; main(['{name}', '--help'], standalone_mode=False);"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"kdbench {kdbench.__version__}\n"


def test_the_package_can_be_run_as_a_module() -> None:
    command = [sys.executable, "-m", "kdbench", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"kdbench {kdbench.__version__}\n"


def test_a_mistyped_command_is_told_the_nearest() -> None:
    result = CliRunner().invoke(main, ["swep"])
    assert result.exit_code == 2
    assert "no command is called 'swep'; did you mean 'sweep'? known: run, sweep, " in result.stderr


def test_an_error_of_the_user_is_one_line_and_exit_code_1(ending_with: Callable[[BaseException], Result]) -> None:
    result = ending_with(DataError("a/b.avi", "is empty\nfetch it again"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "kdbench: error: a/b.avi: is empty fetch it again\n"


@pytest.mark.parametrize(
    "code",
    [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG],
)
def test_a_full_or_forbidden_disk_is_one_line_with_the_path(
    code: int, ending_with: Callable[[BaseException], Result]
) -> None:
    result = ending_with(OSError(code, os.strerror(code), "runs/x"))
    assert result.exit_code == 1
    way_out = "; make room and give the same command again" if code in (errno.ENOSPC, errno.EDQUOT) else ""
    assert result.stderr == f"kdbench: error: runs/x: {os.strerror(code)}{way_out}\n"


def test_a_full_disk_without_a_path_is_one_line_too(ending_with: Callable[[BaseException], Result]) -> None:
    result = ending_with(OSError(errno.ENOSPC, "No space left on device"))
    assert result.stderr == "kdbench: error: No space left on device; make room and give the same command again\n"


@pytest.mark.parametrize("error", [ValueError("a bug"), FileNotFoundError(errno.ENOENT, "gone", "x")])
def test_a_bug_keeps_its_traceback(error: Exception, ending_with: Callable[[BaseException], Result]) -> None:
    assert ending_with(error).exception is error


def test_a_command_whose_module_is_missing_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "lost", ("no_such_module:lost", "Lost."))  # type: ignore[arg-type]
    assert isinstance(CliRunner().invoke(main, ["lost"]).exception, ModuleNotFoundError)


def test_ctrl_c_says_interrupted_and_ends_with_130(ending_with: Callable[[BaseException], Result]) -> None:
    result = ending_with(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "kdbench: interrupted\n")


def test_a_closed_pipe_is_quiet(ending_with: Callable[[BaseException], Result]) -> None:
    result = ending_with(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert (result.exit_code, result.stderr) == (1, "")


def test_the_reader_of_a_pipe_may_leave_early() -> None:
    command = f"{sys.executable} -m kdbench plugins list | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_every_error_class_is_caught_by_its_base(ending_with: Callable[[BaseException], Result]) -> None:
    assert ending_with(KdbenchError("x")).stderr == "kdbench: error: x\n"


def test_an_error_keeps_its_line_when_the_folder_is_not_the_repository(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kdbench", "plugins", "show", "nothing-of-this-name"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("kdbench: error: no plugin is called 'nothing-of-this-name'")
    assert done.stderr.count("\n") == 1
