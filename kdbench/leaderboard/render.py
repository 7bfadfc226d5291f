"""A template of the theme and its names -> the bytes of a page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

import jinja2

from kdbench.leaderboard import charts, formats
from kdbench.leaderboard.pagenames import method_name, teacher_name
from kdbench.leaderboard.standings import cell_name


def render(name: str, template: str, names: Mapping[str, Any]) -> bytes:
    """The page that will lie at `name` below the site's root; `root` leads its links back there."""
    root = "../" * (len(PurePosixPath(name).parts) - 1)
    return _environment().get_template(template).render(root=root, **names).encode()


def theme_file(name: str) -> bytes:
    """A file of the theme as it is."""
    return (files("kdbench.leaderboard") / "theme" / name).read_bytes()


def read_templates() -> None:
    """Compile every template now, so that processes forked later need not do so each for itself."""
    for name in _environment().list_templates(extensions=["j2"]):
        _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kdbench.leaderboard", "theme"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,  # else every page looks at the file of its template again
    )
    words = (formats.percent, formats.points, formats.half, formats.fraction, formats.seconds, formats.epochs)
    more = (formats.spread, formats.reached_by, formats.number, formats.kappa, formats.counted, formats.reproduced)
    for word in words + more:
        environment.filters[word.__name__] = word
    for name_of in (cell_name, method_name, teacher_name):
        environment.filters[name_of.__name__] = name_of
    environment.globals |= {"swatch": charts.swatch, "whisker": charts.whisker, "nothing": formats.NOTHING}
    return environment
