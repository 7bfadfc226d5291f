"""The house: which room may import from which, and what the engine must not know.

A new file in kdbench/ must be entered in ROOMS, in the place where it belongs, and in the architecture notes.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import kdbench
import kdbench_plugins
from kdbench.registry import load_registry

ENGINE = Path(kdbench.__file__).parent
PLUGINS = Path(kdbench_plugins.__file__).parent

# A room imports only from rooms above it. A package stands below its parts when it imports them.
ROOMS = [
    "kdbench",
    "kdbench.errors",
    "kdbench.streams",
    "kdbench.files",
    "kdbench.board",
    "kdbench.records",
    "kdbench.checks",
    "kdbench.provenance",
    "kdbench.hookspecs",
    "kdbench.api",
    "kdbench.options",
    "kdbench.offers",
    "kdbench.registry",
    "kdbench.templates.method",
    "kdbench.templates.backbone",
    "kdbench.templates.teacher",
    "kdbench.templates.dataset",
    "kdbench.templates",
    "kdbench.data",
    "kdbench.data.places",
    "kdbench.data.archives",
    "kdbench.data.fetch",
    "kdbench.data.subsets",
    "kdbench.data.sampling",
    "kdbench.data.truncation",
    "kdbench.data.decode",
    "kdbench.data.jpeg",
    "kdbench.data.packing",
    "kdbench.data.crew",
    "kdbench.data.store",
    "kdbench.data.prepare",
    "kdbench.data.verify",
    "kdbench.data.devices",
    "kdbench.data.placement",
    "kdbench.data.augment",
    "kdbench.data.loader",
    "kdbench.data.material",
    "kdbench.request",
    "kdbench.measure",
    "kdbench.models",
    "kdbench.objective.action",
    "kdbench.objective.pretext",
    "kdbench.objective.contrast",
    "kdbench.objective",
    "kdbench.train",
    "kdbench.evaluate",
    "kdbench.rundir",
    "kdbench.phases",
    "kdbench.course",
    "kdbench.teaching",
    "kdbench.transfer",
    "kdbench.session",
    "kdbench.recording",
    "kdbench.run",
    "kdbench.sweep",
    "kdbench.predict",
    "kdbench.bench",
    "kdbench.doctor",
    "kdbench.leaderboard",
    "kdbench.leaderboard.scoring",
    "kdbench.leaderboard.formats",
    "kdbench.leaderboard.definitions",
    "kdbench.leaderboard.pagenames",
    "kdbench.leaderboard.standings",
    "kdbench.leaderboard.landing",
    "kdbench.leaderboard.tables",
    "kdbench.leaderboard.curves",
    "kdbench.leaderboard.history",
    "kdbench.leaderboard.packing",
    "kdbench.leaderboard.parallel",
    "kdbench.leaderboard.audit",
    "kdbench.leaderboard.filespage",
    "kdbench.leaderboard.submit",
    "kdbench.leaderboard.reference",
    "kdbench.leaderboard.reported",
    "kdbench.leaderboard.exports",
    "kdbench.leaderboard.charts",
    "kdbench.leaderboard.answer",
    "kdbench.leaderboard.render",
    "kdbench.leaderboard.protocolpage",
    "kdbench.leaderboard.paperpage",
    "kdbench.leaderboard.columns",
    "kdbench.leaderboard.boardcharts",
    "kdbench.leaderboard.boardpage",
    "kdbench.leaderboard.pluginpage",
    "kdbench.leaderboard.methodpage",
    "kdbench.leaderboard.teacherpage",
    "kdbench.leaderboard.comparepage",
    "kdbench.leaderboard.pairwise",
    "kdbench.leaderboard.profiles",
    "kdbench.leaderboard.cellstudy",
    "kdbench.leaderboard.cellpage",
    "kdbench.leaderboard.chartfiles",
    "kdbench.leaderboard.cellindex",
    "kdbench.leaderboard.runpage",
    "kdbench.leaderboard.changelogpage",
    "kdbench.leaderboard.pages",
    "kdbench.leaderboard.site",
    "kdbench.reproduce",
    "kdbench.testing.kit",
    "kdbench.testing.findings",
    "kdbench.testing.methods",
    "kdbench.testing.backbones",
    "kdbench.testing.teachers",
    "kdbench.testing.datasets",
    "kdbench.testing.launchers",
    "kdbench.testing",
    "kdbench.cli.arguments",
    "kdbench.cli.progress",
    "kdbench.cli.summary",
    "kdbench.cli.launching",
    "kdbench.cli",
    "kdbench.cli.run",
    "kdbench.cli.sweep",
    "kdbench.cli.data",
    "kdbench.cli.plugins",
    "kdbench.cli.bench",
    "kdbench.cli.doctor",
    "kdbench.cli.board",
    "kdbench.cli.compare",
    "kdbench.cli.records",
    "kdbench.cli.site",
    "kdbench.__main__",
]

# The disk is the wall: these read records and boards, and know nothing that knows torch.
RIGHT_OF_THE_WALL = ("kdbench.board", "kdbench.records", "kdbench.checks", "kdbench.leaderboard")
LEFT_OF_THE_WALL_STARTS_AT = "kdbench.api"

# English words that happen to be a plugin's name as well; here they mean the word.
WORDS = {"kdbench.data.archives": {"folder"}}  # what an entry of an archive is

HEAVY = ("torch", "torchvision", "numpy", "pandas", "av", "rich", "jinja2")


def room_of(file: Path) -> str:
    """The import name of a file of the engine."""
    parts = file.relative_to(ENGINE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def trees() -> dict[str, ast.Module]:
    """The syntax tree of every room."""
    return {room_of(file): ast.parse(file.read_text(encoding="utf-8")) for file in sorted(ENGINE.rglob("*.py"))}


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, without what stands under `if TYPE_CHECKING`: that is never run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from statements(child)


def imported_names(tree: ast.Module) -> set[str]:
    """Every dotted name that a file imports, inside functions too. `from a import b` counts as a.b."""
    names = set()
    for node in statements(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_used(room: str) -> set[str]:
    """The rooms that a room imports from: the longest prefix of each name that is a room."""
    used = set()
    for name in imported_names(trees()[room]):
        parts = name.split(".")
        prefixes = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
        used |= {next(prefix for prefix in prefixes if prefix in trees())} if parts[0] == "kdbench" else set()
    return used


def strings(tree: ast.Module) -> set[str]:
    """The whole string literals of a file: no docstrings, no pieces of f-strings."""
    pieces = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces | alone
    }


def fresh_interpreter(program: str) -> str:
    """What a program prints in a Python that has imported nothing yet."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_every_file_of_the_engine_is_declared() -> None:
    unknown = sorted(set(trees()) - set(ROOMS))
    assert unknown == [], f"enter {unknown} in ROOMS of {__file__}, below the rooms they import from"


