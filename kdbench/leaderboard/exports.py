"""Tables as text for papers and pages: Markdown and LaTeX, and what to cite as BibTeX.

A table is given as lines of cells, the head first, as `tables.summary_lines` makes them. What stands in a cell
may come from a record, so every character that either language reads as a command is written as itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from kdbench import __version__
from kdbench.board import Board
from kdbench.leaderboard.formats import MINUS, NOTHING, THIN
from kdbench.leaderboard.reported import Reported, Source
from kdbench.leaderboard.standings import Standings
from kdbench.leaderboard.tables import summary_lines

Lines = Sequence[Sequence[str]]
TEXT_COLUMNS = 4  # of `summary_lines`: student, fraction, teacher, method; the others hold numbers
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


# --- tables ------------------------------------------------------------------------------------------------


def leaderboard_markdown(standings: Standings) -> str:
    """The rows of a board as a Markdown table under a line that says what they are."""
    return f"{markdown_text(caption_of(standings))}\n\n{to_markdown(summary_lines(standings), TEXT_COLUMNS)}"


def leaderboard_latex(standings: Standings) -> str:
    """The rows of a board as a LaTeX table for the package booktabs."""
    label = re.sub(r"[^A-Za-z0-9-]+", "-", standings.board.name)
    return to_latex(summary_lines(standings), TEXT_COLUMNS, (caption_of(standings), f"tab:{label}"))


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


def to_latex(lines: Lines, text_columns: int, named: tuple[str, str]) -> str:
    """A LaTeX table with its caption and label (`named`); the columns are aligned as `to_markdown` does."""
    head, *body = (f"{' & '.join(latex_text(cell) for cell in line)} \\\\" for line in lines)
    columns = "l" * text_columns + "r" * (len(lines[0]) - text_columns)
    caption, label = named
    parts = [
        r"% needs \usepackage{booktabs}, and \usepackage[T1]{fontenc} under pdfLaTeX",
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{latex_text(caption)}}}",
        f"\\label{{{label}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(parts) + "\n"


def markdown_text(text: str) -> str:
    """A text as Markdown shows it unchanged: no emphasis, link, HTML, entity or end of a cell."""
    escaped = re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", _one_line(text))
    # GitHub makes links of bare addresses; behind a backslash the mark is only itself.
    return re.sub(r"(?i)(:)(?=//)|(?<=www)(\.)", lambda found: f"\\{found[0]}", escaped)


def latex_text(text: str) -> str:
    """A text as LaTeX sets it unchanged; two hyphens stay two."""
    escaped = "".join(_LATEX.get(character, character) for character in _one_line(text))
    return re.sub(r"-(?=-)", "-{}", escaped) if "--" in text else escaped


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
            "title": latex_text(f"{board.board.title} (a board of kdbench)"),
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
