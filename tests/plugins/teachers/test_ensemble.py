"""Two of the board's own runs as one teacher: what it answers, what it has seen, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from kdbench.api import PluginError, TeacherCard, TeacherNetwork
from kdbench.models import Network, build_network
from kdbench.records import Record
from kdbench.request import Lesson
from kdbench.run import execute, open_training
from kdbench.teaching import Context, digest_of_state, obtain
from kdbench.train import progress_of, take_step
from kdbench_plugins.teachers.ensemble import Ensemble
from tests.tiny import bench, registry, request, tiny_board

NAMES = ("r3d", "c3d")
SPEC = "ensemble:r3d+c3d"


def untrained(name: str) -> Network:
    return build_network(tiny_board(), registry().get("backbones", name), 8, 3, {}).eval()


def card(name: str, **changes: object) -> TeacherCard:
    """The card of a run, as far as a joint one is made of it."""
    values = {"dataset": "motion_shapes", "split": 1, "fraction": 1.0, "training_list_sha256": "l", "epochs": 3}
    seen = {"training_videos": ("a", name), "train_s": 2.0, "run_id": f"{name}-run", "top1": 0.5}
    return TeacherCard(backbone=name, weights_sha256=name, **{**values, **seen, **changes})  # type: ignore[arg-type]


def joined(cards: Iterable[TeacherCard] = (), asked: list[tuple[str, float]] | None = None) -> TeacherNetwork:
    """What the plugin makes of untrained networks with these cards."""
    known = {each.backbone: each for each in cards}

    def trained(which: Lesson) -> TeacherNetwork:
        if asked is not None:
            asked.append((which.backbone, which.fraction))
        return TeacherNetwork(untrained(which.backbone), known.get(which.backbone) or card(which.backbone))

    return Ensemble().load("+".join(NAMES), Context(tiny_board(), registry(), 8, 1.0, trained))


def tuples() -> torch.Tensor:
    return torch.randn(2, 3, 3, 8, 16, 16, generator=torch.Generator().manual_seed(0))


def test_its_answers_are_the_means_of_its_members_and_its_features_stand_side_by_side() -> None:
    network = joined().network.eval()
    with torch.no_grad():
        whole, parts = network.outputs(tuples()), [untrained(name).outputs(tuples()) for name in NAMES]
    torch.testing.assert_close(whole.logits_BK, torch.stack([part.logits_BK for part in parts]).mean(0))
    torch.testing.assert_close(whole.pooled_BVD, torch.cat([part.pooled_BVD for part in parts], 2))
    assert whole.pretext_BK is not None
    guesses = torch.stack([part.pretext_BK for part in parts if part.pretext_BK is not None])
    torch.testing.assert_close(whole.pretext_BK, guesses.mean(0))
    assert whole.embedding_BVE is not None
    torch.testing.assert_close(whole.embedding_BVE.norm(dim=2), torch.ones(2, 3))


def test_its_classifier_over_its_features_gives_its_logits() -> None:
    network = joined().network.eval()
    with torch.no_grad():
        out = network.outputs(tuples())
        torch.testing.assert_close(network.spec.classifier(out.pooled_BD), out.logits_BK)
    assert network.spec.features == out.pooled_BD.shape[1] == 64
    assert (network.spec.backbone, dict(network.spec.taps)) == ("r3d+c3d", {})


def test_its_embedding_points_where_the_members_projections_do_in_the_mean() -> None:
    network = joined().network.eval()
    with torch.no_grad():
        pooled = network.outputs(tuples()).pooled_BVD
        parts = [untrained(name) for name in NAMES]
        projected = [part.projection(part.outputs(tuples()).pooled_BVD) for part in parts]
        torch.testing.assert_close(network.projection(pooled), torch.stack(projected).mean(0))


def test_joining_draws_nothing_from_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    joined()
    assert torch.equal(before, torch.random.get_rng_state())


def test_its_card_adds_up_what_the_members_have_seen_and_cost() -> None:
    taught = joined()
    found = taught.card
    assert found.backbone == "r3d+c3d"
    assert found.training_videos == ("a", "c3d", "r3d")
    assert (found.train_s, found.epochs, found.fraction, found.top1) == (4.0, 3, 1.0, None)
    assert found.run_id == "r3d-run+c3d-run"
    assert found.weights_sha256 == digest_of_state(taught.network.state_dict())


def test_what_a_member_does_not_say_the_card_does_not_say() -> None:
    found = joined([card("c3d", training_videos=None, train_s=None, epochs=5, partial=True)]).card
    assert (found.training_videos, found.train_s, found.epochs, found.partial) == (None, None, None, True)


def test_its_digest_changes_with_any_of_the_weights() -> None:
    digests = set()
    for touched in (None, *NAMES):

        def trained(which: Lesson, touched: str | None = touched) -> TeacherNetwork:
            network = untrained(which.backbone)
            with torch.no_grad():
                next(network.parameters()).view(-1)[0] += float(which.backbone == touched)
            return TeacherNetwork(network, card(which.backbone))

        context = Context(tiny_board(), registry(), 8, 1.0, trained)
        digests.add(Ensemble().load("+".join(NAMES), context).card.weights_sha256)
    assert len(digests) == 3


def test_members_are_trained_on_what_the_board_lets_a_teacher_see() -> None:
    asked: list[tuple[str, float]] = []
    joined(asked=asked)
    assert asked == [("r3d", 1.0), ("c3d", 1.0)]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("r3d", r"teacher ensemble:r3d: name two or more backbones, joined by '\+'"),
        ("r3d+c3d+r3d", "r3d stands there twice"),
        ("r3d+c3", "no backbone is called 'c3'; did you mean 'c3d'"),
    ],
)
def test_a_bad_list_is_refused_before_anything_is_trained(argument: str, said: str) -> None:
    def never(_which: Lesson) -> TeacherNetwork:
        raise AssertionError("a member was trained")

    context = Context(tiny_board(), registry(), 8, 1.0, never)
    with pytest.raises(PluginError, match=said):
        obtain(f"ensemble:{argument}", context, frozenset(), untrusted=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    runs = tmp_path_factory.mktemp("runs")
    board = tiny_board(transfer=None, optim={"epochs": 1})
    return runs, execute(request(board, student="r2plus1d", teacher=SPEC), bench(runs))


def test_a_run_trains_both_members_first_and_its_record_names_them(finished: tuple[Path, Record]) -> None:
    runs, record = finished
    alone = {path.name.partition("-alone")[0] for path in (runs / "tiny").iterdir() if "-alone-" in path.name}
    assert alone == set(NAMES)
    assert record.teacher is not None
    assert (record.teacher.spec, record.teacher.backbone, record.teacher.trusted) == (SPEC, "r3d+c3d", True)
    assert f"--teacher {SPEC}" in record.command


@pytest.mark.parametrize("method", ["srrl", "kd-pretext", "crd"])
def test_methods_on_logits_features_classifier_and_pretext_task_take_a_step(
    finished: tuple[Path, Record], method: str
) -> None:
    board = tiny_board(transfer=None, optim={"epochs": 1})
    begun = open_training(request(board, student="r2plus1d", teacher=SPEC, method=method), bench(finished[0]))
    _, terms = take_step(begun, next(iter(begun.loader.epoch(0))), progress_of(begun, 0, 0))
    assert all(bool(term.isfinite()) for term in terms.values())


def test_a_method_on_feature_maps_is_refused_in_one_line(finished: tuple[Path, Record]) -> None:
    board = tiny_board(transfer=None, optim={"epochs": 1})
    with pytest.raises(PluginError, match=r"^method at: r3d\+c3d has no tap 'stage1'; it has: none$"):
        open_training(request(board, student="r2plus1d", teacher=SPEC, method="at"), bench(finished[0]))
