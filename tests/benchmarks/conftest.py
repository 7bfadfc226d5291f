from __future__ import annotations

import pytest

from tests.benchmarks.ratio import RECORDED
from tests.browser.conftest import chromium, crowd, visit

__all__ = ["chromium", "crowd", "visit"]  # fixtures for this folder, too


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the ratios: the plugin's own table knows only seconds."""
    for name, measured in RECORDED:
        terminalreporter.write_line(f"{name}: {measured}")
