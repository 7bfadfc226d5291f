"""`kdbench compare`: pages and a few lines about runs that are not submitted, and no trace of them on the board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kdbench.cli import main
from kdbench.cli.progress import TerminalWatcher
from kdbench.records import Record, to_json
from tests.factories import broken, make_record, trio, write_board, write_records


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "boards"
    write_board(folder)
    write_board(folder, "other")
    write_records(folder, [*trio([10, 8, 6]), *trio([14, 14, 13], taught=True)])
    return folder


def call(boards: Path, *records: Record | Path, options: tuple[str, ...] = ()) -> Result:
    paths = []
    for number, record in enumerate(records):
        path = record if isinstance(record, Path) else boards.parent / f"{number}.json"
        if isinstance(record, Record):
            path.write_text(to_json(record), encoding="utf-8")
        paths.append(str(path))
    out = ("--out", str(boards.parent / "out"), "--boards", str(boards))
    return CliRunner().invoke(main, ["compare", *paths, *out, *options])


def mine(hits: int = 12, **changes: Any) -> Record:
    return make_record(hits=hits, taught=True, method__name="mine", **changes)


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_single_run_is_told_its_cell_accuracy_gain_and_what_it_lacks(boards: Path) -> None:
    lines = call(boards, mine()).output.replace("\N{NARROW NO-BREAK SPACE}", " ").splitlines()
    assert lines[0] == "slim, 100 % of the training videos: mine, teacher broad"
    assert lines[1].startswith("  yours, not submitted: seed 0 (slim-mine-100-s0-")
    assert lines[2] == (
        "  accuracy 60.0 % (single run), gain +10.0 points (single run) over the paired baseline (on the board)"
    )
    assert lines[3] == "  no rank; number 2 of 2 by mean gain in its cell"
    board = boards / "small" / "board.toml"
    assert lines[4].startswith(
        f"  missing for a rank: a run with another seed: kdbench run --board {board} --student slim"
    )


def test_runs_with_an_interval_are_told_their_rank(boards: Path) -> None:
    output = call(boards, mine(12, seed=0), mine(12, seed=1)).output
    assert "rank 1-2; number 2 of 2 by mean gain in its cell" in output
    assert "missing" not in output


def test_baseline_given_with_its_student_is_named_as_given(boards: Path) -> None:
    half: dict[str, Any] = {"cell__fraction": 0.5, "cell__training_list_sha256": "66" * 32}
    output = call(boards, make_record(hits=5, **half), mine(9, **half)).output
    assert "over the paired baseline (given here)" in output
    assert "a baseline: what gains are measured against has no rank" in output


def test_stale_and_partial_runs_are_told_why_they_are_not_ranked(boards: Path) -> None:
    stale = mine(pins=dict(make_record().pins) | {"optim.lr": 0.5}, run_id="stale")
    output = call(boards, stale, mine(seed=4, status="partial", run_id="partial")).output
    assert "not ranked: made with other pins" in output
    assert "it was made with other optim.lr" in output
    assert "not ranked: the run is partial" in output


def test_pages_show_the_given_rows_marked_among_the_committed(boards: Path) -> None:
    result = call(boards, mine())
    place = boards.parent / "out" / "small"
    assert f"{place / 'compare.html'}: your rows beside their baseline" in result.output
    page = (place / "compare.html").read_text()
    data = json.loads(page.partition('id="rows">')[2].partition("</script>")[0])
    assert [row["label"] for row in data["rows"] if row.get("own")] == ["mine, teacher broad"]
    assert data["start"] == ["slim~1~0~none~alone", "slim~1~0~broad~mine"]
    assert (place / "runs" / f"{mine().run_id}.html").is_file()
    assert not (boards.parent / "out" / "other").exists()


def test_board_page_marks_the_given_rows_and_says_that_they_are_not_submitted(boards: Path) -> None:
    call(boards, mine(), mine(seed=4, status="partial", run_id="partial"))
    page = (boards.parent / "out" / "small" / "index.html").read_text()
    assert "Drawn with 2 runs of yours that are not submitted" in page
    lines = [line for line in page.splitlines() if 'class="tag">yours, not submitted' in line]
    assert ["slim~1~0~broad~mine" in lines[0], "partial" in lines[1]] == [True, True]
    assert len(lines) == 2


def test_nothing_of_the_boards_is_touched(boards: Path) -> None:
    before = snapshot(boards)
    assert call(boards, mine()).exit_code == 0
    assert snapshot(boards) == before


def test_second_comparison_replaces_the_pages_of_the_first(boards: Path) -> None:
    call(boards, mine(run_id="first"))
    call(boards, mine(run_id="second"))
    runs = boards.parent / "out" / "small" / "runs"
    assert (runs / "second.html").is_file()
    assert not (runs / "first.html").exists()


def test_folder_with_other_files_is_left_alone(boards: Path) -> None:
    (boards.parent / "out").mkdir()
    (boards.parent / "out" / "notes.txt").write_text("mine")
    result = call(boards, mine())
    assert result.exit_code == 1
    assert "holds files but no manifest.txt of a site" in result.stderr


def test_json_has_the_numbers_and_what_is_missing(boards: Path) -> None:
    (facts,) = json.loads(call(boards, mine(), options=("--json",)).output)
    assert (facts["method"], facts["gain"], facts["rank"]) == ("mine", pytest.approx(0.1), None)
    assert (facts["place_by_gain"], facts["rows_compared"], facts["submitted"]) == (2, 2, False)
    assert len(facts["missing"]) == 1


def test_unsound_record_is_one_line_and_no_page(boards: Path) -> None:
    path = boards.parent / "bad.json"
    path.write_bytes(broken(make_record(), derived__top1=0.99))
    result = call(boards, path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert f"{path}: $.derived.top1: found 0.99" in result.stderr
    assert not (boards.parent / "out").exists()


def test_runs_without_a_rank_are_sent_to_the_boards_own_page(boards: Path) -> None:
    last = call(boards, mine(status="partial", run_id="partial")).output.splitlines()[-1]
    place = boards.parent / "out" / "small"
    assert last == f"{place / 'index.html'}: the whole board, with your runs among those that are not ranked"


def test_a_terminal_is_told_what_a_comparison_is_at(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    stage = TerminalWatcher.stage

    def noted(watcher: TerminalWatcher, title: str, total: int) -> Any:
        told.append(title)
        return stage(watcher, title, total)

    monkeypatch.setattr(TerminalWatcher, "stage", noted)
    call(boards, mine())
    assert told == ["Reading records", "Writing pages"]
