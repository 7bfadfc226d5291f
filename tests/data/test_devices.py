"""Copies beside the computing, on a simulated device that runs its streams in any order their events allow."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbench.data import augment
from kdbench.data.devices import Mirror
from kdbench.data.loader import Ring, VideoList, Windows
from kdbench.data.sampling import Ints

CUDA = cast(torch.device, SimpleNamespace(type="cuda"))
BATCHES, BATCH = 40, 4


class Device:
    """Keeps what is asked of it in its streams' queues; some of it runs now and then, all of it when waited for."""

    def __init__(self, seed: int) -> None:
        self.random, self.lock, self.thread = random.Random(seed), threading.RLock(), threading.local()
        self.streams: list[Stream] = []
        self.main = Stream(self)

    @property
    def current(self) -> Stream:
        return getattr(self.thread, "stream", self.main)

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        self.thread.stream = stream
        yield
        del self.thread.stream

    def run_some(self) -> None:
        with self.lock:
            for _ in range(self.random.choice([0, 0, 1, 3])):
                self.random.choice(self.streams).step()

    def run_until(self, event: Event) -> None:
        with self.lock:
            while not event.reached:
                moved = [stream.step() for stream in self.random.sample(self.streams, len(self.streams))]
                assert any(moved), "every stream waits for another one"


class Event:
    """A place in a stream."""

    def __init__(self, device: Device) -> None:
        self.device, self.reached = device, False

    def reach(self) -> None:
        self.reached = True

    def synchronize(self) -> None:
        self.device.run_until(self)


class Stream:
    """Work in order; what comes after an event of another stream waits for it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.queue: list[tuple[Event | None, Callable[[], None]]] = []
        device.streams.append(self)

    def step(self) -> bool:
        """Do the next piece of work, if there is one and it need not wait."""
        if not self.queue or (self.queue[0][0] and not self.queue[0][0].reached):
            return False
        self.queue.pop(0)[1]()
        return True

    def ask(self, work: Callable[[], None], after: Event | None = None) -> None:
        with self.device.lock:
            self.queue.append((after, work))
        self.device.run_some()

    def wait_event(self, event: Event) -> None:
        self.ask(lambda: None, event)

    def record_event(self) -> Event:
        event = Event(self.device)
        self.ask(event.reach)
        return event

    def wait_stream(self, other: Stream) -> None:
        self.wait_event(other.record_event())


class Far:
    """A tensor of the device: a copy into it takes place when its stream comes to it."""

    def __init__(self, device: Device, values: NDArray[np.uint8]) -> None:
        self.device, self.values = device, values

    def __getitem__(self, rows: slice) -> Far:
        return Far(self.device, self.values[rows])

    def copy_(self, host: Tensor, non_blocking: bool) -> None:
        assert non_blocking
        self.device.current.ask(lambda: np.copyto(self.values, host.numpy()))


class Numbered:
    """A store whose frames hold nothing but the number they were asked for by."""

    geometry: Any = SimpleNamespace(frame_bytes=3)

    def read(self, video_id: str, frame_indices: Ints, out: NDArray[np.uint8]) -> None:
        out[:] = frame_indices[:, None]


@pytest.fixture(params=range(6))
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Device:
    simulated, real = Device(request.param), torch.empty

    def empty(size: tuple[int, ...], dtype: torch.dtype, device: Any = None, pin_memory: bool = False) -> Any:
        return Far(simulated, np.zeros(size, np.uint8)) if device is CUDA else real(size, dtype=dtype)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream(simulated))
    monkeypatch.setattr(torch.cuda, "stream", simulated.on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: simulated.current)
    return simulated


def batch(number: int) -> Windows:
    """Windows of one video, all frames of which are `number`; some batches are smaller than the buffers."""
    size = BATCH if number % 3 else BATCH // 2
    nothing = augment.ClipParameters(*[np.zeros(0)] * 7)  # type: ignore[arg-type]
    return Windows(np.zeros(size, np.int64), np.full((size, 1, 2), number), nothing)


def wrong_batches(device: Device) -> list[int]:
    """Compute with the batches of three epochs, the first of which is left early; those with bytes not their own."""
    videos = VideoList(("a",), *[np.zeros(1, np.int64)] * 3)
    ring, seen = Ring(Numbered(), BATCH, 2, CUDA), []
    for epoch in range(3):
        for number, (_, raw) in enumerate(ring.read(videos, map(batch, range(BATCHES)))):
            values = cast(Any, raw).values
            device.main.ask(lambda number=number, values=values: seen.append((number, (values == number).all())))
            if epoch == 0 and number == BATCHES // 2:
                break
    device.main.record_event().synchronize()
    assert len(seen) == BATCHES // 2 + 1 + 2 * BATCHES
    return [number for number, right in seen if not right]


def test_every_batch_has_its_own_bytes_when_the_device_comes_to_it(device: Device) -> None:
    assert wrong_batches(device) == []


@pytest.mark.parametrize(
    ("method", "without"),
    [
        ("wait_until_free", lambda mirror: None),
        ("done", lambda mirror: None),
        ("arrived", lambda mirror, rows: mirror.there[:rows]),
    ],
)
def test_each_of_the_three_waits_is_needed(
    device: Device, monkeypatch: pytest.MonkeyPatch, method: str, without: Callable[..., Any]
) -> None:
    monkeypatch.setattr(Mirror, method, without)
    assert wrong_batches(device) != []
