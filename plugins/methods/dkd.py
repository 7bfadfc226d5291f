"""Decoupled knowledge distillation: the target class and the other classes, each with a weight of its own.

Zhao, Cui, Song, Qiu and Liang, "Decoupled Knowledge Distillation", CVPR 2022, arXiv:2203.08679, Eq. 7:
alpha * TCKD + beta * NCKD. TCKD is the divergence between the probabilities of (target, not target); NCKD that
between the probabilities among the other classes. Defaults: alpha = 1, beta = 8, tau = 4 and a warm-up over 20
epochs, those of the authors' code for CIFAR-100 (which uses beta 2, 6 or 8 by pair, and 0.5 on ImageNet).

As there, both parts carry tau^2, and the weight of epoch e, counted from 1, is min(e / 20, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl


def decoupled(logits_BK: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities of (target, not target) (B, 2), and of the other classes among themselves (B, K - 1)."""
    own_B1 = labels_B[:, None]
    counter_K = torch.arange(logits_BK.shape[1] - 1, device=logits_BK.device)
    others_BK = counter_K + (counter_K >= own_B1)
    log_p_BK = F.log_softmax(logits_BK, dim=1)
    log_others_BK = log_p_BK.gather(1, others_BK)
    binary_B2 = torch.cat([log_p_BK.gather(1, own_B1), log_others_BK.logsumexp(1, keepdim=True)], dim=1)
    return binary_B2, F.log_softmax(log_others_BK, dim=1)


class DecoupledDistillation(Method):
    """Distil target and other classes apart: warm-up * tau^2 * (alpha * TCKD + beta * NCKD)."""

    name = "dkd"
    source = "Zhao et al., CVPR 2022, arXiv:2203.08679, Eq. 7"
    teachers = 1
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`alpha` weighs the target class, `beta` the others; both rise over `warmup_epochs`; `temperature` is tau."""

        alpha: float = 1.0
        beta: float = 8.0
        temperature: float = 4.0
        warmup_epochs: int = 20

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        options, tau = self.options, self.options.temperature
        mine = decoupled(student.logits_BK / tau, batch.labels_B)
        theirs = decoupled(teacher.logits_BK / tau, batch.labels_B)
        tckd, nckd = (
            F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")
            for log_q, log_p in zip(mine, theirs, strict=True)
        )
        scale = tau**2 * min((progress.epoch + 1) / max(options.warmup_epochs, 1), 1.0)
        return {"target": options.alpha * scale * tckd, "others": options.beta * scale * nckd}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [DecoupledDistillation]
