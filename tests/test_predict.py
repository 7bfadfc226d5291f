"""The forecast of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdbench.board import load_board
from kdbench.predict import Forecast, Size, Speed
from tests.tiny import access, request, tiny_board


def forecast() -> Forecast:
    """A forecast on the tiny board at speeds that are easy to multiply: one second a video, a tenth a clip."""
    found = Forecast(tiny_board(), access(), "cpu")
    found.speed = lambda backbone: Speed(video_s=1.0, clip_s=0.1)  # type: ignore[assignment]
    return found


def test_a_run_is_its_steps_its_scored_clips_and_its_fine_tuning_multiplied_out() -> None:
    # 3 epochs of 3 batches of 5; 8 test videos, once an epoch and with 2 views at the ends of 3 stages
    # (which here are epochs 1, 2 and 3); fine-tuning: 2 epochs of 12 single clips, 6 test videos.
    training, scoring = 3 * 15 * 1.0, 8 * (3 + 2 * 3) * 0.1
    tuning = 2 * 12 * 1.0 / 3 + 6 * (2 + 2) * 0.1
    assert forecast().seconds(request(tiny_board())) == pytest.approx(training + scoring + tuning)


def test_a_teacher_adds_its_look_at_the_first_clip_of_every_video() -> None:
    alone, taught = request(tiny_board()), request(tiny_board(), student="c3d", teacher="r3d")
    assert forecast().seconds(taught) - forecast().seconds(alone) == pytest.approx(3 * 15 * 0.1)


def test_a_smaller_fraction_costs_less() -> None:
    whole, half = (forecast().seconds(request(tiny_board(), fraction=fraction)) for fraction in (1.0, 0.5))
    assert half < whole


def test_the_lists_of_the_paper_are_known_without_its_videos(tmp_path: Path) -> None:
    found = Forecast(load_board("camarena2024"), access(videos={"ucf101": tmp_path, "hmdb51": tmp_path}), "cpu")
    assert found.size(0.02) == Size(196, 3783)
    assert found.size(None) == Size(3570, 1530)


def test_speeds_are_measured_on_this_machine() -> None:
    speed = Forecast(tiny_board(), access(), "cpu").speed("r3d")
    assert 0 < speed.clip_s < speed.video_s < 10
