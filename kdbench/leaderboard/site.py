"""The folder of the site: built from the plan of its files, compared with it, and served from anywhere.

A manifest beside the pages names every file the site owns, so that a build removes what no longer belongs and
touches nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from kdbench.board import BOARDS
from kdbench.errors import KdbenchError
from kdbench.leaderboard.pages import Make, plan_site
from kdbench.records import write_atomically

MANIFEST = "manifest.txt"
Planner = Callable[[Path], dict[str, Make]]  # the plan of a site by the folder of its boards


def build_site(out: Path, boards: Path = BOARDS, *, planner: Planner = plan_site) -> list[Path]:
    """Write the site into `out`, remove its own files that no longer belong, and return what was written.

    Raises KdbenchError when `out` holds files of somebody else, RecordError for a record that cannot be read.
    """
    fresh = render_site(boards, planner)
    owned = _owned(out)
    for name in owned - fresh.keys():
        _remove(out, name)
    for name, content in fresh.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    return [out / name for name in fresh]


def stale_files(out: Path, boards: Path = BOARDS) -> list[str]:
    """The names of the files in which `out` differs from a fresh build: changed, missing, or left over."""
    fresh = render_site(boards)
    differing = {name for name, content in fresh.items() if _content(out / name) != content}
    left_over = {name for name in _owned(out) - fresh.keys() if (out / name).is_file()}
    return sorted(differing | left_over)


def render_site(boards: Path = BOARDS, planner: Planner = plan_site) -> dict[str, bytes]:
    """Every file of the site by its name, in order."""
    plan = planner(boards)
    names = sorted([*plan, MANIFEST])
    plan[MANIFEST] = "".join(f"{name}\n" for name in names).encode
    return {name: plan[name]() for name in names}


# --- the folder --------------------------------------------------------------------------------------------


def _owned(out: Path) -> set[str]:
    """The files that the last build wrote. Raises KdbenchError for a folder with files and no manifest."""
    listing = _content(out / MANIFEST)
    if listing is not None:
        return set(_safe_names(listing.decode("utf-8", "replace").splitlines()))
    if out.is_dir() and any(out.iterdir()):
        raise KdbenchError(f"{out}: holds files but no {MANIFEST} of a site; name an empty or a new folder with --out")
    return set()


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


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
