"""The pretext term: which of five transforms was done to the middle clip of the tuple (paper, Eq. 1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Outputs


def pretext_loss(batch: Batch, student: Outputs) -> Tensor:
    """Cross-entropy of the pretext logits (B, 5), mean over the batch."""
    assert student.pretext_BK is not None
    assert batch.pretext_B is not None
    return F.cross_entropy(student.pretext_BK, batch.pretext_B)
