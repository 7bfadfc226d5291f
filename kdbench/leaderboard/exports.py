"""Tables as text for papers and pages: Markdown and LaTeX, and what to cite as BibTeX.

A table is given as lines of cells, the head first, as `tables.summary_lines` makes them. What stands in a cell
may come from a record, so every character that either language reads as a command is written as itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from kdbench import __version__
from kdbench.board import Board
from kdbench.leaderboard.formats import MINUS, NOTHING, THIN
from kdbench.leaderboard.reported import Reported, Source
from kdbench.leaderboard.standings import Standings
from kdbench.leaderboard.tables import summary_lines

Lines = Sequence[Sequence[str]]
TEXT_COLUMNS = 4  # of `summary_lines`: student, fraction, teacher, method; the others hold numbers
CELL_COLUMNS = 2  # of these, the two that name a cell
PAGE_LINES = 40  # a float of more lines would run off the page; a long table goes on on the next
LATEX_SIZE = r"\footnotesize\setlength{\tabcolsep}{4pt}"  # ten columns in the width of an article's text
SUITE = ("kdbench", "The kdbench authors")  # key and authors, as CITATION.cff has them
SUITE_TITLE = "kdbench: how much a teacher helps a video action-recognition student"

_LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "$&#_%"},
    # BibTeX counts braces even behind a backslash.
    "{": r"\textbraceleft{}",
    "}": r"\textbraceright{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
    # After the end of a line, these two would be read as its options.
    "[": "{[}",
    "*": "{*}",
    "±": r"$\pm$",
    MINUS: "$-$",
    NOTHING: "--",
    THIN: r"\,",
    "\N{NO-BREAK SPACE}": "~",
}
# What pdfLaTeX has no letter for under T1 stops it, so that it is written as its code point.
_NOT_IN_T1 = re.compile(
    "[^ -~\u00a1-\u0125\u0128-\u0137\u0139-\u013e\u0141-\u0148\u014a-\u0165\u0168-\u017e"  # Latin
    "\u2013\u2014\u2018-\u201a\u201c-\u201e\u2020-\u2022\u2026\u2030\u20ac\u2122]"  # dashes, quotes, marks
)


# --- tables ------------------------------------------------------------------------------------------------


def leaderboard_markdown(standings: Standings) -> str:
    """The rows of a board as a Markdown table under a line that says what they are."""
    return f"{markdown_text(caption_of(standings))}\n\n{to_markdown(summary_lines(standings), TEXT_COLUMNS)}"


def leaderboard_latex(standings: Standings) -> str:
    """The rows of a board as a LaTeX table for the package booktabs."""
    label = re.sub(r"[^A-Za-z0-9-]+", "-", standings.board.name)
    return to_latex(summary_lines(standings), TEXT_COLUMNS, (caption_of(standings), f"tab:{label}"), CELL_COLUMNS)


def caption_of(standings: Standings) -> str:
    """What the table is of: the board and its pins, the units, and what a rank is."""
    board = standings.board
    return (
        f"{board.board.title} ({board.name} {board.board.version}, pins sha256 {board.digest[:12]}): top-1 accuracy of "
        "the last epoch in per cent, gain over the paired run without a teacher in points, each a mean over n seeds "
        "with its 95 % interval; rank by gain within a student and fraction."
    )


def to_markdown(lines: Lines, text_columns: int) -> str:
    """A table in GitHub's Markdown; the columns after the first `text_columns` are aligned to the right."""
    head, *body = ([markdown_text(cell) for cell in line] for line in lines)
    rule = [":---" if at < text_columns else "---:" for at in range(len(head))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *body))


def to_latex(lines: Lines, text_columns: int, named: tuple[str, str], grouped: int = 0) -> str:
    """A LaTeX table with its caption and label (`named`); the columns are aligned as `to_markdown` does.

    The first `grouped` columns become lines above the rows that agree in them, so that ten columns fit the text of an
    article. It is a float as long as a page can hold it, and else a longtable, which LaTeX allows in one column only.
    """
    texts, numbers = text_columns - grouped, len(lines[0]) - text_columns
    columns = "@{}" + "l" * texts + "r" * numbers + "@{}"
    heads = [latex_text(cell) for cell in lines[0][grouped:]]
    head = _line([*heads[:texts], *(_stacked(each) for each in heads[texts:])])
    body = list(_body(lines, grouped))
    caption, label = f"\\caption{{{latex_text(named[0])}}}", f"\\label{{{named[1]}}}"
    if len(body) > PAGE_LINES:
        packages, parts = "booktabs, longtable", _long_table(f"{caption}{label}", columns, head, body)
    else:
        packages, parts = "booktabs", _float([caption, label], columns, head, body)
    needs = f"% needs \\usepackage{{{packages}}}, and \\usepackage[T1]{{fontenc}} under pdfLaTeX"
    return "\n".join((needs, *parts, ""))


