"""Contrastive representation distillation: tell the same video's teacher embedding from those of other classes.

Tian, Krishnan and Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv:1910.10699, sections 3.1 and
3.2. Pooled features of both networks are mapped to 128 dimensions by a linear layer each and brought to unit
length. Noise-contrastive estimation in both directions: each student embedding against a bank of the teacher's,
and each teacher embedding against a bank of the student's, with the video's own entry as the positive and K
entries of other classes as negatives:
-mean [log h(own) + sum over negatives of log (1 - h)], h = p / (p + K / n), p = exp(similarity / tau) / Z.
Defaults: weight 0.8, K = 16384, tau = 0.07, banks kept with momentum 0.5.

As in the authors' code, p has a constant Z (their equation for h leaves it out), estimated on the first
batch as n times the mean of exp(similarity / tau) and then fixed.

Deviations: K is at most the number of videos outside of the largest class, and negatives are drawn without
replacement; banks are updated after the optimiser's step, with the embeddings of the stepped linear layers.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl

STUDENT, TEACHER = 0, 1
LARGEST = 1 << 53  # keys are below it; as many as a draw can tell apart


class ContrastiveDistillation(Method):
    """Contrast student and teacher embeddings of a video with those of other classes' videos, from memory banks."""

    name = "crd"
    source = "Tian, Krishnan and Isola, ICLR 2020, arXiv:1910.10699, sections 3.1 and 3.2"
    teachers = 1
    options: Options
    heads: nn.ModuleList
    banks_2nE: Tensor
    constants_2: Tensor
    class_of_video_n: Tensor
    num_negatives: int

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` of both directions, `negatives` K, `temperature` tau, `momentum` of banks of (n, `dimensions`)."""

        weight: float = 0.8
        dimensions: int = 128
        negatives: int = 16384
        temperature: float = 0.07
        momentum: float = 0.5

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        size = self.options.dimensions
        self.heads = nn.ModuleList([nn.Linear(spec.features, size) for spec in (student, teacher)])
        self.register_buffer("banks_2nE", F.normalize(torch.rand(2, task.num_videos, size) * 2 - 1, dim=2))
        self.register_buffer("constants_2", torch.zeros(2))  # 0 until the first batch
        self.register_buffer("class_of_video_n", torch.tensor(task.class_of_video), persistent=False)
        largest = max(Counter(task.class_of_video).values())
        self.num_negatives = min(self.options.negatives, task.num_videos - largest)

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        student_BE, teacher_BE = self._embeddings(student, teacher)
        if not self.num_negatives:
            return {"contrastive": 0.0 * student_BE.sum()}
        rows_BK = self._rows(batch, progress)
        both = self._estimation(student_BE, TEACHER, rows_BK) + self._estimation(teacher_BE, STUDENT, rows_BK)
        return {"contrastive": self.options.weight * both}

    def after_step(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> None:
        momentum = self.options.momentum
        for bank_nE, fresh_BE in zip(self.banks_2nE, self._embeddings(student, teacher), strict=True):
            mixed_BE = bank_nE[batch.index_B] * momentum + fresh_BE * (1 - momentum)
            bank_nE.index_copy_(0, batch.index_B, F.normalize(mixed_BE, dim=1))

    def _embeddings(self, student: Outputs, teacher: Outputs | None) -> tuple[Tensor, Tensor]:
        assert teacher is not None
        mine, theirs = self.heads
        return F.normalize(mine(student.pooled_BD), dim=1), F.normalize(theirs(teacher.pooled_BD), dim=1)

    def _rows(self, batch: Batch, progress: Progress) -> Tensor:
        """Bank rows (B, 1 + K): each video's own, then distinct ones of other classes."""
        size = (len(batch.index_B), len(self.class_of_video_n))
        drawn_Bn = torch.from_numpy(progress.draw(LARGEST, "negatives", math.prod(size))).view(size)
        device = batch.index_B.device
        keys_Bn = drawn_Bn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn_Bn
        # The K smallest keys are a draw without replacement; no key of the own class (the largest) is among them.
        same_Bn = self.class_of_video_n == self.class_of_video_n[batch.index_B][:, None]
        negatives_BK = keys_Bn.masked_fill(same_Bn, LARGEST).topk(self.num_negatives, largest=False).indices
        return torch.cat([batch.index_B[:, None], negatives_BK], dim=1)

    def _estimation(self, anchors_BE: Tensor, side: int, rows_BK: Tensor) -> Tensor:
        """Noise-contrastive estimation of the anchors against one bank; column 0 of the rows is the positive."""
        videos = self.banks_2nE.shape[1]
        similarity_BK = (anchors_BE @ self.banks_2nE[side].T).gather(1, rows_BK) / self.options.temperature
        with torch.no_grad():
            constant = self.constants_2[side]
            constant.copy_(torch.where(constant > 0, constant, similarity_BK.exp().mean() * videos))
        # log (p / noise): its sigmoid is h.
        odds_BK = similarity_BK - constant.log() - math.log(self.num_negatives / videos)
        return -(F.logsigmoid(odds_BK[:, 0]) + F.logsigmoid(-odds_BK[:, 1:]).sum(1)).mean()


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [ContrastiveDistillation]
