"""The contrastive term and its memory banks."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import torch
import torch.nn.functional as F

from kdbench.api import Batch, Outputs, Progress
from kdbench.objective.contrast import MemoryBanks
from tests.tiny import tiny_board

PINS = msgspec.structs.replace(tiny_board().objective, negatives=6, projection=4)
PROGRESS = Progress(epoch=0, step=0, epochs=1, steps_per_epoch=1, seed=0)


def batch(index: list[int]) -> Batch:
    nothing = torch.zeros(len(index), 3, 3, 1, 1, 1)
    return Batch(clips_BVCTHW=nothing, labels_B=torch.tensor(index), index_B=torch.tensor(index))


def outputs(count: int) -> Outputs:
    embedding = F.normalize(torch.randn(count, 3, 4, generator=torch.Generator().manual_seed(1)), dim=2)
    nothing = torch.zeros(count, 1)
    return Outputs(logits_BK=nothing, pooled_BD=nothing, pooled_BVD=nothing, embedding_BVE=embedding)


def test_a_video_is_never_its_own_negative() -> None:
    banks = MemoryBanks(PINS, 5, 0)
    for step in range(50):
        rows = banks._rows(batch([0, 4, 2]), Progress(0, step, 1, 50, 0))
        assert rows[:, 0].tolist() == [0, 4, 2]
        assert (rows[:, 1:] != rows[:, :1]).all()
        assert rows.min() >= 0
        assert rows.max() <= 4


def test_every_other_video_is_a_negative_equally_often() -> None:
    banks = MemoryBanks(msgspec.structs.replace(PINS, negatives=10_000), 10_001, 0)
    rows = banks._rows(batch([17]), PROGRESS)[0, 1:]
    assert len(torch.unique(rows)) > 6000  # 10,000 draws with replacement from 10,000: about 63 % distinct
    counts = np.histogram(rows.numpy(), bins=10, range=(0, 10_001))[0]
    assert abs(counts - 1000).max() < 150


def test_the_loss_is_infonce_both_ways_as_computed_by_loops() -> None:
    banks, out, seen = MemoryBanks(PINS, 9, 0), outputs(3), batch([2, 0, 7])
    rows = banks._rows(seen, PROGRESS).tolist()
    assert out.embedding_BVE is not None
    total = 0.0
    for query, bank in ((2, banks.first), (0, banks.last)):
        for video, row in enumerate(rows):
            scores = [
                sum(float(a) * float(b) for a, b in zip(out.embedding_BVE[video, query], bank[entry], strict=True))
                / PINS.temperature
                for entry in row
            ]
            total += (math.log(sum(math.exp(score) for score in scores)) - scores[0]) / len(rows)
    assert math.isclose(float(banks.loss(seen, out, PROGRESS)), total, rel_tol=1e-5)


def test_an_update_moves_entries_half_way_and_keeps_them_at_unit_length() -> None:
    banks, out = MemoryBanks(PINS, 9, 0), outputs(2)
    before = banks.first.clone()
    banks.update(batch([3, 5]), out)
    assert out.embedding_BVE is not None
    wanted = F.normalize(before[3] * 0.5 + out.embedding_BVE[0, 0] * 0.5, dim=0)
    assert torch.allclose(banks.first[3], wanted, atol=1e-6)
    assert torch.allclose(banks.first.norm(dim=1), torch.ones(9))
    untouched = [row for row in range(9) if row not in (3, 5)]
    assert torch.equal(banks.first[untouched], before[untouched])


def test_the_last_clips_feed_the_other_bank() -> None:
    banks, out = MemoryBanks(PINS, 9, 0), outputs(1)
    before = banks.last.clone()
    banks.update(batch([0]), out)
    assert out.embedding_BVE is not None
    assert torch.allclose(banks.last[0], F.normalize(before[0] + out.embedding_BVE[0, 2], dim=0), atol=1e-6)


def test_a_single_video_has_no_negatives_and_no_loss() -> None:
    assert float(MemoryBanks(PINS, 1, 0).loss(batch([0]), outputs(1), PROGRESS)) == 0.0


def test_there_are_never_more_negatives_than_other_videos() -> None:
    assert MemoryBanks(PINS, 4, 0).num_negatives == 3


def test_banks_are_part_of_the_state_that_a_checkpoint_keeps() -> None:
    assert set(MemoryBanks(PINS, 4, 0).state_dict()) == {"first", "last"}
