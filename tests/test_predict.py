"""The forecast of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdbench.board import load_board
from kdbench.predict import Demand, Forecast, Size, Speed
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


def test_each_member_of_an_ensemble_adds_its_look() -> None:
    alone, taught = (
        request(tiny_board(), student="c3d"),
        request(tiny_board(), student="c3d", teacher="ensemble:r3d+c3d"),
    )
    assert forecast().seconds(taught) - forecast().seconds(alone) == pytest.approx(2 * 3 * 15 * 0.1)


def test_further_clips_cost_the_student_and_the_teacher_and_a_phase_its_epochs() -> None:
    asked = {"student": "c3d", "teacher": "r3d"}
    plain = forecast().seconds(request(tiny_board(), **asked))
    wide = request(tiny_board(), **asked, method="sskd", options={"head_epochs": 4})
    # Three more clips of each video, as many as a tuple has, for 3 epochs; 4 epochs in which nothing is learnt from
    # the student's and the teacher's look at the tuple, and the first clip, and the three.
    more, phase = 3 * 15 * (1.0 + 3 * 0.1), 4 * 15 * (6 + 4) * 0.1
    assert forecast().seconds(wide) - plain == pytest.approx(more + phase)


def test_a_twin_costs_its_look_and_a_phase_of_all_costs_whole_epochs() -> None:
    alone = forecast().seconds(request(tiny_board()))
    assert forecast().seconds(request(tiny_board(), method="self-kd")) - alone == pytest.approx(3 * 15 * 0.1)
    found = forecast().seconds(request(tiny_board(), method="auxskd", options={"epochs": 2}))
    assert found - alone == pytest.approx((3 + 2) * 15 * 0.1 + 2 * 15 * 1.0)


@pytest.mark.parametrize("tap", ["stage2", "stage9"])
def test_a_method_that_the_student_cannot_have_is_forecast_by_its_phases_alone(tap: str) -> None:
    asked = request(tiny_board(), teacher="c3d", method="simkd", options={"tap": tap})
    assert forecast().demand(asked) == Demand()


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
