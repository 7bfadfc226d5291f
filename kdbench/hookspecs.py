"""The hooks a plugin may implement. The docstring of a hook is its specification.

Every hook returns classes; none registers anything, so a test can call it as a plain function. A hook is
called once, when the plugin is loaded and before any data is read. Names are unique over all plugins of a
kind; the second of two plugins that claim a name is refused, and the refusal names both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from kdbench.api import Backbone, Launcher, Method, Teacher, VideoDataset

PROJECT = "kdbench"
KINDS = ("backbones", "teachers", "methods", "datasets", "launchers")  # the hook of a kind is kdbench_KIND

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def kdbench_backbones() -> list[type[Backbone]]:  # type: ignore[empty-body]
    """Return the Backbone classes this plugin offers: networks from (B, C, T, H, W) clips to (B, D) features."""


@hookspec
def kdbench_teachers() -> list[type[Teacher]]:  # type: ignore[empty-body]
    """Return the Teacher classes this plugin offers: ways of obtaining a trained, frozen network."""


@hookspec
def kdbench_methods() -> list[type[Method]]:  # type: ignore[empty-body]
    """Return the Method classes this plugin offers: the terms a run adds to the board's objective."""


@hookspec
def kdbench_datasets() -> list[type[VideoDataset]]:  # type: ignore[empty-body]
    """Return the VideoDataset classes this plugin offers: lists of videos, their splits and their files."""


@hookspec
def kdbench_launchers() -> list[type[Launcher]]:  # type: ignore[empty-body]
    """Return the Launcher classes this plugin offers: ways of running the cells of a sweep."""
