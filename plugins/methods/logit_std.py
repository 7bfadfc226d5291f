"""Logit standardisation: distillation of logits that were brought to mean 0 and spread 1 for each video.

Sun, Ren, Li, Wang and Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv:2403.01427,
Algorithm 1. With Z(z) = (z - mean) / (std + 1e-7) over the classes, the term is
weight * tau^2 * KL(softmax(Z(z_t) / tau) || softmax(Z(z_s) / tau)). Defaults: tau = 2 and weight 9, those of the
authors' commands for distillation on CIFAR-100.

Deviations: the standard deviation divides by K - 1, as the authors' code does, where Algorithm 1 divides by K;
their weight of 0.1 for the cross-entropy is not taken over, the board's own terms keep their weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl

EPSILON = 1e-7


def standardised(logits_BK: Tensor) -> Tensor:
    """Logits (B, K) with mean 0 and standard deviation 1 over the classes."""
    centred_BK = logits_BK - logits_BK.mean(dim=1, keepdim=True)
    return centred_BK / (logits_BK.std(dim=1, keepdim=True) + EPSILON)


class LogitStandardisation(Method):
    """Distillation of standardised logits: weight * tau^2 * KL(teacher || student)."""

    name = "logit-std"
    source = "Sun et al., CVPR 2024, arXiv:2403.01427, Algorithm 1"
    teachers = 1
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`temperature` tau softens both networks' standardised logits; `weight` multiplies the term."""

        temperature: float = 2.0
        weight: float = 9.0

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        tau = self.options.temperature
        divergence = F.kl_div(
            F.log_softmax(standardised(student.logits_BK) / tau, dim=1),
            F.log_softmax(standardised(teacher.logits_BK) / tau, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        return {"soft": self.options.weight * tau**2 * divergence}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [LogitStandardisation]
