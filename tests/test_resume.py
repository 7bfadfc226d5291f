"""A run that is killed goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdbench.board import load_board
from kdbench.checks import read_record
from kdbench.course import CourseResult
from kdbench.errors import RunFailed
from kdbench.run import execute
from kdbench.rundir import RunDir
from tests.conftest import TINY, Listener
from tests.test_run import measured
from tests.tiny import bench, request

# Writes a checkpoint after every epoch and waits a little there, so that a kill finds the run at work.
SLOW = """
import sys, time
import torch
torch.set_num_threads(1)
import kdbench.course
from kdbench.rundir import RunDir
kdbench.course.CHECKPOINT_EVERY_S = 0.0
save = RunDir.save
def slowly(self, name, content):
    save(self, name, content)
    time.sleep(0.3)
RunDir.save = slowly
from kdbench.cli import main
main()
"""


def start(runs: Path) -> subprocess.Popen[bytes]:
    words = [
        "run",
        "--board",
        str(TINY),
        "--student",
        "c3d",
        "--teacher",
        "r3d",
        "--runs",
        str(runs),
        "--device",
        "cpu",
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", SLOW, *words], env={**os.environ, "OMP_NUM_THREADS": "1"}, **quiet)


def kill_when(process: subprocess.Popen[bytes], runs: Path, pattern: str) -> None:
    deadline = time.monotonic() + 90
    while not list(runs.glob(pattern)):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, f"{pattern} did not appear"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_run_killed_in_teacher_training_and_transfer_ends_in_the_record_of_an_unbroken_run(tmp_path: Path) -> None:
    runs = tmp_path / "broken"
    board = load_board(str(TINY))
    whole = execute(request(board, student="c3d", teacher="r3d"), bench(tmp_path / "whole"))
    for moment in ("tiny/r3d-*/train.pt", "tiny/c3d-*/train.pt", "tiny/c3d-*/transfer.pt"):
        kill_when(start(runs), runs, moment)
    assert start(runs).wait() == 0
    broken = read_record(runs / "tiny" / whole.run_id / "record.json")
    assert measured(broken) == measured(whole)
    assert broken.cost.resumes >= 2


def test_lines_that_a_kill_left_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    record = execute(request(), bench(tmp_path))
    rundir = RunDir(tmp_path / "tiny" / record.run_id)
    rundir.append_epoch(record.epochs[0])
    with (rundir.path / "epochs.jsonl").open("ab") as stream:
        stream.write(b'{"torn":')
    rundir.rewrite_epochs(record.epochs[:2])
    assert len((rundir.path / "epochs.jsonl").read_text().splitlines()) == 2


def test_results_survive_the_checkpoint() -> None:
    result = CourseResult([], {}, elapsed_s=1.5, checkpoint_s=0.5, resumes=2)
    assert CourseResult.from_builtins(result.to_builtins()) == result


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more"])
def test_a_damaged_checkpoint_is_named_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.pt").write_bytes(content)
    with pytest.raises(RunFailed, match=r"train\.pt: is damaged \(.*\); delete it and give the same command again"):
        RunDir(tmp_path).load("train.pt")


def test_a_checkpoint_with_another_files_content_is_named_with_the_way_out(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    rundir.save("train.pt", {"format": 1, "network": {}, "card": {}})
    said = r"train\.pt: is damaged \(.* it has no 'training'\); delete it and give the same command again"
    with pytest.raises(RunFailed, match=said):
        rundir.load("train.pt", ("training", "result"))


def test_a_run_whose_checkpoint_is_another_file_is_refused_by_name(tmp_path: Path) -> None:
    record = execute(request(), bench(tmp_path))
    folder = tmp_path / "tiny" / record.run_id
    (folder / "record.json").unlink()
    (folder / "weights.pt").rename(folder / "train.pt")
    with pytest.raises(RunFailed, match=r"train\.pt: is damaged"):
        execute(request(), bench(tmp_path))


@pytest.mark.parametrize("name", ["train.pt", "weights.pt", "record.json"])
def test_a_full_disk_leaves_the_file_before_and_no_part_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rundir = RunDir(tmp_path)
    rundir.save(name, {"epoch": 1})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / name))

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            rundir.save(name, {"epoch": 2})
    assert rundir.load(name) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_says_where_it_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class UnpluggedError(Exception):
        pass

    class Impatient(Listener):
        def epoch(self, row: object, total: int) -> None:
            super().epoch(row, total)
            if len(self.rows) == 2:
                raise UnpluggedError

    monkeypatch.setattr("kdbench.course.CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(UnpluggedError):
        execute(request(), bench(tmp_path, Impatient()))
    listener = Listener()
    record = execute(request(), bench(tmp_path, listener))
    assert "continuing train after epoch 1" in listener.said
    assert record.cost.resumes == 1
