"""A network from a file: `--teacher checkpoint:runs/.../weights.pt`."""

from __future__ import annotations

from pathlib import Path

from kdbench.api import Teacher, TeacherContext, TeacherNetwork, hookimpl


class Checkpoint(Teacher):
    """A network from a weights.pt that a run left, or (BACKBONE@PATH) from a plain state dictionary."""

    name = "checkpoint"
    source = "the user's own file, loaded as data only"

    def load(self, argument: str, context: TeacherContext) -> TeacherNetwork:
        backbone, found, path = argument.partition("@")
        return context.from_file(Path(path if found else argument), backbone if found else None)


@hookimpl
def kdbench_teachers() -> list[type[Teacher]]:
    return [Checkpoint]
