"""Several of the board's own runs as one teacher: `--teacher ensemble:r3d+c3d`."""

from __future__ import annotations

from kdbench.api import PluginError, Teacher, TeacherContext, TeacherNetwork, hookimpl


class Ensemble(Teacher):
    """The mean of the logits of the board's own baseline runs of two or more backbones, each trained if missing.

    Averaging logits is one of the two ways in which Hinton et al. let an ensemble teach: the geometric mean of
    the members' probabilities, up to their scale. Pooled features are the members' side by side, and the
    classifier over them gives the mean, so that every method which uses these works. There are no feature maps.
    """

    name = "ensemble"
    source = "Hinton, Vinyals and Dean, 2015, arXiv:1503.02531, Section 2"
    portable = True

    def backbones(self, argument: str) -> tuple[str, ...]:
        return tuple(argument.split("+"))

    def load(self, argument: str, context: TeacherContext) -> TeacherNetwork:
        names = argument.split("+")
        if len(names) < 2:
            raise PluginError(f"teacher {self.name}:{argument}: name two or more backbones, joined by '+'")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise PluginError(f"teacher {self.name}:{argument}: {twice} stands there twice, and its run is one network")
        for name in names:
            context.network(name)  # a name that is unknown is refused before the first member is trained
        return context.joined([context.trained(name, context.teacher_fraction()) for name in names])


@hookimpl
def kdbench_teachers() -> list[type[Teacher]]:
    return [Ensemble]
