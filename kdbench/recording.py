"""What a finished training leaves behind: its record, and the card that its weights carry."""

from __future__ import annotations

import copy
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import torch

from kdbench import provenance
from kdbench.api import TeacherCard
from kdbench.course import CourseResult
from kdbench.evaluate import Evaluation
from kdbench.models import num_parameters
from kdbench.phases import Prepared
from kdbench.records import (
    METRIC,
    SCHEMA_VERSION,
    BoardRef,
    Cell,
    Cost,
    MethodRef,
    Record,
    Stage,
    StageName,
    StudentRef,
    TransferResult,
    derive,
)
from kdbench.session import Session
from kdbench.teaching import card_values, plugin_reference
from kdbench.train import autocast

STAGES: tuple[StageName, ...] = ("early", "middle", "late")


def card_of_session(session: Session, record: Record, *, evaluated: bool) -> dict[str, Any]:
    """What the weights of a finished training declare of themselves when they teach.

    Their accuracy is not known where something else was evaluated.
    """
    material, request = session.material, session.request
    card = TeacherCard(
        backbone=request.student,
        weights_sha256="",
        dataset=material.dataset,
        split=material.split,
        fraction=request.fraction,
        training_videos=_seen(session),
        training_list_sha256=material.training_list_sha256,
        top1=record.derived.top1 if evaluated else None,
        train_s=record.cost.train_s + record.cost.data_wait_s + record.cost.phases_s,
        epochs=request.board.optim.epochs,
        run_id=record.run_id,
        partial=record.status == "partial",
    )
    return card_values(card)


def _seen(session: Session) -> tuple[str, ...] | None:
    """What this student's weights go back to: its own videos and its teacher's; None if that is not known."""
    own = session.material.qualified(session.material.training_list)
    if session.taught is None:
        return own
    theirs = session.taught.card.training_videos
    return None if theirs is None else tuple(sorted({*own, *theirs}))


def record_of(session: Session, prepared: Prepared, trained: CourseResult) -> Record:
    """The record of a finished training, as yet without a transfer."""
    request, board, material = session.request, session.request.board, session.material
    stages = tuple(
        _stage(stage, epoch, trained.marks[epoch]) for stage, epoch in zip(STAGES, board.stage_epochs, strict=True)
    )
    final = trained.marks[board.stage_epochs[-1]]
    missing = material.missing + (session.transfer.material.missing if session.transfer else 0)
    return Record(
        schema_version=SCHEMA_VERSION,
        run_id=session.rundir.path.name,
        status="partial" if missing else "complete",
        board=BoardRef(name=board.name, version=board.board.version, digest=board.digest),
        pins=board.pins,
        cell=_cell(session),
        seed=request.seed,
        command=request.command(session.taught.spec if session.taught else None),
        student=_student(session),
        method=_method(session, prepared),
        teacher=session.taught.reference(request.fraction) if session.taught else None,
        classes=material.classes,
        epochs=tuple(trained.rows),
        stages=stages,
        predictions=final.predictions,
        pretext=final.pretext,
        phases=tuple(prepared.rows),
        transfer=None,
        derived=derive(trained.rows, stages, final.predictions, board.pins),
        cost=_cost(prepared, trained, _peak_memory_mib(session.device)),
        environment=provenance.environment(session.device, session.precision, _nondeterministic(session))
        | {"compiled": session.compiled},
        code=provenance.code(),
        missing_videos=missing,
    )


def _nondeterministic(session: Session) -> list[str]:
    """What in a step of this student has no deterministic form on the device; on a CPU everything has one."""
    if session.device.type != "cuda":
        return []
    network = copy.deepcopy(session.network)
    network.compiled = None  # it would still call the original
    board = session.request.board
    size = (2, board.clip.per_tuple, 3, board.clip.length, board.frames.crop, board.frames.crop)
    clips = torch.zeros(size, device=session.device)

    def step() -> None:
        with autocast(session.device, session.precision):
            outputs = network.outputs(clips)
        torch.autograd.backward(outputs.logits_BK.sum() + outputs.pooled_BVD.sum())

    return provenance.nondeterministic_operations(step)


def _cell(session: Session) -> Cell:
    material, board = session.material, session.request.board
    return Cell(
        dataset=material.dataset,
        split=material.split,
        fraction=session.request.fraction,
        subset_seed=session.request.subset_seed,
        training_list_sha256=material.training_list_sha256,
        num_training_videos=len(material.train),
        test_list_sha256=material.test_list_sha256,
        num_test_videos=len(material.test),
        frames_sha256=material.frames_sha256,
        num_classes=len(material.classes),
        metric=METRIC.format(views=board.evaluation.views),
    )


def _student(session: Session) -> StudentRef:
    named = plugin_reference(session.parts.student)
    params = num_parameters(session.network.backbone) + num_parameters(session.network.action)
    return StudentRef(**msgspec.structs.asdict(named), params=params, gmacs=session.network.spec.gmacs)


def _method(session: Session, prepared: Prepared) -> MethodRef:
    method = session.parts.method
    named = plugin_reference(session.parts.method_plugin, session.parts.options)
    return MethodRef(
        **msgspec.structs.asdict(named),
        extra_params=num_parameters(method),
        phase_epochs=prepared.epochs,
        base_weights=dict(method.base_weights),
        teacher_clips_per_step=session.training.shown.most,
    )


def with_transfer(session: Session, record: Record, result: TransferResult, tuned: CourseResult) -> Record:
    """The record with what fine-tuning came to."""
    spent = msgspec.structs.replace(
        record.cost,
        transfer_s=result.seconds,
        wall_s=record.cost.wall_s + result.seconds,
        peak_memory_mib=_peak_memory_mib(session.device),
        resumes=record.cost.resumes + tuned.resumes,
    )
    return msgspec.structs.replace(record, transfer=result, cost=spent)


def _stage(name: StageName, epoch: int, mark: Evaluation) -> Stage:
    told = mark.pretext.top1 if mark.pretext else None
    return Stage(stage=name, epoch=epoch, top1=mark.top1, top5=mark.top5, pretext_top1=told)


def _cost(prepared: Prepared, trained: CourseResult, peak_memory_mib: float) -> Cost:
    seconds = [row.seconds for row in trained.rows]
    parts = {
        "train_s": sum(row.train for row in seconds),
        "data_wait_s": sum(row.data_wait for row in seconds),
        "evaluate_s": sum(row.evaluate for row in seconds),
        "checkpoint_s": trained.checkpoint_s,
    }
    return Cost(
        **parts,
        phases_s=prepared.seconds,
        transfer_s=0.0,
        other_s=trained.elapsed_s - sum(parts.values()),
        wall_s=trained.elapsed_s + prepared.seconds,
        peak_memory_mib=peak_memory_mib,
        resumes=prepared.resumes + trained.resumes,
    )


def _peak_memory_mib(device: torch.device) -> float:
    """Peak memory since the reset: tensors on a CUDA device, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
