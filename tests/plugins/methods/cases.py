"""Small examples for the tests of methods: outputs, specs and progress, and a method that was built for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task
from kdbench.models import Network, build_network
from tests.tiny import registry, tiny_board

Floats = NDArray[np.float64]
STAGES = ("stage1", "stage2", "stage3", "stage4")
VIDEOS, CLASSES = 4, 5
CLASS_OF_VIDEO = (0, 1, 2, 3, 4, 0, 1, 2, 3, 4)
STUDENT_SHAPES = ((2, 4, 6, 6), (3, 4, 3, 3), (4, 2, 2, 2), (4, 1, 1, 1))
TEACHER_SHAPES = ((3, 4, 3, 3), (2, 2, 3, 3), (6, 2, 2, 2), (5, 1, 2, 2))


def draw(seed: int, *shape: int) -> Tensor:
    """Numbers of a standard normal distribution, the same for the same seed."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


def outputs(
    seed: int, shapes: Sequence[tuple[int, ...]] = (), *, features: int = 6, videos: int = VIDEOS, learns: bool = False
) -> Outputs:
    """Drawn logits (B, K), pooled features (B, D) and maps of the stages; `learns` makes them ask for gradients."""
    pooled = draw(seed + 1, videos, features).requires_grad_(learns)
    return Outputs(
        logits_BK=(2 * draw(seed, videos, CLASSES)).requires_grad_(learns),
        pooled_BD=pooled,
        pooled_BVD=pooled[:, None],
        taps={
            stage: draw(seed + 2 + at, videos, *shape).abs().requires_grad_(learns)
            for at, (stage, shape) in enumerate(zip(STAGES, shapes, strict=False))
        },
    )


def spec(shapes: Sequence[tuple[int, ...]] = (), features: int = 6) -> NetworkSpec:
    """A network of these sizes, with a drawn and frozen classifier."""
    classifier = nn.Linear(features, CLASSES)
    with torch.no_grad():
        classifier.weight.copy_(draw(90, CLASSES, features))
        classifier.bias.copy_(draw(91, CLASSES))
    classifier.requires_grad_(False)
    taps: Mapping[str, tuple[int, ...]] = dict(zip(STAGES, shapes, strict=False))
    return NetworkSpec("any", features, CLASSES, taps, {stage: stage for stage in taps}, 1.0, classifier)


def batch(videos: int = VIDEOS) -> Batch:
    """Videos 3, 2, 1, 0 of the training list."""
    index = torch.arange(videos).flip(0)
    return Batch(torch.zeros(videos, 1, 3, 1, 1, 1), torch.tensor(CLASS_OF_VIDEO)[index], index)


def clips(videos: int = VIDEOS, views: int = 1) -> Batch:
    """The same videos with clips that a small network takes."""
    index = torch.arange(videos).flip(0)
    return Batch(draw(70, videos, views, 3, 8, 16, 16), torch.tensor(CLASS_OF_VIDEO)[index], index)


def network(seed: int) -> Network:
    """A small residual network with first weights of this seed, in training mode."""
    return build_network(tiny_board(), registry().get("backbones", "r3d"), CLASSES, seed, {}).train()


def progress(epoch: int = 0, step: int = 0, epochs: int = 10, steps: int = 5, phase: str = "") -> Progress:
    return Progress(epoch=epoch, step=step, epochs=epochs, steps_per_epoch=steps, seed=0, phase=phase)


def built(name: str, student: NetworkSpec | None = None, teacher: NetworkSpec | None = None, **options: Any) -> Method:
    """A method as a run builds it, on a board with all three terms; its twin is `network(1)`."""
    method: Method = registry().get("methods", name).make(options)
    objective = {"action": 1.0, "pretext": 1.0, "contrast": 0.5}
    twin = partial(network, 1)
    task = Task(CLASSES, len(CLASS_OF_VIDEO), CLASS_OF_VIDEO, VIDEOS, 10, 5, twin=twin, objective=objective)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method.build(student or spec(), teacher or spec(), task)
    return method.train()


def numbers(tensor: Tensor) -> Floats:
    """A tensor as numpy float64."""
    array: Floats = tensor.detach().double().numpy()
    return array


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max())
    result: Floats = powers / powers.sum()
    return result


def divergence(p: Floats, q: Floats) -> float:
    """KL(p || q) of two distributions."""
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))


def pooled_to(maps: Floats, size: Sequence[int]) -> Floats:
    """Adaptive average pooling of one map (C, T, H, W), by loops over the cells."""
    result = np.zeros((len(maps), *size))
    for cell in np.ndindex(*size):
        window = tuple(
            slice(at * length // cells, -(-(at + 1) * length // cells))
            for at, length, cells in zip(cell, maps.shape[1:], size, strict=True)
        )
        result[(slice(None), *cell)] = maps[(slice(None), *window)].mean(axis=(1, 2, 3))
    return result


def gradients(method: Method, student: Outputs, teacher: Outputs) -> set[str]:
    """The fields and taps of the student that the sum of all terms moves; the teacher's must stay as they are."""
    theirs = [teacher.logits_BK, teacher.pooled_BD, *teacher.taps.values()]
    before = [part.clone() for part in theirs]
    terms = method.losses(batch(len(student.logits_BK)), student, teacher, progress())
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    assert all(torch.equal(one, other) and one.grad is None for one, other in zip(theirs, before, strict=True))
    parts = {"logits": student.logits_BK, "pooled": student.pooled_BD, **student.taps}
    return {name for name, part in parts.items() if part.grad is not None and bool(part.grad.abs().sum() > 0)}
