"""What this machine can do for a board, and what is wrong with it: one finding for each thing that was looked at.

Functions named `judge_...` turn facts into findings and look at nothing themselves; `examine` gathers the facts.
Speeds are measured in turn within one call, so their ratios hold whatever else the machine does.
"""

from __future__ import annotations

import copy
import importlib
import os
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import av
import torch
from torch import Tensor, nn

from kdbench import provenance
from kdbench.bench import median_s
from kdbench.board import Board
from kdbench.data.decode import Geometry, cores
from kdbench.data.loader import TrainingLoader, VideoList
from kdbench.data.material import Access, open_dataset
from kdbench.data.placement import bytes_of, require_room
from kdbench.data.sampling import epoch_order
from kdbench.data.store import FRAMES, FrameStore
from kdbench.errors import DataError, KdbenchError, RunFailed
from kdbench.models import Network, build_network, num_parameters, place
from kdbench.predict import CALIBRATION_CLASSES, Forecast, Speed
from kdbench.train import autocast

Verdict = Literal["ok", "slow", "wrong", "not checked"]

CUDNN = 91500
BF16_ERROR = 0.02
"""Largest error of a bf16 convolution that rounding explains, over the largest value: five steps of bf16 (2^-8)."""
BUSY = 1.5  # processes on a core, from which on times say little
MARGIN = 2.0  # frames must come twice as fast as a step needs them, for they come unevenly
ROUNDS, ROUNDS_S = 5, 2.0  # of fp32 and bf16 in turn; a slow machine is not asked for all of them
READ_S, READ_BATCHES = 1.5, 64
CPU_MACS = 1e9  # multiply-accumulates of one timed convolution on a CPU: some hundredths of a second
GIB = 2**30
NO_UNITS = "neither AMX nor avx512_bf16"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, the verdict, what was found, and what to do about it where something is."""

    name: str
    verdict: Verdict
    told: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What is examined: a board's student on a device (None: the one a run would take), and folders."""

    board: Board
    student: str
    access: Access
    device: str | None = None
    runs: Path = Path("runs")


def examine(machine: Machine) -> Iterator[Finding]:
    """All findings, each as soon as it is known. Raises RunFailed for a device that is not there, PluginError."""
    board, forecast = machine.board, Forecast(machine.board, machine.access, machine.device)
    device = forecast.device
    yield judge_versions(_versions(), _oldest(), _torchvision_problem())
    name = provenance.environment(device, "")["device"]["name"]
    unused = machine.device is None and Path("/dev/nvidia0").exists() and device.type != "cuda"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    yield judge_device(device, name, _memory_bytes(device), unused_gpu=unused, load=load)
    yield judge_cudnn(_cudnn(device), forecast.precision)
    plugin = machine.access.registry.get("backbones", machine.student)
    network = build_network(board, plugin, CALIBRATION_CLASSES, 0, {})
    yield from _arithmetic(network, board, device, forecast.precision)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step = attempt("training step", lambda: judge_step(machine.student, forecast.speed(machine.student), _peak(device)))
    yield step
    yield judge_disk(shutil.disk_usage(_existing(machine.runs)).free, _run_bytes(network), machine.runs)
    wanted = board.clip.per_tuple / forecast.speed(machine.student).video_s if step.verdict == "ok" else None
    yield from _frames(machine, device, wanted)


def _arithmetic(network: Network, board: Board, device: torch.device, precision: str) -> Iterator[Finding]:
    layers, used = layers_of(network, board), precision == "bf16"
    place(network, device)

    def of_each(measure: Callable[[Layer], float]) -> dict[str, float]:
        return {layer.where: measure(layer) for layer in layers}

    def values() -> Finding:
        return judge_errors(of_each(lambda layer: layer.error(board, device)), used)

    def speed() -> Finding:
        return judge_speed(of_each(lambda layer: layer.ratio(board, device)), _units(device), used)

    yield attempt("bf16 values", values)
    yield attempt("bf16 speed", speed)
    yield attempt("determinism", lambda: judge_determinism(*_repeats(network, board, device, precision)))


