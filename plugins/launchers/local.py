"""One run after another, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kdbench.api import Job, KdbenchError, Launcher, hookimpl


class Local(Launcher):
    """One run after another, in this process: libraries are loaded once, and a failure is told and passed over."""

    name = "local"
    source = "kdbench"
    default = True

    def launch(self, jobs: Iterable[Job], say: Callable[[str], None]) -> int:
        failures = 0
        for job in jobs:
            try:
                job.here()
                job.ended()
            except KdbenchError as error:
                failures += 1
                say(f"failed: {job.name}: {error}")
            except Exception as error:  # a bug in one plugin must not cost the other cells their night
                failures += 1
                say(f"failed: {job.name}: {type(error).__name__}: {error}")
        return failures


@hookimpl
def kdbench_launchers() -> list[type[Launcher]]:
    return [Local]
