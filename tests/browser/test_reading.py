"""Anyone can read every kind of page: with help, on a phone, and whatever words a record holds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Site, Visitor
from tests.browser.site import HURT

UNFOLD = "for (const part of document.querySelectorAll('details')) part.open = true"
ALL = "{ resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } }"
COLOURS = "{ resultTypes: ['violations'], runOnly: ['color-contrast'] }"


def test_pages_are_accessible(visit: Any, site: Site) -> None:
    assert violations(visit(bypass_csp=True), site, audited(site), ALL) == {}


def test_dark_pages_have_enough_contrast(visit: Any, site: Site) -> None:
    """What else helps a reader is the same in both themes."""
    assert violations(visit(color_scheme="dark", bypass_csp=True), site, audited(site), COLOURS) == {}


def test_a_picture_without_words_for_it_is_a_violation(visit: Any, site: Site) -> None:
    visitor = visit(bypass_csp=True)
    visitor.page.add_init_script("addEventListener('load', () => document.querySelector('main').append(new Image()))")
    found = violations(visitor, site, ["index.html"], ALL)
    assert [each.partition(":")[0] for each in found["index.html"]] == ["image-alt"]


def audited(site: Site) -> list[str]:
    """One page of each template, and the board without runs: an audit takes seconds, and words do not change it."""
    return [name for name in site.kinds() if not name.startswith(("hostile/", "empty/")) or name == "empty/index.html"]


def violations(visitor: Visitor, site: Site, names: list[str], options: str) -> dict[str, list[str]]:
    """What axe finds on each page with all its parts unfolded: the rule and the first part that breaks it."""
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe is missing: pip install -e '.[test]'")
    found = {}
    for name in names:
        visitor.page.goto(site.url(name))
        visitor.page.evaluate(UNFOLD)
        visitor.page.evaluate(axe.AXE_SCRIPT)
        wrong = visitor.page.evaluate(f"axe.run({options})")["violations"]
        problems = [f"{each['id']}: {each['nodes'][0]['html'][:160]}" for each in wrong]
        found |= {name: problems} if problems else {}
    return found


@pytest.mark.parametrize("width", [320, 400])
def test_pages_never_scroll_sideways_on_a_phone(visit: Any, site: Site, width: int) -> None:
    page = visit(viewport={"width": width, "height": 800}).page
    wide = {}
    for name in site.kinds():
        page.goto(site.url(name))
        page.evaluate(UNFOLD)
        needed = page.evaluate("document.documentElement.scrollWidth")
        wide |= {name: needed} if needed > width else {}
    assert wide == {}


def test_hostile_words_are_shown_as_words(visit: Any, site: Site) -> None:
    visitor = visit()
    for name in (name for name in site.pages if not name.startswith(("small", "empty"))):
        visitor.page.goto(site.url(name))
        assert visitor.page.evaluate("window.hurt") is None, name
        assert visitor.page.locator("a[href^='javascript:' i], img").count() == 0, name
        assert visitor.said == [], name
    visitor.page.goto(site.url("hostile/index.html"))
    assert HURT in visitor.page.locator(".rows").inner_text()


def test_hostile_names_can_be_filtered_for(visit: Any, site: Site) -> None:
    visitor = visit()
    visitor.page.goto(site.url("hostile/index.html"))
    visitor.page.fill("[name=find]", "onerror")
    visitor.page.locator(".rows tr[data-row]:visible input").first.check()
    again = visit()
    again.page.goto(visitor.page.url)
    assert again.page.locator(".rows input:checked").count() == 1
    assert again.page.evaluate("window.hurt") is None