def _frames(machine: Machine, device: torch.device, wanted: float | None) -> Iterator[Finding]:
    """The store and how fast it is read; `wanted` windows in a second are what the step needs, if that is known."""
    board = machine.board
    try:
        store, videos = _open_store(machine)
    except DataError as error:
        advice = f"kdbench data prepare {board.data.dataset} --board {board.name}"
        yield Finding("frame store", "not checked", f"because it is not prepared yet: {error}", advice)
        yield Finding("reading", "not checked", "because there are no frames to read yet", advice)
        return
    split = open_dataset(board, machine.access).split(board.data.split)
    yield judge_store(store, bytes_of(store, (*split.train, *split.test)), device)
    if wanted is None:
        yield Finding("reading", "not checked", "because the training step could not be measured")
        return
    yield attempt("reading", lambda: judge_reading(read_rate(board, store, videos, device), wanted))


def attempt(name: str, work: Callable[[], Finding]) -> Finding:
    """A finding, or what kept it from being made: torch refuses an operation here, or the memory is too small."""
    try:
        return work()
    except KdbenchError as error:
        return Finding(name, "not checked", f"because of this: {error}")
    except RuntimeError as error:  # torch's, of which an exhausted memory is one
        reason = str(error).strip().partition("\n")[0]
        return Finding(name, "wrong", f"fails: {reason}", "free the device, or install a torch built for it")


# --- versions and device -----------------------------------------------------------------------------------


def judge_versions(found: Mapping[str, str], oldest: Mapping[str, str], torchvision_problem: str) -> Finding:
    """Versions of what results depend on, against the oldest ones that kdbench works with."""
    told = ", ".join(f"{name} {number}" for name, number in found.items())
    if torchvision_problem:
        advice = "install both again, in one command: pip install --upgrade torch torchvision"
        return Finding("versions", "wrong", f"torchvision does not load: {torchvision_problem}; {told}", advice)
    old = [name for name, number in oldest.items() if name in found and _numbers(found[name]) < _numbers(number)]
    if old:
        wanted = " ".join(f"'{name}>={oldest[name]}'" for name in old)
        return Finding("versions", "wrong", f"too old: {', '.join(old)}; {told}", f"pip install --upgrade {wanted}")
    return Finding("versions", "ok", told)


def judge_device(
    device: torch.device, name: str, memory: tuple[int, int], *, unused_gpu: bool = False, load: float = 0.0
) -> Finding:
    """The device and its memory (free, total in bytes; free is the total where that is not known).

    `load` is the number of processes that the processors have worked on in the last minute.
    """
    free, total = memory
    room = f"{total / GIB:.1f} GiB of memory"
    told = f"{device}: {name}, " + (room if device.type == "cuda" else f"{cores()} cores, {room}")
    if unused_gpu:
        advice = "install a torch built for CUDA, or a newer driver (`nvidia-smi` shows the one there is)"
        return Finding("device", "slow", f"{told}; the NVIDIA device of this machine is not used by torch", advice)
    if device.type == "cpu" and load > BUSY * cores():
        told = f"{told}; {load:.1f} processes share it: runs, and the times below, take longer than alone"
        return Finding("device", "slow", told, "wait until the others have ended, and ask again")
    if device.type == "cuda" and free < total / 2:
        advice = "see `nvidia-smi`; wait for the others, or choose another device with --device"
        return Finding("device", "slow", f"{told}, of which only {free / GIB:.1f} GiB are free", advice)
    return Finding("device", "ok", told)


def judge_cudnn(number: int | None, precision: str) -> Finding:
    """cuDNN's version, as torch numbers it (9.15.0 is 91500); None where it is not used."""
    if number is None:
        return Finding("cuDNN", "not checked", "because it is used on CUDA devices only")
    told = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    if number >= CUDNN:
        return Finding("cuDNN", "ok", told)
    reason = "before 9.15 its 3D convolutions are slow or wrong in bf16 (pytorch issues 166122, 163539, 167024)"
    verdict: Verdict = "wrong" if precision == "bf16" else "slow"
    advice = f"pip install --upgrade torch, or 'nvidia-cudnn-cu{(torch.version.cuda or '12').partition('.')[0]}>=9.15'"
    return Finding("cuDNN", verdict, f"{told}: {reason}", advice)


