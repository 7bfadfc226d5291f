"""Find the plugins, refuse the broken ones by name, and give a plugin by kind and name.

Three sources, in this order: the modules of kdbench_plugins (a module whose name begins with "_" is none),
the entry points of the group `kdbench`, and the files of `--plugin FILE`. Each plugin is loaded on its own,
so one that is broken is listed with its reason and breaks nothing else. Only a file that was asked for by
name, or KDBENCH_RAISE_PLUGIN_ERRORS=1, turns a broken plugin into a PluginError.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import io
import os
import pkgutil
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from kdbench import __version__, hookspecs
from kdbench.errors import PluginError
from kdbench.hookspecs import KINDS
from kdbench.offers import SINGULAR, because, did_you_mean, named, offers_of, reason_of
from kdbench.options import convert, option_types, type_name

__all__ = ["KINDS", "Broken", "Origin", "Registered", "Registry", "fault_of", "load_registry"]

_PLUGINS = "kdbench_plugins"
_SLOW_IMPORT_S = 2.0
_RAISE = "KDBENCH_RAISE_PLUGIN_ERRORS"
_GIVEN_FILE = "kdbench_plugin_file_"  # how the name of a given file's module begins


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from: its file, distribution and version, and the SHA-256 of the file's bytes.

    A plugin of `--plugin FILE` has the distribution "file" and no version.
    """

    file: Path
    distribution: str
    version: str
    sha256: str

    def __str__(self) -> str:
        """As messages name it: "plugins/methods/mine.py (kdbench 0.1.0)"."""
        if self.distribution == "file":
            return str(self.file)
        return f"{_short(self.file)} ({self.distribution} {self.version})".replace(" )", ")")


@dataclass(frozen=True)
class Broken:
    """A plugin that could not be loaded: where it stands, and why, on one line."""

    where: str
    reason: str


