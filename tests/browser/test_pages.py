"""Every kind of page in a real browser: it asks nothing of the network, complains of nothing, keeps its theme."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Site

PAPER = {"light": "rgb(251, 250, 246)", "dark": "rgb(20, 24, 26)"}
GROUND = "getComputedStyle(document.documentElement).backgroundColor"


def test_pages_ask_nothing_of_the_network_and_complain_of_nothing(visit: Any, site: Site) -> None:
    visitor = visit(offline=True)
    for name in site.kinds():
        visitor.page.goto(site.url(name))
        assert visitor.said == [], name
        assert [url for url in visitor.asked if not url.startswith(("file:", "data:"))] == [], name


def test_policy_stops_what_a_page_would_ask_for(visit: Any, site: Site) -> None:
    visitor = visit()
    visitor.page.goto(site.url("small/index.html"))
    visitor.page.evaluate("document.body.append(Object.assign(new Image(), { src: 'https://example.org/x.png' }))")
    visitor.page.wait_for_timeout(100)
    assert any("Content Security Policy" in text for text in visitor.said)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_follows_the_system(visit: Any, site: Site, theme: str) -> None:
    page = visit(color_scheme=theme, java_script_enabled=False).page
    page.goto(site.url("index.html"))
    page.screenshot()
    drawn = visit(color_scheme=theme).page
    drawn.goto(site.url("index.html"))
    assert drawn.evaluate(GROUND) == PAPER[theme]


def test_chosen_theme_holds_on_the_next_page_from_its_first_frame_on(visit: Any, site: Site) -> None:
    page = visit(color_scheme="light").page
    page.add_init_script(f"requestAnimationFrame(() => {{ window.first = {GROUND}; }})")
    page.goto(site.url("index.html"))
    page.click("text=Dark theme")
    assert page.evaluate(GROUND) == PAPER["dark"]
    page.goto(site.url("small/index.html"))
    page.wait_for_function("window.first")
    assert page.evaluate("window.first") == PAPER["dark"]
    page.click("text=Light theme")
    assert page.evaluate(GROUND) == PAPER["light"]


def test_printed_page_is_light_and_has_the_whole_table(visit: Any, site: Site) -> None:
    page = visit(color_scheme="dark").page
    page.goto(site.url("small/index.html"))
    page.emulate_media(media="print", color_scheme="light")
    assert page.evaluate(GROUND) == "rgb(255, 255, 255)"
    assert not page.locator(".controls").is_visible()
    assert page.locator(".rows tr[data-row]:visible").count() == 20
