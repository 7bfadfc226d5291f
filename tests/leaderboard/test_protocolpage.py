"""The protocol of a board: every pin with its reason, and the rules apart from the pins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdbench.board import Board, board_names, load_board
from kdbench.leaderboard.protocolpage import pins_of, protocol_json, rules_of, sections_of
from kdbench.leaderboard.site import render_site
from tests.factories import make_record, predictions, write_board, write_records
from tests.leaderboard.test_site import Page


def board_with(boards: Path, *reasons: str) -> Board:
    board = write_board(boards)
    path = boards / "small" / "board.toml"
    path.write_text(path.read_text() + "\n".join(reasons) + "\n", encoding="utf-8")
    return load_board(str(path)) if reasons else board


def test_pins_come_with_value_and_reason_by_section(tmp_path: Path) -> None:
    pins = {pin.key: pin for pin in pins_of(board_with(tmp_path))}
    assert (pins["optim.epochs"].text, pins["optim.epochs"].why) == ("8", "eight are enough for a test")
    assert (pins["clip.segments"].text, pins["clip.segments"].why) == ("1, 1, 1, 1", "no reason given")
    names = [section for section, _ in sections_of(list(pins.values()))]
    assert names == sorted(set(names))


def test_rules_are_no_pins_and_keep_their_order(tmp_path: Path) -> None:
    board = board_with(tmp_path, '"rules.last_epoch" = "The last one."', '"rules.a_rule" = "Another."')
    assert [(rule.name, rule.text) for rule in rules_of(board)] == [
        ("last epoch", "The last one."),
        ("a rule", "Another."),
    ]
    assert not any(pin.key.startswith("rules.") for pin in pins_of(board))


def test_a_reason_changes_no_digest(tmp_path: Path) -> None:
    plain = write_board(tmp_path / "a").digest
    assert board_with(tmp_path / "b", '"rules.last_epoch" = "The last one."').digest == plain


def test_the_json_holds_pins_reasons_and_rules(tmp_path: Path) -> None:
    board = board_with(tmp_path, '"rules.last_epoch" = "The last one."')
    facts = json.loads(protocol_json(board))
    assert (facts["board"], facts["digest"]) == ("small", board.digest)
    assert {pin["key"]: pin["value"] for pin in facts["pins"]} == board.pins
    assert facts["rules"] == [{"name": "last epoch", "text": "The last one."}]


def test_the_page_shows_every_pin_and_rule_and_the_board_links_to_it(tmp_path: Path) -> None:
    board = board_with(tmp_path, '"rules.last_epoch" = "The last one."')
    site = render_site(tmp_path)
    page = Page(site["small/protocol.html"])
    for words in ("epochs 8 eight are enough for a test", "segments 1, 1, 1, 1 no reason given", "The last one."):
        assert words in page.text, words
    assert f"{len(board.pins)} values are pinned" in page.text
    assert "protocol.html" in {link.get("href") for link in Page(site["small/index.html"]).all("a")}
    assert site["small/protocol.json"].decode() == protocol_json(board)


def test_a_board_without_rules_has_no_such_block(tmp_path: Path) -> None:
    write_board(tmp_path)
    assert "Rules the code keeps" not in Page(render_site(tmp_path)["small/protocol.html"]).text


@pytest.mark.parametrize("name", board_names())
def test_no_board_in_the_tree_shows_a_pin_without_a_reason(name: str) -> None:
    assert "no reason given" not in protocol_json(load_board(name))


def test_the_pretext_accuracy_stands_beside_its_majority_rate(tmp_path: Path) -> None:
    write_board(tmp_path)
    shown = {"packed": predictions(11).packed, "labels": predictions(11).labels, "in_top5": 20}
    record = make_record(pretext={"top1": 0.55, "majority": 0.25, "predictions": shown})
    write_records(tmp_path, [record, make_record(seed=1)])
    site = render_site(tmp_path)
    assert "55.0 single run, majority 25.0" in Page(site["small/index.html"]).text
    assert "Pretext task 55.0 %, majority 25.0 %" in Page(site[f"small/runs/{record.run_id}.html"]).text
    (row,) = json.loads(site["small/leaderboard.json"])
    assert (row["pretext"], row["pretext_majority"]) == (0.55, 0.25)


def test_a_board_whose_runs_have_no_pretext_task_does_not_speak_of_it(tmp_path: Path) -> None:
    write_board(tmp_path)
    write_records(tmp_path, [make_record()])
    assert "Pretext" not in Page(render_site(tmp_path)["small/index.html"]).text
