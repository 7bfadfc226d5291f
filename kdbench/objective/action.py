"""The action term: cross-entropy of clip 0 against the video's class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Outputs


def action_loss(batch: Batch, student: Outputs) -> Tensor:
    """Cross-entropy of the action logits (B, K), mean over the batch."""
    return F.cross_entropy(student.logits_BK, batch.labels_B)
