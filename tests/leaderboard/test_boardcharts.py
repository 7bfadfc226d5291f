"""The charts of a board's page: which lines are drawn, and what one point of them stands for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kdbench.board import Board
from kdbench.leaderboard.boardcharts import (
    DRAWN,
    STUDENTS,
    Figure,
    cost_charts,
    efficiency_charts,
    entry_styles,
    label_of,
    legend,
    points_of,
    stage_charts,
    stage_gains,
)
from kdbench.leaderboard.scoring import place_runs
from kdbench.leaderboard.standings import Row, standings_of
from kdbench.records import Record
from tests.factories import make_record, trio, write_board

SOFT, ALONE = ("broad", "soft"), ("none", "alone")
OVER = ", mean over subsets"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A board that draws each fraction with the subset seeds 0 and 1."""
    board = write_board(tmp_path)
    return msgspec.structs.replace(board, matrix=msgspec.structs.replace(board.matrix, subset_seeds=(0, 1)))


def rows(board: Board, *records: Record) -> tuple[Row, ...]:
    placed = place_runs(board, [(Path(f"{record.run_id}.json"), record) for record in records])
    return standings_of(board, placed).rows


def half(hits: int, drawn: int = 0, **changes: Any) -> Record:
    """A run on half of the videos."""
    return make_record(hits=hits, cell__fraction=0.5, cell__subset_seed=drawn, **changes)


def line(figure: Figure, entry: tuple[str, str]) -> str:
    """The line of a teacher and method in a chart, with its markers."""
    (found,) = re.findall(rf"<g class=\"s\d\"><title>{label_of(entry)}</title>.*?</g>", figure.chart)
    return str(found)


def efficiency(found: tuple[Row, ...]) -> Figure:
    (figure,) = efficiency_charts(found, entry_styles(found))
    return figure


# --- which lines -------------------------------------------------------------------------------------------


def test_baseline_has_the_first_style_and_the_others_follow_in_order_of_their_names(board: Board) -> None:
    found = rows(
        board,
        make_record(hits=10),
        make_record(hits=12, taught=True, teacher__spec="tall"),
        make_record(hits=14, taught=True, method__name="hard"),
        make_record(hits=13, taught=True),
    )
    named = legend(entry_styles(found))
    assert [(each.style, each.label) for each in named] == [
        (0, "alone, no teacher: the baseline"),
        (1, "hard, teacher broad"),
        (2, "soft, teacher broad"),
        (3, "soft, teacher tall"),
    ]
    assert legend(entry_styles(found), baseline=False) == named[1:]


def test_of_more_methods_than_a_chart_can_hold_those_with_the_largest_gains_are_drawn(board: Board) -> None:
    methods = [make_record(hits=11 + at, taught=True, method__name=f"way{at}") for at in range(DRAWN + 1)]
    styles = entry_styles(rows(board, make_record(hits=10), *methods))
    assert [method for (_, method), style in styles.items() if style is None] == ["way0"]


def test_one_lucky_run_does_not_push_out_a_method_that_ran_in_more_cells(board: Board) -> None:
    lucky = [make_record(hits=20, taught=True, method__name=f"way{at}") for at in range(DRAWN)]
    steady = [make_record(hits=11, taught=True), half(6, taught=True)]
    styles = entry_styles(rows(board, make_record(hits=10), half(5), *lucky, *steady))
    assert styles[SOFT] is not None
    assert sum(style is None for style in styles.values()) == 1


def test_method_without_a_gain_comes_after_all_that_have_one(board: Board) -> None:
    losing = [make_record(hits=at, taught=True, method__name=f"way{at}") for at in range(DRAWN)]
    unpaired = make_record(hits=20, taught=True, seed=1, method__name="unpaired")
    styles = entry_styles(rows(board, make_record(hits=10), *losing, unpaired))
    assert styles["broad", "unpaired"] is None


def test_charts_are_of_the_first_students_only(board: Board) -> None:
    students = [f"student{at:02}" for at in range(STUDENTS + 1)]
    records = [make_record(hits=10, student__name=name) for name in students]
    records += [make_record(hits=12, taught=True, student__name=name) for name in students]
    found = rows(board, *records)
    assert [figure.title for figure in stage_charts(found, entry_styles(found))] == students[:STUDENTS]


# --- with fewer videos -------------------------------------------------------------------------------------


def test_one_fraction_alone_has_no_chart_of_fractions(board: Board) -> None:
    found = rows(board, make_record(hits=10), make_record(hits=12, taught=True))
    assert efficiency_charts(found, entry_styles(found)) == []


