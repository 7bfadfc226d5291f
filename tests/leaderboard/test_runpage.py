"""The page of a run: where it leads, and what it says of a run that is not submitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdbench.leaderboard.pagenames import method_name, plugin_name, teacher_name
from kdbench.leaderboard.pages import plan_of
from kdbench.leaderboard.standings import Standings, read_standings
from kdbench.records import Record, Tuning
from tests.factories import make_record, write_board, write_records
from tests.leaderboard.test_site import Page


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    write_board(tmp_path)
    return tmp_path


def standings_of(boards: Path, *records: Record) -> Standings:
    write_records(boards, records)
    return read_standings("small", boards)


def run_page(standings: Standings, run_id: str) -> Page:
    return Page(plan_of([standings])[f"small/runs/{run_id}.html"]())


OLD_PINS = dict(make_record().pins) | {"optim.lr": 0.5}


@pytest.mark.parametrize("changes", [{}, {"pins": OLD_PINS}, {"status": "partial"}], ids=["ranked", "stale", "partial"])
def test_a_run_leads_to_the_pages_of_its_method_its_teacher_and_its_plugins(
    boards: Path, changes: dict[str, Any]
) -> None:
    # Two rates, so that the rate is part of the row's name of the method.
    told = [
        make_record(run_id=f"rate{rate}", taught=True, method__options={"rate": rate}, **changes) for rate in (1, 2)
    ]
    standings = standings_of(boards, make_record(), *told)
    links = {str(attrs.get("href")) for attrs in run_page(standings, "rate2").all("a")}
    plugin = told[1].teacher
    assert plugin is not None
    wanted = {f"../{method_name('soft (rate=2)')}", f"../{teacher_name('broad')}"}
    names = {"backbones": "slim", "methods": "soft", "teachers": plugin.plugin.name}
    wanted |= {f"../../{plugin_name(kind, name)}" for kind, name in names.items()}
    assert wanted <= links
    site = plan_of([standings])
    assert {name.replace("../../", "").replace("../", "small/") for name in wanted} <= site.keys()


def test_a_run_without_a_teacher_leads_to_no_teacher(boards: Path) -> None:
    page = run_page(standings_of(boards, make_record(run_id="alone")), "alone")
    links = [str(attrs.get("href")) for attrs in page.all("a")]
    assert not [link for link in links if "teachers" in link]


def test_plugins_are_named_with_the_distributions_that_they_are_from(boards: Path) -> None:
    record = make_record(run_id="x", taught=True, method__distribution="elsewhere", method__version="2.0")
    text = run_page(standings_of(boards, record), "x").text
    assert "; method soft of elsewhere 2.0" in text


def test_a_run_that_is_not_submitted_says_so(boards: Path) -> None:
    standings = standings_of(boards, make_record(run_id="mine"), make_record(run_id="theirs", seed=1))
    standings = replace(standings, given=frozenset({"mine"}))
    assert "seed 0 yours, not submitted" in run_page(standings, "mine").text
    assert "This run is yours and not submitted" in run_page(standings, "mine").text
    assert "kdbench reproduce" not in run_page(standings, "mine").text  # it looks for a run id on the boards
    assert "yours" not in run_page(standings, "theirs").text


def test_a_paired_baseline_that_is_not_submitted_is_marked(boards: Path) -> None:
    standings = standings_of(boards, make_record(run_id="mine"), make_record(run_id="theirs", hits=12, taught=True))
    page = run_page(replace(standings, given=frozenset({"mine"})), "theirs")
    assert "paired baseline yours, not submitted" in page.text
    assert "This run is yours" not in page.text


def test_seconds_to_a_milestone_are_said_to_hold_the_phases_where_there_are_some(boards: Path) -> None:
    long = make_record(run_id="long", taught=True, method__phase_epochs=1, cost__phases_s=2.0, cost__wall_s=54.0)
    standings = standings_of(boards, make_record(run_id="plain"), long)
    link = "../../definitions.html#milestone-seconds"
    found = {name: [attrs.get("href") for attrs in run_page(standings, name).all("a")] for name in ("plain", "long")}
    assert link in found["long"]
    assert link not in found["plain"]


def test_an_empty_list_of_the_environment_is_called_none(boards: Path) -> None:
    record = make_record(run_id="x", environment={"deterministic": {"exceptions": []}})
    assert "deterministic exceptions none" in run_page(standings_of(boards, record), "x").text


@pytest.mark.parametrize(("more", "shown"), [({}, False), ({"driver": "1.2"}, True)])
def test_a_device_stands_in_the_environment_only_where_its_class_does_not_tell_all(
    boards: Path, more: dict[str, str], shown: bool
) -> None:
    device = {"type": "cpu", "name": "Plain CPU", "count": 1, **more}
    record = make_record(run_id="x", environment={"device": device, "threads": 2})
    text = run_page(standings_of(boards, record), "x").text
    assert "On Plain CPU, 2 threads." in text
    assert ("device count 1" in text) == shown


@pytest.mark.parametrize(
    ("tuning", "told"),
    [
        (Tuning(trials=12, on="2 %, <seed 9>"), "12 trials, on: 2 %, <seed 9>"),
        (Tuning(trials=1), "1 trial"),
        (Tuning(trials=0), "no trials"),
    ],
)
def test_what_a_submitter_says_of_the_choice_of_options_stands_on_the_page(
    boards: Path, tuning: Tuning, told: str
) -> None:
    page = run_page(standings_of(boards, make_record(run_id="alone", tuning=tuning)), "alone")
    assert f"Tuning {told} " in " ".join(page.text.split())


def test_nothing_is_said_of_the_choice_of_options_where_the_submitter_said_nothing(boards: Path) -> None:
    assert "Tuning" not in run_page(standings_of(boards, make_record(run_id="alone")), "alone").text
