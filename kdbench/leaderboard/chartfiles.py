"""Charts as SVG files of their own, for papers and slides: on white, with title, legend and all that they need.

The style is the charts' part of the style sheet in the colours of its light theme, so that a line looks in a file as
it does on a page.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from markupsafe import Markup, escape

from kdbench.board import Board
from kdbench.leaderboard.boardcharts import Legend, efficiency_charts, entry_styles, legend
from kdbench.leaderboard.boardpage import stages
from kdbench.leaderboard.cellpage import figures, place_of
from kdbench.leaderboard.cellstudy import CellStudy
from kdbench.leaderboard.charts import HEIGHT, STYLES, Figure, plot, sample
from kdbench.leaderboard.comparepage import label_of_key
from kdbench.leaderboard.formats import fraction
from kdbench.leaderboard.render import theme_file
from kdbench.leaderboard.standings import Standings

MARGIN, GAP, ACROSS = 20, 20, 3  # pixels around the charts and between them, and charts beside each other
HEAD, CAPTION, LINE = 66, 22, 20  # heights of title and note, of a chart's caption, of a line of the legend
SAMPLE, LETTER, TITLE_LETTER = 34, 6.2, 9.0  # widths of a legend's sample and, on the safe side, of a letter
OWN_STYLE = (
    ".chart .title, .chart .caption { font-size: 16px; fill: var(--ink); text-anchor: start; }\n"
    ".chart .caption { font-size: 13px; }\n"
)
FOREIGN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # to XML


@dataclass(frozen=True)
class Sheet:
    """What a file shows: a title, a note below it, charts in blocks that each begin on a line, and their legend."""

    title: str
    note: str
    blocks: tuple[tuple[Figure, ...], ...]
    legend: tuple[Legend, ...]


def board_sheets(standings: Standings) -> dict[str, Sheet]:
    """The files of a board's charts by their names, those that have anything to show."""
    board, rows, styles = standings.board, standings.rows, entry_styles(standings.rows)
    sheets = {}
    if efficiency := efficiency_charts(rows, styles):
        title = "Accuracy against the share of the training videos"
        sheets["efficiency.svg"] = Sheet(title, note_of(board), (tuple(efficiency),), tuple(legend(styles)))
    if found := stages(rows, styles):
        blocks = tuple(
            tuple(
                Figure(f"{each.title}, {fraction(stage.fraction)} of the videos", each.panel) for each in stage.figures
            )
            for stage in found
        )
        title = "Gain at the end of each stage over the paired run without a teacher"
        sheets["stages.svg"] = Sheet(title, note_of(board), blocks, tuple(legend(styles, baseline=False)))
    return sheets


def cell_svg(study: CellStudy) -> bytes:
    """The file of a cell's charts: its first rows over the epochs and over the stages."""
    drawn = study.rows[:STYLES]
    lines = tuple(Legend(style, label_of_key(row.key)) for style, row in enumerate(drawn))
    title = place_of(study)
    return sheet_svg(Sheet(title, note_of(study.standings.board), (tuple(figures(study.rows)),), lines))


def note_of(board: Board) -> str:
    """What a file says of its source."""
    return f"{board.board.title}: board {board.name}, version {board.board.version}, of kdbench"


def sheet_svg(sheet: Sheet) -> bytes:
    """A sheet as an SVG file. What XML cannot hold, such as control characters in a name, becomes U+FFFD."""
    lines = [block[at : at + ACROSS] for block in sheet.blocks for at in range(0, len(block), ACROSS)]
    needed = [*map(_line_width, lines), *(SAMPLE + _text_width(each.label) for each in sheet.legend)]
    width = max(*needed, TITLE_LETTER * len(sheet.title), _text_width(sheet.note)) + 2 * MARGIN
    parts = [_group(MARGIN, 0, _text("title", 0, 32, sheet.title) + _text("first", 0, 50, sheet.note))]
    top = HEAD
    for line in lines:
        parts += _placed(line, top)
        top += CAPTION + HEIGHT + GAP
    keys, top = _keys(sheet.legend, width, top)
    height = top + MARGIN
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}" role="img"><title>{escape(sheet.title)}</title><style>{chart_style()}'
        f'</style><rect width="100%" height="100%" fill="#fff"/>'
    )
    return FOREIGN.sub("\N{REPLACEMENT CHARACTER}", f"{start}{''.join(parts)}{keys}</svg>\n").encode()


@cache
def chart_style() -> str:
    """The charts' part of the style sheet with the values of its light theme put in, and what only files need."""
    sheet = theme_file("style.css").decode()
    values = dict(re.findall(r"--(\w+): (?:light-dark\()?([^;]+?)(?:, #\w+\))?;", sheet)) | {"paper": "#fff"}
    part = sheet.partition("/* The charts' own part")[2].partition("*/\n")[2].partition("/* The end")[0]
    return re.sub(r"var\(--(\w+)\)", lambda found: values[found[1]], part + OWN_STYLE)


def _placed(line: Sequence[Figure], top: int) -> Iterator[str]:
    left = MARGIN
    for each in line:
        yield _group(left, top, _text("caption", 6, 13, each.title))
        yield _group(left, top + CAPTION, plot(each.panel))
        left += each.panel.width + GAP


def _keys(lines: Sequence[Legend], width: float, top: int) -> tuple[str, int]:
    """The legend in lines of at most the width, and where it ends."""
    parts, left = [], float(MARGIN)
    for each in lines:
        needed = SAMPLE + _text_width(each.label)
        if left > MARGIN and left + needed > width - MARGIN:
            left, top = float(MARGIN), top + LINE
        key = f'<g class="s{each.style}">{sample(each.style)}</g>{_text("first", SAMPLE, 11, each.label)}'
        parts.append(_group(round(left), top, key))
        left += needed + GAP
    return "".join(parts), top + LINE


def _group(left: int, top: int, content: str) -> str:
    return f'<g class="chart" transform="translate({left} {top})">{content}</g>'


def _text(kind: str, x: int, y: int, text: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(kind, x, y, text)


def _line_width(line: Sequence[Figure]) -> float:
    return sum(each.panel.width for each in line) + GAP * (len(line) - 1)


def _text_width(text: str) -> float:
    return LETTER * sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