def _body(lines: Lines, grouped: int) -> Iterator[str]:
    head, *rows = lines
    for at, (shared, group) in enumerate(groupby(rows, key=lambda row: tuple(row[:grouped]))):
        if shared:
            words = latex_text(", ".join(f"{name} {cell}" for name, cell in zip(head, shared, strict=False)))
            space = r"\addlinespace " if at else ""
            # Behind the star no page ends.
            yield f"{space}\\multicolumn{{{len(head) - grouped}}}{{@{{}}l@{{}}}}{{\\emph{{{words}}}}} \\\\*"
        yield from (_line(latex_text(cell) for cell in row[grouped:]) for row in group)


def _float(named: Sequence[str], columns: str, head: str, body: Sequence[str]) -> list[str]:
    return [
        r"\begin{table}",
        f"\\centering{LATEX_SIZE}\\setlength{{\\belowcaptionskip}}{{1ex}}",
        *named,
        f"\\begin{{tabular}}{{{columns}}}",
        *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
        *(r"\end{tabular}", r"\end{table}"),
    ]


def _long_table(named: str, columns: str, head: str, body: Sequence[str]) -> list[str]:
    """A table over several pages: its caption on the first, the head on each."""
    return [
        f"\\begingroup{LATEX_SIZE}\\setlength{{\\LTcapwidth}}{{\\linewidth}}",
        f"\\begin{{longtable}}{{{columns}}}",
        _line([named]),
        *(r"\toprule", head, r"\midrule", r"\endfirsthead"),
        *(r"\toprule", head, r"\midrule", r"\endhead"),
        *(r"\bottomrule", r"\endfoot", *body),
        *(r"\end{longtable}", r"\endgroup"),
    ]


def _line(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _stacked(head: str) -> str:
    """The head of a column of numbers on two lines, because it is wider than they are."""
    first, _, rest = head.partition(" ")
    return f"\\shortstack[r]{{{first}\\\\{rest}}}" if rest else head


def markdown_text(text: str) -> str:
    """A text as Markdown shows it unchanged: no emphasis, link, HTML, entity or end of a cell."""
    escaped = re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", _one_line(text))
    # GitHub makes links of bare addresses; behind a backslash the mark is only itself.
    return re.sub(r"(?i)(:)(?=//)|(?<=www)(\.)", lambda found: f"\\{found[0]}", escaped)


def latex_text(text: str) -> str:
    """A text as LaTeX sets it unchanged: two hyphens, commas or quotes stay two; a foreign letter is its code point."""
    composed = unicodedata.normalize("NFC", _one_line(text))
    escaped = "".join(_LATEX.get(character) or _in_t1(character) for character in composed)
    return re.sub(r"([-,'])(?=\1)", r"\1{}", escaped)


def _in_t1(character: str) -> str:
    return f"U+{ord(character):04X}" if _NOT_IN_T1.match(character) else character


def _one_line(text: str) -> str:
    """Without line ends and other characters that are not seen: controls, and marks that turn the direction."""
    unseen = ("C", "Zl", "Zp")
    seen = "".join(" " if unicodedata.category(character).startswith(unseen) else character for character in text)
    return re.sub(" +", " ", seen).strip()


# --- citations ---------------------------------------------------------------------------------------------


def bibliography(boards: Iterable[Board], reported: Iterable[Reported]) -> str:
    """BibTeX of the suite, of each paper whose numbers are shown, and of each board with the digest of its pins."""
    key, authors = SUITE
    entries = [_entry("misc", key, {"title": SUITE_TITLE, "author": f"{{{authors}}}", "version": __version__})]
    papers = {each.source.doi: each.source for each in reported}
    entries += [_paper(papers[doi]) for doi in sorted(papers)]
    for board in sorted(boards, key=lambda board: board.name):
        facts = {
            # Braces of their own, because styles turn the capitals of a name such as UCF101 small.
            "title": f"{{{latex_text(f'{board.board.title} (a board of kdbench)')}}}",
            "author": f"{{{authors}}}",
            "version": latex_text(board.board.version),
            "note": latex_text(f"Board {board.name}, pins sha256 {board.digest}"),
        }
        entries.append(_entry("misc", f"{key}-{_key(board.name)}", facts))
    return "\n".join(entries)


def _paper(source: Source) -> str:
    authors = [name.strip() for name in source.authors.split(",")]
    doi = re.sub(r"[{}\\\s]", "", source.doi)
    facts = {
        "title": f"{{{latex_text(source.title)}}}",
        "author": " and ".join(latex_text(name) for name in authors),
        "journal": latex_text(source.venue),
        "year": str(source.year),
        "doi": doi,
        "url": f"https://doi.org/{doi}",
    }
    return _entry("article", _key(f"{authors[0].split()[-1].lower()}{source.year}"), facts)


def _entry(kind: str, key: str, facts: dict[str, str]) -> str:
    return f"@{kind}{{{key},\n" + "".join(f"  {name} = {{{value}}},\n" for name, value in facts.items()) + "}\n"


def _key(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", text)
