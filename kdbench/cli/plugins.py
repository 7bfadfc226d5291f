"""`kdbench plugins`: list the plugins, broken ones with their reason; show one, check it, begin a new one."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdbench.board import DEFAULT_BOARD, Board, load_board
from kdbench.errors import PluginError
from kdbench.hookspecs import KINDS

if TYPE_CHECKING:
    from kdbench.registry import Registered, Registry
    from kdbench.testing import Report

_plugin = click.option(
    "--plugin", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="Load this file too."
)
_kind = click.option("--kind", type=click.Choice(KINDS), help="Only plugins of this kind.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def plugins() -> None:
    """List the plugins, show one in full, check one, begin a new one."""


@plugins.command("list")
@_kind
@_plugin
@_json
def list_plugins(kind: str | None, files: tuple[Path, ...], as_json: bool) -> None:
    """Name every plugin, and the broken ones with the reason."""
    from kdbench.registry import load_registry

    registry = load_registry(files)
    listed = [plugin for plugin in registry.all() if kind in (None, plugin.kind)]
    if as_json:
        broken = [dataclasses.asdict(each) for each in registry.broken]
        click.echo(json.dumps({"plugins": [_entry(plugin) for plugin in listed], "broken": broken}, indent=2))
        return
    for each in KINDS if kind is None else (kind,):
        rows = [_row(plugin) for plugin in listed if plugin.kind == each]
        _print_table(each, rows or [("none", "", "")])
    if registry.broken:
        _print_table("broken", [(each.where, each.reason) for each in registry.broken])


@plugins.command("show")
@click.argument("name", metavar="FILE|NAME")
@_kind
@click.option("--board", default=DEFAULT_BOARD, show_default=True, help="Measure a backbone as this board uses it.")
@_plugin
@_json
def show_plugin(name: str, kind: str | None, board: str, files: tuple[Path, ...], as_json: bool) -> None:
    """Show one plugin: file, digest, options, sizes."""
    from kdbench.registry import load_registry

    file = _file_of(name)
    registry = load_registry([*files, *([file] if file else [])])
    plugin = _only_of(registry, file, kind) if file else _find(registry, name, kind)
    facts = _entry(plugin) | _interior(plugin)
    if plugin.kind == "backbones":
        facts |= _sizes(plugin, load_board(board))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    _print_table(f"{plugin.name} ({plugin.kind})", list(_lines(facts)))


@plugins.command("check", short_help="Check that a plugin keeps to its interface.")
@click.argument("name", metavar="FILE|NAME|DISTRIBUTION", required=False)
@_kind
@click.option("--all", "everything", is_flag=True, help="Check every plugin there is.")
@click.option("-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the plugin.")
@click.option("--argument", help="What a teacher is asked for, as behind NAME: on the command line of a run.")
@click.option("--videos", type=click.Path(path_type=Path), metavar="PATH", help="Folder of a data set's videos.")
@_plugin
@_json
def check_plugins(name: str | None, kind: str | None, everything: bool, as_json: bool, **given: Any) -> None:
    """Check that a plugin keeps to its interface: tiny networks on embedded videos, on the CPU.

    A file is loaded, a name or a distribution is looked up among the plugins. --all tells which plugin is next on
    stderr, and at the end one line for each with its seconds. Exit code 1 when a check fails.
    """
    from kdbench.cli.arguments import key_values
    from kdbench.registry import load_registry
    from kdbench.testing import Given, check, open_kit

    if (name is None) != everything:
        raise click.UsageError("name a file, a plugin or a distribution, or say --all")
    file = _file_of(name)
    registry = load_registry([*given["files"], *([file] if file else [])])
    targets = [each for each in _targets(registry, name, file) if kind in (None, each.kind)]
    broken = [(each.where, each.reason) for each in registry.broken if everything or _is_of(each.where, name)]
    if not targets and not broken:
        raise PluginError(_offers_none(name or "kdbench", kind))
    said = Given(options=key_values(given["options"]), argument=given["argument"], videos=given["videos"])
    reports = []
    with open_kit(registry) as kit:
        for number, plugin in enumerate(targets, 1):
            if everything:
                click.echo(f"[{number}/{len(targets)}] {plugin.name} ({plugin.kind})", err=True)
            reports.append(check(plugin, kit, said))
            if not as_json and not everything:
                _print_report(reports[-1])
    if everything and not as_json:
        _print_summary(reports)
    _conclude(reports, broken, as_json)


@plugins.command("new", short_help="Write a plugin that works, to be changed.")
@click.argument("what", metavar="KIND", type=click.Choice(["method", "backbone", "teacher", "dataset"]))
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path(), help="Folder to write into.  [default: this one]"
)
@click.option("--package", is_flag=True, help="Write a distribution that pip can install, with a test.")
def new_plugin(what: str, name: str, out: Path, package: bool) -> None:
    """Write a plugin that works, to be changed: KIND is method, backbone, teacher or dataset."""
    from kdbench.registry import load_registry
    from kdbench.templates import KIND_OF, write_new

    kind = KIND_OF[what]
    registry = load_registry()
    if name in registry.names(kind):
        raise PluginError(
            f"a {what} is called '{name}' already: {registry.get(kind, name).origin}; choose another name"
        )
    written = write_new(what, name, out, package=package)
    for path in written:
        click.echo(path)
    folder, target = written[0].parent, f"kdbench-{name}" if package else written[0]
    install = f"pip install -e {folder}, then " if package else ""
    click.echo(f"next: {install}kdbench plugins check {target}", err=True)


def _file_of(name: str | None) -> Path | None:
    """The plugin file that an argument stands for, where it is no name."""
    return Path(name) if name is not None and (name.endswith(".py") or Path(name).is_file()) else None


def _offers_none(name: str, kind: str | None) -> str:
    """What to say of a file or distribution without a plugin, or without one of the kind."""
    if kind is not None:
        return f"{name} offers no plugin of the kind {kind}; leave --kind out to see what it has"
    return f"{name}: its hooks return no class; write return [MyClass], as plugins/README.md shows"


def _targets(registry: Registry, name: str | None, file: Path | None) -> list[Registered]:
    """The plugins that a file, a name or a distribution stands for; all of them for None."""
    found = list(registry.all())
    if name is None:
        return found
    if file is not None:
        return [plugin for plugin in found if plugin.origin.file == file.resolve()]
    named = [plugin for plugin in found if plugin.name == name]
    offered = [plugin for plugin in found if _plain(plugin.origin.distribution) == _plain(name)]
    if named or offered:
        return named or offered
    if any(_is_of(each.where, name) for each in registry.broken):
        return []
    return [registry.get_any(name)]  # says which names are near


def _is_of(where: str, name: str | None) -> bool:
    """Whether a broken plugin belongs to the distribution: its place ends with "(DISTRIBUTION VERSION)"."""
    words = where.rpartition("(")[2].rstrip(")").split()
    return name is not None and bool(words) and where.endswith(")") and _plain(words[0]) == _plain(name)


def _plain(distribution: str) -> str:
    """A distribution's name as packaging compares it."""
    return re.sub("[-_.]+", "-", distribution).lower()


