"""Fine-tuning the finished student on the board's second data set (pin 26)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kdbench import streams
from kdbench.api import Method
from kdbench.board import Board, transfer_board
from kdbench.course import Course, CourseResult, EpochWatcher, follow
from kdbench.data.loader import TestLoader, TrainingLoader, VideoList
from kdbench.data.material import Access, Material, open_material
from kdbench.data.placement import Placed, place_frames
from kdbench.models import Network
from kdbench.objective import Objective
from kdbench.records import TransferResult
from kdbench.rundir import RunDir
from kdbench.train import Training, device_and_precision, make_optimiser


@dataclass(frozen=True)
class Transfer:
    """Where a student is taken to: the board of the second data set and its material."""

    board: Board
    mode: str
    material: Material
    placement: str = "mmap"  # of the frames (see kdbench.data.placement)

    @classmethod
    def of(cls, board: Board, access: Access, placement: str = "mmap") -> Transfer | None:
        """The transfer a board asks for, with its data opened; None for a board that has none."""
        if board.transfer is None:
            return None
        second = transfer_board(board)
        return cls(second, board.transfer.mode, open_material(second, 1.0, access), placement)

    def frames(self, videos: VideoList, device: torch.device) -> Placed:
        """The frames of some of its videos, where the run wants them."""
        return place_frames(self.placement, self.material.store, videos.ids, device)


def fine_tune(
    transfer: Transfer, student: Network, seed: int, device: str | None, rundir: RunDir, watcher: EpochWatcher
) -> tuple[TransferResult, CourseResult]:
    """Train a new action head, and (mode "full") the backbone with it; the last epoch counts.

    The student's backbone is changed in place: its weights must have been saved before.
    """
    board, material = transfer.board, transfer.material
    where, precision = device_and_precision(board, device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams.stream_seed(seed, "transfer initialisation"))
        student.action = torch.nn.Linear(student.spec.features, len(material.classes)).to(where)
    if transfer.mode == "linear-probe":
        student.probe()
    trained = [student.action] if student.probed else [student.backbone, student.action]
    training = Training(
        network=student,
        objective=Objective(board.objective, len(material.train), seed, {}).to(where),
        method=Method(),
        teacher=None,
        loader=TrainingLoader(board, transfer.frames(material.train, where), material.train, where, seed, tuples=False),
        optimiser=make_optimiser(board.optim, *trained),
        optim=board.optim,
        precision=precision,
        seed=seed,
    )
    course = Course(
        name="transfer",
        training=training,
        test=TestLoader(board, transfer.frames(material.test, where), material.test, where),
        export=lambda: student,
        views=board.evaluation.views,
        marks=(board.optim.epochs,),
    )
    result = follow(course, rundir, watcher)
    return _result_of(transfer, result), result


def _result_of(transfer: Transfer, result: CourseResult) -> TransferResult:
    material, epochs = transfer.material, transfer.board.optim.epochs
    final = result.marks[epochs]
    return TransferResult(
        dataset=material.dataset,
        split=material.split,
        mode=transfer.mode,
        epochs=epochs,
        top1=final.top1,
        top5=final.top5,
        training_list_sha256=material.training_list_sha256,
        test_list_sha256=material.test_list_sha256,
        classes=material.classes,
        curve=tuple(row.test_top1 for row in result.rows),
        predictions=final.predictions,
        seconds=result.elapsed_s,
    )
