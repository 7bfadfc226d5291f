"""One headless Chromium and one generated site for all tests of this folder; without a Chromium they are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.browser.site import write_crowd_page, write_site

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOW = "install one (Debian: apt-get install chromium) and the extra: pip install -e '.[test]'"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One browser and one site also where the tests are spread over processes (`-n auto --dist loadgroup`); where
    there is no browser, a site is not even made.
    """
    lacking = missing()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))
            if lacking and "chromium" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=lacking))


@dataclass
class Site:
    """A folder with pages, and the names of these."""

    folder: Path
    pages: list[str]

    def url(self, name: str) -> str:
        """The address of a page on this disk."""
        return (self.folder / name).as_uri()

    def kinds(self) -> list[str]:
        """Pages of every kind: all that lie beside the index or a board, one of each folder below that."""
        found: dict[str, str] = {}
        for name in self.pages:
            parts = name.split("/")
            deep = len(parts) > 2 or parts[0] == "plugins"
            found.setdefault("/".join(parts[:-1]) if deep and parts[-1] != "index.html" else name, name)
        return list(found.values())


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    return Site(folder, write_site(folder, tmp_path_factory.mktemp("boards")))


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a board's page with more than a thousand rows."""
    return write_crowd_page(tmp_path_factory.mktemp("crowd"), tmp_path_factory.mktemp("crowd-boards")).as_uri()


def find_browser() -> str | None:
    """Where the first of the browsers lies that is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def missing() -> str:
    """What a browser test lacks here, or nothing."""
    if find_spec("playwright") is None:
        return f"NO PAGE WAS OPENED IN A BROWSER: the package playwright is missing; {HOW}"
    if find_browser() is None:
        return f"NO PAGE WAS OPENED IN A BROWSER: none of {', '.join(NAMES)} is installed; {HOW}"
    return ""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, with a fresh profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = find_browser()
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Visitor:
    """One who opens pages: what the browser said and asked for meanwhile is kept."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def fragment(self) -> str:
        """What stands behind the number sign of the address."""
        return str(self.page.url).partition("#")[2]


@pytest.fixture
def visit(chromium: Any) -> Iterator[Any]:
    """Opens the door for a visitor with wishes of its own: `visit(color_scheme="dark", java_script_enabled=False)`."""
    contexts = []

    def enter(**wishes: Any) -> Visitor:
        contexts.append(chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | wishes)))
        contexts[-1].set_default_timeout(20_000)
        return Visitor(contexts[-1].new_page())

    yield enter
    for context in contexts:
        context.close()
