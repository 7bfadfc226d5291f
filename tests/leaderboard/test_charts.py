"""Charts: where points, ticks and texts lie, and that the same numbers give the same bytes."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest

from kdbench.leaderboard.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MAX_POINTS,
    RIGHT,
    STYLES,
    TOP,
    WIDTH,
    Axis,
    Panel,
    Series,
    epoch_axis,
    fraction_axis,
    line_chart,
    plain_axis,
    points_axis,
    share_axis,
    swatch,
    thinned,
    whisker,
)

X = Axis(0.0, 10.0, ((0.0, "0"), (10.0, "10")), "across")
Y = Axis(0.0, 1.0, ((0.0, "0"), (1.0, "100")), "up")
HURT = "<b>&\"'"


def panel(*points: tuple[float, float], **changes: object) -> Panel:
    return Panel(**{"title": "a chart", "series": (Series("a line", points, 0),), "x": X, "y": Y} | changes)  # type: ignore[arg-type]


def spots(chart: str) -> list[tuple[float, float]]:
    """Where the markers of the baseline's style lie."""
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart)]


# --- geometry ----------------------------------------------------------------------------------------------


def test_corners_of_the_axes_are_the_corners_of_the_plot() -> None:
    found = spots(line_chart(panel((0.0, 0.0), (0.0, 1.0), (10.0, 0.0), (10.0, 1.0))))
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    assert found == [(LEFT, floor), (LEFT, TOP), (right, floor), (right, TOP)]


def test_half_of_an_axis_is_half_of_the_plot() -> None:
    ((x, y),) = spots(line_chart(panel((5.0, 0.5))))
    assert (x, y) == ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2)


def test_wider_panel_gives_the_plot_all_of_the_width() -> None:
    ((x, _),) = spots(line_chart(panel((10.0, 0.0), width=WIDTH + 60)))
    assert x == WIDTH + 60 - RIGHT


def test_line_leads_through_its_points() -> None:
    chart = line_chart(panel((0.0, 0.0), (5.0, 1.0), (10.0, 0.5)))
    start, steps = re.findall(r'class="line" d="M([\d. ]+)l([^"]+)"', chart)[0]
    x, y = (float(part) for part in start.split())
    numbers = [float(part) for part in re.findall(r"-?(?:\d*\.\d|\d+)", steps)]
    places = [(x, y)]
    for across, down in zip(numbers[::2], numbers[1::2], strict=True):
        x, y = x + across, y + down
        places.append((x, y))
    assert places == [pytest.approx(spot) for spot in spots(chart)]


def test_level_lies_at_its_value() -> None:
    assert f'class="level" d="M{LEFT} {TOP}H' in line_chart(panel((0.0, 0.0), level=1.0))


def test_mark_stands_at_its_place_under_its_name() -> None:
    chart = line_chart(panel((0.0, 0.0), marks=((10.0, HURT),)))
    right = WIDTH - RIGHT
    assert f'<path class="mark" d="M{right} {TOP}V{HEIGHT - BOTTOM}"/>' in chart
    assert f'<text x="{right}" y="{TOP - 5}">&lt;b&gt;' in chart


def test_mark_without_a_name_has_no_text() -> None:
    chart = line_chart(panel((0.0, 0.0), marks=((5.0, ""),)))
    assert '<path class="mark"' in chart
    assert chart.count("<text") == line_chart(panel((0.0, 0.0))).count("<text")


def test_points_that_are_not_joined_have_no_line() -> None:
    series = Series("spots", ((0.0, 0.0), (10.0, 1.0)), 0, joined=False)
    chart = line_chart(panel(series=(series,)))
    assert 'class="line"' not in chart
    assert len(spots(chart)) == 2


def test_series_without_points_draws_nothing() -> None:
    assert '<g class="s' not in line_chart(panel())


# --- texts -------------------------------------------------------------------------------------------------


def test_every_text_is_escaped() -> None:
    axis = Axis(0.0, 1.0, ((0.0, HURT), (1.0, "1")), HURT)
    chart = line_chart(Panel(HURT, (Series(HURT, ((0.0, 0.0),), 0),), axis, Axis(0.0, 1.0, (), HURT), ((0.5, HURT),)))
    assert "<b>" not in chart
    assert chart.count("&lt;b&gt;&amp;") == 6


def test_chart_has_a_name_for_those_who_cannot_see_it() -> None:
    assert 'role="img" aria-label="a chart"' in line_chart(panel((0.0, 0.0)))


def test_line_has_its_label_as_a_title() -> None:
    assert '<g class="s0"><title>a line</title>' in line_chart(panel((0.0, 0.0)))


def test_series_are_drawn_in_the_order_in_which_they_are_given() -> None:
    series = tuple(Series(name, ((0.0, 0.0),), at) for at, name in enumerate(("last", "first")))
    assert re.findall("<title>([a-z]+)</title>", line_chart(panel(series=series[::-1]))) == ["first", "last"]