def _versions() -> dict[str, str]:
    found = provenance.environment(torch.device("cpu"), "")
    return {"python": found["python"], **found["packages"], "FFmpeg": av.ffmpeg_version_info}


def _oldest() -> dict[str, str]:
    """The oldest version of each package that kdbench says it works with; nothing where it is not installed."""
    try:
        lines = requires("kdbench") or []
    except PackageNotFoundError:
        return {}
    found = (re.fullmatch(r"([\w-]+)>=([\d.]+)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def _torchvision_problem() -> str:
    """Why torchvision cannot be imported beside this torch, if so: the two are built for each other."""
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # an ImportError, or a RuntimeError of an operator that is not there
        return str(error).partition("\n")[0]
    return ""


def _memory_bytes(device: torch.device) -> tuple[int, int]:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines() if Path("/proc/meminfo").exists() else []
    total = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")), 0)
    return total, total


def _cudnn(device: torch.device) -> int | None:
    cudnn: Any = torch.backends.cudnn  # its functions carry no types
    return int(cudnn.version() or 0) if device.type == "cuda" else None


# --- bf16 --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A 3D convolution of a network by its path, and the map (C, T, H, W) that one clip gives it."""

    where: str
    conv: nn.Conv3d
    shape: tuple[int, ...]
    macs: int

    def error(self, board: Board, device: torch.device) -> float:
        """Largest error of bf16 in the output and both gradients, each over the largest fp32 value.

        What goes in is rounded to bf16 before, so that only the arithmetic differs.
        """
        work = self._work(board, device)
        return max(_relative_error(low, high) for low, high in zip(work("bf16"), work("fp32"), strict=True))

    def ratio(self, board: Board, device: torch.device) -> float:
        """Time of bf16 over time of fp32, forward and backward: the median of several rounds in turn."""
        work = self._work(board, device)
        low, high = partial(work, "bf16"), partial(work, "fp32")
        ratios, begin = list[float](), time.perf_counter()
        while not ratios or (len(ratios) < ROUNDS and time.perf_counter() - begin < ROUNDS_S):
            ratios.append(median_s(low, device, 1) / median_s(high, device, 1))
        return statistics.median(ratios)

    def _work(self, board: Board, device: torch.device) -> Callable[[str], tuple[Tensor, ...]]:
        """The convolution with its gradients in a precision, on noise: on CUDA a whole batch, else what is quick."""
        clips = board.optim.batch * board.clip.per_tuple
        clips = clips if device.type == "cuda" else max(1, min(clips, int(CPU_MACS / self.macs)))
        conv = copy.deepcopy(self.conv).to(device).to(memory_format=torch.channels_last_3d)
        conv.weight.data = _rounded(conv.weight.data)
        given = _noise((clips, *self.shape), device).requires_grad_()
        gradient = _noise(tuple(conv(given).shape), device)

        def work(precision: str) -> tuple[Tensor, ...]:
            with autocast(device, precision):
                out: Tensor = conv(given)
            return (out.detach(), *torch.autograd.grad(out, (given, conv.weight), gradient.to(out.dtype)))

        return work


def layers_of(network: Network, board: Board) -> tuple[Layer, ...]:
    """The first, the middle and the last 3D convolution of a network, those of one position left out."""
    seen: list[Layer] = []
    paths = {module: path for path, module in network.backbone.named_modules()}

    def note(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(module, nn.Conv3d)
        macs = module.weight.numel() * out[0, 0].numel()
        seen.append(Layer(paths[module], module, tuple(given[0].shape[1:]), macs))

    spatial = [each for each in paths if isinstance(each, nn.Conv3d) and each.weight[0, 0].numel() > 1]
    hooks = [module.register_forward_hook(note) for module in spatial]
    was_training = network.training
    network.eval()
    with torch.no_grad():
        network.backbone(torch.zeros(1, 3, board.clip.length, board.frames.crop, board.frames.crop))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return tuple(seen[at] for at in sorted({0, len(seen) // 2, len(seen) - 1})) if seen else ()


def judge_errors(errors: Mapping[str, float], used: bool) -> Finding:
    """Errors of bf16 by layer, against what rounding explains."""
    if not errors:
        return Finding("bf16 values", "not checked", "because the student has no 3D convolution")
    told = f"largest error against fp32 {_listed(errors, '.2%')} (rounding explains {BF16_ERROR:.0%})"
    good = all(error <= BF16_ERROR for error in errors.values())  # false for nan
    if good or not used:
        return Finding("bf16 values", "ok", told + ("" if used else "; the board computes in another precision here"))
    advice = "do not trust results of this device: pip install --upgrade torch, or --device cpu"
    return Finding("bf16 values", "wrong", told, advice)


def judge_speed(ratios: Mapping[str, float], units: str, used: bool) -> Finding:
    """Times of bf16 over times of fp32 by layer; `units` says what a processor has for it, and is empty for CUDA."""
    if not ratios:
        return Finding("bf16 speed", "not checked", "because the student has no 3D convolution")
    told = f"time of bf16 over fp32 {_listed(ratios, '.2f')}" + (f"; {units}" if units else "")
    if not used:
        return Finding("bf16 speed", "ok", f"{told}; the board computes in another precision here")
    if statistics.geometric_mean(ratios.values()) < 1:
        return Finding("bf16 speed", "ok", told)
    newer = "ask again while nothing else runs; if it stays so, pip install --upgrade torch for faster kernels"
    advice = "nothing is wrong; a processor with AMX or avx512_bf16 is faster" if NO_UNITS in units else newer
    return Finding("bf16 speed", "slow", told, advice)


def _units(device: torch.device) -> str:
    """What a processor has for bf16, as torch sees it."""
    if device.type == "cuda":
        return ""
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    units = [label for key, label in (("amx_bf16", "AMX"), ("avx512_bf16", "avx512_bf16")) if able.get(key)]
    return f"this processor has {' and '.join(units) or NO_UNITS}"


def _relative_error(found: Tensor, reference: Tensor) -> float:
    return float((found.double() - reference.double()).abs().max() / reference.double().abs().max())


def _noise(size: tuple[int, ...], device: torch.device) -> Tensor:
    values = _rounded(torch.randn(size, generator=torch.Generator().manual_seed(0))).to(device)
    return values.contiguous(memory_format=torch.channels_last_3d)


def _rounded(values: Tensor) -> Tensor:
    return values.bfloat16().float()


def _listed(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{value:{form}} ({name})" for name, value in values.items())


# --- the step ----------------------------------------------------------------------------------------------


def judge_determinism(equal: bool, operations: list[str]) -> Finding:
    """Whether equal steps have equal gradients to the last bit, and what has no deterministic form here."""
    if equal:
        return Finding("determinism", "ok", "two equal steps of the student have the same gradients, bit for bit")
    if operations:
        told = f"two equal steps differ in their last bits, because of {', '.join(operations)}"
        return Finding("determinism", "ok", told, "nothing to do: the record of a run names these operations")
    told = "two equal steps differ, though every operation has a deterministic form here"
    advice = "do not trust results of this device: pip install --upgrade torch, and check its memory"
    return Finding("determinism", "wrong", told, advice)


def judge_step(student: str, speed: Speed, peak: str) -> Finding:
    """What the student does in a second with data that is there already, and the memory that this took."""
    told = f"{student} learns from {1 / speed.video_s:.3g} videos/s and scores {1 / speed.clip_s:.3g} clips/s{peak}"
    return Finding("training step", "ok", told)


def _peak(device: torch.device) -> str:
    return f", in {torch.cuda.max_memory_allocated(device) / GIB:.1f} GiB" if device.type == "cuda" else ""


def _repeats(network: Network, board: Board, device: torch.device, precision: str) -> tuple[bool, list[str]]:
    size = (2 if device.type == "cuda" else 1, board.clip.per_tuple, 3, board.clip.length)
    clips = torch.randn(*size, board.frames.crop, board.frames.crop, generator=torch.Generator().manual_seed(0))
    clips = clips.to(device)
    network.train()

    def gradients() -> list[Tensor]:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)  # of dropout
            with autocast(device, precision):
                outputs = network.outputs(clips)
            total = outputs.logits_BK.sum() + outputs.pooled_BD.square().sum()
            return list(torch.autograd.grad(total, list(network.backbone.parameters()), allow_unused=True))

    operations = provenance.nondeterministic_operations(gradients) if device.type == "cuda" else []
    pairs = zip(gradients(), gradients(), strict=True)
    return all(one is two or torch.equal(one, two) for one, two in pairs), operations


# --- disk, memory and frames -------------------------------------------------------------------------------


def judge_disk(free: int, needed: int, runs: Path) -> Finding:
    """Free bytes of the disk of the runs against what one run keeps there while it is under way."""
    told = f"{free / GIB:.1f} GiB free for {runs}; a run takes {needed / GIB:.2f} GiB"
    if free < needed:
        return Finding("disk", "wrong", told, "free some space, or name another folder with --runs")
    return Finding("disk", "ok", told)


def judge_store(store: FrameStore, memory: int, device: torch.device) -> Finding:
    """The size of a prepared store, exactly, against the memory that may keep what was read of it."""
    size = (store.path / FRAMES).stat().st_size
    told = f"{len(store.entries)} videos, {size / GIB:.2f} GiB in {store.path}"
    if device.type == "cuda" and _fits("gpu", memory, device):
        return Finding("frame store", "ok", f"{told}; the board's frames fit into the device's memory")
    if _fits("ram", size, device):
        return Finding("frame store", "ok", f"{told}; fits into the free memory, so the disk is read once")
    advice = "a machine with more memory, or a fast local disk for KDBENCH_HOME"
    return Finding(
        "frame store", "slow", f"{told}; more than the free memory, so the disk is read in every epoch", advice
    )


def judge_reading(windows_per_s: float, needed_per_s: float) -> Finding:
    """Windows that the loader's threads read at random, against what the training step asks for."""
    told = f"{windows_per_s:.0f} windows/s at random; the step needs {needed_per_s:.3g}, twice that is wanted"
    if windows_per_s >= MARGIN * needed_per_s:
        return Finding("reading", "ok", told)
    return Finding(
        "reading", "slow", told, "put KDBENCH_HOME on a local disk, or hold frames in memory: --placement ram"
    )


def read_rate(board: Board, store: FrameStore, videos: VideoList, device: torch.device) -> float:
    """Windows in a second that the loader's threads read from the store, as they do for batches of training."""
    loader = TrainingLoader(board, store, videos, device, seed=0, tuples=True)
    order = epoch_order(videos.keys, 0, 0)
    parts = [order[at : at + loader.batch] for at in range(0, loader.steps * loader.batch, loader.batch)]
    drawn = [loader.windows_of(part, epoch=0) for part in parts[:READ_BATCHES]]
    windows, begin = 0, time.perf_counter()
    with closing(loader.ring.read(videos, cycle(drawn))) as batches:  # type: ignore[type-var]
        for _, raw_NTF in batches:
            windows += len(raw_NTF)
            if time.perf_counter() - begin > READ_S:
                break
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return windows / (time.perf_counter() - begin)


def _open_store(machine: Machine) -> tuple[FrameStore, VideoList]:
    """The store of the board's data set and its training videos in it. Raises DataError where there are none."""
    frames = machine.board.frames
    dataset = open_dataset(machine.board, machine.access)
    split = dataset.split(machine.board.data.split)
    store = FrameStore.open(dataset, Geometry(frames.height, frames.width, frames.filter, frames.codec))
    labels = {video.id: video.label for video in dataset.videos}
    there = [name for name in split.train if name in store.entries]
    lacking = len(split.train) + len(split.test) - sum(name in store.entries for name in (*split.train, *split.test))
    if lacking:
        raise DataError(store.path, f"{lacking} of the board's videos are not in it")
    return store, VideoList.of(store, there, labels)


def _fits(placement: str, size: int, device: torch.device) -> bool:
    try:
        require_room(placement, size, device)
    except RunFailed:
        return False
    return True


def _run_bytes(network: Network) -> int:
    """What a run keeps on the disk while it is under way, in fp32: a checkpoint with momentum, and the weights."""
    return 4 * 3 * num_parameters(network)


def _existing(path: Path) -> Path:
    """The nearest folder above a path that exists already."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())
