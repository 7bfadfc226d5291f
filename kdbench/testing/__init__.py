"""The conformance kit: whether a plugin keeps to what `kdbench.api` says. CPU, under a minute, no download.

`kdbench plugins check mine.py` on the command line; in the tests of a plugin of your own:

    from pathlib import Path
    from kdbench.testing import problems_of

    def test_it_keeps_to_the_interface() -> None:
        assert problems_of(Path("mine.py")) == []
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import torch

from kdbench.errors import PluginError
from kdbench.registry import Registered, Registry, load_registry
from kdbench.testing.backbones import BackboneChecks
from kdbench.testing.datasets import DatasetChecks
from kdbench.testing.findings import Checks, Finding, Given, Report
from kdbench.testing.kit import Kit
from kdbench.testing.launchers import LauncherChecks
from kdbench.testing.methods import MethodChecks
from kdbench.testing.teachers import TeacherChecks

__all__ = ["Finding", "Given", "Kit", "Report", "check", "open_kit", "problems_of"]

CHECKS: Mapping[str, type[Checks]] = {
    "backbones": BackboneChecks,
    "teachers": TeacherChecks,
    "methods": MethodChecks,
    "datasets": DatasetChecks,
    "launchers": LauncherChecks,
}


@contextlib.contextmanager
def open_kit(registry: Registry) -> Iterator[Kit]:
    """A kit for as many plugins as there are; its files are gone afterwards."""
    with TemporaryDirectory(prefix="kdbench-check-") as folder:
        yield Kit(registry, Path(folder))


def check(plugin: Registered, kit: Kit, given: Given | None = None) -> Report:
    """Do every check of the plugin's kind. Nothing that a plugin does is raised; it stands in the report."""
    # What a plugin prints would spoil --json.
    with contextlib.redirect_stdout(sys.stderr), _one_thread():
        return Report(plugin, tuple(CHECKS[plugin.kind](plugin, kit, given or Given()).run()))


def problems_of(offered: Path | ModuleType, given: Given | None = None) -> list[str]:
    """What is wrong with the plugins of a file or module, one line each; none where all is well.

    Raises PluginError for a file that cannot be loaded or offers nothing.
    """
    file = Path(str(offered.__file__)) if isinstance(offered, ModuleType) else offered
    registry = load_registry([file])
    plugins = [plugin for plugin in registry.all() if plugin.origin.file == file.resolve()]
    if not plugins:
        raise PluginError(f"{file}: offers no plugin; return its classes from a hook, as plugins/README.md shows")
    with open_kit(registry) as kit:
        reports = [check(plugin, kit, given) for plugin in plugins]
    return [f"{report.plugin.name}: {problem}" for report in reports for problem in report.problems]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, and lose much where the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
