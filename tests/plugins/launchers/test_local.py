"""One run after another."""

from __future__ import annotations

from kdbench.api import Job, KdbenchError
from tests.tiny import registry


def test_a_failing_job_is_told_and_does_not_stop_the_others() -> None:
    done: list[str] = []
    said: list[str] = []

    def fail() -> None:
        raise KdbenchError("no disk")

    def crash() -> None:
        raise ZeroDivisionError("division by zero")

    jobs = [Job(("run", "a"), fail), Job(("run", "b"), crash), Job(("run", "c"), lambda: done.append("c"))]
    assert registry().get("launchers", "local").make({}).launch(jobs, said.append) == 2
    assert done == ["c"]
    assert said == ["failed: kdbench run a: no disk", "failed: kdbench run b: ZeroDivisionError: division by zero"]
