"""Several runs at once, in other processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.api import Job, KdbenchError
from kdbench.errors import PluginError
from tests.tiny import registry


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A launcher whose runs are Python programs: a job's command is the text of one."""
    plugin = registry().get("launchers", "parallel")
    monkeypatch.setattr(plugin.cls, "program", (sys.executable, "-c"))
    return lambda **options: plugin.make(options)


def job(program: str, title: str = "a run", **rest: Any) -> Job:
    def never() -> None:
        raise AssertionError("a run in a process of its own is not done here")

    return Job((program,), never, title=title, **rest)


def meets(mine: Path, other: Path) -> str:
    """A program that ends well only if another one is under way at the same time."""
    return (
        f"import pathlib, time\npathlib.Path({str(mine)!r}).touch()\nend = time.monotonic() + 30\n"
        f"while not pathlib.Path({str(other)!r}).exists():\n assert time.monotonic() < end\n time.sleep(0.02)"
    )


def test_as_many_runs_as_asked_for_are_under_way_at_once(tmp_path: Path, launcher: Callable[..., Any]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert launcher(jobs=2).launch([job(meets(one, two)), job(meets(two, one))], print) == 0


def test_no_more_runs_than_asked_for_are_under_way(launcher: Callable[..., Any]) -> None:
    said: list[str] = []
    assert launcher(jobs=1).launch([job("", "a"), job("", "b")], said.append) == 0
    assert [re.sub(r"after \d+ s", "after S s", line) for line in said] == [
        "started: a",
        "done after S s: a; 1 left, about 0 s",
        "started: b",
        "done after S s: b; none left",
    ]


def test_a_failing_run_is_told_with_its_last_line_and_does_not_stop_the_others(launcher: Callable[..., Any]) -> None:
    said: list[str] = []
    programs = ["import sys; sys.exit('one line\\nkdbench: error: no disk')", "1 / 0", "import os; os._exit(3)", ""]
    jobs = [job(program, str(number)) for number, program in enumerate(programs)]
    assert launcher(jobs=1).launch(jobs, said.append) == 3
    reasons = [line.partition(": ")[2] for line in said if line.startswith("failed")]
    assert reasons == [
        "0: no disk; 3 left",
        "1: ZeroDivisionError: division by zero; 2 left",
        "2: it said nothing; 1 left",
    ]


def test_only_a_run_that_ended_well_is_followed_up_and_a_failing_follow_up_counts(
    launcher: Callable[..., Any],
) -> None:
    followed: list[str] = []

    def refuse() -> None:
        raise KdbenchError("another record is there")

    jobs = [
        job("", "a", ended=lambda: followed.append("a")),
        job("raise SystemExit(1)", "b", ended=lambda: followed.append("b")),
        job("", "c", ended=refuse),
    ]
    said: list[str] = []
    assert launcher(jobs=3).launch(jobs, said.append) == 2
    assert followed == ["a"]
    assert any("c: another record is there" in line for line in said)


def test_the_time_left_follows_from_the_weights_of_the_jobs(launcher: Callable[..., Any]) -> None:
    said: list[str] = []
    jobs = [job("", "a", weight=1.0), job("", "b", weight=100_000.0)]
    launcher(jobs=1).launch(jobs, said.append)
    assert re.search(r"a; 1 left, about \d+ h \d\d min", said[1])


@pytest.mark.parametrize(("set_before", "expected"), [(None, "1"), ("7", "7")])
def test_the_cores_are_shared_out_unless_the_user_has_done_it(
    tmp_path: Path, launcher: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, set_before: str | None, expected: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_before:
        monkeypatch.setenv("OMP_NUM_THREADS", set_before)
    place = tmp_path / "threads"
    program = f"import os; open({str(place)!r}, 'w').write(os.environ['OMP_NUM_THREADS'])"
    launcher(jobs=1000).launch([job(program)], print)
    assert place.read_text() == expected


@pytest.mark.parametrize(
    ("options", "device", "hinted"),
    [({"jobs": 2}, "cuda:1", True), ({"jobs": 1}, "cuda", False), ({"jobs": 2}, "cpu", False)],
)
def test_several_runs_on_one_gpu_are_told_of_the_service_that_lets_them_overlap(
    launcher: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, int],
    device: str,
    hinted: bool,
) -> None:
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.setattr(sys.modules[type(launcher()).__module__], "MPS_FOLDER", Path("/nowhere"))
    said: list[str] = []
    launcher(**options).launch([Job(("", "--device", device), lambda: None)], said.append)
    assert any("MPS" in line for line in said) == hinted


def test_a_number_of_runs_that_makes_no_sense_is_refused(launcher: Callable[..., Any]) -> None:
    with pytest.raises(PluginError, match="must be at least 1"):
        launcher(jobs=0)


PARENT = """
import sys
from kdbench.api import Job
from kdbench.registry import load_registry
plugin = load_registry().get("launchers", "parallel")
plugin.cls.program = (sys.executable, "-c")
jobs = [Job((f"import sys, os, time; open({place!r}, 'w').write(str(os.getpid())); time.sleep(60)",), print)
        for place in sys.argv[1:]]
try:
    plugin.make({"jobs": "2"}).launch(jobs, print)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_kill_end_the_runs_too(tmp_path: Path, kind: signal.Signals) -> None:
    places = [tmp_path / name for name in ("one", "two", "never")]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *map(str, places)], stdout=subprocess.DEVNULL)
    children = [pid_in(place) for place in places[:2]]
    parent.send_signal(kind)
    assert parent.wait(60) == 130
    deadline = time.monotonic() + 60
    while any(alive(child) for child in children):  # who inherits them may be slow to bury them
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not places[2].exists()


def pid_in(place: Path) -> int:
    deadline = time.monotonic() + 60
    while not (place.exists() and place.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(place.read_text())


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
