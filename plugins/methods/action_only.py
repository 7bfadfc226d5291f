"""Supervised training: the board's action term alone, without the pretext and the contrastive term.

The plain training of an action classifier, clip 0 against its class; on a joint board, what the self-supervised terms
add is measured against it.

Deviation: on a board with tuples all three clips pass the backbone, as in every other row of the board, so that
batch statistics are taken over all of them and the seconds are not those of a training on single clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kdbench.api import Method, hookimpl


class ActionOnly(Method):
    """The cross-entropy of the action labels and nothing else."""

    name = "action-only"
    source = "the action term of Camarena et al., J. Imaging 2024, 10(4), 85, Eq. 5, alone"
    base_weights: ClassVar[Mapping[str, float]] = {"pretext": 0.0, "contrast": 0.0}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [ActionOnly]
