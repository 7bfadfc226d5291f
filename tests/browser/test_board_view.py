"""The standings in a real browser: sorted, filtered, chosen and linked, by mouse and keyboard and without a script."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Site, Visitor

ROWS = ".rows tr[data-row]:visible"
TOLD = ".controls output"


@pytest.fixture
def board(visit: Any, site: Site) -> Visitor:
    visitor: Visitor = visit()
    visitor.page.goto(site.url("small/index.html"))
    return visitor


def column(page: Any, key: str) -> list[str]:
    """The texts of a column, from the first shown row to the last."""
    at = page.evaluate("key => document.querySelector(`[data-key=${key}]`).cellIndex", key)
    return [text.split()[0] for text in page.locator(f"{ROWS} > :nth-child({at + 1})").all_inner_texts()]


def shown(page: Any) -> list[str]:
    """What names the shown rows, in their order."""
    found: list[str] = page.locator(ROWS).evaluate_all("rows => rows.map((row) => row.dataset.row)")
    return found


def order_of(page: Any, key: str) -> str | None:
    found: str | None = page.locator(f"[data-key={key}]").get_attribute("aria-sort")
    return found


def sort_by(page: Any, key: str) -> None:
    page.locator(f"[data-key={key}] .sort").click()


def test_rows_are_sorted_inside_their_cell_and_cells_by_their_first_row(board: Visitor) -> None:
    sort_by(board.page, "accuracy")
    values = [float(text) for text in column(board.page, "accuracy")]
    cells = [values[at : at + 5] for at in range(0, len(values), 5)]
    assert all(cell == sorted(cell, reverse=True) for cell in cells)
    assert [cell[0] for cell in cells] == sorted((cell[0] for cell in cells), reverse=True)
    assert order_of(board.page, "accuracy") == "descending"


def test_third_click_brings_the_order_of_the_board_back(board: Visitor) -> None:
    before = shown(board.page)
    for _ in range(3):
        sort_by(board.page, "accuracy")
    assert shown(board.page) == before
    assert order_of(board.page, "accuracy") is None


def test_milestones_that_were_not_reached_sort_behind_those_that_were(board: Visitor) -> None:
    sort_by(board.page, "baseline-100")
    sort_by(board.page, "baseline-100")
    assert order_of(board.page, "baseline-100") == "ascending"
    first_cell = column(board.page, "baseline-100")[:5]
    assert first_cell == sorted(first_cell, key=lambda text: (text.startswith(">"), float(text.lstrip(">"))))


def test_filters_leave_the_rows_that_fit_and_say_how_many(board: Visitor) -> None:
    board.page.select_option("[name=teacher]", "tall")
    assert len(shown(board.page)) == 4
    assert all("~tall~" in row for row in shown(board.page))
    assert board.page.locator(TOLD).inner_text() == "4 of 20 rows"


def test_search_looks_for_every_word_in_all_names(board: Visitor) -> None:
    board.page.fill("[name=find]", "wide BROAD hard")
    assert shown(board.page) == ["wide~1~0~broad~hard", "wide~0.5~0~broad~hard"]


def test_link_restores_filters_order_columns_and_chosen_rows(board: Visitor, visit: Any) -> None:
    page = board.page
    page.select_option("[name=student]", "slim")
    sort_by(page, "gain")
    page.locator(".choose summary").click()
    page.uncheck("#col-early")
    page.check("tr[data-row='slim~1~0~broad~soft'] input")
    other = visit()
    other.page.goto(page.url)
    assert shown(other.page) == shown(page)
    assert order_of(other.page, "gain") == "descending"
    assert not other.page.locator("[data-key=early]").is_visible()
    assert other.page.locator("tr[data-row='slim~1~0~broad~soft'] input").is_checked()


def test_copied_link_is_that_of_the_view(board: Visitor) -> None:
    page = board.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.select_option("[name=fraction]", "0.5")
    page.click("[name=copy]")
    page.wait_for_function("document.querySelector('.controls output').value === 'Link copied'")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    assert board.fragment() == "fraction=0.5"


def test_back_button_takes_back_one_step_after_the_other(board: Visitor) -> None:
    page = board.page
    page.select_option("[name=student]", "slim")
    page.select_option("[name=teacher]", "tall")
    assert len(shown(page)) == 2
    page.go_back()
    assert len(shown(page)) == 10
    page.go_back()
    assert len(shown(page)) == 20
    page.go_forward()
    assert page.locator("[name=student]").input_value() == "slim"


def test_typing_a_search_is_one_step_back(board: Visitor) -> None:
    board.page.locator("[name=find]").press_sequentially("tall")
    board.page.go_back()
    assert len(shown(board.page)) == 20


def test_chosen_rows_lead_to_their_comparison(board: Visitor) -> None:
    page = board.page
    for row in ("slim~1~0~broad~soft", "slim~1~0~tall~soft"):
        page.check(f"tr[data-row='{row}'] input")
    page.click("text=Compare 2 selected")
    page.wait_for_selector("#compare:visible")
    assert "/small/compare.html#rows=" in page.url
    assert set(page.url.partition("=")[2].split(",")) == {"slim~1~0~broad~soft", "slim~1~0~tall~soft"}


def test_nonsense_in_the_address_shows_the_whole_board(visit: Any, site: Site) -> None:
    visitor = visit()
    visitor.page.goto(site.url("small/index.html") + "#student=nobody&sort=constructor.up&hide=%E0%A4&rows=a,b&%=%")
    assert len(shown(visitor.page)) == 20
    assert visitor.said == []


def test_place_of_a_heading_in_the_address_is_no_view(board: Visitor) -> None:
    board.page.select_option("[name=student]", "slim")
    board.page.evaluate("location.hash = '#protocol'")
    board.page.wait_for_function("location.hash === '#protocol'")
    assert len(shown(board.page)) == 10


def test_keyboard_sorts_chooses_and_asks_for_a_definition(board: Visitor) -> None:
    page = board.page
    page.locator("[data-key=gain] .sort").focus()
    page.keyboard.press("Enter")
    assert order_of(page, "gain") == "descending"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert "percentage points" in page.locator("#about-gain").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#about-gain").is_visible()
    page.locator("tr[data-row='slim~1~0~broad~soft'] input").focus()
    page.keyboard.press("Space")
    assert page.locator("text=Compare 1 selected").is_visible()


def test_table_scrolls_by_keyboard(visit: Any, site: Site) -> None:
    page = visit(viewport={"width": 400, "height": 800}).page
    page.goto(site.url("small/index.html"))
    page.locator(".view .scroll").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.view .scroll').scrollLeft > 0")


def test_first_column_stays_in_sight_on_a_phone(visit: Any, site: Site) -> None:
    page = visit(viewport={"width": 400, "height": 800}).page
    page.goto(site.url("small/index.html"))
    page.evaluate("document.querySelector('.view .scroll').scrollLeft = 400")
    left = page.locator("tr[data-row='slim~1~0~broad~soft'] th").bounding_box()["x"]
    assert 0 <= left < 40


def test_without_a_script_every_row_is_there_and_columns_can_be_chosen(visit: Any, site: Site) -> None:
    page = visit(java_script_enabled=False).page
    page.goto(site.url("small/index.html"))
    assert page.locator(ROWS).count() == 20
    assert not page.locator(".controls").is_visible()
    assert page.locator(".rows thead button:visible").count() == page.locator(".rows thead th").count()
    page.locator(".choose summary").click()
    page.uncheck("#col-transfer")
    assert not page.locator("[data-key=transfer]").is_visible()
    assert page.locator("[data-key=gain]").is_visible()
    page.locator("[data-key=rank] .what").click()
    assert page.locator("#about-rank").is_visible()


def test_long_table_shows_the_first_rows_of_each_cell_and_all_on_request(visit: Any, crowd: str) -> None:
    page = visit().page
    page.goto(crowd)
    assert len(shown(page)) == 192
    assert page.locator(".rows tbody:visible").count() == 12
    assert page.locator(TOLD).inner_text() == "1128 rows, the first 192 shown"
    sort_by(page, "accuracy")
    values = [float(text) for text in column(page, "accuracy")[:16]]
    assert values == sorted(values, reverse=True)
    page.click("[name=all]")
    assert len(shown(page)) == 1128
    page.fill("[name=find]", "deep way05 tall")
    assert len(shown(page)) == 4
