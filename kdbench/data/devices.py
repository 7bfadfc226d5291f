"""From the host to the device, without the host waiting for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def send(values: NDArray[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A host array on the device. On CUDA through pinned memory: a copy from pageable memory can block the host."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    tensor = tensor if dtype is None else tensor.to(dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def side_stream(device: torch.device) -> Any:
    """A stream of a CUDA device beside the one that computes; None on a CPU. CUDA's streams carry no types."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


class Mirror:
    """A reused host buffer, and its like on the device; on the CPU they are one tensor.

    On CUDA the copy runs on a stream of its own, `beside` the computing, and two events keep the buffers whole:
    the host's is filled again only after the copy out of it (`wait_until_free`), the device's only after what
    was computed from it (`done`).
    """

    def __init__(self, size: tuple[int, ...], device: torch.device, beside: Any) -> None:
        self.device, self.beside = device, beside
        self.host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self.there = self.host if beside is None else torch.empty(size, dtype=torch.uint8, device=device)
        self._arrived: Any = None
        self._used: Any = None

    def wait_until_free(self) -> None:
        """Wait until the host buffer may be filled again; for the thread that fills it."""
        if self._arrived:
            self._arrived.synchronize()

    def start(self, rows: int) -> None:
        """Begin to copy the first rows to the device; from any thread."""
        if self.beside is None:
            return
        with torch.cuda.stream(self.beside):
            if self._used:
                self.beside.wait_event(self._used)
            self.there[:rows].copy_(self.host[:rows], non_blocking=True)
            self._arrived = self.beside.record_event()

    def arrived(self, rows: int) -> Tensor:
        """The first rows on the device, for use on the current stream until `done`."""
        if self.beside is not None:
            torch.cuda.current_stream(self.device).wait_event(self._arrived)
        return self.there[:rows]

    def done(self) -> None:
        """All that uses these rows has been asked of the current stream."""
        if self.beside is not None:
            self._used = torch.cuda.current_stream(self.device).record_event()
