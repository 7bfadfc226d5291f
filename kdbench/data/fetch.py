"""Fetch a file over HTTP(S): goes on where it was cut off, checks size and digest, and renames when all is there.

A part file stands beside the goal with a note of where it comes from (address and the server's mark of its
version), so that a later call goes on only with the same bytes.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from kdbench.errors import DataError

if TYPE_CHECKING:
    from kdbench.api import Download

# Called after each block with: bytes there, bytes in all (0: not known), the file's name.
Progress = Callable[[int, int, str], None]

ATTEMPTS = 5  # in a row without a single new byte
FIRST_PAUSE = 1.0  # seconds, doubled after each fruitless attempt
TIMEOUT = 60.0  # seconds without an answer
SPARE = 64 << 20  # bytes of the disk that a download leaves free
_BLOCK = 1 << 20
# What a lost or refused connection raises; a full disk is another kind of OSError and passes.
_DROPPED = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def fetch(download: Download, target: Path, progress: Progress, say: Callable[[str], None] = print) -> Path:
    """Fetch a file into the folder `target`, unless it is there already, and return its path.

    The SHA-256 is stored beside it as `<file>.sha256`; where the download does not name one, `say` is told the
    one that was seen. Raises DataError when the server refuses, the network fails for good, the disk is too
    small, or size or digest are wrong; the message says how to fetch the file by hand.
    """
    target.mkdir(parents=True, exist_ok=True)
    path = target / download.filename
    with FileLock(path.with_name(f".{path.name}.lock")):  # a second process waits, and then finds the file
        if not path.is_file() or download.size not in (None, path.stat().st_size):
            _fetch_locked(download, path, progress, say)
    return path


def _fetch_locked(download: Download, path: Path, progress: Progress, say: Callable[[str], None]) -> None:
    part = _Part(path.with_name(f"{path.name}.part"), download.url)
    _transfer(part, download, path, progress)
    digest = _checked(part, download, path)
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n", encoding="utf-8")
    part.path.replace(path)
    part.forget()
    if download.sha256 is None:
        say(f"{path}: SHA-256 {digest} (none is known to compare it with)")


@dataclass(frozen=True)
class _Part:
    """A part file, and beside it the note that says which bytes it is the beginning of."""

    path: Path
    url: str

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def noted(self) -> tuple[str, int]:
        """The server's mark of the version begun here and its bytes; "" or 0 where unknown or of another address."""
        try:
            note: dict[str, Any] = json.loads(self.note.read_text(encoding="utf-8"))
            known = note["url"] == self.url
            return (str(note["version"]), int(note["total"])) if known else ("", 0)
        except (OSError, ValueError, KeyError, TypeError):
            return "", 0

    def begin(self, version: str, total: int) -> None:
        note = {"url": self.url, "version": version, "total": total}
        self.note.write_text(json.dumps(note), encoding="utf-8")

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _transfer(part: _Part, download: Download, path: Path, progress: Progress) -> None:
    """Fill the part file. Every attempt that brings new bytes begins the count of attempts anew."""
    fruitless, pause = 0, FIRST_PAUSE
    while not (part.size and part.size == part.noted()[1]):
        before = part.size
        try:
            _attempt(part, download, progress)
            return
        except urllib.error.HTTPError as error:
            with error:
                if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                    part.forget()  # the part is longer than the file is now
                elif error.code < 500 and error.code not in (408, 429):
                    raise _by_hand(download, path, f"the server answers {error.code} {error.reason}") from error
            trouble: Exception = error
        except _DROPPED as error:
            trouble = error
        fruitless, pause = (0, FIRST_PAUSE) if part.size > before else (fruitless + 1, pause)
        if fruitless >= ATTEMPTS:
            reason = getattr(trouble, "reason", trouble)
            raise _by_hand(download, path, f"cannot be fetched ({reason})") from trouble
        time.sleep(pause)
        pause *= 2


def _attempt(part: _Part, download: Download, progress: Progress) -> None:
    """One request, for the rest of the file where the server still has the same version, else for all of it."""
    request = urllib.request.Request(download.url, headers={"User-Agent": "kdbench"})  # noqa: S310 - checked below
    if request.type not in ("http", "https"):
        raise DataError(download.url, "only http and https addresses are fetched")
    begun, version = part.size, part.noted()[0]
    if begun and version:
        request.add_header("Range", f"bytes={begun}-")
        request.add_header("If-Range", version)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        goes_on = answer.status == http.client.PARTIAL_CONTENT and _first_byte(answer) == begun
        start = begun if goes_on else 0
        rest = int(answer.headers.get("Content-Length") or 0)
        total = start + rest if rest else download.size or 0
        if not goes_on:
            part.forget()
            part.begin(_version(answer), start + rest)
        _check_disk(part.path, rest)
        with part.path.open("ab" if goes_on else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                progress(file.tell(), total, download.filename)
            file.flush()
            os.fsync(file.fileno())
    if rest and part.size != total:
        raise http.client.IncompleteRead(b"", total - part.size)


def _first_byte(answer: http.client.HTTPResponse) -> int:
    """The position of a partial answer's first byte ("Content-Range: bytes 5-9/10" -> 5), or -1."""
    place = str(answer.headers.get("Content-Range", "")).removeprefix("bytes ").partition("-")[0]
    return int(place) if place.isdigit() else -1


def _version(answer: http.client.HTTPResponse) -> str:
    """What `If-Range` may be given: a strong entity tag, else the time of the last change, else nothing."""
    tag = str(answer.headers.get("ETag") or "")
    return tag if tag and not tag.startswith("W/") else str(answer.headers.get("Last-Modified") or "")


def _check_disk(part: Path, rest: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if rest + SPARE > free:
        need = f"{rest / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free"
        raise DataError(part.parent, f"{need}; make room or set KDBENCH_HOME to another disk")


def _checked(part: _Part, download: Download, path: Path) -> str:
    """The finished part's SHA-256. Raises DataError, and throws the part away, when it is not what was promised."""
    with part.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    wrong = ""
    if download.size is not None and part.size != download.size:
        wrong = f"has {part.size} bytes and not {download.size}"
    elif download.sha256 is not None and digest != download.sha256.lower():
        wrong = f"has SHA-256 {digest} and not {download.sha256}"
    if wrong:
        part.forget()
        raise _by_hand(download, path, wrong)
    return digest


def _by_hand(download: Download, path: Path, trouble: str) -> DataError:
    way_out = f"try again later, or download it by hand, put it at {path} and run the same command again"
    return DataError(download.url, f"{trouble}; {way_out}")
