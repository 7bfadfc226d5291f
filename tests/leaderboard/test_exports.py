"""Tables and citations as text: what a record says is printed, never obeyed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from kdbench import __version__
from kdbench.board import load_board
from kdbench.leaderboard.exports import (
    PAGE_LINES,
    SUITE,
    bibliography,
    latex_text,
    leaderboard_latex,
    leaderboard_markdown,
    markdown_text,
    to_latex,
    to_markdown,
)
from kdbench.leaderboard.reported import Reported, Source
from kdbench.leaderboard.standings import read_standings
from tests.factories import make_record, trio, write_board, write_records

CITATION = Path(__file__).parents[2] / "CITATION.cff"
HOSTILE = [
    "kd_pretext *bold* `code` ~gone~",
    "a|b\\|c",
    "[text](https://example.org) <b>b</b> &amp;",
    "https://example.org/x www.example.org",
    "$x$ \\[y\\]",
]


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    write_board(tmp_path)
    write_records(tmp_path, [*trio([10, 10, 10]), *trio([12, 12, 13], taught=True)])
    return tmp_path


def shown_by_markdown(source: str) -> list[list[str]]:
    """The cells of the one table of a Markdown text, as its reader sees them; nothing but text may be in them."""
    cells: list[list[str]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(source):
        if token.type == "tr_open":
            cells.append([])
        if token.type == "inline" and cells and len(cells[-1]) < 99:
            assert {child.type for child in token.children or []} <= {"text", "text_special"}
            cells[-1].append("".join(child.content for child in token.children or []))
    return cells


def paper(**changes: object) -> Reported:
    facts = {"title": "On {Teachers}", "authors": "Ada Love Lace, Bo Ng", "venue": "Journal 1(2)", "doi": "10.1/x_y"}
    return Reported(source=Source(**(facts | {"year": 2020} | changes)), note="", tables=())  # type: ignore[arg-type]


def test_markdown_table_has_every_row_with_its_numbers(boards: Path) -> None:
    text = leaderboard_markdown(read_standings("small", boards))
    lines = text.splitlines()
    assert lines[0].startswith("Small board (small 1.0, pins sha256 ")
    assert lines[3].startswith("| :--- | :--- | :--- | :--- | ---: |")
    taught = next(line for line in lines if "| soft |" in line)
    assert taught.startswith(
        "| slim | 100\N{NARROW NO-BREAK SPACE}% | broad | soft | 3 | 61.7 ±\N{NARROW NO-BREAK SPACE}7.2 |"
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_a_hostile_name_as_it_is(name: str) -> None:
    assert shown_by_markdown(to_markdown([("method", "n"), (name, "1")], 1)) == [["method", "n"], [name, "1"]]


def test_markdown_makes_no_link_of_a_bare_address() -> None:
    assert markdown_text("https://example.org www.example.org") == r"https\://example.org www\.example.org"


def test_line_ends_and_unseen_characters_of_a_name_become_spaces() -> None:
    assert markdown_text("a\nb\r\n\N{RIGHT-TO-LEFT OVERRIDE}c\N{LINE SEPARATOR}d\x00") == "a b c d"


def test_latex_table_is_whole_and_says_what_it_needs(boards: Path) -> None:
    text = leaderboard_latex(read_standings("small", boards))
    assert text.startswith("% needs \\usepackage{booktabs}")
    assert (
        "\\begin{tabular}{@{}llrrrrrr@{}}\n\\toprule\nteacher & method & n & \\shortstack[r]{accuracy\\\\\\%}" in text
    )
    assert "\\label{tab:small}" in text
    assert "\nbroad & soft & 3 & 61.7 $\\pm$\\,7.2 & +11.7 $\\pm$\\,7.2 & 1 & 6 & 7 \\\\\n" in text
    assert text.count("\\begin{") == text.count("\\end{") == 2


def test_latex_table_names_each_cell_once_above_its_rows(boards: Path) -> None:
    write_records(boards, trio([8, 9, 9], cell__fraction=0.5))
    text = leaderboard_latex(read_standings("small", boards))
    assert re.findall(r"\\emph\{(.*)\}\} ", text) == [
        r"student slim, fraction 100\,\%",
        r"student slim, fraction 50\,\%",
    ]


@pytest.mark.parametrize(("rows", "environment"), [(PAGE_LINES, "table"), (PAGE_LINES + 1, "longtable")])
def test_latex_table_longer_than_a_page_goes_on_on_the_next(rows: int, environment: str) -> None:
    text = to_latex([("method", "gain"), *[("a", "1")] * rows], 1, ("words", "tab:x"))
    assert f"\\begin{{{environment}}}" in text
    assert ("longtable" in text.splitlines()[0]) is (environment == "longtable")
    assert text.count("\na & 1 \\\\") == rows


@pytest.mark.parametrize(
    ("name", "set_as"),
    [
        ("kd_pretext 50%", r"kd\_pretext 50\%"),
        (r"\input{secrets}", r"\textbackslash{}input\textbraceleft{}secrets\textbraceright{}"),
        ("a & b # c $d$ ~ ^", r"a \& b \# c \$d\$ \textasciitilde{} \textasciicircum{}"),
        ("[5cm] *", "{[}5cm] {*}"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("one\n\\\\two", r"one \textbackslash{}\textbackslash{}two"),
        ("<x|y>", r"\textless{}x\textbar{}y\textgreater{}"),
        ("a,,b ''c'' ?`", r"a,{},b '{}'c'{}' ?\textasciigrave{}"),
        ("Zoe\N{COMBINING DIAERESIS} \N{LATIN SMALL LETTER L WITH STROKE}", "Zo\u00eb \u0142"),
        ("\N{HEBREW LETTER ALEF}\N{GREEK SMALL LETTER ALPHA} \N{SNOWMAN}", "U+05D0U+03B1 U+2603"),
    ],
)
def test_latex_sets_a_hostile_name_as_it_is(name: str, set_as: str) -> None:
    assert latex_text(name) == set_as


def test_latex_table_of_hostile_names_has_only_its_own_commands(boards: Path) -> None:
    write_records(
        boards, [make_record(hits=14, taught=True, seed=5, method__name=r"\end{tabular}\input{x}&$", run_id="x")]
    )
    text = leaderboard_latex(read_standings("small", boards))
    assert text.count("\\end{tabular}") == 1
    assert "\\input" not in text
    body = text[text.index("\\midrule") : text.index("\\bottomrule")].splitlines()[1:]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body if "\\emph" not in line} == {7}


def test_caption_and_label_of_a_latex_table_are_its_own() -> None:
    text = to_latex([("a", "b")], 1, ("100 %", "tab:x"))
    assert "\\caption{100 \\%}\n\\label{tab:x}\n\\begin{tabular}{@{}lr@{}}\n" in text


def test_bibliography_names_the_suite_the_paper_and_the_board(boards: Path) -> None:
    board = load_board(str(boards / "small" / "board.toml"))
    text = bibliography([board], [paper(), paper()])
    assert re.findall(r"@(\w+)\{([^,]+),", text) == [
        ("misc", "kdbench"),
        ("article", "lace2020"),
        ("misc", "kdbench-small"),
    ]
    assert f"version = {{{__version__}}}" in text
    assert "title = {{Small board (a board of kdbench)}}" in text
    assert "author = {Ada Love Lace and Bo Ng}" in text
    assert f"note = {{Board small, pins sha256 {board.digest}}}" in text


def test_bibliography_keeps_its_braces_in_balance_whatever_a_title_says(boards: Path) -> None:
    text = bibliography([], [paper(title="a} b{ } \\", doi="10.1/}x")])
    assert text.count("{") == text.count("}")
    depth = [text[: at + 1].count("{") - text[: at + 1].count("}") for at in range(len(text))]
    assert min(depth) == 0
    assert "url = {https://doi.org/10.1/x}" in text


def test_bibliography_gives_the_authors_that_the_citation_file_gives() -> None:
    text = CITATION.read_text(encoding="utf-8")
    assert f"title: {SUITE[0]}\n" in text
    assert f"- name: {SUITE[1]}\n" in text
