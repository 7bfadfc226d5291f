from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdbench.data.crew import Crew
from kdbench.data.decode import Geometry, fingerprint
from kdbench.data.packing import Packer
from tests.data.films import counted

GEOMETRY = Geometry(36, 51)


def test_decoding_does_not_import_torch() -> None:
    program = "import sys, kdbench.data.crew, kdbench.data.prepare, kdbench.data.verify; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_a_worker_writes_the_bytes_that_decoding_here_writes(tmp_path: Path) -> None:
    path = counted(tmp_path / "ünïcode\udcff name.avi", 7)
    here, there = tmp_path / "here", tmp_path / "there"
    with here.open("wb") as sink:
        mine = Packer(GEOMETRY, beside=True).pack(path, sink)
    with Crew(1, GEOMETRY) as crew:
        theirs = crew.pack(path, there)
    assert mine == theirs
    assert mine.frames == 7
    assert fingerprint(there)[1] == mine.frames_sha256
    assert (mine.source_bytes, mine.source_sha256) == fingerprint(path)
    assert here.read_bytes() == there.read_bytes()


def test_a_worker_tells_the_reason_of_a_bad_file_and_goes_on(tmp_path: Path) -> None:
    with Crew(1, GEOMETRY) as crew:
        assert crew.pack(tmp_path / "no.avi", tmp_path / "part").error == "does not exist"
        assert crew.pack(counted(tmp_path / "yes.avi", 3), tmp_path / "part").frames == 3


def test_a_part_file_that_cannot_be_written_is_no_fault_of_the_video(tmp_path: Path) -> None:
    film = counted(tmp_path / "film.avi", 3)
    with Crew(1, GEOMETRY) as crew, pytest.raises(FileNotFoundError):
        crew.pack(film, tmp_path / "no folder" / "part")


def test_a_video_that_kills_its_worker_is_named_and_the_next_gets_a_new_worker(tmp_path: Path) -> None:
    fifo = tmp_path / "film.avi"
    os.mkfifo(fifo)  # decoding it waits for ever
    with Crew(1, GEOMETRY) as crew:
        worker = crew._all[0]
        assert worker.stdout is not None
        worker.stdout = _KillOnSecondLine(worker)  # type: ignore[assignment]
        assert crew.pack(fifo, tmp_path / "part").error == "crashes the decoder (its process was ended by SIGKILL)"
        assert crew.pack(counted(tmp_path / "yes.avi", 3), tmp_path / "part").frames == 3


class _KillOnSecondLine:
    """A worker's answers; the worker is killed once it has said that it begins."""

    def __init__(self, worker: subprocess.Popen[str]) -> None:
        self._worker, self._stream = worker, worker.stdout

    def readline(self) -> str:
        assert self._stream is not None
        line = self._stream.readline()
        self._worker.kill()
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
