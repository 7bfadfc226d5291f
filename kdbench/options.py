"""Values for the options of plugins: from strings of the command line, or from TOML, to the option's type.

An option is a field of a frozen dataclass. Its type is bool, int, float, str, a Literal, a tuple of these,
or one of these or None.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NOTHING = ("", "none", "null")


def option_types(options: type[Any]) -> dict[str, Any]:
    """The type of each field of an Options class, in order. Raises NameError when an annotation is unknown."""
    hints = get_type_hints(options)
    return {field.name: hints[field.name] for field in dataclasses.fields(options)}


def convert(value: Any, wanted: Any) -> Any:
    """`value` as the type `wanted`; a string is read as the command line writes it ("0.5", "true", "1,2").

    Raises ValueError, with a reason or empty, when it does not fit; TypeError when no option may have the type.
    """
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(wanted))
    if origin is Literal:
        return _convert_literal(value, get_args(wanted))
    if origin is tuple:
        return _convert_tuple(value, get_args(wanted))
    if wanted in (bool, int, float, str):
        return _convert_text(value, wanted) if isinstance(value, str) else _accept(value, wanted)
    raise TypeError("an option is a bool, int, float, str, Literal, a tuple of these, or one of these or None")


def type_name(wanted: Any) -> str:
    """A type as its author wrote it: "float", "tuple[int, ...]", "str | None"."""
    if get_origin(wanted) in (Union, types.UnionType):
        return " | ".join(type_name(each) for each in get_args(wanted))
    if wanted is type(None):
        return "None"
    if get_origin(wanted) is Literal:
        return f"one of {', '.join(map(repr, get_args(wanted)))}"
    return wanted.__name__ if isinstance(wanted, type) and get_origin(wanted) is None else str(wanted)


def _accept(value: Any, wanted: type) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    raise ValueError


def _convert_text(text: str, wanted: type) -> Any:
    if wanted is not bool:
        try:
            return wanted(text)
        except ValueError:
            raise ValueError from None  # Python's own words ("could not convert ...") say less than the caller
    if text.lower() not in _WORDS:
        raise ValueError("write true or false")
    return _WORDS[text.lower()]


def _convert_union(value: Any, members: Sequence[Any]) -> Any:
    if type(None) in members and (value is None or (isinstance(value, str) and value.lower() in _NOTHING)):
        return None
    # str takes every text, so it is asked last: `int | str` reads "3" as a number.
    for member in sorted((each for each in members if each is not type(None)), key=lambda each: each is str):
        try:
            return convert(value, member)
        except ValueError:
            continue
    raise ValueError


def _convert_literal(value: Any, choices: Sequence[Any]) -> Any:
    for choice in choices:
        if value == choice or (isinstance(value, str) and value == str(choice)):
            return choice
    raise ValueError


def _convert_tuple(value: Any, members: Sequence[Any]) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")] if value else []
    if not isinstance(value, (list, tuple)):
        raise ValueError
    if len(members) == 2 and members[1] is Ellipsis:
        return tuple(convert(each, members[0]) for each in value)
    if len(value) != len(members):
        raise ValueError(f"{len(value)} values instead of {len(members)}")
    return tuple(convert(each, member) for each, member in zip(value, members, strict=True))
