"""Several runs at once on this machine, each in a process of its own.

`kdbench sweep -j 3`, or `--launcher parallel --launcher-option jobs=3`. A run on a small subset leaves most of
a large GPU idle, because its batches are small and its steps short; two or three at once use it better. On one
GPU, processes take turns unless NVIDIA's Multi-Process Service runs, which lets their kernels overlap: start it
with `nvidia-cuda-mps-control -d` before the sweep, and stop it with `echo quit | nvidia-cuda-mps-control`.
Every run must fit into the GPU's memory beside the others.

On a CPU several runs at once are worth it only where one alone does not use all cores. The seconds in a record
are then those of a shared machine: compare costs only between runs that were done alike.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import torch

from kdbench.api import Job, KdbenchError, Launcher, hookimpl

POLL_S = 0.2
GRACE_S = 10.0  # for a run that is told to end; its folder is whole at any moment, so killing it loses an epoch at most
LAST_LINES_BYTES = 4096
PROGRAM = (sys.executable, "-m", "kdbench")
MPS_FOLDER = Path("/tmp/nvidia-mps")  # noqa: S108 - where NVIDIA's service listens unless it is told otherwise


class Parallel(Launcher):
    """Several runs at once on this machine, each in a process of its own."""

    name = "parallel"
    source = "kdbench"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`jobs` runs at once; `threads` of the CPU for each (none: the cores, shared out evenly)."""

        jobs: int = 2
        threads: int | None = None

        def __post_init__(self) -> None:
            if self.jobs < 1 or (self.threads is not None and self.threads < 1):
                raise ValueError(f"jobs={self.jobs} and threads={self.threads} must be at least 1")

    options: Options
    program: ClassVar[Sequence[str]] = PROGRAM

    def launch(self, jobs: Iterable[Job], say: Callable[[str], None]) -> int:
        waiting = list(jobs)
        if self.options.jobs > 1 and any(_on_cuda(job) for job in waiting[:1]) and not _mps_runs():
            say("several runs take turns on a GPU; with NVIDIA's MPS (`nvidia-cuda-mps-control -d`) they overlap")
        with _kill_is_interrupt():
            return Crew(waiting, self, say).work()

    def environment(self) -> dict[str, str]:
        """The environment of a run: the user's own, with the threads of the CPU shared out."""
        threads = self.options.threads or max(1, _cores() // self.options.jobs)
        shared = {} if "OMP_NUM_THREADS" in os.environ and not self.options.threads else {"OMP_NUM_THREADS": threads}
        return {**os.environ, **{name: str(value) for name, value in shared.items()}}


@dataclass(frozen=True)
class Running:
    """A run in its process, and what the process has said so far."""

    job: Job
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    began: float

    @property
    def seconds(self) -> float:
        """Since the process was started."""
        return time.monotonic() - self.began

    def last_line(self) -> str:
        """The last line the process has said, without the words that begin every error."""
        size = self.output.seek(0, os.SEEK_END)
        self.output.seek(max(0, size - LAST_LINES_BYTES))
        lines = self.output.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("kdbench: error: ") if lines else "it said nothing"


class Crew:
    """The runs of one launch: those that wait, those under way, and how long the ended ones took."""

    def __init__(self, jobs: Sequence[Job], launcher: Parallel, say: Callable[[str], None]) -> None:
        self.launcher, self.say = launcher, say
        self.waiting = deque(jobs)
        self.running: list[Running] = []
        self.ended_s = self.ended_weight = 0.0

    def work(self) -> int:
        """Do all jobs; returns how many failed. However this ends, no process is left behind."""
        failures = 0
        try:
            while self.waiting or self.running:
                while self.waiting and len(self.running) < self.launcher.options.jobs:
                    self._start(self.waiting.popleft())
                time.sleep(POLL_S)
                for run in [run for run in self.running if run.process.poll() is not None]:
                    failures += not self._ended(run)
        finally:
            self._end_all()
        return failures

    def _start(self, job: Job) -> None:
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when its process has ended
        process = subprocess.Popen(  # noqa: S603 - kdbench's own command
            [*self.launcher.program, *job.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self.launcher.environment(),
        )
        self.running.append(Running(job, process, output, time.monotonic()))
        self.say(f"started: {job.name}")

    def _ended(self, run: Running) -> bool:
        """Take a run off the list, tell how it ended and what is left; whether it ended well."""
        self.running.remove(run)
        with run.output:
            problem = "" if run.process.returncode == 0 else run.last_line()
        if not problem:
            self.ended_s += run.seconds
            self.ended_weight += run.job.weight
            problem = _problem_of(run.job)
        how = "failed" if problem else "done"
        reason = f": {problem}" if problem else ""
        self.say(f"{how} after {_text(run.seconds)}: {run.job.name}{reason}; {self._left()}")
        return not problem

    def _left(self) -> str:
        """What is left to do, and for how long, as soon as one run has told how long they take."""
        left = len(self.waiting) + len(self.running)
        if not left:
            return "none left"
        if not self.ended_weight:
            return f"{left} left"
        pace = self.ended_s / self.ended_weight
        seconds = [pace * job.weight for job in self.waiting]
        seconds += [max(0.0, pace * run.job.weight - run.seconds) for run in self.running]
        # No end is nearer than that of the longest run, however many are done at once.
        return f"{left} left, about {_text(max(sum(seconds) / self.launcher.options.jobs, *seconds, 0.0))}"

    def _end_all(self) -> None:
        """End what is still under way: Ctrl-C, or a bug here. The runs go on from their checkpoints next time."""
        for run in self.running:
            run.process.terminate()
        deadline = time.monotonic() + GRACE_S
        for run in self.running:
            try:
                run.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                run.process.kill()
                run.process.wait()
            run.output.close()
        self.running.clear()


def _problem_of(job: Job) -> str:
    """What goes wrong in what is to be done after the run, if anything."""
    try:
        job.ended()
    except KdbenchError as error:
        return str(error)
    except Exception as error:  # as in the runs: one must not cost the others their night
        return f"{type(error).__name__}: {error}"
    return ""


@contextmanager
def _kill_is_interrupt() -> Iterator[None]:
    """`kill PID` ends the runs as Ctrl-C does. Signals are the main thread's alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _on_cuda(job: Job) -> bool:
    """Whether a job will use a CUDA device: the one it names, or any there is."""
    words = job.command
    named = words[words.index("--device") + 1] if "--device" in words else ""
    return named.startswith("cuda") or (not named and torch.cuda.is_available())


def _mps_runs() -> bool:
    return "CUDA_MPS_PIPE_DIRECTORY" in os.environ or MPS_FOLDER.exists()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _text(seconds: float) -> str:
    """A time in words, two units at most: "42 s", "7 min", "3 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


@hookimpl
def kdbench_launchers() -> list[type[Launcher]]:
    return [Parallel]
