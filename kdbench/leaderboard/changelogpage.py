"""What the changelog and its feed show: each entry in a sentence, with links to its runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from kdbench.board import BOARDS
from kdbench.errors import BoardError
from kdbench.leaderboard import formats
from kdbench.leaderboard.history import Change, Entry, entries_of
from kdbench.leaderboard.runpage import title_of
from kdbench.leaderboard.standings import Standings

SITE_FILE = "site.toml"
PAGE_ENTRIES, PAGE_RUNS = 200, 1000  # the newest; the whole list is a file
FEED_ENTRIES, FEED_RUNS = 50, 40  # a reader of feeds asks again and again; runs are those of one entry
OPEN_LINES, OPEN_RUNS = 12, 60  # of an entry; a longer list is folded up
NEVER = "1970-01-01"
# Tag URIs (RFC 4151) name a feed and its entries without an address, so that a site may move.
TAG = "tag:kdbench,2024:changes"
WORDS = {
    "added": "added",
    "reproduced": "reproduced by someone else",
    "maintainers": "reproduced by the maintainers",
    "disputed": "disputed",
    "withdrawn": "withdrawn",
    "reinstated": "put back after a withdrawal",
}
# What XML 1.0 cannot hold in any form (section 2.2); records are text of strangers.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Line:
    """The runs of an entry that differ in their seed alone: what they are, what was said, (seed, run id) of each."""

    title: str
    told: str
    runs: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Told:
    """An entry as the templates show it. `id` is that of the feed, `anchor` the place on the page.

    `rest` counts its runs that are in no line.
    """

    id: str
    anchor: str
    board: str
    date: str | None
    sentence: str
    lines: tuple[Line, ...]
    rest: int

    @property
    def folded(self) -> bool:
        """Whether its list is too long to stand open."""
        return len(self.lines) > OPEN_LINES or sum(len(line.runs) for line in self.lines) > OPEN_RUNS


def changelog_context(boards: Sequence[Standings]) -> dict[str, Any]:
    """The names that the changelog's template uses: the newest entries by day, with links to the newest runs."""
    entries = entries_of(boards)
    shown, room = [], PAGE_RUNS
    for entry in entries[:PAGE_ENTRIES]:
        shown.append(told(entry, room))
        room -= len(entry.changes) - shown[-1].rest
    days = [(date, list(group)) for date, group in groupby(shown, key=lambda entry: entry.date)]
    return {"days": days, "older": len(entries) - len(shown)}


def feed_context(boards: Sequence[Standings], folder: Path = BOARDS) -> dict[str, Any]:
    """The names that the feed's template uses: the newest entries that have a day (RFC 4287)."""
    dated = (entry for entry in entries_of(boards) if entry.date)
    entries = [told(entry, FEED_RUNS) for entry in islice(dated, FEED_ENTRIES)]
    updated = entries[0].date if entries else NEVER
    return {"url": site_url(folder), "tag": TAG, "updated": updated, "entries": entries}


def site_url(folder: Path = BOARDS) -> str:
    """Where the site is published, from `url` in the boards' site.toml, ending in "/"; "" where nothing says so.

    Raises BoardError for a file that says anything else.
    """
    path = folder / SITE_FILE
    if not path.is_file():
        return ""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BoardError(f"{path}: cannot be read: {error}") from error
    url = tree.pop("url", "")
    for key in tree:
        raise BoardError(f"{path}: unknown key '{key}'; known: url")
    if not isinstance(url, str) or (url and not re.fullmatch(r"https?://[^\s<>\"]+", url)):
        raise BoardError(f"{path}: url is {url!r}; expected an http or https address, or an empty text")
    return f"{url.rstrip('/')}/" if url else ""


def told(entry: Entry, most: int) -> Told:
    """An entry in words: "motion-shapes: 24 runs of 8 methods added"; with links to its first runs, `most` of them."""
    runs = formats.counted(len(entry.changes), "run")
    methods = f" of {formats.counted(entry.methods, 'method')}" if entry.methods > 1 else ""
    return Told(
        id=f"{TAG}:{entry.board.name}:{entry.date}:{entry.what}:{entry.digest}",
        anchor=f"e-{entry.digest}",
        board=entry.board.name,
        date=entry.date,
        sentence=f"{runs}{methods} {WORDS[entry.what]}",
        lines=tuple(_lines(entry.changes[:most])),
        rest=max(0, len(entry.changes) - most),
    )


def _lines(changes: Iterable[Change]) -> Iterator[Line]:
    for (key, by, note), group in groupby(changes, key=lambda change: (change.run.key, change.by, change.note)):
        runs = [change.run for change in group]
        title = f"{title_of(runs[0])}, {formats.fraction(key.fraction)} of the training videos"
        title += f", subset {key.subset_seed}" if key.subset_seed else ""
        said = ": ".join(part for part in (f"by {by}" if by else "", note or "") if part)
        yield Line(_clean(title), _clean(said), tuple((run.record.seed, run.record.run_id) for run in runs))


def _clean(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
