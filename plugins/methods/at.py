"""Attention transfer: the student looks where, and when, the teacher looks.

Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, arXiv:1612.03928, Eq. 2 with p = 2. The
attention map of a stage is Q = mean over channels of F^2; the term is
weight * sum over stages of mean (Q_s / |Q_s| - Q_t / |Q_t|)^2. Default weight 1000.

Deviations: the mean of squares, as in the authors' code, where Eq. 2 has the norm; Q is normalised over all of
T, H and W, so that it also says when to look (`per_frame` normalises each frame by itself). Maps that differ
in T, H or W are average-pooled to the smaller of both in each of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Method, Outputs, Progress, hookimpl

STAGES = ("stage1", "stage2", "stage3", "stage4")


class AttentionTransfer(Method):
    """Match where the maps of all stages are strong: weight * mean squared distance of normalised attention maps."""

    name = "at"
    source = "Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928, Eq. 2"
    teachers = 1
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`weight` multiplies the sum over `taps`; `per_frame` normalises over (H, W) instead of (T, H, W)."""

        weight: float = 1000.0
        per_frame: bool = False
        taps: tuple[str, ...] = STAGES

        def __post_init__(self) -> None:
            if not self.taps:
                raise ValueError("taps is empty; name at least one")

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.student_taps = self.teacher_taps = self.options.taps

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        distances = [self._distance(student.taps[stage], teacher.taps[stage]) for stage in self.options.taps]
        return {"attention": self.options.weight * torch.stack(distances).sum()}

    def _distance(self, student_BCTHW: Tensor, teacher_BCTHW: Tensor) -> Tensor:
        frames, height, width = map(min, student_BCTHW.shape[2:], teacher_BCTHW.shape[2:])
        student_map, teacher_map = (
            self._attention(F.adaptive_avg_pool3d(maps, (frames, height, width)))
            for maps in (student_BCTHW, teacher_BCTHW)
        )
        return F.mse_loss(student_map, teacher_map)

    def _attention(self, maps_BCTHW: Tensor) -> Tensor:
        """Unit vectors (B, T*H*W), or (B, T, H*W) of each frame by itself."""
        energy_BTHW = maps_BCTHW.square().mean(1)
        return F.normalize(energy_BTHW.flatten(2 if self.options.per_frame else 1), dim=-1)


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [AttentionTransfer]
