"""Small host arrays -> the device, without waiting for it."""

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
