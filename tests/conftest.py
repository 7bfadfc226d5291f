"""What many tests share: a kdbench home of their own and a board on which a whole run takes seconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

# Networks this small gain nothing from threads, and lose much when tests share the machine.
torch.set_num_threads(1)
TINY = Path(__file__).parent / "boards" / "tiny.toml"


@pytest.fixture(scope="session", autouse=True)
def _one_home_for_all_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Videos and frames are drawn once a session, and never in the user's own kdbench home."""
    before = os.environ.get("KDBENCH_HOME")
    os.environ["KDBENCH_HOME"] = str(tmp_path_factory.mktemp("kdbench-home"))
    yield
    if before is None:
        del os.environ["KDBENCH_HOME"]
    else:
        os.environ["KDBENCH_HOME"] = before


class Listener:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.rows: list[object] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def stage(self, title: str, total: int) -> Callable[[int], None]:
        return lambda done: None

    def epoch(self, row: object, total: int) -> None:
        self.rows.append(row)


@pytest.fixture
def listener() -> Listener:
    return Listener()
