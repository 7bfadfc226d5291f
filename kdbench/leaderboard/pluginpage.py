"""Which plugins the records were made with: each with its distribution, versions and files, and where it was used."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kdbench.leaderboard.formats import fraction
from kdbench.leaderboard.pagenames import method_name, plugin_name, teacher_name
from kdbench.leaderboard.scoring import Run
from kdbench.leaderboard.standings import Row, Standings, named_cells
from kdbench.records import PluginRef, Record

KINDS = {"backbones": "Backbone", "methods": "Method", "teachers": "Teacher"}
ROLES = {"backbones": "in the cells", "methods": "as method", "teachers": "as teacher"}
Key = tuple[str, str]


class File(NamedTuple):
    """A plugin as it was: two records with the same were made with the same code of it."""

    distribution: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Version:
    """A file of a plugin and how many records of each board were made with it."""

    file: File
    boards: tuple[tuple[str, int], ...]

    @property
    def records(self) -> int:
        """How many records were made with it."""
        return sum(count for _, count in self.boards)


@dataclass(frozen=True)
class Mixed:
    """A row whose runs were made with several files of a plugin: (version, its runs)."""

    board: str
    row: Row
    versions: tuple[tuple[File, tuple[Run, ...]], ...]


@dataclass(frozen=True)
class Use:
    """Where a board has used a plugin: (what, page seen from the site's root)."""

    board: str
    title: str
    records: int
    places: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Plugin:
    """A plugin of a kind with all that the records say of it. `page` is seen from the site's root."""

    kind: str
    name: str
    versions: tuple[Version, ...]
    uses: tuple[Use, ...]
    mixed: tuple[Mixed, ...]

    @property
    def page(self) -> str:
        """Its page."""
        return plugin_name(self.kind, self.name)

    @property
    def records(self) -> int:
        """How many records were made with it."""
        return sum(version.records for version in self.versions)

    @property
    def releases(self) -> tuple[str, ...]:
        """Its distributions with their versions, each once, older ones first."""
        return tuple(dict.fromkeys(f"{each.file.distribution} {each.file.version}" for each in self.versions))


@dataclass
class _Found:
    """What is gathered of one plugin while the records are gone through once."""

    files: dict[File, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    places: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    mixed: list[Mixed] = field(default_factory=list)


def plugins_of(boards: Iterable[Standings]) -> list[Plugin]:
    """Every plugin that stands in any record of any board, by kind and name; the records are gone through once."""
    found: dict[Key, _Found] = defaultdict(_Found)
    boards = list(boards)
    for standings in boards:
        name, pages = standings.board.name, _cell_pages(standings)
        for run in (*standings.runs, *standings.runs.withdrawn):
            for kind, plugin in plugins_in(run.record):
                one = found[kind, plugin.name]
                one.files[file_of(plugin)][name] += 1
                one.places[name] |= _places(kind, run, name, pages)
        for row in standings.rows:
            for key, mixed in _mixed(name, row):
                found[key].mixed.append(mixed)
    titles = {standings.board.name: standings.board.board.title for standings in boards}
    return [_plugin(key, found[key], titles) for key in sorted(found)]


def plugin_context(plugin: Plugin) -> dict[str, Any]:
    """The names that the template of one plugin uses."""
    words = {"kind": KINDS[plugin.kind], "role": ROLES[plugin.kind], "files": file_words(plugin.versions)}
    return {"plugin": plugin, **words}


def plugin_index_context(plugins: Sequence[Plugin]) -> dict[str, Any]:
    """The names that the template of the list of plugins uses."""
    kinds = [(kind, [plugin for plugin in plugins if plugin.kind == kind]) for kind in KINDS]
    return {"kinds": [(kind, KINDS[kind], found) for kind, found in kinds if found], "file_words": file_words}


def plugins_in(record: Record) -> Iterator[tuple[str, PluginRef]]:
    """The kind and the reference of each plugin that a record names."""
    yield "backbones", record.student
    yield "methods", record.method
    if record.teacher:
        yield "teachers", record.teacher.plugin


def file_of(plugin: PluginRef) -> File:
    """The file of a plugin that a record was made with."""
    return File(plugin.distribution, plugin.version, plugin.sha256)


def versions_of(plugins: Iterable[PluginRef], board: str) -> tuple[Version, ...]:
    """The files of a plugin that a board's records name, oldest version first."""
    counts = Counter(file_of(plugin) for plugin in plugins)
    return tuple(Version(file, ((board, counts[file]),)) for file in sorted(counts, key=_by_version))


def file_words(versions: Sequence[Version]) -> str:
    """ "one file", "3 files under 2 versions"."""
    files, names = len(versions), len({version.file[:2] for version in versions})
    if files == 1:
        return "one file"
    return f"{files} files" + (f" under {names} versions" if names > 1 else " under one version")


def _plugin(key: Key, found: _Found, titles: dict[str, str]) -> Plugin:
    counts: Counter[str] = Counter()
    for of_boards in found.files.values():
        counts.update(of_boards)
    return Plugin(
        kind=key[0],
        name=key[1],
        versions=tuple(
            Version(file, tuple(sorted(found.files[file].items()))) for file in sorted(found.files, key=_by_version)
        ),
        uses=tuple(
            Use(name, titles[name], counts[name], tuple(sorted(found.places[name], key=_by_number)))
            for name in sorted(counts)
        ),
        mixed=tuple(found.mixed),
    )


def _cell_pages(standings: Standings) -> dict[tuple[Any, ...], str]:
    return {rows[0].key.cell: f"cells/{name}.html" for name, rows in named_cells(standings.rows).items()}


def _places(kind: str, run: Run, board: str, cells: dict[tuple[Any, ...], str]) -> set[tuple[str, str]]:
    """The page of the board that says what became of the plugin in this run; none for a student without a cell."""
    key = run.key
    if kind == "methods":
        return {(key.method, f"{board}/{method_name(key.method)}")}
    if kind == "teachers":
        return {(key.teacher, f"{board}/{teacher_name(key.teacher)}")}
    page = cells.get(key.cell)
    share = fraction(key.fraction) + (f", subset seed {key.subset_seed}" if key.subset_seed else "")
    return {(f"{key.student}, {share}", f"{board}/{page}")} if page else set()


def _mixed(board: str, row: Row) -> Iterator[tuple[Key, Mixed]]:
    """The plugins of which a row's runs have used more than one file."""
    files: dict[Key, dict[File, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in row.runs:
        for kind, plugin in plugins_in(run.record):
            files[kind, plugin.name][file_of(plugin)].append(run)
    for key, runs in files.items():
        if len(runs) > 1:
            order = sorted(runs, key=_by_version)
            yield key, Mixed(board, row, tuple((file, tuple(runs[file])) for file in order))


def _by_version(file: File) -> tuple[Any, ...]:
    return (file.distribution, _natural(file.version), file)


def _by_number(place: tuple[str, str]) -> tuple[Any, ...]:
    return (_natural(place[0]), place)


def _natural(text: str) -> list[tuple[int, int, str]]:
    """What sorts 0.9 before 0.10 and 2 % before 50 %: digits as numbers."""
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
