"""A run's folder: who holds it, what it was asked, each epoch as it ends, checkpoints, and what it left.

    config.json      what was asked, whole
    epochs.jsonl     one line for each finished epoch; phases.jsonl likewise, for the epochs of a method's phases
    phases.pt        checkpoint of the phases
    train.pt         checkpoint of the training; transfer.pt of the fine-tuning
    weights.pt       the finished network with its teacher card
    record.json      the record, once the run is complete
    failure.json     why the last attempt failed, until one succeeds

Every file but the two of lines is replaced atomically; those are made to agree with the checkpoint on
resume. So a run may be killed at any moment and the same command continues it.
"""

from __future__ import annotations

import io
import json
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import msgspec
import torch

from kdbench.checks import problems_of, read_record
from kdbench.errors import RunFailed
from kdbench.files import write_atomically
from kdbench.records import Epoch, PhaseEpoch, Record, write_record

EPOCHS, PHASES = "epochs.jsonl", "phases.jsonl"
CHECKPOINT_EVERY_S = 20.0  # a checkpoint is written at the end of an epoch, and not more often than that
WAITING_POLL_S = 0.5  # a holder works for minutes; a network disk is not asked more often than that


class RunDir:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def record_path(self) -> Path:
        """Where the finished record lies."""
        return self.path / "record.json"

    @property
    def weights_path(self) -> Path:
        """Where the finished network lies."""
        return self.path / "weights.pt"

    @contextmanager
    def held(self, say: Callable[[str], None] | None = None) -> Iterator[None]:
        """Hold the run for this process. Where another one holds it: with `say`, tell who and wait until it is free.

        Raises RunFailed when the folder cannot be made and, without `say`, when another process holds the run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or "it cannot be made"
            raise RunFailed(f"{self.path}: {reason}; name another folder with --runs") from error
        lock = filelock.FileLock(self.path / "lock")
        self._acquire(lock, say)
        try:
            for part in self.path.glob(".*.part"):  # what a kill in the middle of a write has left
                part.unlink()
            write_atomically(self._holder, f"process {os.getpid()}\n".encode())
            yield
        finally:
            lock.release()

    @property
    def _holder(self) -> Path:
        return self.path / "holder"

    def _acquire(self, lock: filelock.BaseFileLock, say: Callable[[str], None] | None) -> None:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            holder = self._holder
            who = holder.read_text(encoding="utf-8").strip() if holder.exists() else "another process"
            if say is None:
                raise RunFailed(
                    f"{self.path}: {who} is working on this run; wait for it, or stop it and try again"
                ) from error
            say(f"{self.path}: {who} is working on this run; waiting until it has ended")
            lock.acquire(poll_interval=WAITING_POLL_S)

    # --- what was asked and what came of it ---------------------------------------------------------------

    def write_config(self, config: dict[str, Any]) -> None:
        """Keep what was asked."""
        write_atomically(self.path / "config.json", (json.dumps(config, indent=1, sort_keys=True) + "\n").encode())

    def finished(self) -> Record | None:
        """The record of a run that is complete, weights included; else None."""
        if not (self.record_path.exists() and self.weights_path.exists()):
            return None
        return read_record(self.record_path)

    def finish(self, record: Record) -> None:
        """Write the record and remove what only an unfinished run needs."""
        for problem in problems_of(record):
            raise RunFailed(f"{self.path}: the record does not agree with itself ({problem}); the checkpoint is kept")
        write_record(record, self.record_path)
        for name in ("phases.pt", "train.pt", "transfer.pt", "failure.json"):
            (self.path / name).unlink(missing_ok=True)

    def fail(self, error: BaseException) -> None:
        """Keep why this attempt failed; the next one starts from the last checkpoint."""
        failure = {
            "kind": type(error).__name__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
        if self.path.is_dir():
            write_atomically(self.path / "failure.json", (json.dumps(failure, indent=1) + "\n").encode())

    # --- epochs -------------------------------------------------------------------------------------------

    def append_epoch(self, row: Epoch | PhaseEpoch) -> None:
        """Add one line to epochs.jsonl (phases.jsonl for one of a phase) and flush it to disk."""
        path = self.path / (EPOCHS if isinstance(row, Epoch) else PHASES)
        try:
            with path.open("ab") as stream:
                stream.write(msgspec.json.encode(row) + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            error.filename = error.filename or str(path)  # a failed write does not say where
            raise

    def rewrite_epochs(self, rows: Sequence[Epoch]) -> None:
        """Make epochs.jsonl agree with the checkpoint a run continues from."""
        self._rewrite(EPOCHS, rows)

    def rewrite_phases(self, rows: Sequence[PhaseEpoch]) -> None:
        """Make phases.jsonl agree with the checkpoint a run continues from."""
        self._rewrite(PHASES, rows)

    def _rewrite(self, name: str, rows: Sequence[Epoch] | Sequence[PhaseEpoch]) -> None:
        write_atomically(self.path / name, b"".join(msgspec.json.encode(row) + b"\n" for row in rows))

    # --- tensors ------------------------------------------------------------------------------------------

    def save(self, name: str, content: dict[str, Any]) -> None:
        """Write tensors and plain values atomically. A full disk leaves the file before in place."""
        # Through memory: torch.save reports a full disk as a RuntimeError without the path.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomically(self.path / name, buffer.getbuffer())

    def load(self, name: str, parts: Sequence[str] = ()) -> dict[str, Any] | None:
        """What `save` wrote under that name, or None. Raises RunFailed for a file that is damaged or lacks a part."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds; all of them mean that `save` did not write this
            raise RunFailed(_damaged(path, error)) from error
        if not isinstance(content, dict):
            raise RunFailed(_damaged(path, f"it holds a {type(content).__name__}"))
        if lacking := [part for part in parts if part not in content]:
            raise RunFailed(_damaged(path, f"it is another file's content: it has no '{lacking[0]}'"))
        return content


def _damaged(path: Path, reason: object) -> str:
    first = str(reason).partition("\n")[0]
    return f"{path}: is damaged ({first}); delete it and give the same command again"
