"""The theme: enough contrast in light and dark, and a policy that lets a page ask nothing of the network."""

from __future__ import annotations

import re

import pytest

from kdbench.leaderboard.render import theme_file

STYLE, BASE = theme_file("style.css").decode(), theme_file("base.html.j2").decode()
TEXTS = dict.fromkeys(("ink", "soft", "link", "up", "down"), 4.5)
MARKS = dict.fromkeys(("edge", "focus", *(f"s{style}" for style in range(8))), 3.0)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "mark", "card"])
def test_colours_of_both_themes_have_enough_contrast(theme: int, ground: str) -> None:
    pairs = re.findall(r"--(\w+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", STYLE)
    colours = {name: both[theme] for name, *both in pairs}
    for name, least in (TEXTS | MARKS).items():
        bright, dim = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= least, f"{name} on {ground}"


def test_policy_lets_no_script_stand_in_a_page() -> None:
    (rule,) = re.findall(r"script-src ([^;]*);", BASE)
    assert rule == "'self' file:"


def test_theme_is_chosen_before_the_style_sheet_is_read() -> None:
    assert BASE.index('assets/theme.js"></script>') < BASE.index('rel="stylesheet"')
