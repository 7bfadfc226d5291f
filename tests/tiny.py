"""Runs on the tiny board, for tests of every room that a run passes through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from kdbench.board import Board, load_board
from kdbench.data.material import Access, Material, open_material
from kdbench.registry import Registry, load_registry
from kdbench.request import RunRequest
from kdbench.run import Bench
from tests.conftest import TINY, Listener


def tiny_board(**sections: dict[str, Any]) -> Board:
    """The tiny board with other values: `tiny_board(optim={"epochs": 1}, transfer=None)`."""
    board = load_board(str(TINY))
    changes: dict[str, Any] = {}
    for name, values in sections.items():
        changes[name] = None if values is None else msgspec.structs.replace(getattr(board, name), **values)
    return msgspec.structs.replace(board, **changes)


def registry() -> Registry:
    return load_registry()


def access(listener: Listener | None = None, **changes: Any) -> Access:
    return Access(registry=registry(), watcher=listener or Listener(), workers=1, **changes)


def bench(runs: Path, listener: Listener | None = None, **changes: Any) -> Bench:
    listener = listener or Listener()
    found = access(listener, **changes.pop("access", {}))
    return Bench(access=found, watcher=listener, runs=runs, **({"device": "cpu"} | changes))


def request(board: Board | None = None, **changes: Any) -> RunRequest:
    return replace(RunRequest(board=board or tiny_board(transfer=None), student="r3d"), **changes)


def material(board: Board | None = None, fraction: float = 1.0) -> Material:
    return open_material(board or tiny_board(), fraction, access())
