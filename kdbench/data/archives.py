"""Unpack the archives data sets are distributed as: zip, tar (gz, bz2, xz), rar, and archives within archives.

Only videos and lists are kept, each as <class>/<file>: the last two parts of its name, so folders around the
class folders fall away; in an archive of archives, one that has no folders inside names the class itself.
Every entry is checked before it is written: one that is no plain file or that points out of the archive stops
the whole thing. Files are written under a passing name and renamed, and those that are there with the right
size are left alone, so the same call goes on after an interruption.
"""

from __future__ import annotations

import lzma
import re
import stat
import tarfile
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from kdbench.errors import DataError

# Called after each file that was written or found with: files so far, 0 (how many there are is not known), its name.
Progress = Callable[[int, int, str], None]
Kind = Literal["file", "folder", "link", "device"]

KEPT = frozenset({".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".wmv", ".m4v", ".txt"})
NESTED = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".rar"})
_RAR_MAGIC = b"Rar!\x1a\x07"
_BLOCK = 1 << 20  # bytes read at once
_DEEPEST = 2  # an archive of archives is as deep as any data set goes


@dataclass(frozen=True)
class Entry:
    """One entry of an archive. Its blocks must be read before the next entry is asked for."""

    name: str
    kind: Kind
    size: int | None
    blocks: Callable[[], Iterator[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a file is of a kind `unpack` reads, by its content and not by its name."""
    return path.is_file() and _reader(path) is not None


def unpack(archive: Path, target: Path, progress: Progress) -> Path:
    """Unpack the videos and lists of an archive into `target`, and return that folder.

    Raises DataError for a file that is no archive, is damaged, holds a dangerous entry or no video at all,
    and for a rar archive where the reader of those is not installed.
    """
    if not archive.exists():
        raise DataError(archive, "no such file or folder; correct the path")
    job = _Job(target, progress)
    job.unpack(archive, str(archive), fallback="", depth=1)
    if not job.written:
        raise DataError(archive, f"holds no file of a kind that is kept ({' '.join(sorted(KEPT))})")
    return target


class _Job:
    """One call of `unpack`: where the files go, and which have been seen."""

    def __init__(self, target: Path, progress: Progress) -> None:
        self.target = target
        self.progress = progress
        self.written: dict[Path, str] = {}

    def unpack(self, archive: Path, shown: str, fallback: str, depth: int) -> None:
        """Go through one archive; `fallback` names the class of files that lie in no folder."""
        reader = _reader(archive)
        if reader is None:
            raise DataError(shown, "is no zip, tar or rar archive, or is damaged; fetch it again")
        if depth > _DEEPEST:
            raise DataError(shown, "is an archive within an archive within an archive; unpack it by hand")
        try:
            for entry in reader(archive):
                self._take(entry, shown, fallback, depth)
        except _damages() as error:
            trouble = getattr(error, "msg", None) or error
            raise DataError(shown, f"is damaged or cannot be read ({trouble}); {_way_out(reader)}") from error

    def _take(self, entry: Entry, shown: str, fallback: str, depth: int) -> None:
        name = _safe_name(entry, shown)
        if entry.kind == "folder" or name.name.startswith("."):
            return
        if name.suffix.lower() in NESTED:
            self._unpack_nested(entry, f"{shown}: {entry.name}", depth)
        elif name.suffix.lower() in KEPT:
            self._keep(entry, self.target.joinpath(*_last_two(name, fallback)), shown)

    def _unpack_nested(self, entry: Entry, shown: str, depth: int) -> None:
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=_made(self.target)) as folder:
            inner = Path(folder) / "archive"
            _write(entry, inner, shown)
            self.unpack(inner, shown, fallback=PurePosixPath(entry.name).stem, depth=depth + 1)

    def _keep(self, entry: Entry, path: Path, shown: str) -> None:
        if path in self.written:
            raise DataError(
                shown, f"'{entry.name}' and '{self.written[path]}' would both become {path}; unpack by hand"
            )
        self.written[path] = entry.name
        if not (path.is_file() and path.stat().st_size == entry.size):
            _made(path.parent)
            _write(entry, path, shown)
        self.progress(len(self.written), 0, entry.name)


def _write(entry: Entry, path: Path, shown: str) -> None:
    """Write an entry's bytes under a passing name and rename it, so that no half file is ever taken for a whole."""
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            written = sum(file.write(block) for block in entry.blocks())
        if entry.size is not None and written != entry.size:
            raise DataError(
                shown, f"'{entry.name}' ends after {written} of {entry.size} bytes; fetch the archive again"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _safe_name(entry: Entry, shown: str) -> PurePosixPath:
    """The entry's name as a relative path. Raises DataError for whatever could reach beyond the target folder."""
    name = PurePosixPath(entry.name.replace("\\", "/"))
    if entry.kind in ("link", "device"):
        raise DataError(shown, f"'{entry.name}' is a {entry.kind}, which no data set needs; do not trust this archive")
    if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", entry.name) or "\0" in entry.name:
        raise DataError(shown, f"'{entry.name}' leads out of the archive's folder; do not trust this archive")
    return name


def _last_two(name: PurePosixPath, fallback: str) -> tuple[str, ...]:
    parts = name.parts[-2:]
    return (fallback, *parts) if fallback and len(parts) == 1 else parts


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# --- one reader for each kind ------------------------------------------------------------------------------


def _reader(path: Path) -> Callable[[Path], Iterator[Entry]] | None:
    with path.open("rb") as file:
        if file.read(len(_RAR_MAGIC)) == _RAR_MAGIC:
            return _read_rar
    if zipfile.is_zipfile(path):
        return _read_zip
    return _read_tar if tarfile.is_tarfile(path) else None


def _way_out(reader: Callable[[Path], Iterator[Entry]]) -> str:
    # libarchive reads most rar archives, but not the solid, encrypted or divided ones of old versions.
    by_hand = ", or unpack it by hand (unrar x) and name the folder" if reader is _read_rar else ""
    return f"fetch it again{by_hand}"


def _damages() -> tuple[type[Exception], ...]:
    """What the readers raise for an archive that is cut off, altered or encrypted."""
    known = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, RuntimeError)
    try:
        from libarchive.exception import ArchiveError
    except _NO_RAR:
        return known
    return (*known, ArchiveError)


def _blocks(opened: Callable[[], IO[bytes]]) -> Iterator[bytes]:
    with opened() as file:
        while block := file.read(_BLOCK):
            yield block


def _read_zip(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = "folder" if info.is_dir() else _kind_of_mode(info.external_attr >> 16)
            yield Entry(info.filename, kind, info.file_size, partial(_blocks, partial(archive.open, info)))


def _read_tar(path: Path) -> Iterator[Entry]:
    with tarfile.open(path) as archive:
        for info in archive:
            kind: Kind = "folder" if info.isdir() else "file" if info.isfile() else "device"
            kind = "link" if info.issym() or info.islnk() else kind
            yield Entry(info.name, kind, info.size, partial(_blocks, partial(_open_in_tar, archive, info)))


def _open_in_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None, "only links and devices have no content, and those are refused"
    return file


# libarchive-c raises whatever ctypes does when the C library is not there.
_NO_RAR = (ImportError, OSError, AttributeError, TypeError)


def _read_rar(path: Path) -> Iterator[Entry]:
    try:
        from libarchive.read import file_reader
    except _NO_RAR as error:
        way_out = "pip install 'kdbench[rar]' and apt install libarchive13 (or brew install libarchive)"
        raise DataError(path, f"reading rar archives needs libarchive: {way_out}; or unpack it by hand") from error
    with file_reader(str(path)) as archive:
        for entry in archive:
            kind = _kind_of_mode(entry.filetype)
            kind = "link" if entry.islnk or entry.issym else kind
            yield Entry(entry.pathname, kind, entry.size, entry.get_blocks)


def _kind_of_mode(mode: int) -> Kind:
    """The kind of a Unix file mode; archives made elsewhere leave it 0."""
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) or stat.S_IFMT(mode) == 0 else "device"
