"""The folder of the site: built from the plan of its files, compared with it, and served from anywhere.

A manifest beside the pages names every file the site owns, so that a build removes what no longer belongs and
touches nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from kdbench.board import BOARDS
from kdbench.errors import KdbenchError
from kdbench.leaderboard.packing import same_content
from kdbench.leaderboard.pages import Make, plan_site
from kdbench.leaderboard.parallel import Tick, no_collection, over, usable_cores
from kdbench.leaderboard.render import read_templates

MANIFEST = "manifest.txt"
UNFINISHED = ".unfinished"  # how the name of a file ends that is being written
Watch = Callable[[str, int], Tick]
Planner = Callable[[Path], dict[str, Make]]  # the plan of a site by the folder of its boards


def unwatched(title: str, total: int) -> Tick:
    """Nobody is told how far a build is."""
    return lambda done: None


def build_site(
    out: Path,
    boards: Path = BOARDS,
    *,
    planner: Planner = plan_site,
    processes: int | None = None,
    watch: Watch = unwatched,
) -> list[Path]:
    """Write the site into `out`, remove its own files that no longer belong, and return its files.

    Whatever the number of processes, the bytes are the same. A file is written beside its place and renamed over,
    and only where it differs; a build that was killed is completed by the next. Raises KdbenchError when `out`
    holds files of somebody else, RecordError for a record that cannot be read.
    """
    with no_collection():
        plan = planned(boards, planner)
        owned = _owned(out)
        folders = {(out / name).parent for name in plan}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            _clear(folder)
        # A build that is killed must leave a folder whose every file is known to be the site's.
        _put(out, MANIFEST, _listing({*owned, *plan}))
        for name in owned - plan.keys():
            _remove(out, name)
        names = _largest_first(name for name in plan if name != MANIFEST)
        tick = watch("Writing pages", len(names))
        over(names, lambda name: _put(out, name, plan[name]()), processes or usable_cores(), tick)
        _put(out, MANIFEST, plan[MANIFEST]())
    return [out / name for name in plan]


def stale_files(
    out: Path, boards: Path = BOARDS, *, processes: int | None = None, watch: Watch = unwatched
) -> list[str]:
    """The names of the files in which `out` differs from a fresh build: changed, missing, or left over."""
    with no_collection():
        plan = planned(boards)
        names = _largest_first(plan)
        tick = watch("Comparing pages", len(names))
        fresh = over(names, partial(_is_fresh, out, plan), processes or usable_cores(), tick)
    left_over = {name for name in _owned(out) - plan.keys() if (out / name).is_file()}
    return sorted({name for name, same in fresh.items() if not same} | left_over)


def planned(boards: Path = BOARDS, planner: Planner = plan_site) -> dict[str, Make]:
    """What makes every file of the site, the manifest included, in order of the name."""
    read_templates()
    plan = planner(boards)
    names = sorted([*plan, MANIFEST])
    plan[MANIFEST] = partial(_listing, names)
    return {name: plan[name] for name in names}


def render_site(boards: Path = BOARDS) -> dict[str, bytes]:
    """Every file of the site by its name, in order."""
    return {name: make() for name, make in planned(boards).items()}


# --- the folder --------------------------------------------------------------------------------------------


def _listing(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in sorted(names)).encode()


def _largest_first(names: Iterable[str]) -> list[str]:
    """What shows many runs before the files of single runs, so that no process is left with it at the end."""
    return sorted(names, key=lambda name: (len(PurePosixPath(name).parts), name))


def _put(out: Path, name: str, content: bytes) -> bool:
    """Write a file unless it holds that already, and say whether. Not flushed to disk: a build can be repeated."""
    path = f"{out}/{name}"
    if same_content(name, _content(path), content):
        return False
    beside = f"{os.path.dirname(path)}/.{os.getpid()}{UNFINISHED}"  # noqa: PTH120 - there are tens of thousands
    try:
        with open(beside, "wb") as stream:  # noqa: PTH123
            stream.write(content)
        os.replace(beside, path)  # noqa: PTH105
    except OSError as error:
        raise KdbenchError(f"{path}: cannot be written: {error.strerror}; make room or name another --out") from error
    return True


def _is_fresh(out: Path, plan: Mapping[str, Make], name: str) -> bool:
    return same_content(name, _content(out / name), plan[name]())


def _owned(out: Path) -> set[str]:
    """The files that the last build wrote. Raises KdbenchError for a folder with files and no manifest."""
    listing = _content(out / MANIFEST)
    if listing is not None:
        return set(_safe_names(listing.decode("utf-8", "replace").splitlines()))
    if any(path.is_file() and not path.name.endswith(UNFINISHED) for path in out.rglob("*")):
        raise KdbenchError(f"{out}: holds files but no {MANIFEST} of a site; name an empty or a new folder with --out")
    return set()


def _clear(folder: Path) -> None:
    """Remove what a killed build was writing."""
    for path in folder.glob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def _safe_names(names: Iterable[str]) -> Iterable[str]:
    """Names that stay inside the folder: a manifest that was tampered with must not reach outside."""
    for name in names:
        path = PurePosixPath(name)
        if name and not path.is_absolute() and ".." not in path.parts:
            yield name


def _remove(out: Path, name: str) -> None:
    path, inside = out / name, out.resolve()
    if not path.parent.resolve().is_relative_to(inside):
        return  # a linked folder leads elsewhere
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == out or not folder.is_dir() or any(folder.iterdir()):
            break
        folder.rmdir()


def _content(path: Path | str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - a Path takes longer than the file
            return stream.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
