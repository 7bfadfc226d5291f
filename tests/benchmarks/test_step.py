"""The training step and the evaluation, as ratios of times on this machine's CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torchvision.models.video import r3d_18

from kdbench.api import Batch, Progress
from kdbench.board import load_board
from kdbench.data.loader import TestLoader
from kdbench.evaluate import evaluate
from kdbench.train import Tally, Training, ask_student, ask_teacher, autocast, take_step
from tests.benchmarks.ratio import compare
from tests.test_train import training
from tests.tiny import material

START = Progress(0, 0, 30, 32, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Training:
    board = load_board("motion-shapes")
    return training(tmp_path_factory.mktemp("runs"), board, student="c3d", teacher="r3d")


def forward_and_backward(trained: Training, batch: Batch) -> None:
    student, teacher = ask_student(trained, batch), ask_teacher(trained, batch)
    terms = trained.objective.losses(batch, student, START) | trained.method.losses(batch, student, teacher, START)
    trained.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())


def test_the_loop_outside_forward_and_backward_takes_at_most_15_percent(
    benchmark: BenchmarkFixture, trained: Training
) -> None:
    batch, tally = next(trained.loader.epoch(0)), Tally()

    def whole() -> None:
        student, terms = take_step(trained, batch, START)
        tally.add(batch, student, terms)

    measured = compare(benchmark, slow=whole, fast=lambda: forward_and_backward(trained, batch), rounds=15)
    assert 1 - 1 / measured.median <= 0.15


def test_scoring_takes_at_most_a_third_more_than_its_forward_passes(
    benchmark: BenchmarkFixture, trained: Training
) -> None:
    found = material(load_board("motion-shapes"))
    test = TestLoader(load_board("motion-shapes"), found.store, found.test, torch.device("cpu"))
    clips = list(test.clips(1))

    def forward() -> None:
        trained.network.eval()
        with torch.no_grad(), autocast(trained.device, trained.precision):
            for batch in clips:
                trained.network(batch)

    measured = compare(benchmark, slow=lambda: evaluate(trained.network, test, trained.precision, 1), fast=forward)
    assert measured.median <= 4 / 3


def test_scoring_every_epoch_takes_at_most_8_percent_of_an_epoch_on_all_videos(
    benchmark: BenchmarkFixture, trained: Training
) -> None:
    videos, tests = 9_537, 3_783  # UCF101, split 1
    batch = next(trained.loader.epoch(0))
    clips = batch.clips_BVCTHW[:, 0]
    trained.network.train()

    def train() -> None:
        take_step(trained, batch, START)

    def score() -> None:
        trained.network.eval()
        with torch.no_grad(), autocast(trained.device, trained.precision):
            trained.network(clips)
        trained.network.train()

    measured = compare(benchmark, slow=train, fast=score, rounds=15)
    assert tests / (videos * measured.median) <= 0.08


@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_step_against_the_eager_one(benchmark: BenchmarkFixture, trained: Training) -> None:
    batch, network = next(trained.loader.epoch(0)), trained.network
    clips = batch.clips_BVCTHW.flatten(0, 1)
    problem = network.compile_for(len(clips), clips.shape[1:], trained.precision)
    if problem:
        pytest.skip(f"the compiler fails here: {problem}")
    compiled, network.compiled = network.compiled, None

    def step(how: object) -> None:
        network.compiled = how  # type: ignore[assignment]
        take_step(trained, batch, START)
        network.compiled = None

    measured = compare(benchmark, slow=lambda: step(None), fast=lambda: step(compiled), rounds=15)
    assert measured.median > 0.5  # whether it pays differs by machine, so it stays the user's choice


def learner(channels_last: bool, precision: torch.dtype | None) -> Callable[[], None]:
    """A training step of R3D-18 on two clips of 10 frames."""
    network: nn.Module = r3d_18(num_classes=101)
    clips: Tensor = torch.randn(2, 3, 10, 112, 112)
    if channels_last:
        network, clips = (each.to(memory_format=torch.channels_last_3d) for each in (network, clips))  # type: ignore[assignment, call-overload]

    def learn() -> None:
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", precision) if precision else nullcontext():
            logits = network(clips)
        torch.autograd.backward(logits.float().sum())

    return learn


def test_bf16_in_channels_last_is_at_least_1_8_times_as_fast_as_fp32_contiguous(benchmark: BenchmarkFixture) -> None:
    facts = Path("/proc/cpuinfo")
    if not facts.exists() or "avx512_bf16" not in facts.read_text(encoding="utf-8"):
        pytest.skip("this processor has no bf16 arithmetic (avx512_bf16)")
    measured = compare(benchmark, slow=learner(False, None), fast=learner(True, torch.bfloat16), rounds=5)
    assert measured.median >= 1.8
