"""Whether a built site holds together: links that lead somewhere, numbers with records behind them, nothing else.

It reads the files as they are published and knows nothing of how they were made, so that it also finds what a build
repeats faithfully: a page that links to a run nobody published, a mean that its records do not give.
"""

from __future__ import annotations

import csv
import html
import io
import math
import posixpath
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from kdbench.leaderboard.parallel import over

LARGEST_PAGE = 1_500_000
MANIFEST = "manifest.txt"
FOREIGN = {"CNAME", ".nojekyll", "robots.txt"}  # what a host may want beside the pages
OUTSIDE = {"http", "https", "data", "mailto"}
EQUAL = 1e-5  # tables have six significant digits
_ANCHOR = re.compile(r'\sid="([^"]*)"')
_LINK = re.compile(r'\s(?:href|src)="([^"]*)"')


class _Derived(msgspec.Struct):
    top1: float


class _Published(msgspec.Struct):
    derived: _Derived


def faults_of(out: Path, processes: int = 1) -> list[str]:
    """What is wrong with the site in a folder, one line each: the file, what was found, the way out."""
    names = (out / MANIFEST).read_text(encoding="utf-8").split("\n")[:-1]
    known = frozenset(names)
    faults = [f"{out / name}: is in no manifest; remove it" for name in sorted(_present(out) - known - FOREIGN)]
    faults += [f"{out / name}: is in the manifest and not there; build again" for name in sorted(known - _present(out))]
    pages = [name for name in names if name.endswith((".html", ".xml")) and (out / name).is_file()]
    found = over(pages, partial(_page_faults, out, known, {}), processes, lambda done: None)
    faults += [fault for page in found.values() for fault in page]
    for name in names:
        if posixpath.basename(name) == "leaderboard.csv" and (out / name).is_file():
            faults += _table_faults(out, known, name)
    return faults


def links_in(page: str) -> Iterator[str]:
    """Every address that a page of ours leads to: attributes are quoted, and quotes in text are escaped."""
    return (html.unescape(link) for link in dict.fromkeys(_LINK.findall(page)))


def _present(out: Path) -> frozenset[str]:
    return frozenset(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def _page_faults(out: Path, known: frozenset[str], anchors: dict[str, frozenset[str]], name: str) -> list[str]:
    content = (out / name).read_text(encoding="utf-8")
    faults = []
    if len(content.encode()) > LARGEST_PAGE:
        faults.append(f"{out / name}: has {len(content.encode())} bytes, a page has at most {LARGEST_PAGE}; split it")
    for link in links_in(content) if name.endswith(".html") else ():
        place, reason = urlsplit(link), ""
        if place.scheme:
            reason = "" if place.scheme in OUTSIDE else "is no http or https address"
        elif (target := _target(name, place.path)) not in known:
            reason = "leads to no file of the site"
        elif place.fragment and not _is_anchor(place.fragment, _anchors(out, target, anchors)):
            reason = f"leads to no anchor of {target}"
        if reason:
            faults.append(f"{out / name}: the link {link!r} {reason}; correct what makes the page")
    return faults


def _target(name: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(path))) if path else name


def _anchors(out: Path, target: str, known: dict[str, frozenset[str]]) -> frozenset[str]:
    if target not in known:
        text = (out / target).read_text(encoding="utf-8") if target.endswith(".html") else ""
        known[target] = frozenset(html.unescape(name) for name in _ANCHOR.findall(text))
    return known[target]


def _is_anchor(fragment: str, anchors: frozenset[str]) -> bool:
    # `name=value` is not a place on a page but the state of a view, which a script reads.
    return "=" in fragment or unquote(fragment) in anchors


def _table_faults(out: Path, known: frozenset[str], name: str) -> list[str]:
    """Rows whose runs are not published, or whose accuracy is not the mean of theirs."""
    faults = []
    folder = posixpath.dirname(name)
    text = (out / name).read_text(encoding="utf-8")
    for at, line in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        place, runs = f"{out / name}:{at}", line["runs"].split()
        missing = [run for run in runs if not _files_of(folder, run) <= known]
        if missing or len(runs) != int(line["seeds"]):
            rest = f"of which {', '.join(missing)} is not published" if missing else f"for {line['seeds']} seeds"
            faults.append(f"{place}: names {len(runs)} runs, {rest}; every number needs its record")
            continue
        mean = math.fsum(scores := _scores(out, folder, runs)) / len(scores)
        if not math.isclose(mean, float(line["accuracy"]), rel_tol=EQUAL, abs_tol=EQUAL):
            faults.append(f"{place}: accuracy is {line['accuracy']}, the records of its runs give {mean:.6g}")
    return faults


def _files_of(folder: str, run: str) -> set[str]:
    return {f"{folder}/runs/{run}{ending}" for ending in (".html", ".csv", ".json.gz")}


def _scores(out: Path, folder: str, runs: Sequence[str]) -> list[float]:
    files = (out / folder / "runs" / f"{run}.json.gz" for run in runs)
    texts = (zlib.decompress(path.read_bytes(), zlib.MAX_WBITS | 16) for path in files)
    return [msgspec.json.decode(text, type=_Published).derived.top1 for text in texts]
