"""Warm start: the student begins with the weights of a teacher of its own architecture.

Yosinski, Clune, Bengio and Lipson, "How transferable are features in deep neural networks?", NIPS 2014,
arXiv:1411.1792: layers of a trained network are copied into another one of the same architecture, which is then
trained whole ("fine-tuned"). Here all layers are copied, heads included, and the board's own terms train on from
there. There is no term and no weight: the teacher gives what it knows at once, and is not asked again.

Deviations: in the paper the first n layers are copied and the later ones drawn anew, from one task to another; here
both networks have the board's classes, and a head of the teacher that has learnt nothing (NaN) is not copied. The
memory of the board's contrastive term begins as in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kdbench.api import Method, Progress, hookimpl

if TYPE_CHECKING:
    from kdbench.models import Network


class WarmStart(Method):
    """Begin with the weights of a teacher of the same architecture, then train with the board's own terms."""

    name = "warm-start"
    source = "Yosinski, Clune, Bengio and Lipson, NIPS 2014, arXiv:1411.1792, section 2"
    teachers = 1
    same_architecture = True

    @torch.no_grad()
    def begin(self, student: Network, teacher: Network | None) -> None:
        assert teacher is not None
        own = student.state_dict()
        for name, value in teacher.state_dict().items():
            if value.isfinite().all():
                own[name].copy_(value)

    def wants_teacher(self, progress: Progress) -> bool:
        return False


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [WarmStart]
