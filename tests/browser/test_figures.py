"""Charts leave the page: each has a button that saves it, and the SVG files of the site are pictures."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from tests.browser.conftest import Site

SVG = "{http://www.w3.org/2000/svg}"
SIZE = "(({ width, height }) => [width, height])(document.documentElement.getBoundingClientRect())"
PAGES = {
    "small/index.html": "small-slim-accuracy-against-the-share-of-training-videos.svg",
    "small/cells/slim-100pct.html": "small-cells-slim-100pct-mean-1-view-test-accuracy-by-epoch.svg",
    "small/methods/soft.html": "small-methods-soft-slim-accuracy-against-the-share-of-training-videos.svg",
}


def saved(page: Any, at: int = 0) -> tuple[str, ElementTree.Element]:
    """The name and the content of what a chart's button gives."""
    with page.expect_download() as download:
        page.locator(".save").nth(at).click()
    return download.value.suggested_filename, ElementTree.parse(download.value.path()).getroot()


def texts(file: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in file.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", PAGES)
def test_chart_is_saved_under_a_name_that_says_what_it_is(visit: Any, site: Site, name: str) -> None:
    visitor = visit()
    visitor.page.goto(site.url(name))
    found, file = saved(visitor.page)
    assert found == PAGES[name]
    assert {"soft, teacher broad", "accuracy, %"} <= set(texts(file))
    assert visitor.said == []


def test_chart_of_a_run_is_saved_with_its_lines_and_their_names(visit: Any, site: Site) -> None:
    page = visit().page
    run = next(name for name in site.pages if name.startswith("small/runs/slim-soft"))
    page.goto(site.url(run))
    name, file = saved(page)
    assert name.startswith("small-runs-slim-soft")
    assert name.endswith("-1-view-test-accuracy-over-8-epochs.svg")
    assert {"1-view test accuracy", "accuracy, %", "this run", "paired baseline"} <= set(texts(file))


@pytest.mark.parametrize(("theme", "paper"), [("light", "rgb(251, 250, 246)"), ("dark", "rgb(20, 24, 26)")])
def test_saved_chart_needs_no_style_sheet(visit: Any, site: Site, theme: str, paper: str) -> None:
    page = visit(color_scheme=theme).page
    page.goto(site.url("small/cells/slim-100pct.html"))
    _, file = saved(page)
    (ground,) = file.findall(f"{SVG}rect")
    assert ground.get("fill") == paper
    assert not [each.tag for each in file.iter() if each.get("class") or each.tag == f"{SVG}style"]
    lines = {each.get("stroke") for each in file.iter(f"{SVG}path") if each.get("fill") == "none"}
    assert len(lines) >= 5
    assert all(colour and colour.startswith("rgb(") for colour in lines)


def test_no_two_charts_of_a_page_have_one_name(visit: Any, site: Site) -> None:
    page = visit().page
    page.goto(site.url("small/index.html"))
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    count = page.locator(".save").count()
    assert count == page.locator("figure .chart").count()
    assert len({saved(page, at)[0] for at in range(count)}) == count


def test_hostile_names_leave_the_saved_chart_well_formed(visit: Any, site: Site) -> None:
    page = visit().page
    page.goto(site.url(next(name for name in site.pages if name.startswith("hostile/cells/") and "index" not in name)))
    _, file = saved(page)
    assert any("<script>" in text for text in texts(file))


def test_compared_rows_have_a_chart_that_can_be_saved(visit: Any, site: Site) -> None:
    page = visit().page
    page.goto(site.url("small/index.html"))
    for row in page.locator(".rows tr[data-row]").all()[:2]:
        row.locator("input").check()
    page.click(".compare")
    page.wait_for_selector("#shown .save")
    name, file = saved(page)
    assert name.startswith("small-compare-1-view-test-accuracy")
    assert "alone, no teacher" in " ".join(texts(file))
    assert "rgba(0, 0, 0, 0)" not in {each.get("stroke") for each in file.iter(f"{SVG}path")}


def test_page_without_scripts_has_no_button(visit: Any, site: Site) -> None:
    page = visit(java_script_enabled=False).page
    page.goto(site.url("small/index.html"))
    assert page.locator(".save").count() == 0
    assert page.locator("a[href='efficiency.svg']").count() == 1


def test_svg_files_of_the_site_are_pictures(visit: Any, site: Site) -> None:
    visitor = visit()
    names = sorted(path.relative_to(site.folder).as_posix() for path in site.folder.rglob("*.svg"))
    assert any(name.startswith("hostile/") for name in names)
    for name in ["small/efficiency.svg", "small/stages.svg", *names]:
        visitor.page.goto(site.url(name))
        assert min(visitor.page.evaluate(SIZE)) > 100, name
    assert visitor.said == []
