"""Line charts and whiskers as inline SVG. Colours come from the style sheet, and never stand alone: every
series has its own marker. Coordinates have one decimal, so the same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

from markupsafe import Markup, escape

from kdbench.leaderboard.formats import points

WIDTH, HEIGHT = 320, 226
LEFT, RIGHT, TOP, BOTTOM = 38, 14, 26, 34
STYLES = 8  # how many series the style sheet tells apart
MAX_POINTS = 100
HALF_CAPITAL = 3.4  # half the height of a capital letter at the size of the charts' text


@dataclass(frozen=True)
class Series:
    """Points (x, y), their style (0 is the baseline's), whether each has a marker and whether a line joins them."""

    label: str
    points: tuple[tuple[float, float], ...]
    style: int
    markers: bool = True
    joined: bool = True


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high` with its ticks (place, text) and what it measures."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    label: str


@dataclass(frozen=True)
class Panel:
    """One chart. `marks` are vertical lines with their names, `level` a horizontal one: what values are compared with.

    A mark near the left end, where the label of the y axis stands, goes without a name: "".
    """

    title: str
    series: tuple[Series, ...]
    x: Axis
    y: Axis
    marks: tuple[tuple[float, str], ...] = ()
    width: int = WIDTH
    level: float | None = None


@dataclass(frozen=True)
class Figure:
    """A chart with what stands above it."""

    title: str
    panel: Panel

    @property
    def chart(self) -> Markup:
        """The chart as a page has it."""
        return line_chart(self.panel)


def line_chart(panel: Panel) -> Markup:
    """The panel as an <svg> with its own title for those who cannot see it."""
    start = f'<svg class="chart" viewBox="0 0 {panel.width} {HEIGHT}" role="img" aria-label="{escape(panel.title)}">'
    return Markup(f"{start}{plot(panel)}</svg>")  # noqa: S704 - the title is escaped


def plot(panel: Panel) -> Markup:
    """What a panel draws, without the element around it."""
    right = panel.width - RIGHT
    body = "".join([_grid(panel, right), _marks(panel), *(_line(panel, series) for series in panel.series)])
    return Markup(body)  # noqa: S704 - texts are escaped where they are put in


def swatch(style: int, markers: bool = True) -> Markup:
    """A short piece of a series' line, with its marker where the line has them, for a legend."""
    # A page has one for each line: the size, 26 by 14 pixels, is in the style sheet.
    return Markup(f'<svg class="swatch s{style}" aria-hidden="true">{sample(style, markers)}</svg>')  # noqa: S704


def sample(style: int, markers: bool = True) -> Markup:
    """What a swatch draws, without the element around it."""
    return Markup(f'<path class="line" d="M1 7H25"/>{_marker(13, 7, style) if markers else ""}')  # noqa: S704


def whisker(mean: float, low: float | None, high: float | None, reach: float) -> Markup:
    """A gain with its interval around zero, on an axis from -reach to +reach; what lies outside is cut."""

    def place(value: float) -> str:
        return _short(48 + 46 * max(-1.0, min(1.0, value / reach)))

    bar = f'<path class="bar" d="M{place(low)} 8H{place(high)}"/>' if low is not None and high is not None else ""
    dot = f'<circle cx="{place(mean)}" cy="8" r="3"/>'
    # A page has one for each row: the size, 96 by 16 pixels, is in the style sheet.
    return Markup(f'<svg class="whisker" aria-hidden="true"><path d="M48 1V15"/>{bar}{dot}</svg>')  # noqa: S704


def share_axis(values: Iterable[float], label: str) -> Axis:
    """An axis in per cent around shares, with four to six round ticks."""
    found = [100 * value for value in values] or [0.0, 100.0]
    low, high = min(found), max(found)
    step = _round_step((high - low) or 10.0)
    first, last = max(0.0, math.floor(low / step) * step), math.ceil(high / step) * step
    last = last if last > first else first + step
    ticks = [first + at * step for at in range(round((last - first) / step) + 1)]
    return Axis(first / 100, last / 100, tuple((tick / 100, f"{tick:g}") for tick in ticks), label)


def points_axis(values: Iterable[float], label: str) -> Axis:
    """An axis in percentage points, with their signs, around differences of shares and zero."""
    found = [0.0, *(100 * value for value in values)]
    low, high = min(found), max(found)
    step = _round_step((high - low) or 4.0)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        first, last = -1, 1
    ticks = tuple((at * step / 100, points(at * step / 100).removesuffix(".0")) for at in range(first, last + 1))
    return Axis(ticks[0][0], ticks[-1][0], ticks, label)


def plain_axis(values: Iterable[float], label: str) -> Axis:
    """An axis from zero over plain numbers."""
    high = max(values, default=1.0) or 1.0
    step = _round_step(high)
    ticks = [at * step for at in range(math.ceil(high / step) + 1)]
    return Axis(0.0, ticks[-1], tuple((tick, f"{tick:g}") for tick in ticks), label)


def epoch_axis(epochs: int) -> Axis:
    """Epochs 1 to N with round ticks."""
    step = max(1, int(_round_step(max(1, epochs))))
    ticks = [1, *range(step, epochs + 1, step)] if step > 1 else list(range(1, epochs + 1))
    return Axis(1.0, float(max(2, epochs)), tuple((float(tick), str(tick)) for tick in ticks), "epoch")


def fraction_axis(fractions: Sequence[float], label: str) -> Axis:
    """Fractions of the training videos, on a logarithmic axis."""
    ticks = tuple((math.log(share), f"{round(100 * share, 6):g}") for share in sorted(fractions))
    spare = 0.15 if len(ticks) > 1 else 1.0
    return Axis(ticks[0][0] - spare, ticks[-1][0] + spare, ticks, label)


def thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """At most about MAX_POINTS points, evenly chosen, the first and the last among them."""
    every = math.ceil(len(points) / MAX_POINTS)
    if every <= 1:
        return tuple(points)
    return (*points[:-1:every], points[-1])


def _round_step(span: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that cuts a span into about four pieces."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= span)


def _x(panel: Panel, value: float) -> float:
    return _spots(panel, [(value, panel.y.low)])[0][0]


def _y(panel: Panel, value: float) -> float:
    return _spots(panel, [(panel.x.low, value)])[0][1]


def _spots(panel: Panel, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where points lie in the picture, in its units from the upper left."""
    left, floor = panel.x.low, panel.y.low
    wide, high = panel.x.high - left, panel.y.high - floor
    across, up = panel.width - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return [(LEFT + (x - left) / wide * across, HEIGHT - BOTTOM - (y - floor) / high * up) for x, y in points]


def _grid(panel: Panel, right: int) -> str:
    floor = HEIGHT - BOTTOM
    heights = [y for _, y in _spots(panel, [(panel.x.low, place) for place, _ in panel.y.ticks])]
    rules = "".join([f"M{LEFT} {_short(y)}H{right}" for y in heights])
    lines = [f'<path class="grid" d="{rules}"/>']
    ticks = zip(heights, panel.y.ticks, strict=True)
    texts = [f'<text x="{LEFT - 6}" y="{y + HALF_CAPITAL:.0f}">{text}</text>' for y, (_, text) in ticks]
    lines.append(f'<g class="y">{"".join(texts)}</g>')
    places = [x for x, _ in _spots(panel, [(place, panel.y.low) for place, _ in panel.x.ticks])]
    for x, (_, text) in zip(places, panel.x.ticks, strict=True):
        lines.append(f'<text x="{_short(x)}" y="{floor + 15}">{escape(text)}</text>')
    if panel.level is not None:
        lines.append(f'<path class="level" d="M{LEFT} {_short(_y(panel, panel.level))}H{right}"/>')
    lines.append(f'<text x="{(LEFT + right) / 2:g}" y="{HEIGHT - 4}">{escape(panel.x.label)}</text>')
    lines.append(f'<text class="first" x="{LEFT - 32}" y="{TOP - 14}">{escape(panel.y.label)}</text>')
    return "".join(lines)


def _marks(panel: Panel) -> str:
    if not panel.marks:
        return ""
    places = [_short(_x(panel, place)) for place, _ in panel.marks]
    lines = [f'<path class="mark" d="{"".join(f"M{x} {TOP}V{HEIGHT - BOTTOM}" for x in places)}"/>']
    for x, (_, text) in zip(places, panel.marks, strict=True):
        lines += [f'<text x="{x}" y="{TOP - 5}">{escape(text)}</text>'] if text else []
    return "".join(lines)


def _line(panel: Panel, series: Series) -> str:
    if not series.points:
        return ""
    spots = _spots(panel, series.points)
    line = f'<path class="line" d="{_path(spots, 10 if series.markers else 1)}"/>' if series.joined else ""
    markers = "".join(_marker(x, y, series.style) for x, y in spots) if series.markers else ""
    return f'<g class="s{series.style}"><title>{escape(series.label)}</title>{line}{markers}</g>'


def _path(spots: Sequence[tuple[float, float]], fine: int) -> str:
    """A line as its first point and steps of 1/`fine` (1 or 10): half as long as the places of all points."""
    places = [(round(fine * x) * (10 // fine), round(fine * y) * (10 // fine)) for x, y in spots]
    steps = [_step(x - left, y - above) for (left, above), (x, y) in pairwise(places)]
    start = f"M{_step(*places[0])}"
    return f"{start}l{' '.join(steps)}" if steps else start


@lru_cache(maxsize=1 << 16)
def _step(across: int, down: int) -> str:
    """Two numbers of a path: a minus parts them as well as a space does."""
    return f"{_tenths(across)}{'' if down < 0 else ' '}{_tenths(down)}"


@cache
def _tenths(number: int) -> str:
    text = f"{abs(number) / 10:g}".lstrip("0") or "0"
    return f"-{text}" if number < 0 else text


def _marker(x: float, y: float, style: int) -> str:
    """A shape of its own for each style: disc, square, triangle, diamond, ring, cross, plus, wedge."""
    a, b = _short(x), _short(y)
    shapes = (
        f'<circle cx="{a}" cy="{b}" r="3"/>',
        f'<path d="M{a} {b}m-3-3h6v6h-6z"/>',
        f'<path d="M{a} {b}m0-4l4 7h-8z"/>',
        f'<path d="M{a} {b}m0-4.2l4.2 4.2l-4.2 4.2l-4.2-4.2z"/>',
        f'<circle class="open" cx="{a}" cy="{b}" r="3"/>',
        f'<path class="open" d="M{a} {b}m-3-3l6 6m0-6l-6 6"/>',
        f'<path class="open" d="M{a} {b}m-4 0h8m-4-4v8"/>',
        f'<path d="M{a} {b}m0 4l4-7h-8z"/>',
    )
    return shapes[style % STYLES]


def _short(value: float) -> str:
    text = f"{value:.1f}"
    return text.removesuffix(".0")