def test_fraction_that_was_drawn_several_times_is_one_point_at_the_mean(board: Board) -> None:
    whole = [make_record(hits=10), make_record(hits=16, taught=True)]
    several = efficiency(rows(board, *whole, *(half(hits, drawn) for drawn, hits in enumerate((4, 8)))))
    once = efficiency(rows(board, *whole, half(6)))
    assert line(several, ALONE) == line(once, ALONE)
    assert f"accuracy, %{OVER}<" in several.chart
    assert OVER not in once.chart


def test_line_that_lacks_a_subset_of_the_baseline_has_no_point_there(board: Board) -> None:
    baselines = [make_record(hits=10), half(4, 0), half(8, 1)]
    taught = [make_record(hits=16, taught=True), half(9, 1, taught=True)]
    points = points_of(rows(board, *baselines, *taught))
    assert [(point.entry, point.fraction) for point in points] == [(SOFT, 1.0), (ALONE, 0.5), (ALONE, 1.0)]


def test_subset_that_the_baseline_lacks_is_left_out_of_a_point(board: Board) -> None:
    found = rows(board, half(4, 0), half(6, 0, taught=True), half(20, 1, taught=True))
    (taught, _) = points_of(found)
    assert [row.key.subset_seed for row in taught.rows] == [0]


def test_without_a_baseline_a_point_needs_every_subset_that_was_drawn(board: Board) -> None:
    found = rows(board, half(6, 0, taught=True), half(8, 1, taught=True), half(8, 1, taught=True, method__name="hard"))
    assert [(point.entry, len(point.rows)) for point in points_of(found)] == [(SOFT, 2)]


# --- from early to late ------------------------------------------------------------------------------------


def test_stage_gain_is_the_mean_over_the_seeds_that_have_a_baseline(board: Board) -> None:
    flat, steep = [0.2] * 8, [0.2, 0.4, *[0.5] * 5, 0.5]
    records = [make_record(hits=4, curve=flat), make_record(hits=4, curve=flat, seed=1)]
    records += [make_record(hits=10, curve=steep, taught=True, seed=seed) for seed in (0, 1, 2)]
    (taught,) = (row for row in rows(board, *records) if not row.is_baseline)
    assert taught.unpaired == 1
    assert stage_gains(taught) == pytest.approx((0.2, 0.3, 0.3))


def test_stages_of_several_subsets_are_one_line(board: Board) -> None:
    whole = rows(board, half(4), half(8, taught=True))
    several = rows(board, half(4, 0), half(6, 0, taught=True), half(4, 1), half(10, 1, taught=True))
    (once,), (joined,) = (stage_charts(found, entry_styles(found)) for found in (whole, several))
    assert joined.chart.count('<g class="s') == 1
    assert line(joined, SOFT).count("<path") == line(once, SOFT).count("<path")
    assert f"gain, points{OVER}<" in joined.chart


def test_baseline_is_the_level_of_the_stages_and_no_line_of_its_own(board: Board) -> None:
    found = rows(board, make_record(hits=10), make_record(hits=12, taught=True))
    (figure,) = stage_charts(found, entry_styles(found))
    assert label_of(ALONE) not in figure.chart
    assert figure.chart.count('class="level"') == 1


# --- cost --------------------------------------------------------------------------------------------------


def test_cost_has_a_point_for_each_cell_and_no_line_between_them(board: Board) -> None:
    found = rows(board, make_record(hits=10), make_record(hits=12, taught=True), half(4), half(8, taught=True))
    (figure,) = cost_charts(found, entry_styles(found))
    assert line(figure, SOFT).count("<path") == 2
    assert 'class="line"' not in figure.chart


def test_time_without_a_teacher_is_on_the_axis_of_cost_and_marked(board: Board) -> None:
    found = rows(board, make_record(hits=10), make_record(hits=12, taught=True))
    found = tuple(replace(row, cost_s=10.0 if row.is_baseline else 2.0, cost_with_teacher_s=2.0) for row in found)
    (figure,) = cost_charts(found, entry_styles(found))
    ticks = [text for _, text in figure.panel.x.ticks]
    assert float(ticks[-1]) >= 1.0
    assert figure.chart.count('class="mark"') == 1


def test_times_of_two_classes_of_device_are_not_compared(board: Board) -> None:
    other = {"type": "cpu", "name": "Fast CPU", "count": 1}
    found = rows(board, make_record(hits=10), make_record(hits=12, taught=True, environment__device=other))
    assert cost_charts(found, entry_styles(found)) == []


# --- the same bytes ----------------------------------------------------------------------------------------


def test_order_of_the_records_does_not_change_a_chart(board: Board) -> None:
    records = [*trio([10, 9, 8]), *trio([12, 13, 11], taught=True), half(5), half(7, taught=True)]
    made = []
    for order in (records, records[::-1]):
        found = rows(board, *order)
        charts = [draw(found, entry_styles(found)) for draw in (efficiency_charts, stage_charts, cost_charts)]
        made.append([figure.chart for figures in charts for figure in figures])
    assert made[0] == made[1]
