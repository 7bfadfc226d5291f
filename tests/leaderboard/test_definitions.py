"""Definitions: one place for each word, in the board's own numbers, at anchors that stay."""

from __future__ import annotations

from pathlib import Path

import msgspec

from kdbench.board import Board
from kdbench.leaderboard.definitions import chapters, definitions, definitions_context
from kdbench.leaderboard.render import render
from tests.factories import write_board

LINKED = {"accuracy", "seeds", "stages", "gain", "interval", "rank", "gap-closed", "transfer", "pretext", "milestones"}
LINKED |= {"of-baseline", "cost", "cost-with-teacher", "device", "coverage", "privileged", "stale", "unranked"}
LINKED |= {"milestone-seconds", "pair-p", "corrected-p", "kappa", "class-gain", "subset", "profile", "run-clips"}
LINKED |= {"withdrawn", "leakage", "matched", "board", "cell", "method", "baseline", "not-reached", "lineage"}


def board_with(tmp_path: Path, **changes: object) -> Board:
    board = write_board(tmp_path)
    return msgspec.structs.replace(board, evaluation=msgspec.structs.replace(board.evaluation, **changes))


def test_definitions_speak_of_a_boards_own_views_stages_and_data_sets(tmp_path: Path) -> None:
    terms = definitions(write_board(tmp_path))
    assert "over 2 views" in terms["accuracy"].text
    assert "after 2, 6 and 8 epochs" in terms["stages"].text
    assert "fine-tuned on steps, split 1" in terms["transfer"].text


def test_a_single_view_is_no_views(tmp_path: Path) -> None:
    assert "over 1 view," in definitions(board_with(tmp_path, views=1))["accuracy"].text


def test_smoothing_is_told_where_a_board_smooths(tmp_path: Path) -> None:
    smooth = definitions(board_with(tmp_path, smoothing=3))["milestones"].text
    assert "accuracy, as the mean of 3 epochs, reaches it" in smooth


def test_without_a_board_no_definition_is_left_open() -> None:
    texts = [term.text + term.more for term in definitions().values()]
    assert not any("{" in text or "}" in text for text in texts)
    assert "the views that the board fixes" in definitions()["accuracy"].text


def test_phases_count_in_the_seconds_to_an_accuracy_and_in_nothing_else_that_leads_there() -> None:
    text = definitions()["milestone-seconds"].text
    assert "with those of the method's own phases" in text
    assert "Epochs, steps and samples are those of the board's own training" in text


def test_a_definition_is_at_most_two_sentences_long() -> None:
    long = [term.name for term in definitions().values() if term.text.count(". ") > 1]
    assert long == []


def test_anchors_that_other_pages_link_to_are_there() -> None:
    assert definitions().keys() >= LINKED
    assert all(term.link == f"definitions.html#{anchor}" for anchor, term in definitions().items())


def test_no_two_places_of_the_page_share_an_anchor() -> None:
    anchors = [chapter.anchor for chapter in chapters()] + [
        term.anchor for chapter in chapters() for term in chapter.terms
    ]
    assert len(anchors) == len(set(anchors))


def test_the_page_holds_every_definition_at_its_anchor() -> None:
    page = render("definitions.html", "definitions.html.j2", definitions_context()).decode()
    assert all(f'<dt id="{anchor}">' in page for anchor in definitions())
