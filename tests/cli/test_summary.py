"""A finished run in a few lines."""

from __future__ import annotations

from pathlib import Path

from kdbench.cli.summary import summary_of
from tests.factories import make_record

WHERE = {"device": {"name": "a processor"}, "precision": "fp32"}


def test_the_next_command_can_be_copied_whatever_the_folder_is_called() -> None:
    record = make_record(environment=WHERE)
    last = summary_of(record, Path("my runs")).splitlines()[-1]
    assert last == f"Put it on the leaderboard: kdbench submit 'my runs/small/{record.run_id}'"


def test_a_partial_run_is_said_to_be_never_ranked() -> None:
    said = summary_of(make_record(environment=WHERE, status="partial", missing_videos=3), Path("runs"))
    assert "partial: 3 videos were missing; this record is never ranked" in said