@pytest.mark.parametrize("room", sorted(trees()))
def test_a_room_imports_only_from_rooms_above_it(room: str) -> None:
    if room not in ROOMS:
        pytest.skip("not declared; another test says so")
    above = set(ROOMS[: ROOMS.index(room)])
    upward = sorted(rooms_used(room) - above - {room})
    assert upward == [], f"{room} imports {upward}, which stand below it in ROOMS of {__file__}"


def test_no_rooms_import_each_other_in_a_circle() -> None:
    graph = {room: rooms_used(room) - {room} for room in trees()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(trees())


@pytest.mark.parametrize("room", sorted(room for room in trees() if room.startswith(RIGHT_OF_THE_WALL)))
def test_what_reads_records_uses_no_room_that_needs_torch(room: str) -> None:
    left = ROOMS[ROOMS.index(LEFT_OF_THE_WALL_STARTS_AT) : ROOMS.index("kdbench.leaderboard")]
    assert sorted(rooms_used(room) & set(left)) == []


def test_the_engine_imports_no_plugin() -> None:
    assert {
        room for room, tree in trees().items() for name in imported_names(tree) if "kdbench_plugins" in name
    } == set()


def test_the_engine_spells_no_plugins_name() -> None:
    names = {plugin.name for plugin in load_registry().all() if plugin.origin.distribution == "kdbench"}
    spelt = {room: sorted(strings(tree) & names - WORDS.get(room, set())) for room, tree in trees().items()}
    found = {room: words for room, words in spelt.items() if words}
    assert found == {}, "the board or the user names a plugin, never the engine"


@pytest.mark.parametrize("file", sorted(PLUGINS.rglob("*.py")), ids=lambda file: file.relative_to(PLUGINS).as_posix())
def test_a_plugin_imports_nothing_of_the_engine_but_its_interface(file: Path) -> None:
    names = imported_names(ast.parse(file.read_text(encoding="utf-8")))
    engine = {name for name in names if name.partition(".")[0] == "kdbench"}
    assert sorted(name for name in engine if not name.startswith("kdbench.api.")) == []


def test_the_help_of_the_command_line_imports_nothing_heavy() -> None:
    program = (
        "import sys; from kdbench.cli import main; main(['--help'], standalone_mode=False);"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert fresh_interpreter(program) == "[]"


def test_what_reads_records_imports_no_torch() -> None:
    rooms = [room for room in trees() if room.startswith(RIGHT_OF_THE_WALL)]
    program = (
        f"import sys, importlib; [importlib.import_module(room) for room in {rooms}]; print('torch' in sys.modules)"
    )
    assert fresh_interpreter(program) == "False"


def test_records_need_no_pandas() -> None:
    assert fresh_interpreter("import sys, kdbench.checks; print('pandas' in sys.modules)") == "False"
