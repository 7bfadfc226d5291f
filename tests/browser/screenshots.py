"""Takes the README's pictures of a built site: `make screenshots`, or `python -m tests.browser.screenshots`."""

from __future__ import annotations

import argparse
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.conftest import HOW, find_browser

ROOT = Path(__file__).parents[2]
BOARD = "motion-shapes"
LIMIT = 200_000  # bytes of a picture
WIDTH = 1200  # pixels
COMPARED = 3  # rows


def main() -> None:
    """Writes board-light.png, board-dark.png and compare.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", type=Path, default=ROOT / "site", help="folder of a built site")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="folder for the pictures")
    chosen = parser.parse_args()
    board = chosen.site / BOARD / "index.html"
    path = find_browser()
    if path is None:
        sys.exit(f"No browser was found; {HOW}")
    if not board.is_file():
        sys.exit(f"{board} is missing; build the site first: kdbench site build --out {chosen.site}")
    chosen.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": WIDTH, "height": 1600}, color_scheme=theme)
            page.goto(board.resolve().as_uri())
            save(page, chosen.out / f"board-{theme}.png", until="#standings")
        page = browser.new_page(viewport={"width": WIDTH, "height": 1600}, color_scheme="light")
        page.goto(board.resolve().as_uri())
        compare(page)
        save(page, chosen.out / "compare.png", until="h2:has-text('Differences')")
        browser.close()


def compare(page: Any) -> None:
    """Goes from the board to the comparison of its first rows that have several runs."""
    rows = page.locator(".rows tr[data-row]:visible").filter(has_not_text="single run")
    for row in rows.all()[:COMPARED]:
        row.locator("input").check()
    page.click(".compare")
    page.wait_for_selector("#compare:visible")
    page.evaluate("document.querySelector('main details').open = false")


def save(page: Any, path: Path, until: str) -> None:
    """Writes the page from its top to the first part that fits `until`, or to the end of the window."""
    height = min(page.locator(until).first.bounding_box()["y"], page.viewport_size["height"])
    shot = page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
    picture = Image.open(BytesIO(shot)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)  # a third of the size
    size = path.stat().st_size
    print(f"{path}: {size / 1000:.0f} kB")
    if size > LIMIT:
        sys.exit(f"{path} has {size} bytes, more than {LIMIT}; take a smaller window")


if __name__ == "__main__":
    main()
