"""Relational knowledge distillation: distances and angles between the videos of a batch.

Park, Kim, Lu and Cho, "Relational Knowledge Distillation", CVPR 2019, arXiv:1904.05068, sections 3.2.1 and 3.2.2,
on the pooled features. Distances of pairs are divided by their mean over the batch; the angle at video j is the
cosine between the directions from j to i and from j to k; both are compared by the Huber loss. Defaults: weights
25 (distance) and 50 (angle), those of mdistiller.

Deviations: means over all B^2 pairs and B^3 triples, those with equal members (which are 0) included, as in the
authors' code. The angles take O(B^3) memory; the batch must be at least 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl

EPSILON = 1e-12


def distances_and_angles(features_BD: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (B, B) over their mean, and cosines (B, B, B): [j, i, k] is that of the angle at j."""
    difference_BBD = features_BD[None] - features_BD[:, None]
    square_BB = difference_BBD.square().sum(2)
    # The root has no slope at 0: without the floor the diagonal would make gradients that are no numbers.
    distance_BB = square_BB.clamp(min=EPSILON).sqrt() * (square_BB > 0)
    mean = distance_BB.sum() / (square_BB > 0).sum().clamp(min=1)
    direction_BBD = F.normalize(difference_BBD, dim=2)
    return distance_BB / mean.clamp(min=EPSILON), direction_BBD @ direction_BBD.transpose(1, 2)


class RelationalDistillation(Method):
    """Match distances and angles among the videos of a batch, by the Huber loss."""

    name = "rkd"
    source = "Park et al., CVPR 2019, arXiv:1904.05068, sections 3.2.1 and 3.2.2"
    teachers = 1
    smallest_batch = 3
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`distance` and `angle` weigh the two relations."""

        distance: float = 25.0
        angle: float = 50.0

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        my_distances, my_angles = distances_and_angles(student.pooled_BD)
        their_distances, their_angles = distances_and_angles(teacher.pooled_BD)
        return {
            "distance": self.options.distance * F.smooth_l1_loss(my_distances, their_distances),
            "angle": self.options.angle * F.smooth_l1_loss(my_angles, their_angles),
        }


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [RelationalDistillation]
