"""Several runs at once: a sweep in other processes, and processes that need the same thing."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kdbench.api import Job
from kdbench.board import board_path, load_board
from kdbench.cli import main
from kdbench.cli.launching import Sweep, finished_run, stages
from kdbench.cli.run import run
from kdbench.errors import PluginError, RecordError
from kdbench.registry import Registry
from kdbench.run import execute
from kdbench.rundir import RunDir
from kdbench.sweep import Choice, Found, make_plan
from tests.conftest import TINY
from tests.tiny import bench, registry, request, tiny_board


def start(*words: str) -> subprocess.Popen[str]:
    """A kdbench of its own, in another process, whose stderr can be read line by line."""
    return subprocess.Popen(
        [sys.executable, "-m", "kdbench", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_who_needs_a_teacher_that_another_process_trains_says_so_and_waits_for_it(tmp_path: Path) -> None:
    teacher = execute(request(load_board(str(TINY)), student="r3d"), bench(tmp_path))
    folder = RunDir(tmp_path / "tiny" / teacher.run_id)
    unfinished = folder.record_path.rename(tmp_path / "record.json")
    words = ["--student", "c3d", "--teacher", "r3d", "--runs", str(tmp_path), "--device", "cpu"]
    with ExitStack() as held:
        held.enter_context(folder.held())
        with start("run", "--board", str(TINY), *words) as student:
            assert student.stderr is not None
            said = next(line for line in student.stderr if "waiting" in line)
            unfinished.rename(folder.record_path)
            held.close()
            rest = student.stderr.read()
    assert f"process {os.getpid()} is working on this run; waiting until it has ended" in said
    assert student.returncode == 0, rest
    assert rest.count("epoch   3/3") == 1, "the teacher was trained again"


def a_sweep(named: str = str(TINY), found: Registry | None = None, **given: Any) -> Sweep:
    """A sweep as the command line makes it, of options that were not given but for `given`."""
    nothing: dict[str, Any] = {"videos": (), "plugins": (), "device": None, "placement": "mmap", "runs": Path("runs")}
    nothing |= {"jobs": None, "launcher": None, "launcher_options": (), "submitting": False}
    return Sweep(load_board(named), named, found or registry(), nothing | given)


def test_the_command_of_a_job_says_all_that_another_process_needs_to_do_the_same_run() -> None:
    sweep = a_sweep(
        videos=("/films", "other=/more films"),
        plugins=(Path("mine.py"),),
        runs=Path("my runs"),
        device="cpu",
        placement="ram",
    )
    asked = request(sweep.board, student="c3d", teacher="r3d", fraction=0.5, seed=3, subset_seed=2)
    first, *rest = sweep.command(asked)
    read = run.make_context("run", rest).params
    assert first == "run"
    assert {name: value for name, value in read.items() if value not in (None, (), False)} == {
        "board": str(TINY),
        "student": "c3d",
        "teacher": "r3d",
        "method": "kd",
        "fraction": 0.5,
        "seed": 3,
        "subset_seed": 2,
        "videos": ("/films", "other=/more films"),
        "plugins": (Path("mine.py"),),
        "runs": Path("my runs"),
        "device": "cpu",
        "placement": "ram",
    }


def test_a_board_that_is_a_changed_copy_of_the_default_one_is_named_by_its_path(tmp_path: Path) -> None:
    copy = tmp_path / "board.toml"
    copy.write_text(board_path("camarena2024").read_text())
    sweep = a_sweep(str(copy))
    command = sweep.command(request(sweep.board))
    assert command[command.index("--board") + 1] == str(copy)
    assert command.count("--board") == 1


def test_the_teachers_runs_are_a_stage_of_their_own_before_the_others(tmp_path: Path) -> None:
    choice = Choice(students=("c3d", "r3d"), teachers=("r3d",), fractions=(1.0,))
    plan = make_plan(load_board(str(TINY)), choice, Found(registry(), tmp_path, []))
    waiting = list(plan.waiting())
    jobs = [Job((run.request.student, run.request.method_name), print) for run in waiting]
    parts = [[job.command for job in part] for part in stages(plan, waiting, jobs)]
    assert parts == [[("r3d", "scratch")], [("c3d", "scratch"), ("c3d", "kd")]]


def test_where_no_launcher_is_named_the_one_that_says_so_is_the_default() -> None:
    assert a_sweep().launcher().name == "local"


def test_the_number_of_runs_at_once_alone_chooses_the_launcher_that_takes_it() -> None:
    launcher: Any = a_sweep(jobs=3).launcher()
    assert (launcher.name, launcher.options.jobs) == ("parallel", 3)


def test_options_of_a_launcher_reach_it() -> None:
    launcher: Any = a_sweep(launcher="parallel", launcher_options=("jobs=4", "threads=2")).launcher()
    assert (launcher.options.jobs, launcher.options.threads) == (4, 2)
    with pytest.raises(PluginError, match="has no option 'jobs'"):
        a_sweep(launcher="local", jobs=2).launcher()


def test_two_launchers_that_say_they_are_the_default_are_named_and_neither_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugins = registry()
    monkeypatch.setattr(plugins.get("launchers", "parallel").cls, "default", True)
    with pytest.raises(PluginError, match=r"more than one launcher \(local, parallel\) says .* --launcher"):
        a_sweep(found=plugins).launcher()


def test_a_launcher_option_that_is_no_pair_is_refused_by_its_own_name(tmp_path: Path) -> None:
    words = ["sweep", "--board", str(TINY), "--runs", str(tmp_path), "--launcher-option", "jobs"]
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 2
    assert "--launcher-option: 'jobs' must be KEY=VALUE" in answer.stderr


def test_runs_in_other_processes_fill_the_cells_after_their_teachers_and_are_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[Path] = []
    monkeypatch.setattr("kdbench.cli.launching.submit_run", submitted.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["sweep", "--board", str(TINY), "--students", "c3d,r2plus1d", "--teachers", "r3d", "--methods", "kd"]
    words += ["--fractions", "0.5", "--runs", str(tmp_path), "--device", "cpu", "-j", "2", "--submit"]
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 0, answer.stderr
    assert "3 runs done, 0 failed" in answer.stdout
    first, *others = (path.name.split("-")[0] for path in submitted)
    assert (first, sorted(others)) == ("r3d", ["c3d", "r2plus1d"])
    assert all((path / "record.json").exists() for path in submitted)
    again = CliRunner().invoke(main, words)
    assert "0 runs done, 0 failed" in again.stdout


def test_runs_that_start_at_once_find_the_frames_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["sweep", "--board", str(TINY), "--students", "c3d,r3d", "--methods", "scratch", "--fractions", "0.5"]
    answer = CliRunner().invoke(main, [*words, "--runs", str(tmp_path), "--device", "cpu", "-j", "2"])
    assert "2 runs done, 0 failed" in answer.stdout, answer.stderr
    assert answer.stderr.count("preparing the frames") == 2, "once for the board, once for its transfer"


def test_the_folder_of_a_run_is_the_one_whose_record_answers_to_it(tmp_path: Path) -> None:
    board = tiny_board(transfer=None)
    record = execute(request(board), bench(tmp_path))
    assert finished_run(request(board), registry(), tmp_path) == tmp_path / "tiny" / record.run_id
    with pytest.raises(RecordError, match="no record of r3d-alone-scratch-1-s1"):
        finished_run(request(board, seed=1), registry(), tmp_path)
