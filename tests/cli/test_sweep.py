"""Several runs at once: a sweep in other processes, and processes that need the same thing."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from kdbench.board import load_board
from kdbench.run import execute
from kdbench.rundir import RunDir
from tests.conftest import TINY
from tests.tiny import bench, request


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
