"""What a plugin offers: the classes its hooks return, each held against the rules that `kdbench.api` states."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import textwrap
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pluggy

from kdbench import hookspecs
from kdbench.api import Backbone, Launcher, Method, Plugin, Teacher, VideoDataset
from kdbench.errors import PluginError
from kdbench.hookspecs import KINDS
from kdbench.options import convert, option_types, type_name

SINGULAR = {
    "backbones": "backbone",
    "teachers": "teacher",
    "methods": "method",
    "datasets": "data set",
    "launchers": "launcher",
}

_BASES: dict[str, type[Plugin]] = {
    "backbones": Backbone,
    "teachers": Teacher,
    "methods": Method,
    "datasets": VideoDataset,
    "launchers": Launcher,
}
LONGEST_REASON = 400  # characters; torch names every tensor that does not fit
_HOOKS = tuple(f"kdbench_{kind}" for kind in KINDS)
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*")


def offers_of(plugin: Any) -> list[tuple[str, type[Plugin]]]:
    """The kinds and classes that a plugin's hooks return. Raises PluginError for a hook or class that is wrong."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, "plugin")
    callers = {caller.name for caller in manager.get_hookcallers(plugin) or ()}
    for hook in sorted(callers - set(_HOOKS)):
        raise PluginError(f"unknown hook '{hook}'; {did_you_mean(hook, _HOOKS)}known: {', '.join(_HOOKS)}")
    if not callers:
        raise PluginError(f"implements no hook; mark one of {', '.join(_HOOKS)} with @hookimpl")
    offers = []
    for kind, hook in zip(KINDS, _HOOKS, strict=True):
        for classes in getattr(manager.hook, hook)():
            if not isinstance(classes, (list, tuple)):
                raise PluginError(f"{hook}() returned {type(classes).__name__}; it must return a list of classes")
            for cls in classes:
                _check_class(kind, hook, cls)
                offers.append((kind, cls))
    return offers


def _check_class(kind: str, hook: str, cls: Any) -> None:
    base = _BASES[kind]
    if not isinstance(cls, type):
        raise PluginError(f"{hook}() returned {cls!r}; it must return classes, not objects")
    if not issubclass(cls, base):
        raise PluginError(f"{hook}() returned {cls.__name__}; it must be a subclass of kdbench.api.{base.__name__}")
    name = getattr(cls, "name", None)
    if not isinstance(name, str):
        raise PluginError(f'{cls.__name__} has no name; write name = "..." in the class')
    if not _NAME.fullmatch(name):
        raise PluginError(f"{cls.__name__}.name is {name!r}; use lower-case letters, digits and . _ + -")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise PluginError(f"{cls.__name__} does not define {missing}, which every {SINGULAR[kind]} must")
    _check_options(cls)


def _check_options(cls: type[Plugin]) -> None:
    options, place = cls.Options, f"{cls.__name__}.Options"
    params = getattr(options, "__dataclass_params__", None)
    if not (isinstance(options, type) and dataclasses.is_dataclass(options) and params and params.frozen):
        raise PluginError(f"{place} must be a frozen dataclass: write @dataclass(frozen=True, kw_only=True)")
    for each in dataclasses.fields(options):
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise PluginError(f"{place}.{each.name} has no default; every option needs one")
    try:
        defaults, types = options(), option_types(options)
    except NameError as error:
        raise PluginError(f"{place} has a type that is not known: {error}") from None
    for name, wanted in types.items():
        value = getattr(defaults, name)
        try:
            convert(value, wanted)
        except (ValueError, TypeError) as error:
            says = f"is {value!r} but its type is {type_name(wanted)}{because(error)}"
            raise PluginError(f"the default of {place}.{name} {says}") from None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "did you mean 'x'? " where a known name is near, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean '{near[0]}'? " if near else ""


def because(error: Exception) -> str:
    """An exception's text in brackets, or nothing where it has none."""
    return f" ({error})" if str(error) else ""


def reason_of(error: BaseException) -> str:
    """Why a plugin could not be loaded, on one line, with the line of its code where that is known."""
    text = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        return f"exits on import (code {error.code})"
    if isinstance(error, PluginError):
        return text
    if isinstance(error, pluggy.PluginValidationError):
        return text.removeprefix("Plugin 'plugin' ").removeprefix("for hook ")
    return named(error) + _line_of(error)


def named(error: BaseException) -> str:
    """An exception's class and message, on one line and not a long one."""
    text = textwrap.shorten(str(error), LONGEST_REASON, placeholder=" ...")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line_of(error: BaseException) -> str:
    """The innermost line that is neither import machinery nor kdbench's own: the plugin's, or what it called."""
    ours = str(Path(__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(("<", ours)):
            return f" ({Path(frame.filename).name}, line {frame.lineno})"
    return ""
