"""Losses against those of torchdistill, where it is installed. Maps have T = 1, which its 2-D losses take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from kdbench.api import Outputs
from kdbench_plugins.methods import reviewkd
from tests.plugins.methods.cases import CLASS_OF_VIDEO, STAGES, batch, built, outputs, progress, spec

losses = pytest.importorskip("torchdistill.losses.mid_level")

SHAPES = ((2, 1, 6, 6), (3, 1, 5, 5), (4, 1, 4, 4), (5, 1, 3, 3))
PATHS = {
    "student_module_path": "logits",
    "student_module_io": "output",
    "teacher_module_path": "logits",
    "teacher_module_io": "output",
}
POOLED = {name: "pooled" if value == "logits" else value for name, value in PATHS.items()}
PAIRS = {stage: {side: {"io": "output", "path": stage} for side in ("student", "teacher")} for stage in STAGES}


def heard(network: Outputs) -> dict[str, dict[str, torch.Tensor]]:
    """A network's outputs as torchdistill keeps them, by module path; maps without T."""
    parts = {"logits": network.logits_BK, "pooled": network.pooled_BD}
    parts |= {stage: maps[:, :, 0] for stage, maps in network.taps.items()}
    return {name: {"output": part} for name, part in parts.items()}


def theirs(kind: str, **options: Any) -> float:
    loss = getattr(losses, kind)(**options)
    return float(loss(heard(outputs(1, SHAPES)), heard(outputs(2, SHAPES)), batch().labels_B))


def ours(name: str, options: Mapping[str, float]) -> dict[str, float]:
    terms = built(name, spec(SHAPES), spec(SHAPES), **options).losses(
        batch(), outputs(1, SHAPES), outputs(2, SHAPES), progress()
    )
    return {term: float(value.detach()) for term, value in terms.items()}


def test_distillation_agrees() -> None:
    expected = theirs("KDLoss", **PATHS, temperature=4.0, alpha=0.0)
    assert ours("kd", {"weight": 1.0})["soft"] == pytest.approx(4.0**2 * expected, rel=1e-5)


def test_logit_standardisation_agrees() -> None:
    found = ours("logit-std", {"weight": 1.0})["soft"]
    assert found == pytest.approx(2.0**2 * theirs("LogitStdKDLoss", **PATHS, temperature=2.0, alpha=0.0), rel=1e-5)


def test_correlations_agree() -> None:
    options = {"beta": 1.5, "gamma": 0.5}
    found = ours("dist", {"weight": 1.0, "temperature": 3.0, **options})
    assert sum(found.values()) == pytest.approx(theirs("DISTLoss", **PATHS, tau=3.0, **options), rel=1e-5)


def test_attention_transfer_agrees() -> None:
    assert ours("at", {"weight": 1.0})["attention"] == pytest.approx(theirs("ATLoss", at_pairs=PAIRS), rel=1e-5)


def test_similarities_agree_once_rows_are_divided_by_their_length(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its second argument is meant as the dimension but is the order of the norm: rows are divided by their sum.
    monkeypatch.setattr(losses, "normalize", lambda table, dim: torch.nn.functional.normalize(table, dim=dim))
    options = {"student_output_path": "stage4", "teacher_output_path": "stage4", "reduction": "batchmean"}
    assert ours("sp", {"weight": 1.0})["similarity"] == pytest.approx(theirs("SPKDLoss", **options), rel=1e-4)


def test_relations_agree() -> None:
    options = {"student_output_path": "pooled", "teacher_output_path": "pooled", "reduction": "mean"}
    expected = theirs("RKDLoss", **options, dist_factor=25.0, angle_factor=50.0)
    assert sum(ours("rkd", {}).values()) == pytest.approx(expected, rel=1e-4)


def test_contexts_agree() -> None:
    options = {"student_module_path": "fused", "teacher_module_path": "stage1"}
    loss = losses.HierarchicalContextLoss(**options, student_module_io="output", teacher_module_io="output")
    mine, other = outputs(1, SHAPES).taps["stage1"], outputs(2, SHAPES).taps["stage1"]
    expected = loss({"fused": {"output": (mine[:, :, 0], None)}}, {"stage1": {"output": other[:, :, 0]}})
    assert float(reviewkd.context_distance(mine, other)) == pytest.approx(float(expected), rel=1e-5)


def test_contrasts_agree() -> None:
    method = built("crd", spec(), spec(), weight=1.0, dimensions=8)
    videos = len(CLASS_OF_VIDEO)
    loss = losses.CRDLoss("norm", "index", "norm", 8, videos, num_negative_samples=8, num_samples=videos)
    loss.memory_v1.copy_(method.banks_2nE[0])
    loss.memory_v2.copy_(method.banks_2nE[1])
    mine, other = method._embeddings(outputs(1), outputs(2))
    drawn = {"pos_idx": batch().index_B, "contrast_idx": method._rows(batch(), progress())}
    expected = loss(
        {"norm": {"output": mine.detach()}, "index": {"input": drawn}}, {"norm": {"output": other.detach()}}
    )
    found = method.losses(batch(), outputs(1), outputs(2), progress())["contrastive"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_neighbours_agree() -> None:
    assert ours("pkt", {"weight": 1.0})["neighbours"] == pytest.approx(theirs("PKTLoss", **POOLED), rel=1e-4)
