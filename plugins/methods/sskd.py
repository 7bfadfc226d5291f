"""SSKD: the student learns what the teacher makes of rotated clips, and which clips the teacher holds for one video.

Xu, Liu, Li and Loy, "Knowledge Distillation Meets Self-Supervision", ECCV 2020, arXiv:2006.07114, section 3. Each
video is shown as it is and rotated by 90, 180 and 270 degrees. A head of two layers on the pooled features gives
embeddings e; the similarities of rotated clip i with the batch's videos as they are, cos(e_i, e_j) / T, softened,
say which video it is. First, in a phase, the teacher's head alone is trained for that, by cross-entropy. Then:
hard * CE + soft * tau^2 * KL + rotated * tau^2 * KL on the rotated clips + similar * T^2 * KL of the similarities,
each KL(teacher || student). A rotated clip the teacher is wrong about is left out of the last two terms if the
teacher is very wrong, by the rank it gives to the truth: of the wrong ones, the best `keep_rotated` and
`keep_similar` are kept. Defaults: weights 0.1, 0.9, 2.7 and 10, tau = 4, T = 0.5, shares 1 and 0.75, 60 epochs of
the phase; the paper's text has other weights than the authors' code, which these are from.

Deviations: the clip as it is passes with the board's tuple and the rotated ones in a forward pass of their own, so
that batch statistics of the two differ; in the paper they are one batch. The rate is constant in the phase, and the
frames are rotated after the board's augmentation. `hard` replaces the weight of the board's action term; the board's
pretext and contrastive terms stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Phase, Progress, Task, hookimpl

PHASE = "teacher's head"


def head(features: int) -> nn.Module:
    """Two layers on pooled features (B, D)."""
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, features))


def kept(scores_NM: Tensor, truth_N: Tensor, share: float) -> Tensor:
    """1 for the rows (N,) to learn from: all whose best column is the truth, and the best `share` of the others."""
    rank_N = (scores_NM > scores_NM.gather(1, truth_N[:, None])).sum(1)
    place_N = rank_N.argsort(stable=True).argsort()
    right = (rank_N == 0).sum()
    return (place_N < right + ((len(rank_N) - right).double() * share).floor()).float()


def divergence(taught_NM: Tensor, learning_NM: Tensor, rows_N: Tensor) -> Tensor:
    """KL(taught || learning) of the probabilities of logits, mean over the rows that count."""
    log_taught_NM = F.log_softmax(taught_NM, dim=1)
    each_N = (log_taught_NM.exp() * (log_taught_NM - F.log_softmax(learning_NM, dim=1))).sum(1)
    return (each_N * rows_N).sum() / rows_N.sum().clamp(min=1)


class SelfSupervisedDistillation(Method):
    """Match the teacher on rotated clips: their classes, and which video of the batch each of them is."""

    name = "sskd"
    source = "Xu, Liu, Li and Loy, ECCV 2020, arXiv:2006.07114, section 3"
    teachers = 1
    base_weights: ClassVar[Mapping[str, float]] = {"action": 0.1}
    smallest_batch = 2
    options: Options
    mine: nn.Module
    theirs: nn.Module

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`soft`, `rotated` and `similar` weigh the terms; `temperature` is tau, `similar_temperature` T.

        `keep_rotated` and `keep_similar` are the shares of wrong clips to keep, `head_epochs` those of the phase.
        """

        soft: float = 0.9
        rotated: float = 2.7
        similar: float = 10.0
        temperature: float = 4.0
        similar_temperature: float = 0.5
        keep_rotated: float = 1.0
        keep_similar: float = 0.75
        head_epochs: int = 60

        def __post_init__(self) -> None:
            for name in ("keep_rotated", "keep_similar"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        self.mine, self.theirs = head(student.features), head(teacher.features)
        self.theirs.requires_grad_(False)  # but in the phase

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(PHASE, self.options.head_epochs, trains="method"),) if self.options.head_epochs else ()

    def views(self, batch: Batch) -> Tensor | None:
        """Clip 0 rotated by 90, 180 and 270 degrees (B, 3, C, T, H, W)."""
        clips_BCTHW = batch.clips_BVCTHW[:, 0]
        return torch.stack([clips_BCTHW.rot90(turns, (3, 4)) for turns in (1, 2, 3)], dim=1)

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        self.theirs.requires_grad_(progress.phase == PHASE)
        taught_NB, own_N = self._similarities(self.theirs, teacher)
        if progress.phase == PHASE:
            return {"head": F.cross_entropy(taught_NB, own_N)}
        options, everything = self.options, torch.ones_like(batch.labels_B, dtype=torch.float)
        learning_NB, _ = self._similarities(self.mine, student)
        rotated_NK, taught_NK = self._rotated_logits(student), self._rotated_logits(teacher)
        labels_N = batch.labels_B[:, None].expand(-1, 3).reshape(-1)
        tau, size = options.temperature, options.temperature**2
        soft = divergence(teacher.logits_BK / tau, student.logits_BK / tau, everything)
        rotated = divergence(taught_NK / tau, rotated_NK / tau, kept(taught_NK, labels_N, options.keep_rotated))
        similar = divergence(taught_NB, learning_NB, kept(taught_NB, own_N, options.keep_similar))
        return {
            "soft": options.soft * size * soft,
            "rotated": options.rotated * size * rotated,
            "similar": options.similar * options.similar_temperature**2 * similar,
        }

    def _rotated_logits(self, network: Outputs) -> Tensor:
        assert network.views is not None
        return network.views.logits_BXK.flatten(0, 1)

    def _similarities(self, head: nn.Module, network: Outputs) -> tuple[Tensor, Tensor]:
        """cos / T of each rotated clip with each video as it is (N, B), and the video it was made of (N,)."""
        assert network.views is not None
        videos, clips = network.views.pooled_BXD.shape[:2]
        rotated_NE = F.normalize(head(network.views.pooled_BXD.flatten(0, 1)), dim=1)
        plain_BE = F.normalize(head(network.pooled_BD), dim=1)
        own_N = torch.arange(videos, device=plain_BE.device)[:, None].expand(-1, clips).reshape(-1)
        return rotated_NE @ plain_BE.T / self.options.similar_temperature, own_N


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [SelfSupervisedDistillation]
