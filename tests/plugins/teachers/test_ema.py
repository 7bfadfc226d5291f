"""The running average of a run as a teacher."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kdbench.checks import read_record
from kdbench.errors import PluginError
from kdbench.records import Record
from kdbench.run import execute
from tests.tiny import bench, registry, request, tiny_board

BOARD = tiny_board(transfer=None, optim={"epochs": 2})


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """A student of the average of a run, and the folder of all runs."""
    runs = tmp_path_factory.mktemp("runs")
    return runs / "tiny", execute(request(BOARD, student="c3d", teacher="ema:r3d", fraction=0.5), bench(runs))


def test_the_teacher_is_what_its_run_evaluated(taught: tuple[Path, Record]) -> None:
    runs, record = taught
    assert record.teacher is not None
    assert (record.teacher.spec, record.teacher.backbone, record.teacher.fraction) == ("ema:r3d", "r3d", 1.0)
    own = read_record(runs / str(record.teacher.run_id) / "record.json")
    assert record.teacher.top1 == own.derived.top1
    assert own.method.options["evaluate"] == "average"


def test_the_average_is_that_of_the_boards_own_baseline_run(taught: tuple[Path, Record], tmp_path: Path) -> None:
    runs, record = taught
    assert record.teacher is not None
    own = read_record(runs / str(record.teacher.run_id) / "record.json")
    plain = execute(request(BOARD, student="r3d"), bench(tmp_path))
    for mine, theirs in zip(own.epochs, plain.epochs, strict=True):
        assert {**mine.losses, "average": 0.0} == {**theirs.losses, "average": 0.0}
        assert mine.train_top1 == theirs.train_top1
    files = (runs / own.run_id / "weights.pt", tmp_path / "tiny" / plain.run_id / "weights.pt")
    average, last = (torch.load(path, weights_only=True)["network"] for path in files)
    assert average.keys() == last.keys()
    assert not torch.equal(average["action.weight"], last["action.weight"])


def test_an_unknown_backbone_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="c4d"):
        execute(request(BOARD, student="c3d", teacher="ema:c4d"), bench(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_average_is_known_by_the_same_name_on_every_machine() -> None:
    assert registry().get("teachers", "ema").cls.portable
