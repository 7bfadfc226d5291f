"""What a run of equal pins comes to, so that no change of it goes unnoticed.

A failure here means that records made before are no longer comparable with records made now. If the change is
wanted, raise `kdbench.board.REVISION` (and the boards' `protocol.revision`), write the new numbers down, and run
the boards again. The tolerance is for versions of torch and kinds of processors.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kdbench.board import REVISION
from kdbench.run import execute
from tests.tiny import bench, request, tiny_board

WRITTEN_FOR = 2
LOSSES = (
    {"action": 2.0803, "pretext": 1.6991, "contrast": 9.5507, "soft": 1.3084},
    {"action": 2.2605, "pretext": 1.5870, "contrast": 6.7977, "soft": 1.8009},
)


def test_taught_run_has_the_losses_of_this_revision(tmp_path: Path) -> None:
    board = tiny_board(optim={"epochs": 2}, transfer=None)
    record = execute(request(board, student="c3d", teacher="r3d"), bench(tmp_path))
    assert REVISION == WRITTEN_FOR
    for epoch, expected in zip(record.epochs, LOSSES, strict=True):
        assert epoch.losses == pytest.approx(expected, rel=0.01)
