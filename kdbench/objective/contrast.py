"""The contrastive term: InfoNCE between two clips of a video, against memory banks (paper, Eq. 2-4)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench import streams
from kdbench.api import Batch, Outputs, Progress
from kdbench.board import Objective as Pins
from kdbench.data.devices import send


class MemoryBanks(nn.Module):
    """Two banks of n unit embeddings (n, E), one for the first and one for the last clip of each video.

    Each clip is compared with the other clip's bank: its own video's entry is the positive, K entries of other
    videos drawn with replacement are the negatives, K = min(negatives, n - 1). Unlike in the code the paper
    built on, a video is never its own negative: with 196 videos it would be five times a batch (pin 17).
    """

    first: Tensor
    last: Tensor

    def __init__(self, pins: Pins, num_videos: int, seed: int) -> None:
        super().__init__()
        self.pins, self.seed, self.num_videos = pins, seed, num_videos
        self.num_negatives = min(pins.negatives, num_videos - 1)
        generator = torch.Generator().manual_seed(streams.stream_seed(seed, "memory banks"))
        for name in ("first", "last"):
            entries = torch.rand(num_videos, pins.projection, generator=generator) * 2 - 1
            self.register_buffer(name, F.normalize(entries, dim=1))

    def loss(self, batch: Batch, student: Outputs, progress: Progress) -> Tensor:
        """The sum of both directions (Eq. 2); its weight (0.5) is the board's."""
        assert student.embedding_BVE is not None
        first_BE, last_BE = student.embedding_BVE[:, 0], student.embedding_BVE[:, -1]
        if not self.num_negatives:
            return 0.0 * first_BE.sum()
        rows = self._rows(batch, progress)
        return self._cross_entropy(last_BE, self.first[rows]) + self._cross_entropy(first_BE, self.last[rows])

    def _rows(self, batch: Batch, progress: Progress) -> Tensor:
        """Bank rows (B, 1 + K): each video's own, then its negatives, never its own."""
        size = (len(batch.index_B), self.num_negatives)
        drawn = streams.integers(
            self.num_videos - 1, self.seed, "negatives", progress.global_step, np.arange(size[0] * size[1])
        )
        others = send(drawn, batch.index_B.device).view(size)
        own = batch.index_B[:, None]
        return torch.cat([own, others + (others >= own)], dim=1)

    def _cross_entropy(self, queries_BE: Tensor, entries_BKE: Tensor) -> Tensor:
        similarity_BK = torch.einsum("be,bke->bk", queries_BE, entries_BKE) / self.pins.temperature
        return F.cross_entropy(similarity_BK, similarity_BK.new_zeros(len(queries_BE), dtype=torch.long))

    @torch.no_grad()
    def update(self, batch: Batch, student: Outputs) -> None:
        """Move the batch's entries towards its embeddings and bring them back to unit length."""
        assert student.embedding_BVE is not None
        momentum = self.pins.bank_momentum
        for bank, clip in ((self.first, 0), (self.last, -1)):
            fresh = bank[batch.index_B] * momentum + student.embedding_BVE[:, clip] * (1 - momentum)
            bank.index_copy_(0, batch.index_B, F.normalize(fresh, dim=1))