@dataclass(frozen=True)
class Registered:
    """A plugin class and where it comes from. `notes` holds what its file did that it should not."""

    kind: str
    name: str
    cls: type[Any]
    origin: Origin
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The first line of the class's docstring, or of its module's."""
        text = self.cls.__dict__.get("__doc__") or sys.modules[self.cls.__module__].__doc__ or ""
        return text.strip().partition("\n")[0]

    def options(self, values: Mapping[str, Any]) -> Any:
        """The class's frozen Options from values by name; strings are converted to the option's type.

        Raises PluginError for an unknown option and for a value that does not fit the option's type.
        """
        types, known = option_types(self.cls.Options), {}
        who = f"{SINGULAR[self.kind]} '{self.name}'"
        for name, value in values.items():
            if name not in types:
                takes = f"it takes: {', '.join(sorted(types))}" if types else "it takes none"
                raise PluginError(f"{who} has no option '{name}'; {did_you_mean(name, types)}{takes}")
            try:
                known[name] = convert(value, types[name])
            except ValueError as error:
                wanted = type_name(types[name])
                raise PluginError(f"{who}: option '{name}' is {value!r}; it must be {wanted}{because(error)}") from None
        try:
            return self.cls.Options(**known)
        except ValueError as error:  # a __post_init__ that checks ranges
            raise PluginError(f"{who}: {error}") from error

    def make(self, options: Mapping[str, Any], *args: Any) -> Any:
        """A new plugin object: `cls(*args, Options(...))`. Raises PluginError as `options` and `made` do."""
        return self.made(*args, self.options(options))

    def made(self, *args: Any) -> Any:
        """A new plugin object, its Options the last argument. Raises PluginError where `__init__` takes others."""
        try:
            return self.cls(*args)
        except TypeError as error:
            if error.__traceback__ and error.__traceback__.tb_next:
                raise  # it began, and failed inside
            base = next(cls for cls in self.cls.__mro__ if cls.__module__ == "kdbench.api" and "__init__" in vars(cls))
            names = ", ".join(list(inspect.signature(vars(base)["__init__"]).parameters)[1:])
            way_out = f"write def __init__(self, {names}), with super().__init__({names}) as its first line"
            raise PluginError(f"{SINGULAR[self.kind]} '{self.name}' of {self.origin}: {error}; {way_out}") from error


@dataclass
class Registry:
    """The plugins that could be loaded, and those that could not."""

    broken: list[Broken] = field(default_factory=list)
    _plugins: dict[str, dict[str, Registered]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def get(self, kind: str, name: str) -> Registered:
        """The plugin of a kind (a member of KINDS) by name. Raises PluginError, naming the nearest known one."""
        known = self._plugins[kind]
        if name in known:
            return known[name]
        raise PluginError(
            f"no {SINGULAR[kind]} is called '{name}'; {self._perhaps_broken(kind, name)}{did_you_mean(name, known)}"
            f"known: {', '.join(self.names(kind)) or 'none'}"
        )

    def get_any(self, name: str) -> Registered:
        """The first plugin of any kind by name. Raises PluginError, naming the nearest known one."""
        for plugin in self.all():
            if plugin.name == name:
                return plugin
        hint = did_you_mean(name, [plugin.name for plugin in self.all()])
        broken = "".join(self._perhaps_broken(kind, name) for kind in KINDS)
        raise PluginError(f"no plugin is called '{name}'; {broken}{hint}`kdbench plugins list` names them all")

    def names(self, kind: str) -> list[str]:
        """The names of a kind, sorted."""
        return sorted(self._plugins[kind])

    def all(self) -> Iterator[Registered]:
        """Every plugin, by kind in the order of KINDS, then by name."""
        for kind in KINDS:
            for name in self.names(kind):
                yield self._plugins[kind][name]

    def add(self, plugins: Sequence[Registered]) -> None:
        """Take in all plugins of one file, or none: raises PluginError when a name is taken."""
        mine: dict[tuple[str, str], Registered] = {}
        for plugin in plugins:
            other = self._plugins[plugin.kind].get(plugin.name) or mine.get((plugin.kind, plugin.name))
            if other:
                told = (
                    f"two {SINGULAR[plugin.kind]}s call themselves '{plugin.name}': {other.origin} and {plugin.origin}"
                )
                raise PluginError(f"{told}; {_way_out(other.origin, plugin.origin)}")
            mine[plugin.kind, plugin.name] = plugin
        for plugin in plugins:
            self._plugins[plugin.kind][plugin.name] = plugin

    def _perhaps_broken(self, kind: str, name: str) -> str:
        stem = name.replace("-", "_")
        for broken in self.broken:
            if f"{kind}/{stem}.py" in broken.where:
                return f"{broken.where} is broken: {broken.reason}; "
        return ""


@dataclass(frozen=True)
class _Candidate:
    """A plugin before it is imported. `asked`: given as --plugin FILE, so a failure is an error."""

    where: str
    load: Callable[[], Any]
    distribution: str
    version: str
    asked: bool = False


def load_registry(files: Sequence[Path] = ()) -> Registry:
    """Load every plugin that can be found, and the plugin files given with `--plugin`.

    Raises PluginError when one of `files` is broken; with KDBENCH_RAISE_PLUGIN_ERRORS=1, when any plugin is.
    """
    registry = Registry()
    strict = os.environ.get(_RAISE) == "1"
    for candidate in [*_in_tree(), *_installed()]:
        _take_in(registry, candidate, strict)
    for file in files:
        # A file of the tree may be given too, by an author who edits it: it is there already, unless it is broken.
        if file.resolve() not in {plugin.origin.file for plugin in registry.all()}:
            _take_in(registry, _given(file), strict)
    return registry


# --- finding -----------------------------------------------------------------------------------------------


def _in_tree() -> Iterator[_Candidate]:
    for kind in KINDS:
        for folder in _folders():
            names = (module.name for module in pkgutil.iter_modules([str(folder / kind)]))
            for name in sorted(name for name in names if not name.startswith("_")):
                load = partial(importlib.import_module, f"{_PLUGINS}.{kind}.{name}")
                yield _Candidate(_short(folder / kind / f"{name}.py"), load, "kdbench", __version__)


def _folders() -> list[Path]:
    """Where the package of the in-tree plugins lies."""
    return [Path(folder) for folder in importlib.import_module(_PLUGINS).__path__]


def _installed() -> Iterator[_Candidate]:
    def order(point: EntryPoint) -> tuple[str, str]:
        return (point.dist.name if point.dist else "", point.name)

    for point in sorted(entry_points(group=hookspecs.PROJECT), key=order):
        distribution, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
        where = f"entry point {point.name} = {point.value} ({distribution} {version})"
        yield _Candidate(where, point.load, distribution, version)


def _given(file: Path) -> _Candidate:
    return _Candidate(str(file), partial(_import_file, file.resolve()), "file", "", asked=True)


def _import_file(file: Path) -> Any:
    if not file.is_file():
        raise PluginError("no such file; give the path of a Python file")
    # Named by place and content, so that an unchanged file is one module and its classes keep their identity.
    digest = hashlib.sha256(bytes(file) + b"\0" + file.read_bytes()).hexdigest()[:16]
    name = f"{_GIVEN_FILE}{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError("not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _way_out(first: Origin, second: Origin) -> str:
    """What to do about two plugins of one name: a copy of a file that is installed too is no second plugin."""
    installed = [each.distribution for each in (second, first) if each.distribution not in ("file", "kdbench")]
    told = "they are the same file twice: " if first.file != second.file and first.sha256 == second.sha256 else ""
    if installed:
        return f"{told}uninstall {installed[0]}, or rename one"
    return f"{told}give one of the two, or rename one" if told else "rename one"


# --- loading -----------------------------------------------------------------------------------------------


def _take_in(registry: Registry, candidate: _Candidate, strict: bool) -> None:
    start = time.perf_counter()
    try:
        registry.add(_load(candidate))
    except (Exception, SystemExit) as error:
        reason = "; ".join([reason_of(error), *_slowness(start)])
        if strict or candidate.asked:
            raise PluginError(f"{candidate.where}: {reason}") from error
        registry.broken.append(Broken(candidate.where, reason))


def _load(candidate: _Candidate) -> list[Registered]:
    printed = io.StringIO()
    start = time.perf_counter()
    with contextlib.redirect_stdout(printed):  # what a plugin prints would spoil --json
        plugin = candidate.load()
        offers = offers_of(plugin)
    notes = [*_slowness(start), *(["prints when imported"] if printed.getvalue() else [])]
    origin = _origin(plugin, candidate)
    return [Registered(kind, cls.name, cls, origin, tuple(notes)) for kind, cls in offers]


def _slowness(start: float) -> list[str]:
    """What there is to say of the time since `start`: every command waits for every plugin."""
    seconds = time.perf_counter() - start
    return [f"took {seconds:.1f} s to import"] if seconds > _SLOW_IMPORT_S else []


def _origin(plugin: Any, candidate: _Candidate) -> Origin:
    source = inspect.getsourcefile(plugin if inspect.ismodule(plugin) or inspect.isclass(plugin) else type(plugin))
    if source is None:
        raise PluginError("has no source file, so its digest cannot be recorded")
    file = Path(source).resolve()
    return Origin(file, candidate.distribution, candidate.version, hashlib.sha256(file.read_bytes()).hexdigest())


def _short(file: Path) -> str:
    """The last folders of a file inside kdbench_plugins ("plugins/methods/mine.py"); other files in full."""
    for folder in _folders():
        root = folder.resolve()
        if file.resolve().is_relative_to(root):
            return str(Path("plugins") / file.resolve().relative_to(root))
    return str(file)


# --- whose fault it was ------------------------------------------------------------------------------------


def fault_of(error: BaseException) -> str | None:
    """Where the code of a plugin that is not in-tree led to an error, what it was and the way out, on one line.

    None where no such plugin had a part in it, and where KDBENCH_RAISE_PLUGIN_ERRORS=1 asks for tracebacks.
    """
    if os.environ.get(_RAISE) == "1":
        return None
    packages = {
        point.module.partition(".")[0]: point.dist.name for point in entry_points(group=hookspecs.PROJECT) if point.dist
    }
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        module, file = str(frame.f_globals.get("__name__")), _nearby(frame.f_code.co_filename)
        distribution = packages.get(module.partition(".")[0])
        if distribution or module.startswith(_GIVEN_FILE):
            who, target = (f"plugin of {distribution}, ", distribution) if distribution else ("plugin ", file)
            return (
                f"{who}{file}:{line}: {named(error)}; run `kdbench plugins check {shlex.quote(target)}`; "
                f"{_RAISE}=1 shows the whole traceback"
            )
    return None


def _nearby(file: str) -> str:
    """A path as a person in this folder writes it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
