"""Runs set among those of a board: what they would get there, and what they lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdbench.errors import BoardError, RecordError
from kdbench.leaderboard.landing import (
    Landing,
    again_with,
    baseline_command,
    landings,
    read_given,
    standings_with,
)
from kdbench.leaderboard.standings import read_standings
from kdbench.records import Record, Verification, to_json
from tests.factories import broken, make_record, trio, write_board, write_records


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "boards"
    write_board(folder)
    write_records(folder, [*trio([10, 8, 6]), *trio([14, 14, 13], taught=True)])
    return folder


def given(tmp_path: Path, *records: Record) -> list[Path]:
    """Run folders that hold these records."""
    folders = []
    for number, record in enumerate(records):
        folder = tmp_path / "runs" / f"{number}-{record.run_id}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(to_json(record), encoding="utf-8")
        folders.append(folder)
    return folders


def landed(boards: Path, tmp_path: Path, *records: Record) -> list[Landing]:
    found = read_given(given(tmp_path, *records))["small"]
    return landings(standings_with("small", found, boards), found)


def mine(hits: int = 12, **changes: object) -> Record:
    return make_record(hits=hits, taught=True, method__name="mine", **changes)  # type: ignore[arg-type]


# --- among the committed -----------------------------------------------------------------------------------


def test_given_run_is_paired_with_the_committed_baseline_and_changes_no_other_row(boards: Path, tmp_path: Path) -> None:
    found = read_given(given(tmp_path, mine()))["small"]
    standings = standings_with("small", found, boards)
    before = read_standings("small", boards)
    row = next(row for row in standings.rows if standings.holds_given(row))
    assert row.gain is not None
    assert row.gain.mean == pytest.approx(0.1)
    assert [other.gain for other in standings.rows if other is not row] == [other.gain for other in before.rows]
    assert before.given == frozenset()


def test_taught_run_may_bring_its_own_baseline(boards: Path, tmp_path: Path) -> None:
    half = {"cell__fraction": 0.5, "cell__training_list_sha256": "66" * 32}
    _, taught = landed(boards, tmp_path, make_record(hits=5, **half), mine(9, **half))  # type: ignore[arg-type]
    assert taught.row is not None
    assert taught.row.gain is not None
    assert taught.row.gain.mean == pytest.approx(0.2)


def test_run_that_is_on_the_board_stays_what_it_is_there(boards: Path, tmp_path: Path) -> None:
    (landing,) = landed(boards, tmp_path, make_record(hits=14, taught=True, seed=0))
    assert landing.submitted
    assert landing.row is not None
    assert landing.row.accuracy.n == 3


def test_given_record_cannot_claim_to_be_verified(boards: Path, tmp_path: Path) -> None:
    claimed = mine(submission={"author": "me", "verification": {"state": "maintainers", "by": "me"}})
    (landing,) = landed(boards, tmp_path, claimed)
    assert landing.runs[0].record.submission.verification == Verification()


def test_same_run_given_twice_counts_once(boards: Path, tmp_path: Path) -> None:
    (landing,) = landed(boards, tmp_path, mine(), mine())
    assert len(landing.runs) == 1


def test_run_of_a_seed_that_the_board_has_displaces_no_run(boards: Path, tmp_path: Path) -> None:
    committed = make_record(hits=14, taught=True, seed=0, submission={"date": "2024-01-01"})
    write_records(boards, [committed])
    (landing,) = landed(boards, tmp_path, make_record(hits=20, taught=True, seed=0, run_id="a-first"))
    assert landing.row is None
    assert landing.runs[0].reason == f"repeats seed 0 of run {committed.run_id}"


# --- what is missing ---------------------------------------------------------------------------------------


def test_single_run_has_a_place_but_no_rank_and_lacks_another_seed(boards: Path, tmp_path: Path) -> None:
    (landing,) = landed(boards, tmp_path, mine(12, command="kdbench run --student slim --method mine --seed 0"))
    assert landing.row is not None
    assert (landing.row.rank, landing.place, landing.compared) == (None, 2, 2)
    assert landing.missing == ("a run with another seed: kdbench run --student slim --method mine --seed 1",)


def test_two_seeds_with_their_baselines_lack_nothing(boards: Path, tmp_path: Path) -> None:
    (landing,) = landed(boards, tmp_path, mine(12, seed=0), mine(12, seed=1))
    assert landing.row is not None
    assert landing.row.rank == "1-2"
    assert landing.missing == ()


def test_run_of_a_seed_without_a_baseline_lacks_that_baseline(boards: Path, tmp_path: Path) -> None:
    half = {"cell__fraction": 0.5, "cell__training_list_sha256": "66" * 32}
    _, landing = landed(boards, tmp_path, make_record(seed=0, **half), mine(12, seed=1, **half))  # type: ignore[arg-type]
    baseline = "kdbench run --board small --student slim --fraction 0.5 --seed 1"
    assert landing.missing[0] == f"a baseline run with seed 1: {baseline}"
    assert landing.place is None


def test_run_of_a_seed_out_of_turn_is_told_which_seed_comes_first(boards: Path, tmp_path: Path) -> None:
    _, landing = landed(boards, tmp_path, mine(12, seed=0), mine(12, seed=7))
    assert landing.row is None
    assert landing.runs[0].reason == (
        "seed 7 is out of turn: 1, 2 would come first, so that no seed is picked by its result"
    )


def test_seed_that_no_baseline_run_has_needs_one_more(tmp_path: Path) -> None:
    write_board(tmp_path / "boards")
    (landing,) = landed(tmp_path / "boards", tmp_path, mine(12, cell__fraction=0.5))
    assert [each.partition(": ")[0] for each in landing.missing] == [
        "a baseline run with seed 0",
        "a run with another seed",
        "its baseline run",
    ]
    assert landing.missing[2].endswith("--student slim --fraction 0.5 --seed 1")


def test_equal_seeds_lack_one_that_differs(boards: Path, tmp_path: Path) -> None:
    (landing,) = landed(boards, tmp_path, mine(12, seed=0), mine(10, seed=1))
    assert landing.missing[0].startswith(
        "2 seeds gave the same gain, which tells nothing about how much they vary: a run"
    )
    assert landing.missing[0].endswith("--seed 2")


def test_stale_run_names_the_pins_and_the_command(boards: Path, tmp_path: Path) -> None:
    (landing,) = landed(boards, tmp_path, mine(pins=dict(make_record().pins) | {"optim.lr": 0.5}))
    assert landing.row is None
    assert landing.missing[0].startswith(
        "the board's pins; it was made with other optim.lr. Run it again with this board: "
    )


def test_baseline_lacks_nothing(boards: Path, tmp_path: Path) -> None:
    (landing,) = landed(boards, tmp_path, make_record(hits=9, seed=5))
    assert (landing.missing, landing.place) == ((), None)


def test_command_of_a_record_stays_on_one_line() -> None:
    assert again_with(mine(command="kdbench run --seed 3 --method 'a b'"), 4) == "kdbench run --seed 4 --method 'a b'"
    assert again_with(mine(command="kdbench 'run\x1b[2J"), 4) == "kdbench ''\"'\"'run?[2J' --seed 4"


def test_commands_name_the_boards_that_were_given(boards: Path, tmp_path: Path) -> None:
    record = mine(12, command="kdbench run --board small --student slim --seed 0", cell__fraction=0.5)
    found = read_given(given(tmp_path, record))["small"]
    (landing,) = landings(standings_with("small", found, boards), found, boards)
    board = f"kdbench run --board {boards / 'small' / 'board.toml'} --student slim "
    commands = [each.partition(": ")[2] for each in landing.missing]
    assert commands
    assert [command for command in commands if not command.startswith(board)] == []


def test_command_of_a_plugin_file_says_that_it_is_needed() -> None:
    record = mine(command="kdbench run --seed 3", method__distribution="file")
    assert again_with(record, 4) == "kdbench run --seed 4 --plugin FILE"
    assert "--plugin" not in baseline_command("small", record, 4)
    assert baseline_command("small", mine(student__distribution="file"), 4).endswith("--seed 4 --plugin FILE")


# --- what is refused ---------------------------------------------------------------------------------------


def test_run_that_has_not_finished_or_has_failed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "config.json").write_text("{}")
    with pytest.raises(RecordError, match=r"has no record\.json; the run has not finished"):
        read_given([tmp_path / "open"])
    with pytest.raises(RecordError, match=r"\$\.status: found 'failed'"):
        read_given(given(tmp_path, make_record(status="failed")))


def test_unsound_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(broken(make_record(), derived__top1=0.99))
    with pytest.raises(RecordError, match=r"record\.json: \$\.derived\.top1: found 0\.99"):
        read_given([path])


def test_two_records_of_one_run_are_refused(boards: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="another record of same is"):
        read_given(given(tmp_path, make_record(run_id="same"), make_record(run_id="same", hits=11)))
    write_records(boards, [make_record(run_id="known", seed=5)])
    other = read_given(given(tmp_path / "more", make_record(run_id="known", seed=5, hits=3)))
    with pytest.raises(RecordError, match="another record of this run is at"):
        standings_with("small", other["small"], boards)


def test_copy_of_a_run_under_another_seed_is_refused(boards: Path, tmp_path: Path) -> None:
    record = mine(12)
    copy = mine(12, seed=1)
    same = broken(copy, epochs=[*map(_plain, record.epochs)])
    place = tmp_path / "copy.json"
    place.write_bytes(same)
    found = read_given([*given(tmp_path, record), place])["small"]
    with pytest.raises(RecordError, match="remove the copy"):
        standings_with("small", found, boards)


def _plain(part: object) -> object:
    import msgspec

    return msgspec.to_builtins(part)


def test_run_of_an_unknown_board_is_refused(boards: Path, tmp_path: Path) -> None:
    found = read_given(given(tmp_path, make_record(board__name="smal")))["smal"]
    with pytest.raises(BoardError, match="did you mean small"):
        standings_with("smal", found, boards)


def test_withdrawn_run_is_refused(boards: Path, tmp_path: Path) -> None:
    record = make_record(hits=3, seed=9, submission={"withdrawn": {"reason": "wrong videos", "date": "2024-01-01"}})
    folder = boards / "small" / "withdrawn"
    folder.mkdir()
    (folder / f"{record.run_id}.json").write_text(to_json(record), encoding="utf-8")
    found = read_given(given(tmp_path, make_record(hits=3, seed=9)))["small"]
    with pytest.raises(RecordError, match="was withdrawn from the board"):
        standings_with("small", found, boards)