def _print_report(report: Report) -> None:
    """One line for each check, and why where it did not pass; one for all that were skipped for one reason."""
    click.echo(f"{report.plugin.name} ({report.plugin.kind}, {report.plugin.origin})")
    for note in report.plugin.notes:
        click.echo(f"  note  {note}")
    for skipped, group in groupby(report.findings, lambda finding: finding.skipped):
        findings = list(group)
        if skipped and len(findings) > 1:
            click.echo(f"  skip  the other {len(findings)} checks: {skipped}")
            continue
        for finding in findings:
            mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[finding.status]
            reason = finding.problem or finding.skipped
            click.echo(f"  {mark}  {finding.check}{f': {reason}' if reason else ''}")


def _print_summary(reports: Sequence[Report]) -> None:
    """One line for each plugin with its seconds, and one for each of its problems."""
    width = max((len(f"{report.plugin.name} ({report.plugin.kind})") for report in reports), default=0)
    for report in reports:
        counts = Counter(finding.status for finding in report.findings)
        told = ", ".join(f"{counts[status]} {status}" for status in ("passed", "skipped", "failed") if counts[status])
        title = f"{report.plugin.name} ({report.plugin.kind})".ljust(width)
        click.echo(f"{'FAIL' if report.problems else 'ok  '}  {title}  {report.seconds:6.1f} s  {told}")
        for problem in report.problems:
            click.echo(f"      {problem}")


