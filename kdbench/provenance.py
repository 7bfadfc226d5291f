"""Where a record comes from: versions, device class, precision and determinism. No host name, user or path."""

from __future__ import annotations

import platform
import re
import subprocess
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from kdbench import __version__
from kdbench.records import Code

PACKAGES = ("torch", "torchvision", "av", "numpy", "msgspec")


def environment(device: torch.device, precision: str, nondeterministic: Sequence[str] = ()) -> dict[str, Any]:
    """Versions, the class of the device, threads, precision, what was pinned for determinism and what cannot be."""
    return {
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "device": _device(device),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "deterministic": {
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "nondeterministic_operations": list(nondeterministic),
        },
    }


def nondeterministic_operations(work: Callable[[], object]) -> list[str]:
    """The operations inside `work` that torch has no deterministic form of on their device, by name.

    torch is put into its warn-only deterministic mode for the call, and left as it was found.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    found = (re.match(r"(\S+) does not have a deterministic implementation", str(each.message)) for each in caught)
    return sorted({match[1] for match in found if match})


def _device(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"type": device.type, "name": _processor(), "count": 1}
    cudnn: Any = torch.backends.cudnn  # its functions carry no types
    return {
        "type": "cuda",
        "name": torch.cuda.get_device_name(device),
        "count": 1,
        "cuda": torch.version.cuda,
        "cudnn": cudnn.version(),
    }


def _processor() -> str:
    """The processor's model name, where the system tells it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def code() -> Code:
    """The version of kdbench, and its commit where it runs from a repository."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return Code(version=__version__, commit=None, dirty=None)
    commit = _git(here, "rev-parse", "HEAD")
    changes = _git(here, "status", "--porcelain", "--", "kdbench", "plugins", "pyproject.toml")
    return Code(version=__version__, commit=commit or None, dirty=bool(changes))


def _git(where: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(where), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return answer.stdout.strip()
