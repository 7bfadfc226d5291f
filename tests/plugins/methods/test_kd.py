"""Knowledge distillation against its equation."""

from __future__ import annotations

import math

import torch

from kdbench.api import Batch, Outputs, Progress
from tests.tiny import registry

PROGRESS = Progress(epoch=0, step=0, epochs=1, steps_per_epoch=1, seed=0)
BATCH = Batch(torch.zeros(2, 1, 3, 1, 1, 1), torch.tensor([0, 1]), torch.tensor([0, 1]))
STUDENT, TEACHER = [[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], [[2.0, 0.0, -1.0], [0.5, 0.5, 4.0]]


def outputs(logits: list[list[float]]) -> Outputs:
    nothing = torch.zeros(2, 1)
    return Outputs(logits_BK=torch.tensor(logits, requires_grad=True), pooled_BD=nothing, pooled_BVD=nothing)


def soft_term(student: Outputs, teacher: Outputs, **options: float) -> torch.Tensor:
    method = registry().get("methods", "kd").make(options)
    terms: dict[str, torch.Tensor] = method.losses(BATCH, student, teacher, PROGRESS)
    assert set(terms) == {"soft"}
    return terms["soft"]


def softened(logits: list[float], tau: float) -> list[float]:
    powers = [math.exp(value / tau) for value in logits]
    return [power / sum(powers) for power in powers]


def test_the_term_is_tau_squared_times_the_mean_divergence_as_computed_by_loops() -> None:
    tau, weight, total = 4.0, 0.7, 0.0
    for mine, theirs in zip(STUDENT, TEACHER, strict=True):
        for p, q in zip(softened(theirs, tau), softened(mine, tau), strict=True):
            total += p * (math.log(p) - math.log(q)) / len(STUDENT)
    found = soft_term(outputs(STUDENT), outputs(TEACHER), temperature=tau, weight=weight)
    assert math.isclose(found.item(), weight * tau**2 * total, rel_tol=1e-5)


def test_the_divergence_is_soft_cross_entropy_minus_the_teachers_entropy() -> None:
    tau, cross, entropy = 4.0, 0.0, 0.0
    for mine, theirs in zip(STUDENT, TEACHER, strict=True):
        for p, q in zip(softened(theirs, tau), softened(mine, tau), strict=True):
            cross -= p * math.log(q) / len(STUDENT)
            entropy -= p * math.log(p) / len(STUDENT)
    assert math.isclose(soft_term(outputs(STUDENT), outputs(TEACHER)).item(), tau**2 * (cross - entropy), rel_tol=1e-4)


def test_the_term_is_zero_when_both_agree() -> None:
    assert abs(float(soft_term(outputs(TEACHER), outputs(TEACHER)).detach())) < 1e-6


def test_the_defaults_are_temperature_four_and_weight_one() -> None:
    options = registry().get("methods", "kd").options({})
    assert (options.temperature, options.weight) == (4.0, 1.0)


def test_the_gradient_pulls_the_student_towards_the_teacher() -> None:
    student = outputs(STUDENT)
    soft_term(student, outputs(TEACHER)).backward()
    assert student.logits_BK.grad is not None
    moved = (student.logits_BK - 0.1 * student.logits_BK.grad).detach().tolist()
    assert soft_term(outputs(moved), outputs(TEACHER)) < soft_term(outputs(STUDENT), outputs(TEACHER))
