"""Distillation of the pretext task against its equation, and in a whole run."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from kdbench.api import Batch, Outputs, Progress
from kdbench.run import execute
from tests.tiny import bench, registry, request, tiny_board

PROGRESS = Progress(epoch=0, step=0, epochs=1, steps_per_epoch=1, seed=0)
BATCH = Batch(torch.zeros(2, 3, 3, 1, 1, 1), torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([3, 0]))
STUDENT = [[1.0, -2.0, 0.5, 0.0, 1.5], [0.0, 3.0, 1.0, -1.0, 0.25]]
TEACHER = [[2.0, 0.0, -1.0, 4.0, 0.5], [0.5, 0.5, 4.0, -2.0, 1.0]]


def outputs(pretext: list[list[float]], action: float = 0.0) -> Outputs:
    nothing = torch.zeros(2, 1)
    return Outputs(
        logits_BK=torch.full((2, 3), action),
        pooled_BD=nothing,
        pooled_BVD=nothing,
        pretext_BK=torch.tensor(pretext, requires_grad=True),
    )


def soft_term(student: Outputs, teacher: Outputs, **options: float) -> torch.Tensor:
    method = registry().get("methods", "kd-pretext").make(options)
    terms: dict[str, torch.Tensor] = method.losses(BATCH, student, teacher, PROGRESS)
    assert set(terms) == {"soft_pretext"}
    return terms["soft_pretext"]


def softened(logits: list[float], tau: float) -> list[float]:
    powers = [math.exp(value / tau) for value in logits]
    return [power / sum(powers) for power in powers]


def test_the_term_is_tau_squared_times_the_mean_divergence_as_computed_by_loops() -> None:
    tau, weight, total = 2.5, 0.7, 0.0
    for mine, theirs in zip(STUDENT, TEACHER, strict=True):
        for p, q in zip(softened(theirs, tau), softened(mine, tau), strict=True):
            total += p * (math.log(p) - math.log(q)) / len(STUDENT)
    found = soft_term(outputs(STUDENT), outputs(TEACHER), temperature=tau, weight=weight)
    assert math.isclose(found.item(), weight * tau**2 * total, rel_tol=1e-5)


def test_the_term_is_zero_when_both_agree() -> None:
    assert abs(float(soft_term(outputs(TEACHER), outputs(TEACHER)).detach())) < 1e-6


def test_the_action_logits_do_not_matter() -> None:
    plain = soft_term(outputs(STUDENT), outputs(TEACHER))
    assert torch.equal(plain, soft_term(outputs(STUDENT, action=5.0), outputs(TEACHER, action=-3.0)))


def test_the_defaults_are_temperature_four_and_weight_one() -> None:
    options = registry().get("methods", "kd-pretext").options({})
    assert (options.temperature, options.weight) == (4.0, 1.0)


def test_the_gradient_pulls_the_student_towards_the_teacher() -> None:
    student = outputs(STUDENT)
    soft_term(student, outputs(TEACHER)).backward()
    assert student.pretext_BK is not None
    assert student.pretext_BK.grad is not None
    moved = (student.pretext_BK - 0.1 * student.pretext_BK.grad).detach().tolist()
    assert soft_term(outputs(moved), outputs(TEACHER)) < soft_term(outputs(STUDENT), outputs(TEACHER))


def test_a_run_shows_the_teacher_whole_tuples_and_adds_one_term_to_the_boards_own(tmp_path: Path) -> None:
    board = tiny_board(transfer=None, objective={"kind": "ssl"})
    record = execute(request(board, teacher="c3d", method="kd-pretext"), bench(tmp_path))
    assert record.method.teacher_clips_per_step == board.clip.per_tuple * board.optim.batch
    assert set(record.epochs[-1].losses) == {"action", "pretext", "contrast", "soft_pretext"}
    assert record.epochs[-1].losses["soft_pretext"] > 0
