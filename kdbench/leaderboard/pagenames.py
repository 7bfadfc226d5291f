"""Names of pages for what people name freely: methods with options, teachers, plugins.

A name is safe in a file name on any system and in an address, and no two things of one kind share it.
"""

from __future__ import annotations

import hashlib
import re

NAME_LENGTH = 60
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)")  # names that some file systems keep for devices


def method_name(method: str) -> str:
    """The page of a method as a row names it, options and all: `methods/NAME.html` in a board's folder."""
    return f"methods/{safe_name(method)}.html"


def teacher_name(teacher: str) -> str:
    """The page of a teacher as a row names it: `teachers/NAME.html` in a board's folder."""
    return f"teachers/{safe_name(teacher)}.html"


def plugin_name(kind: str, name: str) -> str:
    """The page of a plugin, of a kind such as "methods": `plugins/KIND-NAME.html` in the site's folder."""
    return f"plugins/{kind}-{safe_name(name)}.html"


def safe_name(name: str) -> str:
    """A name as it is where that is safe; else what is left of it, and a digest behind a dot.

    No name that is left as it is holds a dot, and upper case is none of them: some file systems do not tell it apart.
    """
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:NAME_LENGTH]
    if plain and plain == name and not _RESERVED.fullmatch(plain):
        return plain
    return f"{plain.rstrip('-') or 'name'}.{hashlib.sha256(name.encode()).hexdigest()[:12]}"
