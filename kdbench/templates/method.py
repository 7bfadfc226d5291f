"""My method: match the teacher's softened class probabilities, and its features through a learnt connector.

Write here where the method comes from, with its equations, and every way in which this file differs from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Method, NetworkSpec, Outputs, Progress, Task, hookimpl


class MyMethod(Method):
    """Match the teacher's softened class probabilities and its features."""

    name = "my-method"  # what --method, records and boards call it
    source = "Hinton, Vinyals and Dean, 2015, arXiv:1503.02531; Romero et al., ICLR 2015, arXiv:1412.6550"
    teachers = 1  # 0 for a method that needs no teacher; `losses` is then given None
    # student_taps = ("stage4",)  # feature maps to ask for; they are found in Outputs.taps. teacher_taps likewise
    options: Options

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """`temperature` softens both networks' probabilities; `soft` and `features` are the weights of the terms."""

        temperature: float = 4.0  # -o temperature=2 on the command line
        soft: float = 1.0
        features: float = 1.0

    def build(self, student: NetworkSpec, teacher: NetworkSpec | None, task: Task) -> None:
        assert teacher is not None
        # A method is a module: what is made here is trained with the student, saved, counted and timed.
        self.connector = nn.Linear(student.features, teacher.features)

    def losses(self, batch: Batch, student: Outputs, teacher: Outputs | None, progress: Progress) -> dict[str, Tensor]:
        assert teacher is not None
        tau = self.options.temperature
        divergence = F.kl_div(
            F.log_softmax(student.logits_BK / tau, dim=1),
            F.log_softmax(teacher.logits_BK / tau, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        distance = F.mse_loss(self.connector(student.pooled_BD), teacher.pooled_BD)
        # Scalars by name, added to the board's own terms; never .item() or `if tensor`, which wait for the device.
        return {"soft": self.options.soft * tau**2 * divergence, "features": self.options.features * distance}


@hookimpl
def kdbench_methods() -> list[type[Method]]:
    return [MyMethod]
