"""Reading repeated KEY=VALUE arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


def key_values(pairs: Sequence[str]) -> dict[str, str]:
    """`("temperature=2",)` -> {"temperature": "2"}; the plugin's own Options decide the type."""
    found = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not (separator and key):
            raise click.BadParameter(f"'{pair}' must be KEY=VALUE", param_hint="-o")
        found[key] = value
    return found


def videos_by_dataset(places: Sequence[str], default: str) -> dict[str, Path]:
    """`("PATH", "other=PATH")` -> folder by data set; a bare path belongs to the board's own data set."""
    found = {}
    for place in places:
        name, separator, path = place.partition("=")
        found[name if separator else default] = Path(path if separator else place)
    return found
