"""From the plan of a sweep to the jobs of a launcher: which launcher, which commands, in which stages."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from kdbench.api import Job, Launcher
from kdbench.board import Board
from kdbench.checks import read_record
from kdbench.cli.arguments import key_values, videos_by_dataset
from kdbench.cli.progress import TerminalWatcher
from kdbench.data.material import Access, open_material
from kdbench.errors import DataError, KdbenchError, PluginError, RecordError
from kdbench.leaderboard.submit import submit_run
from kdbench.options import option_types
from kdbench.predict import Forecast
from kdbench.records import Record, differing_pins
from kdbench.registry import Registry, fault_of
from kdbench.request import RunRequest, check, readable_name
from kdbench.run import Bench, execute
from kdbench.sweep import Plan, PlannedRun, answers_to
from kdbench.transfer import Transfer

PASSED_ON = ("runs", "device", "placement")  # options of a sweep that its runs have too, beside --videos and --plugin


@dataclass(frozen=True)
class Sweep:
    """What the runs of a sweep have in common: the board and its name as given, plugins, the other options."""

    board: Board
    named: str
    registry: Registry
    given: Mapping[str, Any]

    def launch(self, plan: Plan) -> tuple[int, int]:
        """Do what is waiting, the teachers' runs first. Returns how many runs that were, and how many failed."""
        launcher, waiting = self.launcher(), list(plan.waiting())
        with TerminalWatcher() as watcher:
            bench = self._bench(watcher)
            weights = self._weights(bench.access)
            if waiting:
                _prepare_frames(self.board, bench.access)
            total = len(waiting)
            jobs = [self._job(run.request, f"[{at}/{total}]", bench, weights) for at, run in enumerate(waiting, 1)]
            failures = sum(launcher.launch(part, watcher.say) for part in stages(plan, waiting, jobs))
        return total, failures

    def launcher(self) -> Launcher:
        """The launcher of that name; with -j alone the one that takes `jobs`; else the one that says `default`.

        Raises PluginError where that is none, or more than one, and for an option that it does not take.
        """
        options, jobs = _options(self.given["launcher_options"]), self.given["jobs"]
        options |= {} if jobs is None else {"jobs": jobs}
        name = self.given["launcher"] or _only(self.registry, "" if jobs is None else "jobs")
        launcher: Launcher = self.registry.get("launchers", name).make(options)
        return launcher

    def command(self, request: RunRequest) -> tuple[str, ...]:
        """The arguments after `kdbench` with which another process, in the same folder, does a run of this sweep."""
        words = shlex.split(request.command())[1:]
        if "--board" in words:  # there by its name, which is not enough for a board given by its path
            at = words.index("--board")
            del words[at : at + 2]
        words += ["--board", self.named]
        words += [word for name in PASSED_ON if self.given.get(name) for word in (f"--{name}", str(self.given[name]))]
        words += [word for place in self.given["videos"] for word in ("--videos", place)]
        words += [word for file in self.given["plugins"] for word in ("--plugin", str(file))]
        return tuple(words)

    def _bench(self, watcher: TerminalWatcher) -> Bench:
        folders = videos_by_dataset(self.given["videos"], self.board)
        access = Access(registry=self.registry, watcher=watcher, videos=folders)
        return Bench(access=access, watcher=watcher, **{name: self.given[name] for name in PASSED_ON})

    def _job(self, request: RunRequest, number: str, bench: Bench, weigh: Callable[[RunRequest], float]) -> Job:
        title, done = f"{number} {request.command()}", []

        def here() -> None:
            bench.watcher.say(title)
            done.append(bench.runs / self.board.name / _executed(request, bench).run_id)

        def ended() -> None:
            if self.given["submitting"]:
                submit_run(done[0] if done else finished_run(request, self.registry, bench.runs))

        return Job(self.command(request), here, ended, title, weigh(request))

    def _weights(self, access: Access) -> Callable[[RunRequest], float]:
        """The length of a run: clips that are learnt from, phases included, thrice the work, and clips of the test."""
        forecast, epochs = Forecast(self.board, access, self.given["device"]), self.board.optim.epochs

        def weigh(request: RunRequest) -> float:
            try:
                size = forecast.size(request.fraction)
            except DataError:  # every run will say so
                return 1.0
            phases = sum(phase.epochs for phase in check(request, self.registry).method.phases())
            return 3.0 * size.train * self.board.clip.per_tuple * (1 + phases / epochs) + size.test

        return weigh


def _executed(request: RunRequest, bench: Bench) -> Record:
    """As `execute`, with the line that the command line would end with for an error in somebody else's plugin."""
    try:
        return execute(request, bench)
    except Exception as error:
        if not isinstance(error, KdbenchError) and (fault := fault_of(error)):
            raise PluginError(fault) from error
        raise


def _prepare_frames(board: Board, access: Access) -> None:
    """Prepare the frames once, here: runs that start at the same moment would all ask for them."""
    try:
        open_material(board, 1.0, access)
        Transfer.of(board, access)
    except DataError as error:  # a run on a subset may need less; what cannot be done says so for itself
        access.watcher.say(f"not all frames could be prepared: {error}")


def stages(plan: Plan, waiting: Sequence[PlannedRun], jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """The jobs in parts, each of which needs only what stands in those before it: the teachers' runs, the rest."""
    teachers = {run.request.command() for run in plan.teachers}
    first = [job for run, job in zip(waiting, jobs, strict=True) if run.request.command() in teachers]
    second = [job for run, job in zip(waiting, jobs, strict=True) if run.request.command() not in teachers]
    yield from (part for part in (first, second) if part)


def finished_run(request: RunRequest, registry: Registry, runs: Path) -> Path:
    """The folder of a run that has just ended, by the name and the record in it. Raises RecordError without one."""
    facts = {"method": request.method_name, "fraction": request.fraction}
    facts |= {"seed": request.seed, "subset_seed": request.subset_seed}
    name, parts = readable_name(request.student, request.teacher, facts), check(request, registry)
    found = sorted((runs / request.board.name).glob(f"{name}-*/record.json"), key=lambda path: path.stat().st_mtime)
    for path in reversed(found):
        record = read_record(path)
        if answers_to(record, request, parts) and not differing_pins(record, request.board.pins):
            return path.parent
    raise RecordError(
        f"{runs / request.board.name}: no record of {name} to submit; `kdbench submit FOLDER` submits one"
    )


def _only(registry: Registry, option: str) -> str:
    """The name of the one launcher that takes an option; where none is asked for, of the one that says `default`."""
    known = {name: registry.get("launchers", name).cls for name in registry.names("launchers")}
    fits = (lambda cls: option in option_types(cls.Options)) if option else (lambda cls: cls.default)
    found = [name for name, cls in known.items() if fits(cls)]
    if len(found) == 1:
        return found[0]
    what = f"takes the option '{option}'" if option else "says that it is the default"
    who = f"more than one launcher ({', '.join(found)})" if found else f"no launcher ({', '.join(known) or 'none'})"
    raise PluginError(f"{who} {what}; name one with --launcher")


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    try:
        return dict(key_values(pairs))
    except click.BadParameter as error:
        error.param_hint = "--launcher-option"
        raise
