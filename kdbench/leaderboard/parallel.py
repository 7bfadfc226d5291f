"""One function over many names, in as many processes as there are usable cores.

The processes are forked: they inherit what was read, so that nothing large is sent to them or back. Where there is
no fork, or one core, everything happens here, one after the other.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from kdbench.errors import KdbenchError

T = TypeVar("T")
Tick = Callable[[int], None]
TOKEN = struct.Struct("<I")  # the number of a batch, in the pipe that the processes take their work from
BATCHES = 4096  # of 4 bytes: all of them fit into a pipe of 64 KiB before anybody reads


def usable_cores() -> int:
    """The cores that this process may run on; 1 where processes cannot be forked."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over(names: Sequence[str], work: Callable[[str], T], processes: int, tick: Tick) -> dict[str, T]:
    """What `work` gives for each name, in order of the names; `tick` is told how many are done.

    Names that come first are begun first. Raises what `work` raises, KdbenchError when a process is ended from
    outside.
    """
    if processes > 1 and len(names) > 1:
        batches = _batches(names, processes)
        found: dict[str, T] = {}
        for results in _forked(batches, work, processes):
            found |= results
            tick(len(found))
        return {name: found[name] for name in names}
    done = {}
    for name in names:
        done[name] = work(name)
        tick(len(done))
    return done


@contextmanager
def no_collection() -> Iterator[None]:
    """Without looking for garbage in circles: what is read stays, and a process that looks at it copies it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _batches(names: Sequence[str], processes: int) -> list[Sequence[str]]:
    """Small enough to end at about the same time, and large enough that handing them out costs nothing."""
    size = max(1, min(48, len(names) // (8 * processes)), -(-len(names) // BATCHES))
    return [names[at : at + size] for at in range(0, len(names), size)]


def _forked(batches: Sequence[Sequence[str]], work: Callable[[str], T], processes: int) -> Iterator[dict[str, T]]:
    reader, writer = os.pipe()
    os.write(writer, b"".join(map(TOKEN.pack, range(len(batches)))))
    os.close(writer)  # who finds the pipe empty is done; nobody waits for a process that was killed
    crew: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(min(processes, len(batches))):
            receiver, process = _start(reader, batches, work)
            crew[receiver] = process
        yield from _results(crew)
    finally:
        os.close(reader)
        for process in crew.values():
            process.terminate()
            process.join()


def _start(reader: int, batches: Sequence[Sequence[str]], work: Callable[[str], Any]) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_labour, args=(reader, batches, work, sender), daemon=True)
    with warnings.catch_warnings():
        # The threads of a progress bar and of numpy hold nothing that the forked process asks for.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    sender.close()
    return receiver, process


def _results(crew: dict[Connection, BaseProcess]) -> Iterator[dict[str, Any]]:
    open_ends = set(crew)
    while open_ends:
        for end in wait(list(open_ends)):
            assert isinstance(end, Connection)
            try:
                result = end.recv()
            except EOFError as error:
                open_ends.remove(end)
                crew[end].join()
                if crew[end].exitcode:
                    raise KdbenchError(
                        f"a process that made pages was ended from outside (exit {crew[end].exitcode}); run it again, "
                        "with more memory where that was the reason"
                    ) from error
                continue
            if isinstance(result, BaseException):
                raise result
            yield result


def _labour(
    reader: int, batches: Sequence[Sequence[str]], work: Callable[[str], Any], sender: Connection
) -> None:  # pragma: no cover - in another process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer
    try:
        while token := os.read(reader, TOKEN.size):
            (at,) = TOKEN.unpack(token)
            sender.send({name: work(name) for name in batches[at]})
    except BrokenPipeError:
        return  # nobody waits for it any more
    except Exception as error:
        sender.send(error)
