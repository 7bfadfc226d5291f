"""Where frames lie: no number depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click
import msgspec
import numpy as np
import pytest
import torch

from kdbench.cli.bench import bench as bench_command
from kdbench.cli.run import run as run_command
from kdbench.cli.sweep import sweep as sweep_command
from kdbench.data import placement
from kdbench.data.decode import Geometry
from kdbench.data.placement import PLACEMENTS, InMemory, OnDevice, bytes_of, place_frames, require_room
from kdbench.data.prepare import prepare
from kdbench.data.store import FrameStore
from kdbench.errors import KdbenchError
from kdbench.records import Record
from kdbench.run import Inputs, execute
from kdbench.transfer import Transfer
from tests.data.shelf import FILMS, draw_films, frames_in, shelf
from tests.tiny import access, bench, material, request, tiny_board

CPU = torch.device("cpu")
IDS = tuple(f"a/{at}" for at in reversed(range(1, FILMS)))  # not all videos, and not in the order of the store
GEOMETRY = Geometry(18, 24)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    root = tmp_path_factory.mktemp("shelf")
    draw_films(root)
    prepare(shelf(root), GEOMETRY)
    return FrameStore.open(shelf(root), GEOMETRY)


def windows() -> tuple[list[str], np.ndarray[Any, np.dtype[np.int64]]]:
    """Twenty windows of five frames in any order, of all videos."""
    draw = np.random.default_rng(0)
    ids = [IDS[at % len(IDS)] for at in range(20)]
    return ids, np.stack([draw.integers(0, frames_in(int(name[2:])), 5) for name in ids])


def from_the_store(store: FrameStore) -> np.ndarray[Any, np.dtype[np.uint8]]:
    ids, frames_NT = windows()
    read = np.empty((*frames_NT.shape, GEOMETRY.frame_bytes), np.uint8)
    for name, frames_T, out in zip(ids, frames_NT, read, strict=True):
        store.read(name, frames_T, out)
    return read


def test_windows_from_memory_have_the_bytes_of_the_store(store: FrameStore) -> None:
    ids, frames_NT = windows()
    read = np.empty((*frames_NT.shape, GEOMETRY.frame_bytes), np.uint8)
    copy = InMemory(store, IDS)
    for name, frames_T, out in zip(ids, frames_NT, read, strict=True):
        copy.read(name, frames_T, out)
    assert (read == from_the_store(store)).all()


def test_windows_gathered_on_the_device_have_the_bytes_of_the_store(store: FrameStore) -> None:
    gathered = OnDevice(store, IDS, CPU).gather(*windows())
    assert gathered.dtype == torch.uint8
    assert (gathered.numpy() == from_the_store(store)).all()


@pytest.mark.gpu
def test_windows_gathered_on_cuda_have_the_bytes_of_the_store(store: FrameStore) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    gathered = OnDevice(store, IDS, torch.device("cuda")).gather(*windows())
    assert (gathered.cpu().numpy() == from_the_store(store)).all()


@pytest.mark.parametrize("frame", [-1, frames_in(1)])
def test_a_frame_that_a_video_does_not_have_is_refused_and_not_taken_from_its_neighbour(
    store: FrameStore, frame: int
) -> None:
    copy, asked = InMemory(store, IDS), np.array([frame])
    with pytest.raises(IndexError, match="'a/1' has 33 frames"):
        copy.read("a/1", asked, np.empty((1, GEOMETRY.frame_bytes), np.uint8))
    with pytest.raises(IndexError, match="'a/1' has 33 frames"):
        OnDevice(store, IDS, CPU).gather(["a/1"], asked[None])


def test_only_the_videos_in_use_are_copied(store: FrameStore) -> None:
    copy = InMemory(store, IDS[:2])
    assert len(copy.frames_MF) == frames_in(5) + frames_in(4)
    assert copy.frames_MF.nbytes == bytes_of(store, IDS[:2])


def test_mmap_is_the_store_itself(store: FrameStore) -> None:
    assert place_frames("mmap", store, IDS, CPU) is store


def outcome(record: Record) -> Any:
    """All of a record that is no measurement of time or memory."""
    values = msgspec.to_builtins(record)
    for row in values["epochs"]:
        del row["seconds"]
    del values["transfer"]["seconds"], values["cost"]
    return values


def test_a_run_comes_to_the_same_record_with_its_frames_in_memory(tmp_path: Path) -> None:
    asked = request(tiny_board(optim={"epochs": 2}))
    records = [execute(asked, bench(tmp_path / name, placement=name)) for name in ("mmap", "ram")]
    assert outcome(records[0]) == outcome(records[1])


def test_a_run_may_be_continued_with_its_frames_elsewhere(tmp_path: Path) -> None:
    asked = request(tiny_board(optim={"epochs": 1}, transfer=None))
    first = execute(asked, bench(tmp_path))
    assert execute(asked, bench(tmp_path, placement="ram")) == first


def test_frames_that_do_not_fit_into_memory_are_refused_with_both_sizes_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placement, "_free_bytes", lambda *_: 16 * 2**30)
    require_room("ram", 14 * 2**30, CPU)
    with pytest.raises(KdbenchError) as refused:
        require_room("ram", 76 * 2**30, CPU)
    assert str(refused.value) == (
        "placement ram: the frames of this run take 76.00 GiB, and of memory 16.00 GiB are free "
        "(a tenth stays for the rest); use --placement mmap"
    )


def test_frames_that_do_not_fit_onto_the_device_are_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (2**30, 8 * 2**30))
    require_room("gpu", 2**29, torch.device("cuda:1"))
    with pytest.raises(KdbenchError, match=r"of cuda:1 1\.00 GiB are free .*; use --placement ram or mmap"):
        require_room("gpu", 2**30, torch.device("cuda:1"))


def test_frames_on_the_disk_need_no_memory() -> None:
    require_room("mmap", 2**80, CPU)


def test_a_run_is_refused_before_it_begins_counting_all_videos_it_will_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = tiny_board()
    needed = Inputs(material(board), Transfer.of(board, access())).frame_bytes
    monkeypatch.setattr(placement, "_free_bytes", lambda *_: needed)
    with pytest.raises(KdbenchError, match="placement ram: the frames of this run take"):
        execute(request(board), bench(tmp_path, placement="ram"))
    assert not list(tmp_path.rglob("*.pt"))


def test_device_memory_on_a_run_without_a_cuda_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KdbenchError, match="placement gpu: this run is on the cpu; use --device cuda, or --placement"):
        execute(request(), bench(tmp_path, placement="gpu"))


def test_a_placement_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KdbenchError, match="placement disk: there is mmap, ram, gpu"):
        require_room("disk", 0, CPU)


@pytest.mark.parametrize("command", [run_command, sweep_command, bench_command])
def test_the_command_line_knows_all_placements_and_takes_the_disk_by_default(command: click.Command) -> None:
    option = next(each for each in command.params if each.name == "placement")
    assert tuple(cast(click.Choice, option.type).choices) == PLACEMENTS
    assert option.default == "mmap"


def group(folder: Path, limit: str, used: int, of_files: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used - of_files}\nactive_file {of_files}\ninactive_file 0\n")


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="control groups are Linux's")
def test_the_limit_of_a_container_counts_and_pages_of_files_in_it_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = next((line[4:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::/")), "")
    group(tmp_path, "max", 50, 0)
    group(tmp_path / own, "1000", 700, 400)
    monkeypatch.setattr(placement, "_CGROUPS", tmp_path)
    assert placement._left_by_groups() == [700]
    assert placement._free_bytes("ram", CPU) == 700
