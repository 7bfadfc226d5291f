"""Networks: heads, taps, initialisation, freezing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdbench.board import load_board
from kdbench.models import Network, build_network, freeze, num_parameters
from tests.tiny import registry, tiny_board


def network(seed: int = 0, name: str = "r3d") -> Network:
    return build_network(tiny_board(), registry().get("backbones", name), 8, seed, {})


def tuples() -> torch.Tensor:
    return torch.randn(4, 3, 3, 8, 16, 16, generator=torch.Generator().manual_seed(0))


def test_heads_have_the_published_number_of_parameters_at_full_width() -> None:
    full = build_network(load_board("camarena2024"), registry().get("backbones", "r3d"), 101, 0, {})
    assert num_parameters(full.pretext) == 7_685
    assert num_parameters(full.projection) == 328_320
    assert num_parameters(full.backbone) + num_parameters(full.action) == 14_413_605


def test_initial_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = network().state_dict()
    torch.manual_seed(6)
    second, other = network().state_dict(), network(seed=1).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_building_leaves_the_global_generator_as_it_was() -> None:
    before = torch.random.get_rng_state()
    network()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_outputs_of_a_tuple_have_logits_of_the_first_clip_a_pretext_guess_and_unit_embeddings() -> None:
    out = network().outputs(tuples())
    assert out.logits_BK.shape == (4, 8)
    assert out.pretext_BK is not None
    assert out.pretext_BK.shape == (4, 5)
    assert out.embedding_BVE is not None
    assert torch.allclose(out.embedding_BVE.norm(dim=2), torch.ones(4, 3))
    assert torch.equal(out.pooled_BD, out.pooled_BVD[:, 0])


def test_a_network_that_sees_one_clip_has_no_pretext_guess() -> None:
    out = network().outputs(tuples()[:, :1])
    assert out.pretext_BK is None
    assert out.embedding_BVE is None


def test_taps_are_read_when_asked_for_and_only_then() -> None:
    net = network().eval()
    out = net.outputs(tuples(), ("stage2", "stage4"))
    assert set(out.taps) == {"stage2", "stage4"}
    assert tuple(out.taps["stage2"].shape) == (4, *net.spec.taps["stage2"])
    assert not net.outputs(tuples()).taps
    assert not any(module._forward_hooks for module in net.modules())


def test_a_tap_belongs_to_the_first_clip() -> None:
    net = network().eval()
    both = net.outputs(tuples(), ("stage4",)).taps["stage4"]
    alone = net.outputs(tuples()[:, :1], ("stage4",)).taps["stage4"]
    assert torch.allclose(both, alone, atol=1e-5)


def test_outputs_are_fp32_under_bf16_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        out = network().outputs(tuples(), ("stage1",))
    found = [out.logits_BK, out.pooled_BD, out.pooled_BVD, out.pretext_BK, out.embedding_BVE, out.taps["stage1"]]
    assert all(value is not None and value.dtype == torch.float32 for value in found)


def test_heads_are_computed_in_fp32_under_bf16_autocast() -> None:
    net = network().eval()
    with torch.autocast("cpu", torch.bfloat16):
        out = net.outputs(tuples())
        alone = net(tuples()[:, 0])
    assert torch.equal(out.logits_BK, net.action(out.pooled_BD))
    assert torch.equal(out.pretext_BK, net.pretext(out.pooled_BVD.flatten(1)))
    assert torch.allclose(alone, out.logits_BK, atol=1e-6)


def test_a_compiled_backbone_serves_the_size_it_was_compiled_for_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[int, ...]] = []

    def compiled(function: Callable[[Tensor], Tensor], dynamic: bool) -> Callable[[Tensor], Tensor]:
        return lambda clips: served.append(tuple(clips.shape)) or function(clips)  # type: ignore[func-returns-value]

    monkeypatch.setattr(torch, "compile", compiled)
    net = network().eval()
    names, before = list(net.state_dict()), net.outputs(tuples()).logits_BK
    shape = tuple(tuples().shape[2:])
    assert net.compile_for(tuples().shape[0] * 3, shape, "fp32") is None
    served.clear()
    assert torch.equal(net.outputs(tuples()).logits_BK, before)
    net.outputs(tuples(), ("stage2",))  # a tap hangs on the call of a module, which a compiler may fuse away
    net.outputs(tuples()[:1])
    net(tuples()[:, 0])
    assert served == [(tuples().shape[0] * 3, *shape)]
    assert list(net.state_dict()) == names


def test_a_backbone_that_the_compiler_refuses_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler here\nand a long story")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: refuse)
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert net.compile_for(12, tuple(tuples().shape[2:]), "fp32") == "RuntimeError: no C++ compiler here"
    assert net.compiled is None
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_detached_action_head_teaches_the_backbone_nothing() -> None:
    net = network()
    net.outputs(tuples(), detach_action=True).logits_BK.sum().backward()
    assert all(parameter.grad is None for parameter in net.backbone.parameters())
    assert net.action.weight.grad is not None


def test_a_frozen_network_has_no_gradients_and_keeps_its_buffers() -> None:
    net = freeze(network())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        net.outputs(tuples())
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
