"""Worker processes that pack videos into part files, and what such a process does."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from kdbench.data.decode import Geometry
from kdbench.data.packing import Decoded, Packer
from kdbench.errors import DataError


class Crew:
    """Worker processes that pack videos into part files, one video at a time each. Use as a context.

    Each is a fresh Python that runs `serve` below, so a worker never imports the caller's script or torch, a
    file that crashes the decoder is known by name, and workers end by themselves when the caller is killed.
    """

    def __init__(self, size: int, geometry: Geometry) -> None:
        # -P: a file of the current folder that is called like a module must not come in its place
        self._command = [sys.executable, "-P", "-m", "kdbench.data.crew", json.dumps(asdict(geometry))]
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        self._all: list[subprocess.Popen[str]] = []
        for _ in range(size):
            self._hire()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._all:
            worker.kill()
        for worker in self._all:
            worker.communicate()

    def pack(self, path: Path, part: Path) -> Decoded:
        """Pack a video into the file `part` in an idle worker; waits for one. An OSError is about `part`."""
        worker = self._idle.get()
        assert worker.stdin is not None
        assert worker.stdout is not None
        answer = greeting = ""
        with suppress(BrokenPipeError):
            worker.stdin.write(json.dumps([str(path), str(part)]) + "\n")
            worker.stdin.flush()
            greeting, answer = worker.stdout.readline(), worker.stdout.readline()
        if not greeting:
            self._idle.put(worker)  # whoever waits for a worker must hear of it too
            raise DataError(" ".join(self._command), "cannot be started as a worker process; use --workers 1")
        if not answer:
            self._hire()
            return Decoded(error=f"crashes the decoder ({_cause_of_death(worker.wait(), path)})")
        self._idle.put(worker)
        fields = json.loads(answer)
        if "errno" in fields:
            raise OSError(fields["errno"], os.strerror(fields["errno"]), str(part))
        return Decoded(**fields)

    def _hire(self) -> None:
        worker = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        self._all.append(worker)
        self._idle.put(worker)


def _cause_of_death(status: int, path: Path) -> str:
    if status >= 0:
        raise RuntimeError(f"the worker process that decoded {path} failed; its traceback stands above")
    return f"its process was ended by {signal.Signals(-status).name}"


def serve(geometry: Geometry) -> None:
    """The life of a worker: a request on each line of stdin, its answer on a line of stdout, until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends the workers
    packer = Packer(geometry, beside=False)
    for line in sys.stdin:
        path, part = json.loads(line)
        _answer("begun")  # a worker that dies after this died of the video
        try:
            answer = asdict(_pack_to_part(packer, Path(path), Path(part)))
        except OSError as error:
            answer = {"errno": error.errno}
        _answer(json.dumps(answer))


def _pack_to_part(packer: Packer, path: Path, part: Path) -> Decoded:
    """Write over the part file of an earlier video without cutting it: pages that are there already cost nothing."""
    part.touch()
    with part.open("r+b", buffering=1 << 16) as sink:
        return packer.pack(path, sink)


def _answer(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os._exit(1)  # the parent was killed; nobody is left to be told


if __name__ == "__main__":
    serve(Geometry(**json.loads(sys.argv[1])))
