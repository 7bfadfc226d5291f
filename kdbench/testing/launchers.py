"""The checks of a launcher: a handful of jobs, of which some fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kdbench.api import Job, KdbenchError, Launcher
from kdbench.testing.findings import CheckError, Checks

GOOD = ("--version",)  # the shortest command that ends well
BAD = ("--no-such-option",)


@dataclass
class Bench:
    """Jobs, and what came of them."""

    ended: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def job(self, title: str, *, fails: bool = False, ends_badly: bool = False) -> Job:
        """A job of a moment, which another process can do as well as this one."""

        def here() -> None:
            if fails:
                raise KdbenchError("fails on purpose")

        return Job(BAD if fails else GOOD, here, self._end(title, ends_badly), title)

    def _end(self, title: str, badly: bool) -> Callable[[], None]:
        def end() -> None:
            self.ended.append(title)
            if badly:
                raise KdbenchError("ends badly on purpose")

        return end


class LauncherChecks(Checks):
    """Whether a launcher keeps to what `kdbench.api.Launcher` says."""

    def prepare(self) -> None:
        """Make it once."""
        self._make()

    def _make(self) -> Launcher:
        made: Launcher = self.plugin.make(self.given.options)
        return made

    def check_no_jobs_are_no_failures(self) -> None:
        """A sweep with nothing to do is done."""
        failures = self._make().launch([], lambda text: None)
        if failures != 0:
            raise CheckError(f"launch() returned {failures!r} for no jobs; return the number of failures, 0")

    def check_all_jobs_are_run_and_failures_counted(self) -> None:
        """One that fails stops none of the others, and so does one whose end fails."""
        bench = Bench()
        jobs = [bench.job("first"), bench.job("failing", fails=True)]
        jobs += [bench.job("ending badly", ends_badly=True), bench.job("last")]
        failures = self._make().launch(iter(jobs), bench.said.append)
        wanted = ["ending badly", "first", "last"]
        if sorted(bench.ended) != wanted:
            ran = ", ".join(sorted(bench.ended)) or "none"
            raise CheckError(
                f"called `ended` for {ran} instead of {', '.join(wanted)}; do every job, whatever became of the one "
                "before, and call `ended` once for each that ended well"
            )
        if failures != 2:
            raise CheckError(f"returned {failures!r} where one job and one `ended` failed; return how many failed, 2")
        told = " ".join(bench.said)
        for title in ("failing", "ending badly"):
            if title not in told:
                raise CheckError(f"says nothing of '{title}', which failed; tell job.name and the reason with say()")
