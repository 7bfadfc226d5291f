"""The board's own baseline run of a backbone: `--teacher r3d` (pin 7)."""

from __future__ import annotations

from kdbench.api import Teacher, TeacherContext, TeacherNetwork, hookimpl


class Trained(Teacher):
    """The board's own baseline run of a backbone, last epoch, trained first if it is missing."""

    name = "trained"
    source = "Camarena et al., J. Imaging 2024, 10(4), 85, Section 3.5.3"
    portable = True

    def load(self, argument: str, context: TeacherContext) -> TeacherNetwork:
        return context.trained(argument, context.teacher_fraction())


@hookimpl
def kdbench_teachers() -> list[type[Teacher]]:
    return [Trained]
