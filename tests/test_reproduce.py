"""A record's run done again: what is refused, what is compared, and what the outcome is called."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kdbench.errors import BoardError, DataError, PluginError, RecordError
from kdbench.leaderboard.scoring import load_records
from kdbench.records import Record
from kdbench.registry import load_registry
from kdbench.reproduce import Agreement, compare, first_difference, lines_of, mark_command, plan_repetition, repeat
from kdbench.run import execute
from tests.factories import make_record, trio, write_board, write_records
from tests.tiny import bench, registry, request, tiny_board

BOARD = tiny_board(transfer=None, optim={"epochs": 1})


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    runs = tmp_path_factory.mktemp("runs")
    asked = request(BOARD, student="c3d", teacher="r3d", fraction=0.5, seed=2, options={"weight": "2"})
    return runs, execute(replace(asked, subset_seed=1), bench(runs))


def changed(record: Record, part: str, **changes: Any) -> Record:
    """The record with other values in one of its parts."""
    return msgspec.structs.replace(record, **{part: msgspec.structs.replace(getattr(record, part), **changes)})


def agreement(folder: Path, record: Record, again: Record, *committed: Record) -> Agreement:
    board = write_board(folder)
    write_records(folder, committed)
    return compare(record, again, board, load_records(board, folder))


# --- before the run ----------------------------------------------------------------------------------------


def test_repetition_asks_for_what_the_record_says(taught: tuple[Path, Record]) -> None:
    asked = plan_repetition(taught[1], BOARD, registry()).request
    assert (asked.student, asked.teacher, asked.method_name) == ("c3d", "r3d", "kd")
    assert (asked.fraction, asked.seed, asked.subset_seed, asked.compiled) == (0.5, 2, 1, False)
    assert asked.options == {"temperature": 4.0, "weight": 2.0}


def test_board_that_has_changed_is_refused_with_the_pin_named(taught: tuple[Path, Record]) -> None:
    board = tiny_board(transfer=None, optim={"epochs": 1, "lr": 0.5})
    with pytest.raises(BoardError, match=r"optim\.lr was 0\.01, board tiny has 0\.5 today; repeat it with the kdbench"):
        plan_repetition(taught[1], board, registry())


@pytest.mark.parametrize("part", ["student", "method"])
def test_plugin_that_was_edited_is_named_with_both_digests(taught: tuple[Path, Record], part: str) -> None:
    record = changed(taught[1], part, sha256="ab" * 32)
    (edited,) = plan_repetition(record, BOARD, registry()).edited
    assert edited.startswith(f"{getattr(record, part).name} (sha256 abababababab in the record, ")


def test_plugin_of_the_teacher_is_compared_too(taught: tuple[Path, Record]) -> None:
    teacher = taught[1].teacher
    assert teacher is not None
    record = changed(taught[1], "teacher", plugin=msgspec.structs.replace(teacher.plugin, sha256="ab" * 32))
    assert len(plan_repetition(record, BOARD, registry()).edited) == 1


def test_unchanged_plugins_are_not_worth_a_line(taught: tuple[Path, Record]) -> None:
    assert plan_repetition(taught[1], BOARD, registry()).edited == ()


def test_plugin_that_is_not_here_is_named_with_its_origin(taught: tuple[Path, Record]) -> None:
    record = changed(taught[1], "method", name="mine", distribution="file", version="")
    with pytest.raises(PluginError, match=r"no method is called 'mine'.*: give its file with --plugin"):
        plan_repetition(record, BOARD, registry())


def test_plugin_from_a_file_is_found_in_it(taught: tuple[Path, Record], tmp_path: Path) -> None:
    text = Path(str(files("kdbench_plugins.methods") / "kd.py")).read_text()
    (tmp_path / "mine.py").write_text(text.replace('"kd"', '"mine"'))
    record = changed(taught[1], "method", name="mine", distribution="file", version="")
    assert plan_repetition(record, BOARD, load_registry([tmp_path / "mine.py"])).request.method == "mine"


def test_teacher_that_came_from_a_file_has_to_be_given(taught: tuple[Path, Record]) -> None:
    record = changed(taught[1], "teacher", spec="checkpoint:0123456789ab")
    with pytest.raises(RecordError, match="name that file with --teacher checkpoint:PATH"):
        plan_repetition(record, BOARD, registry())
    assert plan_repetition(record, BOARD, registry(), "checkpoint:/w.pt").request.teacher == "checkpoint:/w.pt"


def test_partial_run_cannot_be_repeated(taught: tuple[Path, Record]) -> None:
    record = msgspec.structs.replace(taught[1], status="partial")
    with pytest.raises(RecordError, match="is partial; only a complete run can be repeated"):
        plan_repetition(record, BOARD, registry())


def test_other_videos_are_refused_before_any_training(taught: tuple[Path, Record], tmp_path: Path) -> None:
    record = changed(taught[1], "cell", test_list_sha256="ab" * 32)
    with pytest.raises(DataError, match=r"the test list has sha256 \w{12} here, abababababab in the record"):
        repeat(plan_repetition(record, BOARD, registry()), bench(tmp_path))
    assert not list(tmp_path.rglob("epochs.jsonl"))


# --- the run -----------------------------------------------------------------------------------------------


def test_run_with_a_teacher_is_repeated_in_every_measured_value(taught: tuple[Path, Record], tmp_path: Path) -> None:
    again = repeat(plan_repetition(taught[1], BOARD, registry()), bench(tmp_path))
    assert first_difference(taught[1], again) == (None, ())
    assert again.run_id == taught[1].run_id
    assert len(list(tmp_path.rglob("record.json"))) == 2  # the teacher's too


# --- the outcome -------------------------------------------------------------------------------------------


def test_first_epoch_that_differs_is_named_with_its_values() -> None:
    curve = [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.5]
    one, other = make_record(curve=curve), make_record(curve=[*curve[:3], 0.25, 0.3, 0.35, 0.4, 0.5])
    assert first_difference(one, other) == (4, ("test top-1", "training top-1"))


def test_term_that_one_run_lacks_is_a_difference() -> None:
    epoch, values = first_difference(make_record(taught=True), make_record())
    assert (epoch, values) == (1, ("loss soft",))


def test_seconds_and_memory_are_no_difference() -> None:
    record = make_record()
    slower = [
        msgspec.structs.replace(row, seconds=msgspec.structs.replace(row.seconds, train=9.0)) for row in record.epochs
    ]
    again = msgspec.structs.replace(record, epochs=tuple(slower))
    assert first_difference(record, changed(again, "cost", peak_memory_mib=1.0)) == (None, ())


def test_phases_of_the_method_come_before_the_first_epoch() -> None:
    rows = [
        [{"phase": "head", "epoch": 1, "lr": 0.1, "losses": {"hint": loss}, "train_s": 1.0, "data_wait_s": 0.0}]
        for loss in (0.5, 0.75)
    ]
    one, other = (make_record(phases=phases, method__phase_epochs=1) for phases in rows)
    assert first_difference(one, other) == (0, ("loss hint in epoch 1 of head",))
    assert first_difference(one, make_record()) == (None, ())  # an older record does not hold its phases


def test_transfer_alone_may_differ() -> None:
    assert first_difference(make_record(), make_record(transfer_hits=13)) == (None, ("transfer",))


def test_accuracy_in_the_band_of_the_rows_seeds_agrees(tmp_path: Path) -> None:
    committed = trio([10, 11, 12])
    found = agreement(tmp_path, committed[0], make_record(hits=13), *committed)
    assert (found.agrees, found.exact, found.difference) == (True, False, pytest.approx(0.15))
    said = "\n".join(lines_of(found))
    assert "agrees: top-1 65.0 % here, 50.0 % in the record (+15.0 points)" in said
    assert "a further seed of its row lies at 30.2 to 79.8 % (95 %, by 3 committed seeds)" in said


def test_accuracy_outside_the_band_does_not_agree(tmp_path: Path) -> None:
    committed = trio([10, 11, 12])
    found = agreement(tmp_path, committed[0], make_record(hits=18), *committed)
    assert not found.agrees
    assert mark_command(found) == (
        f"kdbench mark {committed[0].run_id} disputed --note 'top-1 90.0 % on Plain CPU' --by NAME"
    )


def test_without_a_band_only_an_equal_accuracy_agrees(tmp_path: Path) -> None:
    record = make_record()
    other_curve = make_record(curve=[0.1] * 7 + [0.5])
    assert agreement(tmp_path / "a", record, other_curve, record).agrees
    assert not agreement(tmp_path / "b", record, make_record(hits=11), record).agrees


def test_settings_in_which_the_runs_differ_are_named(tmp_path: Path) -> None:
    record = make_record()
    here = dict(record.environment) | {"threads": 1, "device": {"type": "cpu", "name": "Other CPU"}}
    found = agreement(tmp_path, record, msgspec.structs.replace(record, environment=here))
    assert found.settings == (
        "device (Plain CPU in the record, Other CPU here)",
        "threads (2 in the record, 1 here)",
    )
    assert found.exact


def test_setting_that_an_older_record_does_not_tell_is_not_compared(tmp_path: Path) -> None:
    record = make_record()
    newer = msgspec.structs.replace(record, environment=dict(record.environment) | {"compiled": False})
    assert agreement(tmp_path, record, newer).settings == ()


def test_report_says_what_the_lines_say(tmp_path: Path) -> None:
    committed = trio([10, 11, 12])
    facts = agreement(tmp_path, committed[0], make_record(hits=13), *committed).facts()
    assert (facts["agrees"], facts["exact"], facts["first_differing_epoch"]) == (True, False, 2)
    assert facts["band"]["seeds"] == 3
