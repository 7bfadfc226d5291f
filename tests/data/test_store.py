from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from kdbench.data import prepare as prepare_module
from kdbench.data.decode import Geometry, frames_of
from kdbench.data.prepare import prepare
from kdbench.data.store import FRAMES, HEADER, INDEX, FrameStore, describe, find_video, store_path
from kdbench.data.verify import verify
from kdbench.errors import DataError
from tests.data.films import counted, number_of
from tests.data.shelf import FILMS, GEOMETRY, Options, draw_films, film, first_number, frames_in, shelf

IDS = [f"a/{at}" for at in range(FILMS)]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of films that no test may change."""
    root = tmp_path_factory.mktemp("films")
    draw_films(root)
    return root


@pytest.fixture
def films(drawn: Path, tmp_path: Path) -> Path:
    """A folder of films that is the test's own."""
    for path in drawn.rglob("*.avi"):
        own = tmp_path / "films" / path.relative_to(drawn)
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(path.read_bytes())
    return tmp_path / "films"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(prepare_module, "_SECONDS_BETWEEN_COMMITS", 0.0)
    return tmp_path / "home"


def contents(path: Path) -> dict[str, str]:
    return {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in (HEADER, INDEX, FRAMES)}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / INDEX).read_text().splitlines()]


def in_process(program: str, root: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program that finds `dataset`, `GEOMETRY`, `prepare`, its `module` and `sys.argv[2:]`."""
    preamble = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom kdbench.data import prepare as module\n"
        "from kdbench.data.prepare import prepare\nfrom tests.data.shelf import GEOMETRY, shelf\n"
        "dataset = shelf(Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", preamble + program, str(root), *map(str, arguments)]
    repository = Path(__file__).parent.parent.parent
    return subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)


# --- preparing ---------------------------------------------------------------------------------------------


def test_every_stored_frame_is_the_one_with_its_number(drawn: Path) -> None:
    prepare(shelf(drawn), GEOMETRY)
    store = FrameStore.open(shelf(drawn), GEOMETRY)
    for at, video in enumerate(IDS):
        shown = [number_of(frame, GEOMETRY) for frame in store.frames(video)]
        assert shown == list(range(first_number(at), first_number(at) + frames_in(at)))


def test_stored_frames_are_those_of_the_decoder(drawn: Path) -> None:
    prepare(shelf(drawn), GEOMETRY)
    stored = FrameStore.open(shelf(drawn), GEOMETRY).frames("a/1")
    assert (stored == np.stack(list(frames_of(film(drawn, 1), GEOMETRY)))).all()


def test_the_report_counts_videos_seconds_and_bytes(drawn: Path) -> None:
    report = prepare(shelf(drawn), GEOMETRY)
    assert (report.done, report.reused, report.missing, report.broken) == (FILMS, 0, (), ())
    assert report.bytes == sum(map(frames_in, range(FILMS))) * GEOMETRY.frame_bytes
    assert report.seconds > 0


def test_progress_is_told_after_every_video(drawn: Path) -> None:
    told: list[tuple[int, int, str]] = []
    prepare(shelf(drawn), GEOMETRY, workers=2, progress=lambda *news: told.append(news))
    assert told == [(number, FILMS, video) for number, video in enumerate(IDS, 1)]


def test_a_store_has_the_same_bytes_for_any_number_of_workers(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = []
    for workers in (1, 2, 3):
        monkeypatch.setenv("KDBENCH_HOME", str(drawn / f"home{workers}"))
        stores.append(contents(prepare(shelf(drawn), GEOMETRY, workers).path))
    assert stores[0] == stores[1] == stores[2]


def test_nothing_but_the_store_is_left_behind(drawn: Path) -> None:
    path = prepare(shelf(drawn), GEOMETRY, workers=2).path
    assert {entry.name for entry in path.iterdir()} - {"lock"} == {HEADER, INDEX, FRAMES}


def test_preparing_again_decodes_nothing(drawn: Path) -> None:
    path = prepare(shelf(drawn), GEOMETRY).path
    before = contents(path)
    again = prepare(shelf(drawn), GEOMETRY, workers=2)
    assert (again.done, again.reused) == (0, FILMS)
    assert contents(path) == before


def test_a_prepared_video_whose_file_is_gone_is_reused(films: Path) -> None:
    prepare(shelf(films), GEOMETRY)
    film(films, 2).unlink()
    assert prepare(shelf(films), GEOMETRY).reused == FILMS


def test_a_missing_video_is_reported_and_picked_up_later(films: Path) -> None:
    film(films, 2).rename(films / "elsewhere")
    report = prepare(shelf(films), GEOMETRY)
    assert (report.done, report.missing) == (FILMS - 1, (("a/2", str(film(films, 2))),))
    (films / "elsewhere").rename(film(films, 2))
    report = prepare(shelf(films), GEOMETRY)
    assert (report.done, report.reused, report.missing) == (1, FILMS - 1, ())


def test_a_video_is_found_in_any_of_its_places(films: Path) -> None:
    (films / "old").mkdir()
    film(films, 3).rename(films / "old" / "3.avi")
    dataset = shelf(films)
    assert find_video(dataset, dataset.videos[3]) == films / "old" / "3.avi"
    assert prepare(dataset, GEOMETRY).done == FILMS


@pytest.mark.parametrize("workers", [1, 2])
def test_broken_videos_are_named_and_do_not_stop_the_rest(films: Path, workers: int) -> None:
    film(films, 0).write_bytes(b"")
    content = film(films, 3).read_bytes()
    film(films, 3).write_bytes(content[: content.index(b"idx1") - 50])
    report = prepare(shelf(films), GEOMETRY, workers)
    assert report.done == FILMS - 2
    assert report.broken[0] == (str(film(films, 0)), "is an empty file (0 bytes)")
    assert report.broken[1][0] == str(film(films, 3))
    assert report.broken[1][1].startswith("is truncated: of 37 frames only ")
    store = FrameStore.open(shelf(films), GEOMETRY)
    assert set(store.broken) == {"a/0", "a/3"}
    assert number_of(store.frames("a/4")[0], GEOMETRY) == first_number(4)


def test_a_video_that_is_still_broken_gets_no_second_line(films: Path) -> None:
    film(films, 0).write_bytes(b"")
    path = prepare(shelf(films), GEOMETRY).path
    before = contents(path)
    assert len(prepare(shelf(films), GEOMETRY).broken) == 1
    assert contents(path) == before


def test_a_broken_video_that_was_replaced_is_prepared(films: Path) -> None:
    whole = film(films, 0).read_bytes()
    film(films, 0).write_bytes(b"")
    prepare(shelf(films), GEOMETRY)
    film(films, 0).write_bytes(whole)
    report = prepare(shelf(films), GEOMETRY)
    assert (report.done, report.broken) == (1, ())
    store = FrameStore.open(shelf(films), GEOMETRY)
    assert store.broken == {}
    assert len(store.frames("a/0")) == frames_in(0)


def test_a_video_whose_file_was_replaced_is_prepared_anew(films: Path) -> None:
    prepare(shelf(films), GEOMETRY)
    counted(film(films, 0), 5, first=77)
    assert prepare(shelf(films), GEOMETRY).done == 1
    store = FrameStore.open(shelf(films), GEOMETRY)
    assert [number_of(frame, GEOMETRY) for frame in store.frames("a/0")] == [77, 78, 79, 80, 81]


def test_the_header_says_how_the_frames_were_made(drawn: Path) -> None:
    header = json.loads((prepare(shelf(drawn), GEOMETRY).path / HEADER).read_text())
    assert header["dataset"] == "shelf"
    assert header["options"] == {"shelf": 1}
    assert header["geometry"] == {"height": 128, "width": 171, "filter": "bilinear"}
    assert (header["codec"], header["colour"], header["format"]) == ("yuv420p", "limited-range BT.601", 1)
    assert header["pyav"]
    assert "libavcodec" in header["ffmpeg"]


def test_the_index_has_a_line_for_every_video(drawn: Path) -> None:
    first = lines(prepare(shelf(drawn), GEOMETRY).path)[0]
    assert sorted(first) == ["frames", "frames_sha256", "id", "offset", "source_bytes", "source_sha256"]
    assert first["source_sha256"] == hashlib.sha256(film(drawn, 0).read_bytes()).hexdigest()


def test_options_identity_and_geometry_each_have_their_own_store(tmp_path: Path) -> None:
    paths = {
        store_path(shelf(tmp_path), GEOMETRY),
        store_path(shelf(tmp_path, options=Options(2)), GEOMETRY),
        store_path(shelf(tmp_path, kind="other"), GEOMETRY),
        store_path(shelf(tmp_path), Geometry(128, 171, "area")),
        store_path(shelf(tmp_path), Geometry(64, 64)),
    }
    assert len(paths) == 5
    assert store_path(shelf(tmp_path / "moved"), GEOMETRY) in paths


# --- interruptions -----------------------------------------------------------------------------------------


def test_a_store_whose_preparation_was_killed_twice_has_the_same_bytes(
    drawn: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = (
        "module._SECONDS_BETWEEN_COMMITS = float(sys.argv[2])\n"
        "stop, kill = int(sys.argv[3]), lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        "prepare(dataset, GEOMETRY, int(sys.argv[4]), lambda done, *_: done == stop and kill())\n"
    )
    path = store_path(shelf(drawn), GEOMETRY)
    assert in_process(killed, drawn, 0, 2, 2).returncode == -signal.SIGKILL
    assert len(lines(path)) == 2
    assert in_process(killed, drawn, 1000, 3, 1).returncode == -signal.SIGKILL
    assert (path / FRAMES).stat().st_size > lines(path)[1]["offset"] + frames_in(1) * GEOMETRY.frame_bytes
    with (path / INDEX).open("a") as index:
        index.write('{"id": "a/2", "fra')
    assert prepare(shelf(drawn), GEOMETRY, 2).done == FILMS - 2
    interrupted = contents(path)
    monkeypatch.setenv("KDBENCH_HOME", str(home / "undisturbed"))
    assert contents(prepare(shelf(drawn), GEOMETRY).path) == interrupted


def test_a_store_that_lost_frames_when_the_power_failed_is_continued(drawn: Path) -> None:
    path = prepare(shelf(drawn), GEOMETRY).path
    before = contents(path)
    os.truncate(path / FRAMES, lines(path)[3]["offset"] + 100)
    with pytest.raises(DataError, match="shorter than its index says; prepare the data set again"):
        FrameStore.open(shelf(drawn), GEOMETRY)
    assert prepare(shelf(drawn), GEOMETRY).done == FILMS - 3
    assert contents(path) == before


def test_an_exception_in_the_middle_keeps_the_videos_that_are_done(drawn: Path) -> None:
    def interrupt(done: int, *_: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(shelf(drawn), GEOMETRY, 2, interrupt)
    assert prepare(shelf(drawn), GEOMETRY, 2).reused == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_write_that_fails_is_one_line_and_the_next_call_continues(
    drawn: Path, workers: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = (
        "import resource\nfrom kdbench.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))\nmodule._SECONDS_BETWEEN_COMMITS = 0\n"
        "try:\n    prepare(dataset, GEOMETRY, int(sys.argv[2]))\nexcept DataError as error:\n    print(error)\n"
    )
    ran = in_process(limited, drawn, workers)
    path = store_path(shelf(drawn), GEOMETRY)
    assert ran.stdout == (
        f"{path}: cannot be written (File too large); put that right and run the same command again, "
        "it goes on where it stopped\n"
    )
    assert ran.stderr == ""
    assert prepare(shelf(drawn), GEOMETRY).reused == 3
    continued = contents(path)
    monkeypatch.setenv("KDBENCH_HOME", str(home / "undisturbed"))
    assert contents(prepare(shelf(drawn), GEOMETRY).path) == continued


def test_a_full_disk_is_called_so(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="the disk is full; free some space and run"):
            prepare(shelf(drawn), GEOMETRY)
    assert prepare(shelf(drawn), GEOMETRY).done == FILMS


def test_a_place_that_cannot_be_written_is_one_line(drawn: Path, home: Path) -> None:
    home.write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"stores/shelf-128x171-\w{8}: cannot be written \(Not a directory\)"):
        prepare(shelf(drawn), GEOMETRY)


def test_a_store_that_another_process_prepares_is_waited_for_by_who_can_be_told(drawn: Path) -> None:
    path = prepare(shelf(drawn), GEOMETRY).path
    lock, said = FileLock(path / "lock"), []
    lock.acquire()

    def heard(text: str) -> None:
        said.append(text)
        lock.release()

    assert prepare(shelf(drawn), GEOMETRY, say=heard).reused == FILMS
    assert said == [f"{path}: is being prepared by another process; waiting until it has ended"]


def test_a_store_that_another_process_prepares_is_refused_with_its_number(drawn: Path) -> None:
    path = prepare(shelf(drawn), GEOMETRY).path
    (path / "holder").write_text("4711")
    with FileLock(path / "lock"), pytest.raises(DataError, match="is being prepared by process 4711; wait for it"):
        prepare(shelf(drawn), GEOMETRY)


def test_the_number_of_the_preparing_process_stands_in_the_store_meanwhile(drawn: Path) -> None:
    holder = store_path(shelf(drawn), GEOMETRY) / "holder"
    seen: set[str] = set()
    prepare(shelf(drawn), GEOMETRY, progress=lambda *_: seen.add(holder.read_text()))
    assert seen == {str(os.getpid())}
    assert not holder.exists()


# --- reading -----------------------------------------------------------------------------------------------


@pytest.fixture
def store(drawn: Path) -> FrameStore:
    prepare(shelf(drawn), GEOMETRY)
    return FrameStore.open(shelf(drawn), GEOMETRY)


@pytest.mark.parametrize("asked", [[0], [30], [3, 4, 5], [0, 2, 4], [5, 4, 3], [7, 7, 7], [0, 1, 9, 10, 11, 2, 30], []])
def test_the_frames_that_are_asked_for_are_read(store: FrameStore, asked: list[int]) -> None:
    out = np.zeros((len(asked), GEOMETRY.frame_bytes), np.uint8)
    store.read("a/2", np.array(asked, np.int64), out)
    assert [number_of(frame, GEOMETRY) for frame in out] == [20 + number for number in asked]


@pytest.mark.parametrize("asked", [[-1], [0, 31], [1000]])
def test_a_frame_that_does_not_exist_is_an_error(store: FrameStore, asked: list[int]) -> None:
    out = np.zeros((len(asked), GEOMETRY.frame_bytes), np.uint8)
    with pytest.raises(IndexError, match="'a/0' has 31 frames"):
        store.read("a/0", np.array(asked, np.int64), out)


def test_a_video_that_is_not_in_the_store_is_named(store: FrameStore) -> None:
    with pytest.raises(DataError, match="no frames of 'a/99': it is not prepared; run `kdbench data prepare`"):
        store.frames("a/99")


def test_many_threads_may_read_at_once(store: FrameStore) -> None:
    def read(task: int) -> bool:
        at, start = task % FILMS, task % 20
        out = np.empty((10, GEOMETRY.frame_bytes), np.uint8)
        store.read(IDS[at], np.arange(start, start + 10), out)
        return number_of(out[9], GEOMETRY) == first_number(at) + start + 9

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(400)))


def test_stored_frames_cannot_be_written_to(store: FrameStore) -> None:
    with pytest.raises(ValueError, match="read-only"):
        store.frames("a/0")[0, 0] = 1


def test_a_store_that_was_never_prepared_says_how_to(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no frames here yet; run `kdbench data prepare shelf`"):
        FrameStore.open(shelf(tmp_path), GEOMETRY)


def test_a_store_without_any_video_is_open_and_empty(tmp_path: Path) -> None:
    assert len(prepare(shelf(tmp_path), GEOMETRY).missing) == FILMS
    assert FrameStore.open(shelf(tmp_path), GEOMETRY).entries == {}


def test_the_digest_is_that_of_ids_and_frames(store: FrameStore) -> None:
    text = "".join(f"{video}\t{hashlib.sha256(store.frames(video).tobytes()).hexdigest()}\n" for video in IDS)
    assert store.digest == hashlib.sha256(text.encode()).hexdigest()


def test_the_digest_does_not_depend_on_the_order_of_preparing(films: Path, drawn: Path, home: Path) -> None:
    prepare(shelf(drawn), GEOMETRY)
    expected = FrameStore.open(shelf(drawn), GEOMETRY).digest
    store_path(shelf(drawn), GEOMETRY).rename(home / "first")
    film(films, 0).rename(films / "elsewhere")
    prepare(shelf(films), GEOMETRY)
    (films / "elsewhere").rename(film(films, 0))
    prepare(shelf(films), GEOMETRY)
    assert FrameStore.open(shelf(films), GEOMETRY).digest == expected


@pytest.mark.parametrize("header", ["", "{}", '{"format": 99}'])
def test_a_store_with_another_header_is_refused(store: FrameStore, header: str) -> None:
    (store.path / HEADER).write_text(header)
    with pytest.raises(DataError, match="; delete it and prepare again"):
        FrameStore(store.path)


def test_a_damaged_line_of_the_index_is_named(store: FrameStore) -> None:
    content = (store.path / INDEX).read_text().splitlines(keepends=True)
    (store.path / INDEX).write_text("".join([content[0], "{]\n", *content[2:]]))
    with pytest.raises(DataError, match=r"index\.jsonl: line 2 is damaged; delete the folder and prepare again"):
        FrameStore(store.path)


# --- verifying ---------------------------------------------------------------------------------------------


def test_a_sound_store_is_verified(films: Path) -> None:
    prepare(shelf(films), GEOMETRY)
    told: list[int] = []
    found = verify(shelf(films), GEOMETRY, lambda done, *_: told.append(done))
    assert found.ok
    assert found.sound == FILMS
    assert told == list(range(1, FILMS + 1))


def test_every_kind_of_trouble_is_named(films: Path) -> None:
    film(films, 0).write_bytes(film(films, 0).read_bytes()[:5000])
    film(films, 1).unlink()
    path = prepare(shelf(films), GEOMETRY).path
    content = bytearray(film(films, 2).read_bytes())
    content[-1] ^= 1
    film(films, 2).write_bytes(content)
    with (path / FRAMES).open("r+b") as frames:
        frames.seek(lines(path)[2]["offset"] + 5)
        frames.write(b"\x01\x02")
    film(films, 4).unlink()
    counted(films / "b" / "other.mp4", 3).rename(films / "b" / "Other.MP4")
    (films / "notes.txt").write_text("no video")
    found = verify(shelf(films), GEOMETRY)
    assert [place for place, _ in found.broken] == [str(film(films, 0))]
    assert found.missing == (("a/1", str(film(films, 1))),)
    assert found.changed == ((str(film(films, 2)), "has other content than when it was prepared"),)
    assert [video for video, _ in found.damaged] == ["a/3"]
    assert found.gone == (("a/4", str(film(films, 4))),)
    assert found.extra == (str(films / "b" / "Other.MP4"),)
    assert found.sound == 1
    assert not found.ok


def test_files_are_verified_before_anything_is_prepared(films: Path) -> None:
    film(films, 0).write_bytes(b"no video")
    found = verify(shelf(films), GEOMETRY)
    assert found.unprepared == tuple(IDS[1:])
    assert [place for place, _ in found.broken] == [str(film(films, 0))]


def test_a_file_of_another_size_is_called_changed(films: Path) -> None:
    prepare(shelf(films), GEOMETRY)
    film(films, 2).write_bytes(film(films, 2).read_bytes() + b"!")
    assert "bytes; it had" in verify(shelf(films), GEOMETRY).changed[0][1]


def test_a_removed_file_of_a_prepared_video_is_no_trouble(films: Path) -> None:
    prepare(shelf(films), GEOMETRY)
    film(films, 2).unlink()
    assert verify(shelf(films), GEOMETRY).ok


def test_a_data_set_is_described(films: Path) -> None:
    film(films, 0).unlink()
    prepare(shelf(films), GEOMETRY)
    described = describe(shelf(films), GEOMETRY)
    assert (described["videos"], described["files_found"], described["prepared"]) == (FILMS, FILMS - 1, FILMS - 1)
    assert described["digest"] == FrameStore.open(shelf(films), GEOMETRY).digest
