"""The columns of a board's standings: which there are, and what each says of a row."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kdbench.board import Board
from kdbench.leaderboard.columns import MANY_SEEDS, Cell, columns_of, reach_of, tone
from kdbench.leaderboard.definitions import definitions
from kdbench.leaderboard.formats import NOTHING, THIN
from kdbench.leaderboard.scoring import Estimate, place_runs
from kdbench.leaderboard.standings import Row, Standings, standings_of
from kdbench.records import Record
from tests.factories import make_record, predictions, trio, write_board


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return write_board(tmp_path)


def stand(board: Board, *records: Record) -> Standings:
    return standings_of(board, place_runs(board, [(Path(f"{record.run_id}.json"), record) for record in records]))


def keys(standings: Standings) -> list[str]:
    return [column.key for column in columns_of(standings)]


def cells(standings: Standings, row: Row) -> dict[str, Cell]:
    """What the columns say of a row, by their keys."""
    return {column.key: column.cell(row) for column in columns_of(standings)}


def last(board: Board, *records: Record) -> dict[str, Cell]:
    """What the columns say of the last row."""
    standings = stand(board, *records)
    return cells(standings, standings.rows[-1])


def told_transforms() -> Record:
    """A run with the result of a pretext task."""
    shown = msgspec.to_builtins(predictions(12))
    return make_record(pretext={"top1": 0.6, "majority": 0.25, "predictions": shown})


# --- which columns -----------------------------------------------------------------------------------------


def test_columns_begin_with_the_gain_and_end_with_the_cost(board: Board) -> None:
    found = keys(stand(board, make_record()))
    assert found[:3] == ["gain", "rank", "accuracy"]
    assert found[-2:] == ["time", "all"]


def test_each_milestone_of_the_board_has_a_column(board: Board) -> None:
    names = {column.key: column.name for column in columns_of(stand(board, make_record()))}
    assert names["accuracy-25"] == f"epochs to 25{THIN}%"
    assert names["baseline-90"] == f"epochs to 90{THIN}% of baseline"


def test_epochs_leave_room_for_remarks_only_where_a_run_did_not_get_there(board: Board) -> None:
    def room(hits: int) -> dict[str, float]:
        return {column.key: column.remark for column in columns_of(stand(board, make_record(hits=hits)))}

    assert room(20)["accuracy-50"] == 0.0
    assert room(4)["accuracy-50"] == pytest.approx(0.52 * len("0 of 1"))


def test_pretext_has_a_column_only_where_a_row_has_one(board: Board) -> None:
    assert "pretext" not in keys(stand(board, make_record()))
    told = told_transforms()
    assert "pretext" in keys(stand(board, make_record(seed=1), told))


def test_device_has_a_column_only_where_there_are_several(board: Board) -> None:
    other = make_record(seed=1, environment__device={"type": "cpu", "name": "Fast CPU", "count": 1})
    assert "device" not in keys(stand(board, make_record()))
    assert "device" in keys(stand(board, make_record(), other))


def test_keys_are_unique_and_stand_in_an_address_as_they_are(board: Board) -> None:
    found = keys(stand(board, make_record()))
    assert len(found) == len(set(found))
    assert all(key.replace("-", "").replace("_", "").isalnum() for key in found)


def test_every_column_is_explained(board: Board) -> None:
    words = definitions(board)
    assert all(anchor in words for column in columns_of(stand(board, make_record())) for anchor in column.about)


# --- what they say -----------------------------------------------------------------------------------------


def test_seeds_are_links_to_their_runs(board: Board) -> None:
    first, second = trio([10, 12])
    seeds = last(board, first, second)["seeds"]
    assert str(seeds.text) == (f'<a href="runs/{first.run_id}.html">0</a> <a href="runs/{second.run_id}.html">1</a>')
    assert seeds.value == 2


def test_many_seeds_are_one_link_to_their_cell(board: Board) -> None:
    row = stand(board, make_record()).rows[0]
    many = Row(**{**row.__dict__, "accuracy": Estimate(0.5, 0.1, MANY_SEEDS)})
    assert str(cells(stand(board, make_record()), many)["seeds"].text) == (
        f'<a href="cells/slim-100pct.html">{MANY_SEEDS} runs</a>'
    )


def test_text_of_a_run_id_cannot_become_markup(board: Board) -> None:
    assert "<script>" not in str(last(board, make_record(run_id="<script>"))["seeds"].text)


def test_baseline_is_the_reference_of_the_gain_and_has_no_rank(board: Board) -> None:
    found = last(board, *trio([10, 12]))
    assert found["gain"] == Cell("", "reference")
    assert found["rank"].text == found["gap"].text == NOTHING


def test_row_without_its_baseline_says_so_in_place_of_a_gain(board: Board) -> None:
    assert last(board, make_record(taught=True))["gain"] == Cell("", "no paired run")


def test_gain_shows_its_interval_and_the_seeds_it_leaves_out(board: Board) -> None:
    gain = last(board, *trio([10, 10]), *trio([12, 13, 14], taught=True))["gain"]
    assert "<b>+12.5</b>" in str(gain.text)
    assert gain.small == f"±{THIN}31.8, 1 unpaired"


def test_single_run_says_that_it_is_one(board: Board) -> None:
    found = last(board, make_record(hits=10), make_record(hits=12, taught=True))
    assert found["accuracy"] == Cell("60.0", "single run")
    assert found["gain"].small == "single run"
    assert found["rank"].text == NOTHING


def test_accuracies_are_per_cent_with_one_decimal(board: Board) -> None:
    found = last(board, *trio([10, 12, 11]))
    assert (found["accuracy"].text, found["accuracy"].small) == ("55.0", f"±{THIN}12.4")
    assert found["transfer"] == Cell("60.0", "3 equal runs")


def test_what_a_run_does_not_have_is_a_dash(board: Board) -> None:
    found = last(board, make_record(transfer_hits=None, taught=True, teacher__train_s=None))
    assert [found[key].text for key in ("transfer", "gap", "all", "baseline-90")] == [NOTHING] * 4
    assert found["all"].value is None
    assert found["time"].text != NOTHING


def test_pretext_names_what_always_guessing_one_transform_gives(board: Board) -> None:
    told = told_transforms()
    assert last(board, told)["pretext"] == Cell("60.0", "single run, majority 25.0")


def test_row_without_a_pretext_task_has_a_dash_there(board: Board) -> None:
    told = told_transforms()
    assert last(board, told, make_record(hits=12, taught=True))["pretext"] == Cell(NOTHING)


def test_milestone_that_not_all_runs_reached_says_how_many(board: Board) -> None:
    found = last(board, *trio([8, 12]))
    assert found["accuracy-50"] == Cell(">8", "1 of 2")
    assert found["accuracy-25"].small == ""


def test_times_sort_by_seconds_whatever_unit_they_are_shown_in(board: Board) -> None:
    row = stand(board, make_record()).rows[0]
    slow = Row(**{**row.__dict__, "cost_s": 7200.4})
    assert cells(stand(board, make_record()), slow)["time"] == Cell(f"2.0{THIN}h", value=7200)


# --- the gain's mark ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "word"),
    [
        (Estimate(0.1, 0.05, 3), "up"),
        (Estimate(-0.1, 0.05, 3), "down"),
        (Estimate(0.1, 0.2, 3), "flat"),
        (Estimate(0.1, 0.1, 3), "flat"),
        (Estimate(0.1, None, 1), "flat"),
    ],
)
def test_gain_has_a_colour_only_where_its_interval_leaves_out_zero(gain: Estimate, word: str) -> None:
    assert tone(gain) == word


def test_whiskers_of_a_board_reach_beyond_its_largest_gain(board: Board) -> None:
    standings = stand(board, make_record(hits=10), make_record(hits=14, taught=True))
    assert reach_of(standings) > 0.2
    assert reach_of(stand(board)) > 0