def test_no_two_styles_share_a_marker() -> None:
    markers = {swatch(style).partition("/>")[2] for style in range(STYLES)}
    assert len(markers) == STYLES


def test_line_without_markers_has_none_in_its_legend() -> None:
    assert swatch(1).count("<path") == 2
    assert swatch(1, markers=False).count("<path") == 1


# --- axes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[0.123, 0.587], [0.5], [0.0], [1.0], [0.9991, 0.9999], [], [0.02, 0.03, 0.98]])
def test_shares_lie_between_round_ticks(values: list[float]) -> None:
    axis = share_axis(values, "accuracy, %")
    places = [place for place, _ in axis.ticks]
    assert [axis.low, axis.high] == pytest.approx([places[0], places[-1]])
    assert all(axis.low - 1e-9 <= value <= axis.high + 1e-9 for value in values)
    assert axis.low >= 0
    steps = {round(100 * (after - before), 9) for before, after in pairwise(places)}
    assert len(steps) == 1
    assert f"{steps.pop():e}"[0] in "125"
    assert 2 <= len(places) <= 7


def test_shares_are_told_in_per_cent() -> None:
    assert [text for _, text in share_axis([0.1, 0.5], "").ticks] == ["10", "20", "30", "40", "50"]


@pytest.mark.parametrize("values", [[0.031], [-0.02], [-0.013, 0.044], [0.0], []])
def test_gains_have_zero_on_their_axis(values: list[float]) -> None:
    axis = points_axis(values, "gain, points")
    assert "0" in [text for _, text in axis.ticks]
    assert all(axis.low - 1e-9 <= value <= axis.high + 1e-9 for value in values)
    assert axis.low < axis.high


def test_gains_are_told_in_points_with_their_sign() -> None:
    texts = [text for _, text in points_axis([-0.02, 0.04], "").ticks]
    assert texts == ["\N{MINUS SIGN}2", "0", "+2", "+4"]


@pytest.mark.parametrize("values", [[3.2, 0.4], [0.0], [], [0.013], [7000.0]])
def test_plain_numbers_begin_at_zero(values: list[float]) -> None:
    axis = plain_axis(values, "time")
    assert axis.low == axis.ticks[0][0] == 0.0
    assert axis.high >= max(values, default=0.0)
    assert axis.high > 0


@pytest.mark.parametrize("epochs", [1, 2, 8, 30, 200])
def test_epochs_are_whole_and_begin_at_one(epochs: int) -> None:
    axis = epoch_axis(epochs)
    assert axis.low == axis.ticks[0][0] == 1
    assert axis.high == max(2, epochs)
    assert all(place == int(text) <= epochs for place, text in axis.ticks)
    assert len(axis.ticks) <= 8


def test_fractions_lie_on_a_logarithmic_axis_with_a_tick_each() -> None:
    axis = fraction_axis([1.0, 0.02, 0.25, 0.5], "videos")
    assert [text for _, text in axis.ticks] == ["2", "25", "50", "100"]
    assert [place for place, _ in axis.ticks] == pytest.approx([math.log(share) for share in (0.02, 0.25, 0.5, 1.0)])
    assert axis.low < axis.ticks[0][0]
    assert axis.high > axis.ticks[-1][0]


def test_one_fraction_lies_in_the_middle() -> None:
    axis = fraction_axis([0.5], "videos")
    assert (axis.low + axis.high) / 2 == pytest.approx(math.log(0.5))


# --- whiskers and long lines -------------------------------------------------------------------------------


def test_gain_of_zero_lies_on_the_whiskers_line() -> None:
    assert '<path d="M48 1V15"/>' in whisker(0.0, None, None, 0.1)
    assert 'cx="48"' in whisker(0.0, None, None, 0.1)


def test_whisker_without_an_interval_has_no_bar() -> None:
    assert 'class="bar"' not in whisker(0.05, None, None, 0.1)
    assert 'class="bar" d="M48 8H94"' in whisker(0.05, 0.0, 0.1, 0.1)


def test_interval_beyond_the_reach_is_cut_at_its_end() -> None:
    assert 'd="M2 8H94"' in whisker(0.0, -5.0, 5.0, 0.1)


def test_long_line_is_thinned_and_keeps_both_ends() -> None:
    points = [(float(at), 0.0) for at in range(10 * MAX_POINTS + 3)]
    found = thinned(points)
    assert len(found) <= MAX_POINTS + 1
    assert (found[0], found[-1]) == (points[0], points[-1])


def test_short_line_is_not_thinned() -> None:
    points = [(float(at), 0.0) for at in range(MAX_POINTS)]
    assert thinned(points) == tuple(points)


def test_rounding_errors_do_not_change_the_bytes_of_a_chart() -> None:
    close = line_chart(panel((1.0, 0.1 + 0.2), (2.0, 0.7)))
    assert close == line_chart(panel((1.0, 0.3), (2.0, 0.7)))
