"""The only composer: board + student + teacher + method + fraction + seed -> Record."""

from __future__ import annotations

import hashlib

from kdbench.api import TeacherNetwork
from kdbench.data.material import Material, open_material
from kdbench.models import build_network
from kdbench.recording import card_of_session, record_of, with_transfer
from kdbench.records import Record
from kdbench.request import (
    Lesson,
    Parts,
    RunRequest,
    Setting,
    check,
    check_networks,
    lesson,
    require_batch,
    run_config,
    run_id,
)
from kdbench.rundir import RunDir
from kdbench.session import Bench, Inputs, Session
from kdbench.teaching import Context, Taught, card_of, load_weights, obtain, weights_content
from kdbench.train import Training, device_and_precision
from kdbench.transfer import Transfer

__all__ = ["Bench", "Inputs", "Session", "execute", "open_training"]


def execute(request: RunRequest, bench: Bench, *, patient: bool = False) -> Record:
    """Do a run, or continue it, or return the record of a finished one.

    A run that another process is working on is refused; `patient` waits for that process instead. Raises a
    KdbenchError when it cannot be done; what was done so far is kept.
    """
    parts, material = _begin(request, bench)
    transfer = Transfer.of(request.board, bench.access, bench.placement)
    taught = _obtain_teacher(request, bench, material, transfer)
    config = run_config(request, parts, _setting(request, bench, Inputs(material, transfer, taught)))
    rundir = RunDir(bench.runs / request.board.name / run_id(config))
    finished = rundir.finished()
    if finished:
        bench.watcher.say(f"{rundir.path}: is finished")
        return finished
    with rundir.held(bench.watcher.say if patient else None):
        finished = rundir.finished()  # by the process that held it until now
        if finished:
            return finished
        rundir.write_config(config)
        try:
            record = _complete(Session(request, bench, parts, Inputs(material, transfer, taught), rundir))
        except Exception as error:
            rundir.fail(error)
            raise
        rundir.finish(record)
        return record


def _begin(request: RunRequest, bench: Bench) -> tuple[Parts, Material]:
    """The plugins and the videos of a run. Its method is refused here where it cannot fit: its teacher costs time."""
    parts = check(request, bench.registry)
    check_networks(request, parts, bench.registry)
    material = open_material(request.board, request.fraction, bench.access, request.subset_seed)
    require_batch(parts.method, min(request.board.optim.batch, len(material.train)))
    return parts, material


def _complete(session: Session) -> Record:
    """Train, keep the weights, fine-tune, and put everything into the record."""
    prepared, trained = session.train()
    record = record_of(session, prepared, trained)
    network, evaluated = session.finished()
    card = card_of_session(session, record, evaluated=evaluated)
    session.rundir.save("weights.pt", weights_content(network, card, classifies=evaluated))
    if not session.transfer:
        return record
    result, tuned = session.fine_tune(session.transfer)
    return with_transfer(session, record, result, tuned)


def _setting(request: RunRequest, bench: Bench, inputs: Inputs) -> Setting:
    material, transfer, taught = inputs.material, inputs.transfer, inputs.taught
    frames = [material.frames_sha256, transfer.material.frames_sha256 if transfer else ""]
    return Setting(
        teacher=taught.spec if taught else None,
        teacher_weights_sha256=taught.card.weights_sha256 if taught else None,
        frames_sha256=hashlib.sha256("".join(frames).encode()).hexdigest(),
        precision=device_and_precision(request.board, bench.device)[1],
        teacher_card_sha256=taught.card_sha256 if taught else None,
        partial=bool(material.missing or (transfer and transfer.material.missing)),
    )


def _obtain_teacher(request: RunRequest, bench: Bench, material: Material, transfer: Transfer | None) -> Taught | None:
    if not request.teacher:
        return None
    tests = set(material.qualified(material.test_list))
    if transfer:
        tests |= set(transfer.material.qualified(transfer.material.test_list))

    def load_trained(which: Lesson) -> TeacherNetwork:
        return _trained(request, bench, len(material.classes), which)

    context = Context(request.board, bench.registry, len(material.classes), request.fraction, load_trained)
    return obtain(request.teacher, context, frozenset(tests), untrusted=bench.untrusted_teacher)


def _trained(request: RunRequest, bench: Bench, classes: int, which: Lesson) -> TeacherNetwork:
    """What a run of a backbone at a fraction has left; it is done first if it is missing."""
    modality = bench.registry.get("methods", request.method_name).cls.teacher_modality
    own = lesson(request, which, modality)
    board = own.board
    parts = check(own, bench.registry)
    bench.watcher.say(
        f"teacher {which.backbone}: needs the board's own {own.method_name} run first "
        f"({board.optim.epochs} epochs on {100 * which.fraction:g}% of the training videos); "
        "trained now unless it is finished, its cost stands in the student's record"
    )
    record = execute(own, bench, patient=True)
    rundir = RunDir(bench.runs / board.name / record.run_id)
    content = rundir.load(rundir.weights_path.name, ("network", "card"))
    assert content is not None, "a finished run has weights"
    network = build_network(board, parts.student, classes, board.teachers.seed, {})
    digest = load_weights(network, content["network"], str(rundir.weights_path))
    return TeacherNetwork(network, card_of(content["card"], digest))


def open_training(request: RunRequest, bench: Bench) -> Training:
    """The training of a run as `execute` would begin it, its teacher included. Raises as `execute` does."""
    parts, material = _begin(request, bench)
    inputs = Inputs(material, None, _obtain_teacher(request, bench, material, None))
    return Session(request, bench, parts, inputs, RunDir(bench.runs)).training
