"""Distillation with a decaying weight against its equation."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdbench.api import Progress
from kdbench.errors import PluginError
from kdbench.train import take_step
from tests.plugins.methods.cases import batch, built, divergence, gradients, numbers, outputs, progress, softmax
from tests.test_train import training


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (1, 3), (4, 1)])
def test_the_term_and_the_boards_share_are_the_convex_combination_as_computed_by_loops(epoch: int, step: int) -> None:
    student, teacher, tau = outputs(1), outputs(2), 2.0
    rate, at = 1 - (epoch * 5 + step) / (0.44 * 50), progress(epoch, step)
    rows = zip(numbers(student.logits_BK), numbers(teacher.logits_BK), strict=True)
    soft = sum(divergence(softmax(theirs / tau), softmax(mine / tau)) for mine, theirs in rows) / 4
    method = built("kd-decay")
    assert method.objective_share(at) == pytest.approx(1 - rate)
    assert method.losses(batch(), student, teacher, at)["soft"].item() == pytest.approx(rate * tau**2 * soft, rel=1e-5)


def test_it_begins_with_the_teacher_alone_and_ends_with_the_board_alone() -> None:
    method, first, last = built("kd-decay"), progress(0, 0), progress(9, 4)
    assert (method.objective_share(first), method.objective_share(last)) == (0, 1)
    assert method.losses(batch(), outputs(1), outputs(2), first)["soft"].item() > 0
    assert method.losses(batch(), outputs(1), None, last)["soft"].item() == 0


def test_the_teacher_is_asked_until_its_weight_is_nothing() -> None:
    wanted = [built("kd-decay").wants_teacher(progress(4, step)) for step in range(4)]
    assert wanted == [True, True, False, False]


def test_the_soft_term_is_zero_when_both_agree() -> None:
    terms = built("kd-decay").losses(batch(), outputs(1), outputs(1), progress())
    assert abs(terms["soft"].item()) < 1e-6


def test_a_run_lowers_the_boards_terms_by_their_share_and_keeps_them_apart(tmp_path: Path) -> None:
    begun = training(tmp_path, student="c3d", teacher="r3d", method=built("kd-decay"))
    sample = next(begun.loader.epoch(0))
    half = Progress(epoch=0, step=1, epochs=5, steps_per_epoch=1, seed=0)
    shared = take_step(begun, sample, half)[1]
    whole = training(tmp_path, student="c3d")
    alone = take_step(whole, sample, half)[1]
    share = (1 / 5) / 0.44
    assert {name: shared[name].item() for name in alone} == pytest.approx(
        {name: share * term.item() for name, term in alone.items()}, rel=1e-5
    )


def test_only_the_students_logits_get_a_gradient() -> None:
    assert gradients(built("kd-decay"), outputs(1, learns=True), outputs(2)) == {"logits"}


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(PluginError, match=r"share is 0.0; it must be above 0"):
        built("kd-decay", share=0)
