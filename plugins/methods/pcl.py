"""Pretext-contrastive learning: the self-supervised terms alone teach the backbone.

Tao, Wang and Yamasaki, "Pretext-Contrastive Learning: Toward Good Practices in Self-supervised Video Representation
Leaning", arXiv:2010.15464: the pretext and the contrastive term of the board, with the board's weights. The board's
action term is left out; in its place the student's action head is trained on features that pass no gradient back, so
that the score is that of a linear probe. Default weight of the probe 1: it is a cross-entropy, as the board's is.

Deviations: the probe is trained along with the backbone and by the same optimiser, not afterwards on a finished one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, NetworkSpec, Outputs, PluginError, Progress, Task, hookimpl

if TYPE_CHECKING:
    from kdbench.models import Network


class PretextContrastive(Method):
    """No action label reaches the backbone: pretext and contrast teach it, a linear probe reads it."""

    name = "pcl"
    source = "Tao, Wang and Yamasaki, 2020, arXiv:2010.15464"
    base_weights: ClassVar[Mapping[str, float]] = {"action": 0.0}
    needs_tuple = True
    options: Options
    student: tuple[Network]

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` of the probe's cross-entropy; it moves the action head alone."""

        weight: float = 1.0

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        if not (task.objective.get("pretext") or task.objective.get("contrast")):
            raise PluginError(
                f"method {self.name}: this board has neither a pretext nor a contrastive term, so that nothing would "
                "teach the backbone; choose another board or method"
            )

    def begin(self, student: Network, teacher: Network | None) -> None:
        self.student = (student,)

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        (network,) = self.student
        logits_BK = network.action(student.pooled_BD.detach())
        return {"probe": self.options.weight * F.cross_entropy(logits_BK, batch.labels_B)}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [PretextContrastive]
