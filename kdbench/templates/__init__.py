"""The files that `kdbench plugins new` writes: plugins that work at once, to be changed into one's own.

Each template is a plugin that passes `kdbench plugins check`, and is read, typed and tested like all code here. What
it calls itself ("my-method", my_method, MyMethod) becomes the name of the new plugin.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from kdbench.errors import PluginError

KIND_OF: Mapping[str, str] = {
    "method": "methods",
    "backbone": "backbones",
    "teacher": "teachers",
    "dataset": "datasets",
}
_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


def write_new(what: str, name: str, out: Path, *, package: bool) -> list[Path]:
    """Write a new plugin called `name` into the folder `out`, as one file or as a distribution; returns its files.

    `what` is a key of KIND_OF. Raises PluginError for a name that cannot be one, and where a file is there already.
    """
    if not _NAME.fullmatch(name):
        raise PluginError(
            f"'{name}' cannot be a plugin's name here; use lower-case words joined by - or _, as in my-{what}"
        )
    texts = _package_texts(what, name) if package else {f"{_stem(name)}.py": _text(what, name)}
    folder = out / f"kdbench-{name}" if package else out
    paths = {folder / place: text for place, text in texts.items()}
    for path in paths:
        if path.exists():
            raise PluginError(f"{path}: is there already; choose another name, or another folder with --out")
    _require_free(next(path.stem for path in paths if path.suffix == ".py"), name)
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in paths.items():
        path.write_text(text, encoding="utf-8")
    return list(paths)


def _package_texts(what: str, name: str) -> dict[str, str]:
    """The files of a distribution with one module, by their names."""
    module = f"kdbench_{_stem(name)}"
    return {
        "pyproject.toml": _named(_read("package.toml"), "plugin", name),
        f"{module}.py": _text(what, name),
        f"test_{module}.py": _named(_read("package_test.txt"), "plugin", name),
    }


def _require_free(module: str, name: str) -> None:
    """Raise PluginError where a file `module`.py could hide a module of that name from whoever works beside it."""
    if importlib.util.find_spec(module):
        raise PluginError(f"Python finds a module '{module}' already; choose another name than '{name}'")


def _text(what: str, name: str) -> str:
    """The template of a plugin, under its new name."""
    return _named(_read(f"{what}.py"), what, name)


def _read(file: str) -> str:
    return (files(__name__) / file).read_text(encoding="utf-8")


def _named(text: str, what: str, name: str) -> str:
    renamed = {f"my-{what}": name, f"my_{what}": _stem(name), f"My{what.capitalize()}": _class_name(what, name)}
    return re.sub("|".join(renamed), lambda found: renamed[found[0]], text)


def _stem(name: str) -> str:
    return name.replace("-", "_")


def _class_name(what: str, name: str) -> str:
    """In capitals, and with the kind at its end, so that it is no name that a template imports."""
    kind = what.capitalize()
    words = "".join(word.capitalize() for word in re.split("[_-]", name))
    return words if words.endswith(kind) and words not in (kind, f"Video{kind}") else f"{words}{kind}"
