"""Torchvision's Kinetics-400 features from a local file: `--teacher kinetics:r3d_18@PATH --untrusted-teacher`.

The file is a state dict with torchvision's names, as torchvision publishes it for r3d_18, mc3_18, r2plus1d_18,
s3d and swin3d_t. kdbench fetches none; where each one lies is told by

    python -c "from torchvision.models.video import R3D_18_Weights as w; print(w.KINETICS400_V1.url)"

(MC3_18_Weights, R2Plus1D_18_Weights, S3D_Weights, Swin3D_T_Weights likewise).

What such a teacher can and cannot do:

- Its heads were for other classes and are replaced by ones that have learnt nothing and answer NaN. Its pooled
  features and its maps teach; a method that uses its logits or its classifier stops after the first epoch,
  since its loss is not finite, and never measures noise.
- It has seen Kinetics-400 and no list of the board's: the run needs --untrusted-teacher, and is never ranked.
- It is shown the board's clips, in the board's normalisation. It has learnt from colours: where the board has
  residual frames, it needs a method whose teacher is shown "rgb".
- The files are of full size, and fit on boards of width 1.
"""

from __future__ import annotations

from torch import nn

from kdbench.api import PluginError, Teacher, TeacherCard, TeacherContext, TeacherNetwork, hookimpl


class Kinetics(Teacher):
    """Torchvision's features of Kinetics-400 from a local file, without the classifier; needs --untrusted-teacher.

    `kinetics:BACKBONE@PATH`. Pooled features and maps teach; logits are NaN. For boards of width 1.
    """

    name = "kinetics"
    source = "torchvision.models.video; Kay et al., 2017, arXiv:1705.06950"

    def load(self, argument: str, context: TeacherContext) -> TeacherNetwork:
        backbone, found, path = argument.partition("@")
        if not found or not path:
            raise PluginError(f"teacher {self.name}:{argument}: write {self.name}:BACKBONE@PATH")
        network = context.network(backbone, {"weights": path})
        for head in (network.action, network.pretext, network.projection):
            for parameter in head.parameters():
                nn.init.constant_(parameter, float("nan"))
        return TeacherNetwork(network, TeacherCard(backbone, context.digest(network), dataset="kinetics400"))


@hookimpl
def kdbench_teachers() -> list[type[Teacher]]:
    return [Kinetics]
