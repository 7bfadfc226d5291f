"""Where the frames of a run lie while it reads them: on the disk, in host memory, or on the CUDA device.

A placement decides how fast frames come and no number of a run: a batch has the same bytes from all of them.
Shape legend: M frames of all videos, N windows, T frames of a window, F bytes of a stored frame.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbench.data.decode import Geometry, cores
from kdbench.data.devices import send
from kdbench.data.sampling import Ints
from kdbench.data.store import FrameStore
from kdbench.errors import RunFailed

PLACEMENTS = ("mmap", "ram", "gpu")
# What else a run needs is not known in advance; frames leave it a tenth of what is free.
SHARE = 0.9
_CGROUPS = Path("/sys/fs/cgroup")


class FrameSource(Protocol):
    """What fills host buffers: a FrameStore, or a copy of its frames in memory."""

    geometry: Geometry

    def read(self, video_id: str, frame_indices: Ints, out: NDArray[np.uint8]) -> None:
        """Copy frames of a video, given by their numbers (T,), into `out` (T, F)."""


class Copied:
    """All frames of some videos on one device, (M, F) uint8, video after video."""

    def __init__(self, store: FrameStore, ids: Sequence[str], device: torch.device) -> None:
        self.geometry = store.geometry
        lengths = [store.entries[name].frames for name in ids]
        self.length = dict(zip(ids, lengths, strict=True))
        self.first = dict(zip(ids, accumulate(lengths, initial=0), strict=False))
        self.frames_MF = torch.empty((sum(lengths), self.geometry.frame_bytes), dtype=torch.uint8, device=device)
        with ThreadPoolExecutor(cores()) as threads:
            for _ in threads.map(lambda name: self._take(store, name), ids):
                pass

    def _take(self, store: FrameStore, name: str) -> None:
        part_TF = self.frames_MF[self.first[name] : self.first[name] + self.length[name]]
        read_TF = part_TF if part_TF.device.type == "cpu" else torch.empty(part_TF.shape, dtype=torch.uint8)
        store.read(name, np.arange(self.length[name]), read_TF.numpy())
        if read_TF is not part_TF:
            part_TF.copy_(read_TF)

    def rows(self, video_id: str, frame_indices: Ints) -> Ints:
        """Where frames of a video, given by their numbers, stand. Raises IndexError for one that it does not have."""
        if len(frame_indices) and not 0 <= frame_indices.min() <= frame_indices.max() < self.length[video_id]:
            raise IndexError(f"'{video_id}' has {self.length[video_id]} frames; asked for {frame_indices.tolist()}")
        return self.first[video_id] + frame_indices


class InMemory(Copied):
    """Frames in host memory, read as from a FrameStore."""

    def __init__(self, store: FrameStore, ids: Sequence[str]) -> None:
        super().__init__(store, ids, torch.device("cpu"))

    def read(self, video_id: str, frame_indices: Ints, out: NDArray[np.uint8]) -> None:
        """Copy frames of a video, given by their numbers (T,), into `out` (T, F). Raises IndexError."""
        # `rows` has looked at the bounds; numpy would look again, and for that fill a buffer of its own first.
        np.take(self.frames_MF.numpy(), self.rows(video_id, frame_indices), axis=0, out=out, mode="clip")


class OnDevice(Copied):
    """Frames on the device that computes, where windows are gathered without the host."""

    def gather(self, ids: Sequence[str], frames_NT: Ints) -> Tensor:
        """The windows (N, T, F) of one video each, on the device. Raises IndexError."""
        rows_NT = np.stack([self.rows(name, frames_T) for name, frames_T in zip(ids, frames_NT, strict=True)])
        picked = self.frames_MF.index_select(0, send(rows_NT.reshape(-1), self.frames_MF.device))
        return picked.view(*frames_NT.shape, -1)


Placed = FrameStore | InMemory | OnDevice
"""Frames as a loader takes them."""


def place_frames(placement: str, store: FrameStore, ids: Sequence[str], device: torch.device) -> Placed:
    """The frames of videos where a run on `device` reads them; "mmap" is the store itself.

    `require_room` comes before this, once for all that a run places: refused early, no work is lost.
    """
    if placement == "mmap":
        return store
    return InMemory(store, ids) if placement == "ram" else OnDevice(store, ids, device)


def bytes_of(store: FrameStore, ids: Sequence[str]) -> int:
    """What all frames of some videos take when they are copied."""
    return store.geometry.frame_bytes * sum(store.entries[name].frames for name in ids)


def require_room(placement: str, needed: int, device: torch.device) -> None:
    """Raise RunFailed for a placement that is unknown, or that cannot hold `needed` bytes here."""
    if placement not in PLACEMENTS:
        raise RunFailed(f"placement {placement}: there is {', '.join(PLACEMENTS)}")
    if placement == "gpu" and device.type != "cuda":
        raise RunFailed(f"placement gpu: this run is on the {device}; use --device cuda, or --placement ram")
    free = None if placement == "mmap" else _free_bytes(placement, device)
    if free is not None and needed > SHARE * free:
        where, others = ("memory", "mmap") if placement == "ram" else (f"the memory of {device}", "ram or mmap")
        raise RunFailed(
            f"placement {placement}: the frames of this run take {needed / 2**30:.2f} GiB, and of {where} "
            f"{free / 2**30:.2f} GiB are free (a tenth stays for the rest); use --placement {others}"
        )


def _free_bytes(placement: str, device: torch.device) -> int | None:
    """Free bytes of the CUDA device, or of the host; None where the system does not say."""
    if placement == "gpu":
        gc.collect()  # frames of an earlier run in this process, held by a cycle or kept by torch for itself
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return min([free, *_left_by_groups()])


def _left_by_groups() -> list[int]:
    """What the limits of the control groups around this process leave it: containers, jobs of a cluster."""
    left = []
    with suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        own = next((line[3:] for line in lines if line.startswith("0::")), "/")
        for group in [Path(own), *Path(own).parents]:
            with suppress(OSError, ValueError):  # no limit here: no file, or the word "max"
                left.append(_left_by(_CGROUPS / group.relative_to("/")))
    return left


def _left_by(group: Path) -> int:
    limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
    facts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    # Pages of files count as used, but give way.
    return limit - used + int(facts["active_file"]) + int(facts["inactive_file"])
