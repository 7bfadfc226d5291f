"""A board's protocol: every pin with its value and reason, and the rules that the code keeps without a pin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from kdbench.board import Board

RULES = "rules."
NO_REASON = "no reason given"


@dataclass(frozen=True)
class Pin:
    """One value that all ranked runs of a board share."""

    key: str
    value: Any
    why: str

    @property
    def section(self) -> str:
        """The table of `board.toml` that it stands in."""
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """Its key within the section."""
        return self.key.partition(".")[2]

    @property
    def text(self) -> str:
        """The value as a person reads it."""
        return value_text(self.value)


@dataclass(frozen=True)
class Rule:
    """Something that is equal in all runs because the code has it so, and not because a pin says so."""

    name: str
    text: str


def pins_of(board: Board) -> list[Pin]:
    """The pins in order of the key."""
    return [Pin(key, value, board.why.get(key, NO_REASON)) for key, value in board.pins.items()]


def rules_of(board: Board) -> list[Rule]:
    """The rules in the board's own order."""
    named = [(key.removeprefix(RULES), text) for key, text in board.why.items() if key.startswith(RULES)]
    return [Rule(name.replace("_", " "), text) for name, text in named]


def sections_of(pins: Sequence[Pin]) -> list[tuple[str, list[Pin]]]:
    """The pins by their section."""
    return [(section, list(group)) for section, group in groupby(pins, key=lambda pin: pin.section)]


def protocol_context(board: Board) -> dict[str, Any]:
    """The names that the protocol template uses."""
    pins = pins_of(board)
    return {"board": board, "pins": pins, "sections": sections_of(pins), "rules": rules_of(board)}


def protocol_json(board: Board) -> str:
    """The protocol as JSON: what `kdbench board explain --json` prints and the site has as a file."""
    facts = {
        "board": board.name,
        "version": board.board.version,
        "title": board.board.title,
        "digest": board.digest,
        "pins": [asdict(pin) for pin in pins_of(board)],
        "rules": [asdict(rule) for rule in rules_of(board)],
    }
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def value_text(value: Any) -> str:
    """A pin's value as one word: lists with commas, truth as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value_text(each) for each in value) if isinstance(value, list) else str(value)