def _conclude(reports: Sequence[Report], broken: Sequence[tuple[str, str]], as_json: bool) -> None:
    """Say what came of it all, and end with code 1 where anything failed."""
    failed = sum(bool(report.problems) for report in reports) + len(broken)
    if as_json:
        entries = [
            _entry(report.plugin)
            | {"seconds": round(report.seconds, 3)}
            | {"checks": [dataclasses.asdict(each) | {"status": each.status} for each in report.findings]}
            for report in reports
        ]
        refused = [{"where": where, "reason": reason} for where, reason in broken]
        click.echo(json.dumps({"plugins": entries, "broken": refused, "failed": failed}, indent=2))
    else:
        for where, reason in broken:
            click.echo(f"{where}\n  FAIL  it can be loaded: {reason}")
        seconds = sum(report.seconds for report in reports)
        number = len(reports) + len(broken)
        click.echo(f"{number - failed} of {number} plugins keep to their interface ({seconds:.1f} s)")
    if failed:
        raise SystemExit(1)


def _only_of(registry: Registry, file: Path, kind: str | None) -> Registered:
    """The one plugin of a file."""
    found = [plugin for plugin in _targets(registry, str(file), file) if kind in (None, plugin.kind)]
    if not found:
        raise PluginError(_offers_none(str(file), kind))
    if len(found) > 1:
        raise PluginError(f"{file} offers {', '.join(each.name for each in found)}; name one, with --plugin {file}")
    return found[0]


def _find(registry: Registry, name: str, kind: str | None) -> Registered:
    if kind is not None:
        return registry.get(kind, name)
    found = [plugin for plugin in registry.all() if plugin.name == name]
    if len(found) > 1:
        kinds = [plugin.kind for plugin in found]
        raise PluginError(f"'{name}' stands among {' and '.join(kinds)}; say which with --kind {kinds[0]}")
    return found[0] if found else registry.get_any(name)


def _entry(plugin: Registered) -> dict[str, Any]:
    """One plugin of the list, as JSON."""
    origin = plugin.origin
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "summary": plugin.summary,
        "file": str(origin.file),
        "distribution": origin.distribution,
        "version": origin.version,
        "sha256": origin.sha256,
        "notes": list(plugin.notes),
    }


def _interior(plugin: Registered) -> dict[str, Any]:
    """What a plugin's class says of itself: source, docstring and options."""
    from kdbench.options import option_types, type_name

    options = plugin.cls.Options
    types, defaults = option_types(options), options()
    return {
        "source": plugin.cls.source,
        "doc": inspect.cleandoc(plugin.cls.__doc__ or ""),
        "options_doc": inspect.cleandoc(options.__doc__ or ""),
        "options": [
            {"name": name, "type": type_name(wanted), "default": getattr(defaults, name)}
            for name, wanted in types.items()
        ],
    }


def _sizes(plugin: Registered, board: Board) -> dict[str, Any]:
    """A backbone's sizes at the board's width and clip shape; the reason under "refused" when it has none there."""
    from kdbench.measure import describe

    clip = (3, board.clip.length, board.frames.crop, board.frames.crop)
    facts: dict[str, Any] = {"board": board.name, "width": board.networks.width, "clip": clip}
    try:
        backbone = plugin.make({})
        measured = describe(backbone.build(board.networks.width), clip, backbone.taps)
    except PluginError as error:
        return facts | {"refused": str(error)}
    return facts | dataclasses.asdict(measured)


def _row(plugin: Registered) -> tuple[str, str, str]:
    notes = "".join(f" [{note}]" for note in plugin.notes)
    return plugin.name, plugin.summary + notes, f"{plugin.origin.distribution} {plugin.origin.version}".strip()


def _lines(facts: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """The facts of `show` as rows of text; lists become one row each."""
    for key, value in facts.items():
        if key == "options":
            for option in value:
                yield "option", f"{option['name']}: {option['type']} = {option['default']!r}"
        elif key == "taps":
            yield from ((f"tap {name}", f"{_shape(shape)} (C, T, H, W)") for name, shape in value.items())
        elif key == "clip":
            yield key, f"{_shape(value)} (C, T, H, W)"
        elif key == "gmacs":
            yield key, f"{value:.1f} for one clip"
        elif value not in ("", []) and key not in ("kind", "name", "summary"):
            yield from ((key if at == 0 else "", line) for at, line in enumerate(_text_lines(value)))


def _text_lines(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else str(value).split("\n")


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _print_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Rows under a title: a rich table on a terminal, else aligned lines that grep and diff can read."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*[""] * len(rows[0]), title=title, title_justify="left", show_header=False, box=None)
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    click.echo(title)
    for row in rows:
        click.echo("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
