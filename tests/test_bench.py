"""What a cell costs here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from kdbench.bench import BenchReport, Part, matrix_rate, measure
from kdbench.run import open_training
from tests.tiny import bench, request, tiny_board


def report(input_s: float, step_s: float, together_s: float) -> BenchReport:
    parts = [Part(seconds, videos=16, clips=3) for seconds in (input_s, step_s, together_s)]
    return BenchReport(*parts, step_flop=10**9, matrix_flop_per_s=10**11, parts={})


def test_clips_and_utilisation_follow_from_the_seconds() -> None:
    found = report(0.01, 0.1, 0.1)
    assert found.step.clips_per_s == pytest.approx(480)
    assert found.utilisation == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ((0.2, 0.1, 0.2), "limited by the input: it alone takes 100% of the time of a batch"),
        ((0.05, 0.1, 0.15), "limited by the input running in turn with the step: it adds 50% to it"),
        ((0.05, 0.1, 0.1), "limited by the step, which uses 10% of the arithmetic of a matrix product"),
    ],
)
def test_the_verdict_names_what_limits_a_run(seconds: tuple[float, float, float], said: str) -> None:
    assert report(*seconds).verdict == said


def test_the_arithmetic_of_a_step_is_three_times_its_forward_pass(tmp_path: Path) -> None:
    training = open_training(request(tiny_board(transfer=None)), bench(tmp_path))
    found = measure(training)
    # GMACs of a clip, two operations each, forward and twice that backward, for 5 videos of 3 clips.
    theory = training.network.spec.gmacs * 1e9 * 2 * 3 * 15
    assert 0.8 * theory < found.step_flop < 1.1 * theory


def test_all_three_parts_are_measured_and_the_trace_can_be_read(tmp_path: Path) -> None:
    training = open_training(request(tiny_board(transfer=None), student="c3d", teacher="r3d"), bench(tmp_path))
    found = measure(training, tmp_path / "trace" / "steps.json")
    assert min(part.seconds for part in (found.input, found.step, found.together)) > 0
    assert found.parts.keys() == {
        "reading",
        "augmentation",
        "student forward",
        "teacher forward",
        "losses and backward",
        "optimiser",
    }
    assert min(found.parts.values()) > 0
    assert json.loads((tmp_path / "trace" / "steps.json").read_text())["traceEvents"]


def test_a_matrix_product_has_a_rate() -> None:
    assert matrix_rate(torch.device("cpu"), "fp32") > 1e9
