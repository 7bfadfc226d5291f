"""My teacher: `--teacher my-teacher:BACKBONE` is the board's own run of a backbone.

Write here where the weights come from, who trained them, and on which videos.
"""

from __future__ import annotations

from kdbench.api import Teacher, TeacherContext, TeacherNetwork, hookimpl


class MyTeacher(Teacher):
    """The board's own run of a backbone, trained first if it is missing."""

    name = "my-teacher"
    source = "own work"

    def load(self, argument: str, context: TeacherContext) -> TeacherNetwork:
        # `argument` is what the user wrote behind "my-teacher:". The context offers three ways to a network:
        #   context.trained(backbone, fraction)   the board's own run of a backbone, or with another method
        #   context.from_file(path, backbone)     a weights.pt of a run, or a plain state dictionary
        #   context.network(backbone)             untrained, with the board's heads, for weights of your own
        # The card names the training videos, as "<data set>/<id>": a teacher that has seen a test video is refused.
        return context.trained(argument, context.teacher_fraction())


@hookimpl
def kdbench_teachers() -> list[type[Teacher]]:
    return [MyTeacher]
