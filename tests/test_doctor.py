"""What a machine can do: verdicts from facts, and the facts as they are gathered."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdbench import doctor
from kdbench.board import load_board
from kdbench.data.loader import VideoList
from kdbench.doctor import Finding, Layer, Machine, attempt, examine, layers_of, read_rate
from kdbench.errors import DataError, RunFailed
from kdbench.models import build_network
from kdbench.predict import Speed
from tests.tiny import access, material, registry, tiny_board

CPU = torch.device("cpu")
NAMES = ["versions", "device", "cuDNN", "bf16 values", "bf16 speed", "determinism", "training step", "disk"]
FRAMES = ["frame store", "reading"]


def found(machine: Machine) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(machine)}


def machine(**changes: Any) -> Machine:
    given: dict[str, Any] = {"board": tiny_board(), "student": "r3d", "access": access(), "device": "cpu"}
    return Machine(**{**given, **changes})


@pytest.mark.parametrize(
    ("number", "precision", "verdict"),
    [
        (91500, "bf16", "ok"),
        (91002, "bf16", "wrong"),
        (91499, "tf32", "slow"),
        (8907, "fp32", "slow"),
        (None, "bf16", "not checked"),
    ],
)
def test_a_cudnn_before_9_15_is_wrong_for_bf16_and_slow_for_the_rest(
    number: int | None, precision: str, verdict: str
) -> None:
    finding = doctor.judge_cudnn(number, precision)
    assert finding.verdict == verdict
    assert bool(finding.advice) == (verdict in ("wrong", "slow"))


def test_an_old_cudnn_is_named_with_the_reason_and_the_way_out() -> None:
    finding = doctor.judge_cudnn(91002, "bf16")
    assert finding.told.startswith("9.10.2: before 9.15")
    assert all(issue in finding.told for issue in ("166122", "163539", "167024"))
    assert "pip install" in finding.advice


def test_a_package_that_is_too_old_is_wrong_and_the_command_that_mends_it_is_told() -> None:
    finding = doctor.judge_versions({"torch": "2.9.1+cu128", "av": "18.0"}, {"torch": "2.11", "av": "18"}, "")
    assert (finding.verdict, finding.advice) == ("wrong", "pip install --upgrade 'torch>=2.11'")
    assert "torch 2.9.1+cu128" in finding.told


def test_versions_that_are_new_enough_are_told_and_no_more() -> None:
    assert doctor.judge_versions({"torch": "2.15.0"}, {"torch": "2.11"}, "") == Finding(
        "versions", "ok", "torch 2.15.0"
    )


def test_a_torchvision_of_another_torch_is_wrong() -> None:
    finding = doctor.judge_versions({"torch": "2.15.0"}, {}, "operator torchvision::nms does not exist")
    assert finding.verdict == "wrong"
    assert finding.advice.endswith("torch torchvision")


@pytest.mark.parametrize(
    ("device", "free", "unused", "verdict"),
    [("cpu", 8, False, "ok"), ("cpu", 8, True, "slow"), ("cuda", 7, False, "ok"), ("cuda", 3, False, "slow")],
)
def test_a_device_that_others_use_or_that_torch_cannot_use_is_slow(
    device: str, free: int, unused: bool, verdict: str
) -> None:
    memory = (free * doctor.GIB, 8 * doctor.GIB)
    finding = doctor.judge_device(torch.device(device), "a device", memory, unused_gpu=unused)
    assert finding.verdict == verdict
    assert "8.0 GiB" in finding.told


def test_a_processor_that_others_use_is_slow() -> None:
    memory = (8 * doctor.GIB, 8 * doctor.GIB)
    finding = doctor.judge_device(CPU, "a processor", memory, load=1000.0)
    assert finding.verdict == "slow"
    assert "1000.0 processes share it" in finding.told


@pytest.mark.parametrize(
    ("errors", "used", "verdict"),
    [
        ({"stem": 0.003, "last": 0.0199}, True, "ok"),
        ({"stem": 0.003, "last": 0.5}, True, "wrong"),
        ({"stem": math.nan}, True, "wrong"),
        ({"stem": 0.5}, False, "ok"),
        ({}, True, "not checked"),
    ],
)
def test_errors_that_rounding_does_not_explain_are_wrong_where_the_board_computes_so(
    errors: dict[str, float], used: bool, verdict: str
) -> None:
    assert doctor.judge_errors(errors, used).verdict == verdict


@pytest.mark.parametrize(
    ("ratios", "used", "verdict"),
    [
        ({"stem": 1.1, "last": 0.3}, True, "ok"),
        ({"stem": 4.0, "last": 0.9}, True, "slow"),
        ({"stem": 4.0}, False, "ok"),
        ({}, True, "not checked"),
    ],
)
def test_bf16_that_takes_longer_than_fp32_is_slow_where_the_board_computes_so(
    ratios: dict[str, float], used: bool, verdict: str
) -> None:
    for units in ("", "this processor has AMX"):
        assert doctor.judge_speed(ratios, units, used).verdict == verdict


def test_a_processor_that_has_units_for_bf16_is_not_advised_to_get_some() -> None:
    slow = {"stem": 2.0}
    assert "a processor with AMX" in doctor.judge_speed(slow, f"this processor has {doctor.NO_UNITS}", True).advice
    assert "ask again" in doctor.judge_speed(slow, "this processor has AMX", True).advice


def test_a_difference_between_equal_steps_is_wrong_unless_an_operation_explains_it() -> None:
    assert doctor.judge_determinism(True, ["max_pool3d"]).verdict == "ok"
    explained = doctor.judge_determinism(False, ["max_pool3d"])
    assert explained.verdict == "ok"
    assert "max_pool3d" in explained.told
    assert doctor.judge_determinism(False, []).verdict == "wrong"


def test_a_disk_that_cannot_hold_a_run_is_wrong() -> None:
    assert doctor.judge_disk(10, 11, Path("runs")).verdict == "wrong"
    assert doctor.judge_disk(11, 11, Path("runs")).verdict == "ok"


def test_frames_must_come_twice_as_fast_as_the_step_needs_them() -> None:
    assert doctor.judge_reading(200, 100).verdict == "ok"
    late = doctor.judge_reading(199, 100)
    assert late.verdict == "slow"
    assert late.advice


def test_a_store_that_is_larger_than_the_memory_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    store = material(tiny_board()).store
    assert doctor.judge_store(store, 1, CPU).verdict == "ok"

    def refuse(*_: object) -> None:
        raise RunFailed("no room")

    monkeypatch.setattr(doctor, "require_room", refuse)
    assert doctor.judge_store(store, 1, CPU).verdict == "slow"


def test_what_torch_cannot_do_here_is_wrong_and_what_kdbench_refuses_is_not_checked() -> None:
    def fail() -> Finding:
        raise RuntimeError("no kernel image is available\nfor execution")

    def refuse() -> Finding:
        raise DataError("place", "is empty")

    assert attempt("x", fail).told == "fails: no kernel image is available"
    assert attempt("x", fail).verdict == "wrong"
    assert attempt("x", refuse) == Finding("x", "not checked", "because of this: place: is empty")


def test_the_layers_are_the_first_the_middle_and_the_last_with_the_maps_they_are_given() -> None:
    board = tiny_board()
    network = build_network(board, registry().get("backbones", "r3d"), 2, 0, {})
    layers = layers_of(network, board)
    assert [layer.where for layer in layers] == ["stem.0", "stage2.conv2", "stage4.conv2"]
    assert layers[0].shape == (3, 8, 16, 16)
    assert not any(layer.conv._forward_hooks for layer in layers)


def test_an_arithmetic_that_is_off_is_found_and_rounding_is_not() -> None:
    class Off(nn.Conv3d):
        def forward(self, maps: Tensor) -> Tensor:
            out = super().forward(maps)
            return out * 1.1 if torch.is_autocast_enabled("cpu") else out

    def error(kind: type[nn.Conv3d]) -> float:
        return Layer("it", kind(4, 4, 3, padding=1), (4, 4, 8, 8), 10**8).error(tiny_board(), CPU)

    assert 0 < error(nn.Conv3d) < doctor.BF16_ERROR < error(Off)


def test_a_machine_in_order_is_told_so_line_by_line(tmp_path: Path) -> None:
    material(tiny_board())
    findings = found(machine(runs=tmp_path / "not" / "there"))
    assert list(findings) == NAMES + FRAMES
    assert {name: each.told for name, each in findings.items() if each.verdict == "wrong"} == {}
    assert [name for name, each in findings.items() if each.verdict == "not checked"] == ["cuDNN"]


def test_without_frames_the_lines_about_them_name_the_command_that_prepares_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path))
    findings = found(machine(board=load_board("motion-shapes")))
    for name in FRAMES:
        assert findings[name].verdict == "not checked"
        assert findings[name].advice == "kdbench data prepare motion_shapes --board motion-shapes"
    assert list(tmp_path.iterdir()) == [], "looking must leave nothing behind"


def test_a_step_that_fails_is_wrong_and_reading_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    material(tiny_board())

    def out_of_memory(*_: object) -> Speed:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("kdbench.predict.Forecast._measure", out_of_memory)
    findings = found(machine())
    assert findings["training step"].verdict == "wrong"
    assert findings["reading"].verdict == "not checked"


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(RunFailed, match="cuda:99"):
        found(machine(device="cuda:99"))


def test_windows_are_read_however_few_videos_there_are() -> None:
    data = material(tiny_board())
    one = VideoList.of(data.store, data.train.ids[:1], {data.train.ids[0]: 0})
    assert read_rate(tiny_board(), data.store, one, CPU) > 0
