"""Deep mutual learning: the student and a peer are trained together and teach each other.

Zhang, Xiang, Hospedales and Lu, "Deep Mutual Learning", CVPR 2018, arXiv:1706.00384, section 2: each of two networks
of different first weights has its own cross-entropy and the divergence from the other's probabilities,
CE_1 + KL(p_2 || p_1) and CE_2 + KL(p_1 || p_2). Defaults: weight 1, no temperature.

Deviations: both networks step at once, each with the probabilities the other had before the step; in the paper one
after the other. The peer sees clip 0 alone and has no pretext or contrastive term. The student is evaluated, the peer
dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl

if TYPE_CHECKING:
    from kdbench.models import Network


def divergence(taught_BK: Tensor, learning_BK: Tensor) -> Tensor:
    """KL(taught || learning) of the probabilities of logits, mean over the batch; no gradient to `taught`."""
    return F.kl_div(
        F.log_softmax(learning_BK, dim=1),
        F.log_softmax(taught_BK.detach(), dim=1),
        log_target=True,
        reduction="batchmean",
    )


class MutualLearning(Method):
    """Train a peer of the student's kind alongside; each matches the other's probabilities."""

    name = "dml"
    source = "Zhang, Xiang, Hospedales and Lu, CVPR 2018, arXiv:1706.00384, section 2"
    options: Options
    peer: Network

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` multiplies both divergences."""

        weight: float = 1.0

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        self.peer = task.twin()
        for unused in (self.peer.pretext, self.peer.projection):
            unused.requires_grad_(False)
        self.arithmetic = task.arithmetic

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        with self.arithmetic():
            peer_BK = self.peer(batch.clips_BVCTHW[:, 0])
        return {
            "mutual": self.options.weight * divergence(peer_BK, student.logits_BK),
            "peer_action": F.cross_entropy(peer_BK, batch.labels_B),
            "peer_mutual": self.options.weight * divergence(student.logits_BK, peer_BK),
        }


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [MutualLearning]
