"""The only composer: board + student + teacher + method + fraction + seed -> Record."""

from __future__ import annotations

import copy
import hashlib
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from kdbench import provenance, streams
from kdbench.api import Task, TeacherCard, TeacherNetwork
from kdbench.course import Course, CourseResult, EpochWatcher, follow
from kdbench.data.loader import TestLoader, TrainingLoader, VideoList
from kdbench.data.material import Access, Material, open_material
from kdbench.data.placement import Placed, bytes_of, place_frames, require_room
from kdbench.evaluate import Evaluation
from kdbench.models import Network, build_network, num_parameters, place
from kdbench.objective import Objective
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
from kdbench.registry import Registry
from kdbench.request import Parts, RunRequest, Setting, check, lesson, run_config, run_id
from kdbench.rundir import RunDir
from kdbench.teaching import (
    Context,
    Taught,
    card_of,
    card_values,
    load_weights,
    obtain,
    plugin_reference,
    weights_content,
)
from kdbench.train import Training, autocast, device_and_precision, make_optimiser
from kdbench.transfer import Transfer, fine_tune

STAGES: tuple[StageName, ...] = ("early", "middle", "late")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where runs happen: plugins and videos, folders, device, and who is told. Decides no number of a record."""

    access: Access
    watcher: EpochWatcher
    runs: Path = Path("runs")
    device: str | None = None
    placement: str = "mmap"
    untrusted_teacher: bool = False

    @property
    def registry(self) -> Registry:
        """The plugins there are."""
        return self.access.registry


@dataclass(frozen=True)
class Inputs:
    """What a run works on: its data, the data it is taken to afterwards, and its teacher."""

    material: Material
    transfer: Transfer | None = None
    taught: Taught | None = None

    @property
    def frame_bytes(self) -> int:
        """What all frames of the run take when they are copied."""
        materials = [self.material, *([self.transfer.material] if self.transfer else [])]
        return sum(bytes_of(each.store, (*each.train.ids, *each.test.ids)) for each in materials)


def execute(request: RunRequest, bench: Bench, *, patient: bool = False) -> Record:
    """Do a run, or continue it, or return the record of a finished one.

    A run that another process is working on is refused; `patient` waits for that process instead. Raises a
    KdbenchError when it cannot be done; what was done so far is kept.
    """
    parts = check(request, bench.registry)
    material = open_material(request.board, request.fraction, bench.access, request.subset_seed)
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
            record = Session(request, bench, parts, Inputs(material, transfer, taught), rundir).complete()
        except Exception as error:
            rundir.fail(error)
            raise
        rundir.finish(record)
        return record


def _setting(request: RunRequest, bench: Bench, inputs: Inputs) -> Setting:
    material, transfer, taught = inputs.material, inputs.transfer, inputs.taught
    frames = [material.frames_sha256, transfer.material.frames_sha256 if transfer else ""]
    return Setting(
        teacher=taught.spec if taught else None,
        teacher_weights_sha256=taught.card.weights_sha256 if taught else None,
        frames_sha256=hashlib.sha256("".join(frames).encode()).hexdigest(),
        precision=device_and_precision(request.board, bench.device)[1],
        partial=bool(material.missing or (transfer and transfer.material.missing)),
    )


def _obtain_teacher(request: RunRequest, bench: Bench, material: Material, transfer: Transfer | None) -> Taught | None:
    if not request.teacher:
        return None
    tests = set(material.qualified(material.test_list))
    if transfer:
        tests |= set(transfer.material.qualified(transfer.material.test_list))

    def load_trained(backbone: str, fraction: float) -> TeacherNetwork:
        return _trained(request, bench, len(material.classes), (backbone, fraction))

    context = Context(request.board, bench.registry, len(material.classes), request.fraction, load_trained)
    return obtain(request.teacher, context, frozenset(tests), untrusted=bench.untrusted_teacher)


def _trained(request: RunRequest, bench: Bench, classes: int, which: tuple[str, float]) -> TeacherNetwork:
    """The board's baseline run of a backbone at a fraction, done first if it is missing."""
    backbone, fraction = which
    board, own = request.board, lesson(request, backbone, fraction)
    parts = check(own, bench.registry)
    bench.watcher.say(
        f"teacher {backbone}: needs the board's own {own.method_name} run first "
        f"({board.optim.epochs} epochs on {100 * fraction:g}% of the training videos); "
        "trained now unless it is finished, its cost stands in the student's record"
    )
    record = execute(own, bench, patient=True)
    rundir = RunDir(bench.runs / board.name / record.run_id)
    content = rundir.load(rundir.weights_path.name)
    assert content is not None, "a finished run has weights"
    network = build_network(board, parts.student, classes, board.teachers.seed, {})
    digest = load_weights(network, content["network"], str(rundir.weights_path))
    return TeacherNetwork(network, card_of(content["card"], digest))


