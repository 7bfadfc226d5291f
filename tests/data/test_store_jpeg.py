"""Stores of codec `jpeg95`: the same contracts, a third of the room."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kdbench.data import prepare as prepare_module
from kdbench.data.decode import Geometry, frames_of
from kdbench.data.packing import LENGTH
from kdbench.data.prepare import prepare
from kdbench.data.store import FRAMES, HEADER, INDEX, FrameStore, describe, store_path
from kdbench.data.verify import verify
from kdbench.errors import DataError
from tests.data.films import counted, number_of
from tests.data.shelf import FILMS, draw_films, film, first_number, frames_in, shelf

JPEG = Geometry(128, 171, codec="jpeg95")
RAW = Geometry(128, 171)
IDS = [f"a/{at}" for at in range(FILMS)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of films that no test may change."""
    root = tmp_path_factory.mktemp("films")
    draw_films(root)
    return root


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(prepare_module, "_SECONDS_BETWEEN_COMMITS", 0.0)
    return tmp_path / "home"


@pytest.fixture
def store(drawn: Path) -> FrameStore:
    prepare(shelf(drawn), JPEG)
    return FrameStore.open(shelf(drawn), JPEG)


def contents(path: Path) -> list[str]:
    return [hashlib.sha256((path / name).read_bytes()).hexdigest() for name in (HEADER, INDEX, FRAMES)]


def test_a_store_of_jpegs_has_a_place_of_its_own_and_is_told_by_its_header(drawn: Path, store: FrameStore) -> None:
    assert store.path != store_path(shelf(drawn), RAW)
    assert store.path.name.startswith("shelf-128x171-jpeg95-")
    assert store.geometry == JPEG
    assert store.header["codec"] == "jpeg95"
    assert store.header["simplejpeg"]


def test_the_key_of_a_store_of_plain_frames_does_not_know_of_codecs(tmp_path: Path) -> None:
    assert store_path(shelf(tmp_path), RAW).name == "shelf-128x171-f2496561"


def test_a_store_of_jpegs_takes_less_room(drawn: Path, store: FrameStore) -> None:
    assert (store.path / FRAMES).stat().st_size < 0.5 * prepare(shelf(drawn), RAW).bytes


def test_every_frame_is_nearly_that_of_the_decoder(drawn: Path, store: FrameStore) -> None:
    exact = np.stack(list(frames_of(film(drawn, 1), JPEG)))
    assert store.frames("a/1").shape == exact.shape
    assert abs(store.frames("a/1").astype(int) - exact).max() <= 12
    assert [number_of(frame, JPEG) for frame in store.frames("a/1")] == list(range(frames_in(1)))


@pytest.mark.parametrize("asked", [[0], [30], [3, 4, 5], [5, 4, 3], [7, 7, 7], [0, 1, 9, 10, 11, 2, 30], []])
def test_the_frames_that_are_asked_for_are_read_into_the_rows(store: FrameStore, asked: list[int]) -> None:
    out = np.zeros((len(asked), JPEG.frame_bytes), np.uint8)
    store.read("a/2", np.array(asked, np.int64), out)
    assert (out == store.frames("a/2")[asked]).all()
    assert [number_of(frame, JPEG) for frame in out] == [20 + number for number in asked]


@pytest.mark.parametrize("asked", [[-1], [0, 31]])
def test_a_frame_that_does_not_exist_is_an_error(store: FrameStore, asked: list[int]) -> None:
    with pytest.raises(IndexError, match="'a/0' has 31 frames"):
        store.read("a/0", np.array(asked, np.int64), np.zeros((len(asked), JPEG.frame_bytes), np.uint8))


def test_many_threads_may_read_at_once(store: FrameStore) -> None:
    def read(task: int) -> bool:
        at, start = task % FILMS, task % 20
        out = np.empty((10, JPEG.frame_bytes), np.uint8)
        store.read(IDS[at], np.arange(start, start + 10), out)
        return number_of(out[9], JPEG) == first_number(at) + start + 9

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(60)))


def test_the_frames_of_a_video_are_followed_by_their_lengths(store: FrameStore) -> None:
    entry, stored = store.entries["a/1"], store.stored("a/1")
    table = stored[-8 * entry.frames :].view(LENGTH)
    assert table.sum() + 8 * entry.frames == entry.bytes == len(stored)
    assert stored[:3].tobytes() == b"\xff\xd8\xff"
    assert hashlib.sha256(stored.data).hexdigest() == entry.frames_sha256
    assert entry.offset == store.entries["a/0"].bytes


def test_the_bytes_are_the_same_for_any_number_of_workers(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = []
    for workers in (1, 2, 3):
        monkeypatch.setenv("KDBENCH_HOME", str(drawn / f"home{workers}"))
        stores.append(contents(prepare(shelf(drawn), JPEG, workers).path))
    assert stores[0] == stores[1] == stores[2]


def test_a_store_that_lost_frames_when_the_power_failed_is_continued(drawn: Path, store: FrameStore) -> None:
    before, lines = contents(store.path), (store.path / INDEX).read_text().splitlines()
    os.truncate(store.path / FRAMES, json.loads(lines[3])["offset"] + 100)
    with pytest.raises(DataError, match="shorter than its index says"):
        FrameStore(store.path)
    assert prepare(shelf(drawn), JPEG, 2).done == FILMS - 3
    assert contents(store.path) == before


def test_an_exception_in_the_middle_keeps_the_videos_that_are_done(drawn: Path) -> None:
    def interrupt(done: int, *_: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(shelf(drawn), JPEG, 2, interrupt)
    assert prepare(shelf(drawn), JPEG).reused == 3


def test_a_video_whose_file_was_replaced_is_prepared_anew(tmp_path: Path) -> None:
    draw_films(tmp_path)
    prepare(shelf(tmp_path), JPEG)
    counted(film(tmp_path, 0), 5, first=77)
    assert prepare(shelf(tmp_path), JPEG).done == 1
    frames = FrameStore.open(shelf(tmp_path), JPEG).frames("a/0")
    assert [number_of(frame, JPEG) for frame in frames] == [77, 78, 79, 80, 81]


def test_frames_that_changed_on_disk_are_found(drawn: Path, store: FrameStore) -> None:
    assert verify(shelf(drawn), JPEG).ok
    with (store.path / FRAMES).open("r+b") as frames:
        frames.seek(store.entries["a/2"].offset + 700)
        frames.write(b"\x00\x00")
    assert [video for video, _ in verify(shelf(drawn), JPEG).damaged] == ["a/2"]


def test_a_damaged_frame_is_named_when_it_is_read(store: FrameStore) -> None:
    with (store.path / FRAMES).open("r+b") as frames:
        frames.seek(store.entries["a/2"].offset)
        frames.write(bytes(20))
    with pytest.raises(DataError, match=r"frame 0 of 'a/2' is damaged \(.*\); delete the store and prepare again"):
        store.read("a/2", np.array([0]), np.zeros((1, JPEG.frame_bytes), np.uint8))


def test_without_the_library_nothing_is_called_broken(
    drawn: Path, store: FrameStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(DataError, match="needs simplejpeg"):
        prepare(shelf(drawn), JPEG)
    with pytest.raises(DataError, match="needs simplejpeg"):
        FrameStore(store.path)


def test_a_description_names_the_codec(drawn: Path, store: FrameStore) -> None:
    described = describe(shelf(drawn), JPEG)
    assert (described["codec"], described["prepared"], described["digest"]) == ("jpeg95", FILMS, store.digest)
