"""Measures how much a teacher helps a video action-recognition student."""

from importlib.metadata import version

__version__ = version("kdbench")
