"""Rows side by side: complete without a script, exact with one, and safe whatever a record says."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdbench.leaderboard.comparepage import SCALE, best_of, compare_context, pairings, rows_json, shown_epochs
from kdbench.leaderboard.definitions import definitions
from kdbench.leaderboard.formats import NOTHING
from kdbench.leaderboard.render import render, theme_file
from kdbench.leaderboard.scoring import estimate, place_runs, student_t
from kdbench.leaderboard.standings import Standings, read_standings, row_id, standings_of
from kdbench.records import Record
from tests.factories import EPOCHS, make_record, trio, write_board, write_records

NODE = shutil.which("node")
HOSTILE = "</script><script>alert(1)</script><!--"


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    write_board(tmp_path)
    records = [*trio([10, 8, 6]), *trio([14, 14, 13], taught=True)]
    records += [*trio([5, 4], cell__fraction=0.5), *trio([9], taught=True, cell__fraction=0.5, teacher__fraction=0.5)]
    write_records(tmp_path, records)
    return tmp_path


def standings_with(boards: Path, *records: Record) -> Standings:
    write_records(boards, records)
    return read_standings("small", boards)


def page_of(standings: Standings) -> str:
    return render("small/compare.html", "compare.html.j2", compare_context(standings)).decode()


def data_of(standings: Standings) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rows_json(standings))
    return found


# --- without a script --------------------------------------------------------------------------------------


def test_page_without_a_script_has_the_best_entry_of_each_cell_beside_its_baseline(boards: Path) -> None:
    text = " ".join(re.sub(r"<[^>]+>", " ", page_of(read_standings("small", boards))).split())
    assert "slim soft, teacher broad 0 1 2 68.3 ± 7.2 0 1 2 40.0 ± 24.8 +28.3 ± 19.0 1" in text
    assert f"slim soft, teacher broad 0 45.0 single run 0 1 22.5 ± 31.8 +20.0 single run {NOTHING}" in text
    assert "Choosing rows needs JavaScript." in text
    assert page_of(read_standings("small", boards)).count('class="chart"') == 2


def test_a_run_that_is_not_submitted_and_in_no_row_is_named_with_the_reason(boards: Path) -> None:
    stale = make_record(seed=2, run_id="older", pins=dict(make_record().pins) | {"optim.lr": 0.5})
    standings = standings_with(boards, stale, make_record(seed=2, status="partial", run_id="half"))
    mine = replace(standings, given=frozenset({"older", "half", make_record(taught=True).run_id}))
    text = " ".join(re.sub(r"<[^>]+>", " ", page_of(mine)).split())
    assert "Drawn with 3 runs of yours that are not submitted; the rows that hold them are marked." in text
    assert "older is in no row: it was made with other optim.lr. half is in no row: the run is partial." in text
    assert "in no row" not in page_of(standings)


def test_section_for_the_script_is_hidden_until_the_script_shows_it(boards: Path) -> None:
    assert '<section id="compare" aria-label="Chosen rows" hidden' in page_of(read_standings("small", boards))


def test_best_entry_is_one_with_an_interval_where_there_is_one(boards: Path) -> None:
    lucky = make_record(hits=19, taught=True, method__name="lucky", seed=0)
    standings = standings_with(boards, lucky)
    assert [pair.best.key.method for pair in pairings(standings)] == ["soft", "soft"]


def test_cell_without_a_comparison_has_no_best_entry(tmp_path: Path) -> None:
    write_board(tmp_path)
    standings = standings_with(tmp_path, *trio([10, 12]))
    assert best_of(standings.rows) is None
    assert "The best entry of each cell</h2>" not in page_of(standings)


def test_board_without_rows_says_so(tmp_path: Path) -> None:
    write_board(tmp_path)
    page = page_of(read_standings("small", tmp_path))
    assert "There is no row yet" in page
    assert "application/json" not in page


# --- the data ----------------------------------------------------------------------------------------------


def test_data_has_every_row_with_its_mean_curve_and_runs(boards: Path) -> None:
    standings = read_standings("small", boards)
    data = data_of(standings)
    assert [row["id"] for row in data["rows"]] == [row_id(row.key) for row in standings.rows]
    row, shown = standings.rows[1], data["rows"][1]
    for at, epoch in enumerate(data["epochs"]):
        mean = sum(run.record.epochs[epoch - 1].test_top1 for run in row.runs) / 3
        assert shown["curve"][at] == pytest.approx(SCALE * mean, abs=0.5)
    assert [run[:3] for run in shown["runs"]] == [
        [run.record.seed, run.record.derived.top1, run.record.run_id] for run in row.runs
    ]
    assert len(data["columns"]) == len(shown["cells"])
    assert shown["cells"][3] == "+28.3 ±\N{NARROW NO-BREAK SPACE}19.0"


def test_columns_are_explained_in_the_words_of_the_definitions(boards: Path) -> None:
    words = definitions(read_standings("small", boards).board)
    said = dict(data_of(read_standings("small", boards))["columns"])
    assert (said["Gain"], said["One run"]) == (words["gain"].text, words["cost"].text)


def test_rows_of_one_place_have_the_same_student_and_training_videos(boards: Path) -> None:
    place = {(row["label"], row["place"]) for row in data_of(read_standings("small", boards))["rows"]}
    of_baseline = {where for label, where in place if label == "alone, no teacher"}
    assert of_baseline == {where for label, where in place if label == "soft, teacher broad"}
    assert len(of_baseline) > 1


def test_data_begins_with_the_first_cells_baseline_and_best(boards: Path) -> None:
    assert data_of(read_standings("small", boards))["start"] == ["slim~1~0~none~alone", "slim~1~0~broad~soft"]


def test_row_whose_teacher_saw_more_says_so_with_and_without_a_script(boards: Path) -> None:
    half = {"cell__fraction": 0.5, "teacher__privileged": True, "method__name": "more"}
    standings = standings_with(boards, *trio([14, 18], taught=True, **half))
    assert [row["label"] for row in data_of(standings)["rows"] if row.get("more")] == ["more, teacher broad"]
    assert page_of(standings).count('definitions.html#privileged">saw more</a>') == 1


def test_draws_of_one_fraction_are_told_apart(boards: Path) -> None:
    drawn = {"cell__fraction": 0.5, "cell__subset_seed": 1, "cell__training_list_sha256": "99" * 32}
    board = boards / "small" / "board.toml"
    board.write_text(board.read_text().replace("seeds = [0, 1, 2]", "seeds = [0, 1, 2]\nsubset_seeds = [0, 1]"))
    standings = standings_with(boards, *trio([5, 4], **drawn), *trio([9, 7], taught=True, **drawn))
    narrow = "\N{NARROW NO-BREAK SPACE}"
    assert f"slim, 50{narrow}%, subset seed 1" in {row["place"] for row in data_of(standings)["rows"]}
    assert "slim, subset seed 1</th>" in page_of(standings)


def test_long_curve_is_thinned_but_keeps_its_ends_and_the_stages(tmp_path: Path) -> None:
    board = write_board(tmp_path, epochs=200)
    epochs = shown_epochs(board)
    assert len(epochs) <= 54
    assert {1, 200, *board.stage_epochs} <= set(epochs)
    assert shown_epochs(write_board(tmp_path, "short")) == list(range(1, EPOCHS + 1))


def test_record_cannot_end_the_script_element_nor_open_one(boards: Path) -> None:
    harmless = page_of(read_standings("small", boards))
    standings = standings_with(boards, make_record(taught=True, method__name=HOSTILE, run_id="x"))
    assert HOSTILE in {row["label"].removesuffix(", teacher broad") for row in data_of(standings)["rows"]}
    assert not set("<>&") & set(rows_json(standings))
    page = page_of(standings)
    assert page.count("</script>") == page.count("<script") == harmless.count("<script")
    assert "alert(1)</script>" not in page


def test_thousand_rows_of_thirty_epochs_and_three_seeds_stay_small(tmp_path: Path) -> None:
    board = write_board(tmp_path, epochs=30)
    draw = random.Random(1)
    records = []
    for number in range(20):
        for seed in range(3):
            curve = [draw.randrange(21) / 20 for _ in range(30)]
            name = f"a-method-of-usual-length-{number}"
            records.append(make_record(curve=curve, hits=14, seed=seed, taught=True, method__name=name))
    placed = [(tmp_path / f"{record.run_id}.json", record) for record in records]
    standings = standings_of(board, place_runs(board, placed))
    assert len(standings.rows) == 20
    assert 50 * len(rows_json(standings).encode()) < 1_200_000


# --- the script --------------------------------------------------------------------------------------------


def evaluated(program: str) -> Any:
    """What a program prints as JSON after the page's script, on a page without data."""
    source = "globalThis.document = { getElementById: () => null };\n" + theme_file("compare.js").decode()
    command = [NODE or "", "-e", f"{source}\nconsole.log(JSON.stringify({program}));"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_script_computes_the_intervals_that_python_computes() -> None:
    draw = random.Random(3)
    lists = [[draw.randrange(160) / 160 for _ in range(count)] for count in range(1, 9)] + [[0.5] * 3]
    t = [student_t(freedom) for freedom in range(1, 9)]
    found = evaluated(f"{json.dumps(lists)}.map((values) => estimate(values, {json.dumps(t)}))")
    for values, got in zip(lists, found, strict=True):
        wanted = estimate(values)
        assert wanted is not None
        assert (got["mean"], got["n"]) == (pytest.approx(wanted.mean, rel=1e-15), wanted.n)
        assert got["half"] == (None if wanted.half is None else pytest.approx(wanted.half, rel=1e-12))


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_script_prints_points_as_the_pages_do() -> None:
    # 12.5 and 37.5 tenths lie between two: the even one is printed.
    found = evaluated("[0.0125, -0.0375, 0.00004, 0.283333, -0.1].map(points)")
    assert found == ["+1.2", "\N{MINUS SIGN}3.8", "0.0", "+28.3", "\N{MINUS SIGN}10.0"]


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_script_pairs_runs_by_seed_and_tells_rows_of_one_place() -> None:
    row = {"place": "slim, 100 %", "runs": [[0, 0.75, "a"], [1, 0.5, "b"], [2, 0.5, "c"]]}
    other = {"place": "slim, 50 %", "runs": [[0, 0.5, "e"], [1, 0.25, "f"], [3, 0.5, "g"]]}
    apart, beside = (
        f"paired({json.dumps(row)}, {json.dumps(each)})" for each in (other, row | {"runs": other["runs"]})
    )
    assert evaluated(f"[...{apart}.bySeed]") == [[0, 0.25], [1, 0.25]]
    assert (evaluated(f"{apart}.same"), evaluated(f"{beside}.same")) == (False, True)


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_difference_from_the_baseline_is_the_gain(boards: Path) -> None:
    standings = read_standings("small", boards)
    data = rows_json(standings)
    found = evaluated(f"((data) => estimate([...paired(data.rows[1], data.rows[0]).bySeed.values()], data.t))({data})")
    gain = standings.rows[1].gain
    assert gain is not None
    assert (found["mean"], found["half"]) == (pytest.approx(gain.mean), pytest.approx(gain.half))
