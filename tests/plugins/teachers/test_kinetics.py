"""Torchvision's features from a local file: never trusted, without an opinion on the board's classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import video

from kdbench.api import PluginError, TeacherNetwork
from kdbench.errors import RunFailed
from kdbench.request import Lesson
from kdbench.run import execute, open_training
from kdbench.teaching import Context, Taught, obtain
from kdbench.train import progress_of, take_step
from kdbench_plugins.backbones.swin3d import Swin3dT
from tests.tiny import bench, registry, request, tiny_board


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the width of the tiny board, with torchvision's names and its classifier of 400."""
    torch.manual_seed(7)
    state = Swin3dT().build(tiny_board().networks.width).state_dict()
    path = tmp_path_factory.mktemp("weights") / "swin@home.pth"
    torch.save({**state, "head.weight": torch.zeros(400, 48), "head.bias": torch.zeros(400)}, path)
    return path


def context(width: float | None = None) -> Context:
    def never(_which: Lesson) -> TeacherNetwork:
        raise AssertionError("a file needs no training")

    board = tiny_board() if width is None else tiny_board(networks={"width": width})
    return Context(board, registry(), 8, 1.0, never)


def taught(file: Path) -> Taught:
    return obtain(f"kinetics:swin3d_t@{file}", context(), frozenset(), untrusted=True)


def test_it_is_refused_unless_it_is_trusted_explicitly(file: Path) -> None:
    with pytest.raises(RunFailed, match="does not say which videos it was trained on; add --untrusted-teacher"):
        obtain(f"kinetics:swin3d_t@{file}", context(), frozenset(), untrusted=False)


def test_its_card_says_what_it_has_seen_and_the_record_that_nobody_vouches_for_it(file: Path) -> None:
    found = taught(file)
    reference = found.reference(1.0)
    assert (reference.dataset, reference.backbone, reference.trusted) == ("kinetics400", "swin3d_t", False)
    assert reference.privileged is None
    assert reference.spec == f"kinetics:{reference.weights_sha256[:12]}"


def test_its_backbone_has_the_files_weights(file: Path) -> None:
    state, network = torch.load(file, weights_only=True), taught(file).network
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.backbone.state_dict().items())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_its_features_and_maps_are_numbers_and_its_answers_are_none(file: Path) -> None:
    network = taught(file).network
    with torch.no_grad():
        out = network.outputs(torch.randn(2, 3, 3, 8, 16, 16), ("stage1", "stage4"))
    assert bool(out.pooled_BVD.isfinite().all())
    assert all(bool(maps.isfinite().all()) for maps in out.taps.values())
    assert out.pretext_BK is not None
    assert all(bool(answer.isnan().all()) for answer in (out.logits_BK, out.pretext_BK))
    assert out.logits_BK.shape == (2, 8)


def test_a_file_of_torchvisions_own_network_is_taken_on_a_board_of_width_1(tmp_path: Path) -> None:
    state = video.mc3_18(weights=None).state_dict()
    torch.save(state, tmp_path / "mc3.pth")
    network = context(1.0).network("mc3_18", {"weights": str(tmp_path / "mc3.pth")})
    assert torch.equal(network.backbone.state_dict()["stem.0.weight"], state["stem.0.weight"])


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("r3d_18", "write kinetics:BACKBONE@PATH"),
        ("r3d_18@", "write kinetics:BACKBONE@PATH"),
        ("r3d_18@w.pth", "fixed channel counts"),
        ("r3d@w.pth", "backbone 'r3d' has no option 'weights'"),
        ("swin3d_t@w.pth", r"w\.pth: is no weights file for backbone 'swin3d_t': .* No such file"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(argument: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        obtain(f"kinetics:{argument}", context(), frozenset(), untrusted=True)


def test_its_features_teach(file: Path, tmp_path: Path) -> None:
    asked = request(student="c3d", teacher=f"kinetics:swin3d_t@{file}", method="rkd")
    begun = open_training(asked, bench(tmp_path, untrusted_teacher=True))
    _, terms = take_step(begun, next(iter(begun.loader.epoch(0))), progress_of(begun, 0, 0))
    assert all(bool(term.isfinite()) for term in terms.values())


def test_a_method_on_logits_stops_instead_of_measuring_noise(file: Path, tmp_path: Path) -> None:
    board = tiny_board(transfer=None, optim={"epochs": 2})
    asked = request(board, student="c3d", teacher=f"kinetics:swin3d_t@{file}", method="kd")
    with pytest.raises(RunFailed, match=r"loss '\w+' was not finite in epoch 1"):
        execute(asked, bench(tmp_path, untrusted_teacher=True))