def open_training(request: RunRequest, bench: Bench) -> Training:
    """The training of a run as `execute` would begin it, its teacher included. Raises as `execute` does."""
    parts = check(request, bench.registry)
    material = open_material(request.board, request.fraction, bench.access, request.subset_seed)
    inputs = Inputs(material, None, _obtain_teacher(request, bench, material, None))
    return Session(request, bench, parts, inputs, RunDir(bench.runs)).training


class Session:
    """One run in this process: builds, trains, fine-tunes and writes the record."""

    def __init__(self, request: RunRequest, bench: Bench, parts: Parts, inputs: Inputs, rundir: RunDir) -> None:
        self.request, self.bench, self.parts, self.rundir = request, bench, parts, rundir
        self.material, self.transfer, self.taught = inputs.material, inputs.transfer, inputs.taught
        self.device, self.precision = device_and_precision(request.board, bench.device)
        require_room(bench.placement, inputs.frame_bytes, self.device)
        _reset_peak_memory(self.device)
        self.network = self._build_network()
        self.training = self._build_training()
        self.compiled = request.compiled and self._compile()

    def _build_network(self) -> Network:
        board, classes = self.request.board, len(self.material.classes)
        return place(build_network(board, self.parts.student, classes, self.request.seed, {}), self.device)

    def _build_training(self) -> Training:
        board, method, seed = self.request.board, self.parts.method, self.request.seed
        objective = Objective(board.objective, len(self.material.train), seed, method.base_weights)
        tuples = objective.needs_tuple or method.needs_tuple
        loader = TrainingLoader(
            board, self._frames(self.material.train), self.material.train, self.device, seed, tuples=tuples
        )
        task = Task(
            num_classes=len(self.material.classes),
            num_videos=len(self.material.train),
            class_of_video=self.material.train.labels.tolist(),
            batch=loader.batch,
            epochs=board.optim.epochs,
            steps_per_epoch=loader.steps,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(streams.stream_seed(seed, "method"))
            method.build(self.network.spec, self.taught.network.spec if self.taught else None, task)
        method.to(self.device)
        return Training(
            network=self.network,
            objective=objective.to(self.device),
            method=method,
            teacher=place(self.taught.network, self.device) if self.taught else None,
            loader=loader,
            optimiser=make_optimiser(board.optim, self.network, method),
            optim=board.optim,
            precision=self.precision,
            seed=seed,
        )

    def _frames(self, videos: VideoList) -> Placed:
        return place_frames(self.bench.placement, self.material.store, videos.ids, self.device)

    def _compile(self) -> bool:
        """Compile student and teacher for the batches of a step; one line where that cannot be done."""
        training, frames, clip = self.training, self.request.board.frames, self.request.board.clip
        views, method = clip.per_tuple if training.loader.tuples else 1, training.method
        plans = [("student", training.network, views, method.student_taps)]
        if training.teacher:
            shown = views if method.teacher_views == "tuple" else 1
            plans.append(("teacher", training.teacher, shown, method.teacher_taps))
        for who, network, clips, taps in plans:
            shape = (3, clip.length, frames.crop, frames.crop)
            size = clips * training.loader.batch
            problem = "its taps are read" if taps else network.compile_for(size, shape, self.precision)
            if problem:
                self.bench.watcher.say(f"the {who} runs uncompiled: {problem}")
        return any(network.compiled for _, network, _, _ in plans)

    def complete(self) -> Record:
        """Train, keep the weights, fine-tune, and put everything into the record."""
        board, material = self.request.board, self.material
        course = Course(
            name="train",
            training=self.training,
            test=TestLoader(board, self._frames(material.test), material.test, self.device),
            export=lambda: self.parts.method.export(self.network),
            views=board.evaluation.views,
            marks=board.stage_epochs,
            pretext=bool(self.training.objective.weights.get("pretext")),
        )
        trained = follow(course, self.rundir, self.bench.watcher)
        record = self._record(trained)
        self.rundir.save("weights.pt", weights_content(self.network, self._card(record)))
        if not self.transfer:
            return record
        result, tuned = fine_tune(
            self.transfer, self.network, self.request.seed, self.bench.device, self.rundir, self.bench.watcher
        )
        return self._with_transfer(record, result, tuned)

    def _card(self, record: Record) -> dict[str, Any]:
        material, request = self.material, self.request
        card = TeacherCard(
            backbone=request.student,
            weights_sha256="",
            dataset=material.dataset,
            split=material.split,
            fraction=request.fraction,
            training_videos=self._seen(),
            training_list_sha256=material.training_list_sha256,
            top1=record.derived.top1,
            train_s=record.cost.train_s + record.cost.data_wait_s,
            epochs=request.board.optim.epochs,
            run_id=record.run_id,
            partial=record.status == "partial",
        )
        return card_values(card)

    def _seen(self) -> tuple[str, ...] | None:
        """What this student's weights go back to: its own videos and its teacher's; None if that is not known."""
        own = self.material.qualified(self.material.training_list)
        if self.taught is None:
            return own
        theirs = self.taught.card.training_videos
        return None if theirs is None else tuple(sorted({*own, *theirs}))

    # --- the record ---------------------------------------------------------------------------------------

    def _record(self, trained: CourseResult) -> Record:
        request, board, material = self.request, self.request.board, self.material
        stages = tuple(
            _stage(stage, epoch, trained.marks[epoch]) for stage, epoch in zip(STAGES, board.stage_epochs, strict=True)
        )
        final = trained.marks[board.stage_epochs[-1]]
        missing = material.missing + (self.transfer.material.missing if self.transfer else 0)
        return Record(
            schema_version=SCHEMA_VERSION,
            run_id=self.rundir.path.name,
            status="partial" if missing else "complete",
            board=BoardRef(name=board.name, version=board.board.version, digest=board.digest),
            pins=board.pins,
            cell=self._cell(),
            seed=request.seed,
            command=request.command(self.taught.spec if self.taught else None),
            student=self._student(),
            method=self._method(),
            teacher=self.taught.reference(request.fraction) if self.taught else None,
            classes=material.classes,
            epochs=tuple(trained.rows),
            stages=stages,
            predictions=final.predictions,
            pretext=final.pretext,
            transfer=None,
            derived=derive(trained.rows, stages, final.predictions, board.pins),
            cost=_cost(trained, _peak_memory_mib(self.device)),
            environment=provenance.environment(self.device, self.precision, self._nondeterministic())
            | {"compiled": self.compiled},
            code=provenance.code(),
            missing_videos=missing,
        )

    def _nondeterministic(self) -> list[str]:
        """What in a step of this student has no deterministic form on the device; on a CPU everything has one."""
        if self.device.type != "cuda":
            return []
        network = copy.deepcopy(self.network)
        board = self.request.board
        size = (2, board.clip.per_tuple, 3, board.clip.length, board.frames.crop, board.frames.crop)
        clips = torch.zeros(size, device=self.device)

        def step() -> None:
            with autocast(self.device, self.precision):
                outputs = network.outputs(clips)
            torch.autograd.backward(outputs.logits_BK.sum() + outputs.pooled_BVD.sum())

        return provenance.nondeterministic_operations(step)

    def _cell(self) -> Cell:
        material, board = self.material, self.request.board
        return Cell(
            dataset=material.dataset,
            split=material.split,
            fraction=self.request.fraction,
            subset_seed=self.request.subset_seed,
            training_list_sha256=material.training_list_sha256,
            num_training_videos=len(material.train),
            test_list_sha256=material.test_list_sha256,
            num_test_videos=len(material.test),
            frames_sha256=material.frames_sha256,
            num_classes=len(material.classes),
            metric=METRIC.format(views=board.evaluation.views),
        )

    def _student(self) -> StudentRef:
        named = plugin_reference(self.parts.student)
        params = num_parameters(self.network.backbone) + num_parameters(self.network.action)
        return StudentRef(**msgspec.structs.asdict(named), params=params, gmacs=self.network.spec.gmacs)

    def _method(self) -> MethodRef:
        method = self.parts.method
        named = plugin_reference(self.parts.method_plugin, self.parts.options)
        clips = self.training.loader.batch * (
            self.request.board.clip.per_tuple if method.teacher_views == "tuple" else 1
        )
        return MethodRef(
            **msgspec.structs.asdict(named),
            extra_params=num_parameters(method),
            base_weights=dict(method.base_weights),
            teacher_clips_per_step=clips if self.taught else 0,
        )

    def _with_transfer(self, record: Record, result: TransferResult, tuned: CourseResult) -> Record:
        spent = msgspec.structs.replace(
            record.cost,
            transfer_s=result.seconds,
            wall_s=record.cost.wall_s + result.seconds,
            peak_memory_mib=_peak_memory_mib(self.device),
            resumes=record.cost.resumes + tuned.resumes,
        )
        return msgspec.structs.replace(record, transfer=result, cost=spent)


def _stage(name: StageName, epoch: int, mark: Evaluation) -> Stage:
    told = mark.pretext.top1 if mark.pretext else None
    return Stage(stage=name, epoch=epoch, top1=mark.top1, top5=mark.top5, pretext_top1=told)


def _cost(trained: CourseResult, peak_memory_mib: float) -> Cost:
    seconds = [row.seconds for row in trained.rows]
    parts = {
        "train_s": sum(row.train for row in seconds),
        "data_wait_s": sum(row.data_wait for row in seconds),
        "evaluate_s": sum(row.evaluate for row in seconds),
        "checkpoint_s": trained.checkpoint_s,
    }
    return Cost(
        **parts,
        transfer_s=0.0,
        other_s=trained.elapsed_s - sum(parts.values()),
        wall_s=trained.elapsed_s,
        peak_memory_mib=peak_memory_mib,
        resumes=trained.resumes,
    )


def _reset_peak_memory(device: torch.device) -> None:
    """Begin to measure anew: a process may do several runs."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # only Linux can forget the peak; elsewhere it is that of the process
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_memory_mib(device: torch.device) -> float:
    """Peak memory since the reset: tensors on a CUDA device, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
