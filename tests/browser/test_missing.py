"""Without a browser the tests of this folder say loudly that they did nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.browser.conftest import missing


def test_machine_without_a_browser_is_told_which_and_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing().startswith("NO PAGE WAS OPENED IN A BROWSER: none of chromium, ")
    assert "apt-get install chromium" in missing()


def test_machine_without_playwright_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "playwright", None)
    assert "the package playwright is missing; " in missing()
    assert "pip install -e '.[test]'" in missing()
