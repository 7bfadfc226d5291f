"""A whole run, from request to record."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from kdbench.checks import problems_of, read_record
from kdbench.errors import BoardError, PluginError, RunFailed
from kdbench.records import Record
from kdbench.registry import load_registry
from kdbench.request import Setting, check, run_config, run_id
from kdbench.run import execute
from kdbench.rundir import RunDir
from tests.conftest import Listener
from tests.tiny import bench, material, registry, request, tiny_board


def measured(record: Record) -> dict[str, Any]:
    """What a repetition must reproduce: everything but times, memory and the number of resumes."""
    return {
        "curve": [(row.test_top1, row.train_top1, row.pretext_top1, row.losses) for row in record.epochs],
        "stages": record.stages,
        "predictions": record.predictions,
        "derived": record.derived,
        "transfer": record.transfer and (record.transfer.curve, record.transfer.predictions),
        "id": record.run_id,
    }


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record, Listener]:
    runs, listener = tmp_path_factory.mktemp("runs"), Listener()
    asked = request(tiny_board(), student="c3d", teacher="r3d")
    return runs, execute(asked, bench(runs, listener)), listener


def test_a_run_leaves_a_record_that_agrees_with_itself(taught: tuple[Path, Record, Listener]) -> None:
    runs, record, _ = taught
    kept = read_record(runs / "tiny" / record.run_id / "record.json")
    assert kept == record
    assert problems_of(kept) == []
    assert record.status == "complete"


def test_the_teacher_is_trained_first_and_the_user_is_told(taught: tuple[Path, Record, Listener]) -> None:
    runs, record, listener = taught
    wanted = "teacher r3d: needs the board's own scratch run first (3 epochs on 100% of the training videos)"
    assert any(line.startswith(wanted) for line in listener.said)
    assert record.teacher is not None
    own = read_record(runs / "tiny" / str(record.teacher.run_id) / "record.json")
    assert (own.student.name, own.method.name, own.teacher) == ("r3d", "scratch", None)
    assert record.teacher.top1 == own.derived.top1
    assert record.teacher.training_list_sha256 == own.cell.training_list_sha256


def test_the_record_names_plugins_lists_and_the_board_by_digest(taught: tuple[Path, Record, Listener]) -> None:
    _, record, _ = taught
    assert record.board.digest == tiny_board().digest
    assert record.method.options == {"temperature": 4.0, "weight": 1.0}
    assert len(record.student.sha256) == len(record.cell.training_list_sha256) == 64
    assert record.cell.metric == "video_top1_c2"
    assert record.teacher is not None
    assert record.teacher.privileged is False


def test_the_record_names_no_host_user_or_path(taught: tuple[Path, Record, Listener]) -> None:
    runs, record, _ = taught
    text = (runs / "tiny" / record.run_id / "record.json").read_text()
    assert str(runs) not in text
    assert str(Path.home()) not in text


def test_seconds_add_up_to_the_wall_clock(taught: tuple[Path, Record, Listener]) -> None:
    cost = taught[1].cost
    parts = [cost.train_s, cost.data_wait_s, cost.evaluate_s, cost.checkpoint_s, cost.transfer_s, cost.other_s]
    assert sum(parts) == pytest.approx(cost.wall_s)
    assert cost.other_s < 0.5 * cost.wall_s + 0.5


def test_an_unfinished_runs_files_are_gone_and_the_weights_stay(taught: tuple[Path, Record, Listener]) -> None:
    runs, record, _ = taught
    left = {path.name for path in (runs / "tiny" / record.run_id).iterdir()}
    assert {"record.json", "weights.pt", "epochs.jsonl", "config.json"} <= left
    assert not left & {"train.pt", "transfer.pt", "failure.json"}


def test_a_finished_run_is_not_run_again(taught: tuple[Path, Record, Listener]) -> None:
    runs, record, _ = taught
    listener = Listener()
    assert execute(request(tiny_board(), student="c3d", teacher="r3d"), bench(runs, listener)) == record
    assert listener.rows == []


def test_two_runs_are_equal_in_every_measured_value(taught: tuple[Path, Record, Listener], tmp_path: Path) -> None:
    again = execute(request(tiny_board(), student="c3d", teacher="r3d"), bench(tmp_path))
    assert measured(again) == measured(taught[1])


def test_the_command_in_a_record_repeats_the_run() -> None:
    asked = request(student="c3d", teacher="r3d", options={"weight": "2"}, fraction=0.5, seed=3)
    assert asked.command() == (
        "kdbench run --board tiny --student c3d --teacher r3d --method kd -o weight=2 --fraction 0.5 --seed 3"
    )


def test_a_subset_run_says_how_many_videos_it_saw_and_marks_its_teacher_as_privileged(tmp_path: Path) -> None:
    record = execute(request(student="c3d", teacher="r3d", fraction=0.5), bench(tmp_path))
    assert record.cell.num_training_videos == 8
    assert record.teacher is not None
    assert record.teacher.privileged is True


def test_a_run_whose_compiler_fails_goes_on_without_it_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler here")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: refuse)
    listener, board = Listener(), tiny_board(transfer=None, optim={"epochs": 1})
    record = execute(request(board, compiled=True), bench(tmp_path, listener))
    assert "the student runs uncompiled: RuntimeError: no C++ compiler here" in listener.said
    assert record.environment["compiled"] is False
    assert record.command.endswith(" --compile")


def test_another_subset_seed_draws_other_videos_and_keeps_the_teacher(tmp_path: Path) -> None:
    asked = request(student="c3d", teacher="r3d", fraction=0.5)
    first, other = (execute(replace(asked, subset_seed=seed), bench(tmp_path)) for seed in (0, 1))
    assert (first.cell.subset_seed, other.cell.subset_seed) == (0, 1)
    assert first.cell.training_list_sha256 != other.cell.training_list_sha256
    assert first.teacher == other.teacher
    assert "-subset1-" in other.run_id


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"fraction": 0.3}, BoardError, "fraction 0.3: board tiny has 1, 0.5"),
        ({"subset_seed": 2}, BoardError, "subset seed 2: all videos are one subset; leave --subset-seed out"),
        ({"student": "c4d"}, PluginError, "c4d"),
        ({"teacher": ""}, PluginError, "--teacher is empty; give a name, or leave the option out"),
        ({"method": ""}, PluginError, "--method is empty; give a name, or leave the option out"),
        ({"seed": 2**63}, BoardError, "seed 9223372036854775808: a seed is a whole number from 0 to 922337"),
        ({"seed": -1}, BoardError, "seed -1: a seed is a whole number from 0 to 922337"),
        ({"teacher": "r9d", "student": "c3d"}, PluginError, "r9d"),
        ({"method": "kd"}, PluginError, "method kd needs a teacher; add --teacher NAME"),
        ({"method": "scratch", "teacher": "c3d"}, PluginError, "method scratch takes no teacher"),
        ({"teacher": "c3d", "options": {"temprature": "2"}}, PluginError, "did you mean 'temperature'?"),
        ({"teacher": "teleport:c3d"}, PluginError, "teleport"),
        ({"teacher": "checkpoint:/nowhere.pt"}, Exception, "/nowhere.pt: no such checkpoint"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_training(
    tmp_path: Path, asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said.replace("(", r"\(").replace("?", r"\?")):
        execute(request(**asked), bench(tmp_path))
    assert not list(tmp_path.rglob("epochs.jsonl"))


def test_a_run_that_fails_leaves_the_reason_and_a_later_success_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RunFailed("the plug was pulled")

    with monkeypatch.context() as patched:
        patched.setattr("kdbench.session.follow", broken)
        with pytest.raises(RunFailed, match="plug"):
            execute(request(), bench(tmp_path))
    (failure,) = tmp_path.rglob("failure.json")
    assert json.loads(failure.read_text())["message"] == "the plug was pulled"
    execute(request(), bench(tmp_path))
    assert not failure.exists()


def test_a_run_that_another_process_holds_is_refused_and_its_holder_named(tmp_path: Path) -> None:
    record = execute(request(), bench(tmp_path))
    folder = RunDir(tmp_path / "tiny" / record.run_id)
    folder.record_path.unlink()
    with folder.held(), pytest.raises(RunFailed, match=r"process \d+ is working on this run"):
        execute(request(), bench(tmp_path))


def test_a_finished_run_can_be_read_while_another_process_holds_it(tmp_path: Path) -> None:
    record = execute(request(), bench(tmp_path))
    with RunDir(tmp_path / "tiny" / record.run_id).held():
        assert execute(request(), bench(tmp_path)) == record


def test_an_edited_plugin_gets_a_run_of_its_own(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    text = Path(str(files("kdbench_plugins.methods") / "scratch.py")).read_text().replace('"scratch"', '"mine"')
    ids = set()
    for edit in ("", "# edited\n"):
        plugin.write_text(text + edit)
        found = check(request(method="mine"), load_registry([plugin]))
        setting = Setting(None, None, "", "fp32", partial=False)
        ids.add(run_id(run_config(request(method="mine"), found, setting)))
    assert len(ids) == 2


def test_a_run_whose_teacher_has_no_written_card_keeps_its_name() -> None:
    found = check(request(), registry())
    config = run_config(request(), found, Setting(None, None, "", "fp32", partial=False))
    assert "teacher_card_sha256" not in config
    told = run_config(request(), found, Setting(None, None, "", "fp32", partial=False, teacher_card_sha256="ab"))
    assert told == config | {"teacher_card_sha256": "ab"}


def test_the_digest_of_the_frames_stands_in_the_record(taught: tuple[Path, Record, Listener]) -> None:
    assert taught[1].cell.frames_sha256 == material(tiny_board()).frames_sha256


def test_weights_can_be_loaded_as_data_only(tmp_path: Path) -> None:
    record = execute(request(), bench(tmp_path))
    content = torch.load(tmp_path / "tiny" / record.run_id / "weights.pt", weights_only=True)
    assert content["card"]["training_videos"][0].startswith("motion_shapes/")
