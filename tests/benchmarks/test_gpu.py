"""What a CUDA device reaches on the paper's board, on made-up videos: run by `make gpu-test`."""

from __future__ import annotations

from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from kdbench.bench import BenchReport, measure
from kdbench.board import Board, load_board
from kdbench.leaderboard.scoring import estimate
from kdbench.run import execute, open_training
from kdbench.train import Training, fit
from tests.tiny import bench, request

CLASSES, VIDEOS, FRAMES = 4, 100, 80
OF_THE_MATRIX_RATE = {"c3d": 0.45, "r3d": 0.35, "r2plus1d": 0.35}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    """The paper's board on a folder of noise: what the pictures show costs nothing."""
    paper = load_board("camarena2024")
    options = {"group": "_(g[0-9]+)", "test_groups": ["g01"]}
    data = msgspec.structs.replace(paper.data, dataset="folder", options=options)
    return msgspec.structs.replace(paper, data=data, transfer=None)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    noise = np.random.default_rng(0).integers(0, 255, (FRAMES, 240, 320, 3), dtype=np.uint8)
    for number in range(VIDEOS):
        path = root / f"class{number % CLASSES}" / f"v_g{number // CLASSES + 1:02d}.avi"
        path.parent.mkdir(exist_ok=True)
        with av.open(str(path), "w", format="avi") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for image in np.roll(noise, number, axis=0):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    return root


def opened(
    board: Board, videos: Path, tmp_path: Path, student: str, placement: str = "mmap", compiled: bool = False
) -> Training:
    place = bench(tmp_path, access={"videos": {"folder": videos}}, device="cuda", placement=placement)
    return open_training(request(board, student=student, compiled=compiled), place)


def measured(benchmark: BenchmarkFixture, training: Training) -> BenchReport:
    report: BenchReport = benchmark.pedantic(measure, args=(training,), rounds=1)
    benchmark.extra_info.update(report.facts())
    return report


@pytest.mark.parametrize("student", sorted(OF_THE_MATRIX_RATE))
def test_a_step_uses_its_share_of_the_matrix_rate_and_the_input_is_hidden(
    benchmark: BenchmarkFixture, board: Board, videos: Path, tmp_path: Path, student: str
) -> None:
    report = measured(benchmark, opened(board, videos, tmp_path, student))
    assert report.overlap >= 0.97
    assert report.utilisation >= OF_THE_MATRIX_RATE[student]


def test_an_epoch_waits_for_data_at_most_1_percent_of_its_time(
    benchmark: BenchmarkFixture, board: Board, videos: Path, tmp_path: Path
) -> None:
    training = opened(board, videos, tmp_path, "r3d")
    epochs = fit(training)
    next(epochs)
    summary = benchmark.pedantic(lambda: next(epochs), rounds=1)
    assert summary.data_wait_s <= 0.01 * (summary.train_s + summary.data_wait_s)


@pytest.mark.parametrize("placement", ["mmap", "ram", "gpu"])
def test_the_input_is_hidden_wherever_the_frames_lie(
    benchmark: BenchmarkFixture, board: Board, videos: Path, tmp_path: Path, placement: str
) -> None:
    report = measured(benchmark, opened(board, videos, tmp_path, "r3d", placement))
    assert report.overlap >= 0.97


def test_augmentation_takes_at_most_a_tenth_of_a_step(
    benchmark: BenchmarkFixture, board: Board, videos: Path, tmp_path: Path
) -> None:
    report = measured(benchmark, opened(board, videos, tmp_path, "r3d"))
    assert report.parts["augmentation"] <= 0.1 * report.step.seconds


@pytest.mark.filterwarnings("default")  # the compiler's own
@pytest.mark.parametrize("student", sorted(OF_THE_MATRIX_RATE))
def test_what_compiling_is_worth(
    benchmark: BenchmarkFixture, board: Board, videos: Path, tmp_path: Path, student: str
) -> None:
    """Reported; the gate is only that it does no harm."""
    eager = measure(opened(board, videos, tmp_path / "eager", student))
    compiled = measured(benchmark, opened(board, videos, tmp_path / "compiled", student, compiled=True))
    benchmark.extra_info["times_as_fast"] = eager.step.seconds / compiled.step.seconds
    assert compiled.step.seconds <= 1.05 * eager.step.seconds


def test_bf16_and_fp32_reach_the_same_accuracy_within_the_noise_of_5_seeds(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """The 95 % interval of the paired differences holds zero; about ten minutes."""
    board = msgspec.structs.replace(load_board("motion-shapes"), transfer=None)

    def top1(seed: int, precision: str) -> float:
        exact = msgspec.structs.replace(board.precision, cuda=precision)
        asked = request(msgspec.structs.replace(board, precision=exact), student="r3d", seed=seed)
        return execute(asked, bench(tmp_path / precision, device="cuda")).derived.top1

    def differences() -> list[float]:
        return [top1(seed, "bf16") - top1(seed, "fp32") for seed in range(5)]

    found = estimate(benchmark.pedantic(differences, rounds=1))
    assert found is not None
    benchmark.extra_info.update(mean=found.mean, half=found.half)
    assert found.half is None or abs(found.mean) <= found.half
