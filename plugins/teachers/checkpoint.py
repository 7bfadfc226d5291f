"""A network from a file: `--teacher checkpoint:runs/.../weights.pt`."""

from __future__ import annotations

from pathlib import Path

from kdbench.api import Teacher, TeacherContext, TeacherNetwork, hookimpl


class Checkpoint(Teacher):
    """A network from a weights.pt that a run left, or (BACKBONE@PATH) from a plain state dictionary."""

    name = "checkpoint"
    source = "the user's own file, loaded as data only"

    def load(self, argument: str, context: TeacherContext) -> TeacherNetwork:
        backbone, path = backbone_and_path(argument)
        return context.from_file(path, backbone)


def backbone_and_path(argument: str) -> tuple[str | None, Path]:
    """BACKBONE@PATH taken apart at its first "@". A path may have an "@" of its own, with or without a backbone."""
    backbone, found, path = argument.partition("@")
    alone = not found or Path(argument).is_file() or Path(backbone).name != backbone
    return (None, Path(argument)) if alone else (backbone, Path(path))


@hookimpl
def kdbench_teachers() -> list[type[Teacher]]:
    return [Checkpoint]
