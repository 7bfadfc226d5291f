"""What every run of a board optimises, with or without a teacher: its weighted terms (paper, Eq. 5 and 7)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from kdbench.api import Batch, Outputs, Progress
from kdbench.board import Objective as Pins
from kdbench.objective.action import action_loss
from kdbench.objective.contrast import MemoryBanks
from kdbench.objective.pretext import pretext_loss

__all__ = ["Objective"]


class Objective(nn.Module):
    """The board's terms: action, pretext and contrast cross-entropies, each with its weight.

    "joint" has all three; "ssl" trains the action head on detached features, as a probe that teaches the
    backbone nothing; "supervised" has the action term alone. `reweighted` holds a method's declared changes.
    """

    def __init__(self, pins: Pins, num_videos: int, seed: int, reweighted: Mapping[str, float]) -> None:
        super().__init__()
        weights = {"action": pins.action, "pretext": pins.pretext, "contrast": pins.contrast}
        if pins.kind == "supervised":
            weights = {"action": pins.action}
        self.weights = {name: reweighted.get(name, weight) for name, weight in weights.items()}
        self.detach_action = pins.kind == "ssl"
        self.needs_tuple = pins.kind != "supervised"
        self.banks = MemoryBanks(pins, num_videos, seed) if self.weights.get("contrast") else None

    def losses(self, batch: Batch, student: Outputs, progress: Progress) -> dict[str, Tensor]:
        """The weighted terms of one batch, by name, as fp32 scalars on the device."""
        terms = {}
        if self.weights.get("action"):
            terms["action"] = self.weights["action"] * action_loss(batch, student)
        if self.weights.get("pretext"):
            terms["pretext"] = self.weights["pretext"] * pretext_loss(batch, student)
        if self.banks is not None:
            terms["contrast"] = self.weights["contrast"] * self.banks.loss(batch, student, progress)
        return terms

    def after_step(self, batch: Batch, student: Outputs) -> None:
        """Store the batch's embeddings in the memory banks."""
        if self.banks is not None:
            self.banks.update(batch, student)
