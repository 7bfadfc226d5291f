"""The running average of the weights of a run: `--teacher ema:r3d`.

Tarvainen and Valpola, "Mean teachers are better role models", NIPS 2017, arXiv:1703.01780: an exponential moving
average of a network's weights over the training steps is a better teacher than the last weights. The run is the
board's own baseline run of the backbone with an average kept beside it, on the videos a teacher may see: the method
`ema-kd` with weight 0, so that the average learns from the network and the network nothing from the average.
Momentum 0.99, the one the paper begins with: a board's run may have a few hundred steps, and a larger one would still
hold the weights of its beginning.

Deviations: in the paper the average teaches the network it is an average of, and does so while both learn; that is
the method `ema-kd`. Here it is a finished network that teaches another student.
"""

from __future__ import annotations

from kdbench.api import Teacher, TeacherContext, TeacherNetwork, hookimpl

METHOD = "ema-kd"
OPTIONS = {"weight": 0.0, "momentum": 0.99, "evaluate": "average"}


class Average(Teacher):
    """The exponential moving average of a backbone's weights over its own run, trained first if it is missing."""

    name = "ema"
    source = "Tarvainen and Valpola, NIPS 2017, arXiv:1703.01780"
    portable = True

    def backbones(self, argument: str) -> tuple[str, ...]:
        return (argument,)

    def load(self, argument: str, context: TeacherContext) -> TeacherNetwork:
        return context.trained(argument, context.teacher_fraction(), METHOD, OPTIONS)


@hookimpl
def kdbench_teachers() -> list[type[Teacher]]:
    return [Average]
