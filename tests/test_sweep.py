"""The matrix of a board as a plan."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kdbench.board import digest_of_pins, load_board
from kdbench.errors import PluginError
from kdbench.records import Record, write_record
from kdbench.run import execute
from kdbench.sweep import Choice, Found, Plan, finished_records, make_plan
from tests.conftest import TINY
from tests.tiny import bench, registry, request

BOARD = load_board(str(TINY))


def plan(runs: Path, records: list[Record] | None = None, **choice: tuple[object, ...]) -> Plan:
    return make_plan(BOARD, Choice(**choice), Found(registry(), runs, records or []))  # type: ignore[arg-type]


def test_the_papers_matrix_is_36_student_cells_a_seed_and_three_teachers(tmp_path: Path) -> None:
    found = make_plan(load_board("camarena2024"), Choice(seeds=(0,)), Found(registry(), tmp_path, []))
    assert len(found.cells) == 36
    assert [run.request.student for run in found.teachers] == ["c3d", "r2plus1d", "r3d"]
    pairs = {(run.request.student, run.request.teacher) for run in found.cells}
    assert len(pairs) == 9
    assert not any(student == teacher for student, teacher in pairs)


def test_all_seeds_of_the_board_are_swept_unless_narrowed(tmp_path: Path) -> None:
    assert len(make_plan(load_board("camarena2024"), Choice(), Found(registry(), tmp_path, [])).cells) == 108


def test_every_part_of_the_matrix_can_be_narrowed(tmp_path: Path) -> None:
    found = plan(tmp_path, students=("c3d",), teachers=("r3d",), methods=("kd",), fractions=(0.5,), seeds=(4,))
    (run,) = found.cells
    assert run.request.command() == (
        "kdbench run --board tiny --student c3d --teacher r3d --method kd --fraction 0.5 --seed 4"
    )


def test_a_method_of_one_architecture_is_swept_with_each_students_own_kind_alone(tmp_path: Path) -> None:
    found = plan(tmp_path, methods=("warm-start",), fractions=(0.5,), seeds=(0,))
    assert {(run.request.student, run.request.teacher) for run in found.cells} == {
        (name, name) for name in BOARD.matrix.students
    }


def test_other_draws_of_a_fraction_are_other_cells_and_all_videos_are_one(tmp_path: Path) -> None:
    found = plan(tmp_path, students=("c3d",), methods=("scratch",), subset_seeds=(0, 1), seeds=(0,))
    drawn = [(run.request.fraction, run.request.subset_seed) for run in found.cells]
    assert drawn == [(1.0, 0), (0.5, 0), (0.5, 1)]
    assert found.cells[-1].request.command().endswith("--fraction 0.5 --seed 0 --subset-seed 1")


def test_teachers_come_first_and_no_run_comes_twice(tmp_path: Path) -> None:
    waiting = [run.request.command() for run in plan(tmp_path).waiting()]
    assert len(waiting) == len(set(waiting)) == 18
    assert all("--teacher" not in command and "--fraction 1 " in command for command in waiting[:3])


def test_a_plugin_that_is_not_there_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="c4d"):
        plan(tmp_path, students=("c4d",))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    runs = tmp_path_factory.mktemp("runs")
    return runs, execute(request(BOARD, student="r3d"), bench(runs))


def test_a_finished_run_is_done(done: tuple[Path, Record]) -> None:
    runs, record = done
    (run,) = plan(runs, [record], students=("r3d",), methods=("scratch",), fractions=(1.0,)).cells
    assert run.state == "done"


def test_a_record_under_other_pins_is_stale_and_the_pin_is_named(done: tuple[Path, Record]) -> None:
    runs, record = done
    pins = {**record.pins, "optim.lr": 0.5}
    board = msgspec.structs.replace(record.board, digest=digest_of_pins(pins))
    old = msgspec.structs.replace(record, pins=pins, board=board)
    (run,) = plan(runs, [old], students=("r3d",), methods=("scratch",), fractions=(1.0,)).cells
    assert (run.state, run.why) == ("stale", "changed since: optim.lr")


def test_a_run_on_frames_of_another_modality_is_neither_this_run_nor_an_older_form_of_it(
    done: tuple[Path, Record], tmp_path: Path
) -> None:
    pins = dict(done[1].pins) | {"frames.modality": "rgb"}
    other = msgspec.structs.replace(done[1], pins=pins)
    found = plan(tmp_path, [other], students=("r3d",), methods=("scratch",), fractions=(1.0,))
    assert [run.state for run in found.cells] == ["to do"]


def test_a_teacher_whose_weights_are_elsewhere_is_trained_again_though_its_record_is_there(
    done: tuple[Path, Record], tmp_path: Path
) -> None:
    found = plan(tmp_path, [done[1]], students=("c3d",), teachers=("r3d",), fractions=(1.0,))
    (teacher,) = found.teachers
    assert (teacher.state, teacher.why) == ("to do", "its record is there, its weights are not")


def test_a_run_that_failed_is_to_do_again_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "tiny" / "r3d-alone-scratch-1-s0-12345678"
    folder.mkdir(parents=True)
    (folder / "failure.json").write_text('{"kind": "RunFailed", "message": "the disk was full"}')
    (run,) = plan(tmp_path, students=("r3d",), methods=("scratch",), fractions=(1.0,)).cells
    assert (run.state, run.why) == ("to do", "failed before: the disk was full")


@pytest.mark.parametrize("content", ["", "[]", "{}", "\xff"])
def test_a_failure_that_cannot_be_read_stops_no_sweep(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "tiny" / "r3d-alone-scratch-1-s0-12345678"
    folder.mkdir(parents=True)
    (folder / "failure.json").write_text(content, encoding="latin-1")
    (run,) = plan(tmp_path, students=("r3d",), methods=("scratch",), fractions=(1.0,)).cells
    assert (run.state, run.why) == ("to do", f"failed before; {folder / 'failure.json'} cannot be read")


def test_records_are_found_in_the_runs_folder_and_on_the_leaderboard(done: tuple[Path, Record], tmp_path: Path) -> None:
    runs, record = done
    (tmp_path / "tiny" / "records").mkdir(parents=True)
    write_record(record, tmp_path / "tiny" / "records" / "a.json")
    assert finished_records(BOARD, runs, tmp_path) == [record, record]
