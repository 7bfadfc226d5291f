"""Obtaining a teacher: by plugin, frozen, and refused where it has seen the student's test videos."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from torch import Tensor, nn

from kdbench.api import NetworkSpec, TeacherCard, TeacherContext, TeacherNetwork
from kdbench.board import Board
from kdbench.errors import DataError, RunFailed
from kdbench.models import Network, build_network, freeze
from kdbench.records import PluginRef, TeacherRef
from kdbench.registry import Registered, Registry
from kdbench.request import Lesson, split_spec

FORMAT = 1
LoadTrained = Callable[[Lesson], TeacherNetwork]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Taught:
    """A frozen teacher and how the record names it.

    `card_sha256` is the digest of a card that somebody wrote; None where the name of the teacher says how to make it
    again, card and all.
    """

    network: Network
    card: TeacherCard
    spec: str
    plugin: Registered
    card_sha256: str | None = None

    def reference(self, fraction: float) -> TeacherRef:
        """The teacher as it stands in the record of a student that sees `fraction` of the videos."""
        card = self.card
        return TeacherRef(
            spec=self.spec,
            plugin=plugin_reference(self.plugin),
            backbone=card.backbone,
            weights_sha256=card.weights_sha256,
            dataset=card.dataset,
            split=card.split,
            fraction=card.fraction,
            training_list_sha256=card.training_list_sha256,
            top1=card.top1,
            train_s=card.train_s,
            epochs=card.epochs,
            run_id=card.run_id,
            privileged=None if card.fraction is None else card.fraction > fraction,
            trusted=card.training_videos is not None,
            partial=card.partial,
        )


def plugin_reference(plugin: Registered, options: Mapping[str, Any] | None = None) -> PluginRef:
    """A plugin as a record names it."""
    origin = plugin.origin
    return PluginRef(
        name=plugin.name,
        distribution=origin.distribution,
        version=origin.version,
        sha256=origin.sha256,
        options=dict(options or {}),
    )


@dataclass(frozen=True)
class Context(TeacherContext):
    """What a teacher plugin may ask of the run that needs it."""

    board: Board
    registry: Registry
    classes: int
    fraction: float
    load_trained: LoadTrained

    def network(self, backbone: str, options: Mapping[str, Any] | None = None) -> Network:
        plugin = self.registry.get("backbones", backbone)
        return build_network(self.board, plugin, self.classes, self.board.teachers.seed, dict(options or {}))

    def from_file(self, path: Path | str, backbone: str | None = None) -> TeacherNetwork:
        path = Path(path)
        state, declared = read_weights(path)
        if declared is None and backbone is None:
            raise DataError(path, "does not say which backbone it holds; name it: BACKBONE@PATH")
        values = declared if declared is not None else {"backbone": backbone}
        if backbone is not None and values["backbone"] != backbone:
            raise DataError(path, f"holds {values['backbone']}, and not {backbone}; leave the name out")
        self._refuse_other_classes(path, state, values.get("dataset"))
        network = self.network(str(values["backbone"]))
        digest = load_weights(network, state, str(path))
        return TeacherNetwork(network, card_of(values, digest))

    def _refuse_other_classes(self, path: Path, state: Mapping[str, Tensor], dataset: str | None) -> None:
        """Weights that tell other classes apart are no teacher here, whether or not a method compares logits."""
        own, head = self.board.data.dataset, state.get("action.weight")
        way_out = f"give a teacher that was trained on the classes of board {self.board.name}"
        if dataset not in (None, own):
            raise DataError(path, f"was trained on {dataset}, and this board's data set is {own}; {way_out}")
        if head is not None and head.ndim == 2 and len(head) != self.classes:
            raise DataError(path, f"tells {len(head)} classes apart, and this board has {self.classes}; {way_out}")

    def trained(
        self, backbone: str, fraction: float, method: str | None = None, options: Mapping[str, Any] | None = None
    ) -> TeacherNetwork:
        return self.load_trained(Lesson(backbone, fraction, method, dict(options or {})))

    def joined(self, members: Sequence[TeacherNetwork]) -> TeacherNetwork:
        network = join_networks([member.network for member in members])
        return TeacherNetwork(network, join_cards([member.card for member in members], self.digest(network)))

    def digest(self, network: Network) -> str:
        return digest_of_state(network.state_dict())

    def teacher_fraction(self) -> float:
        return 1.0 if self.board.teachers.fraction == "full" else self.fraction


def obtain(spec: str, context: Context, tests: frozenset[str], *, untrusted: bool) -> Taught:
    """Load and freeze the teacher a user named. `tests` are the qualified ids it must not have seen.

    Raises RunFailed when it has, or when it does not say (unless `untrusted`).
    """
    kind, argument = split_spec(spec, context.board)
    plugin = context.registry.get("teachers", kind)
    taught = plugin.make({}).load(argument, context)
    card = taught.card
    if card.training_videos is None and not untrusted:
        raise RunFailed(
            f"teacher {spec}: does not say which videos it was trained on; "
            "add --untrusted-teacher to use it all the same (the record is never ranked)"
        )
    seen = tests.intersection(card.training_videos or ())
    if seen:
        raise RunFailed(
            f"teacher {spec}: was trained on {len(seen)} of the student's test videos ({min(seen)}, ...); "
            "use a teacher trained on this board's split"
        )
    repeatable = kind == context.board.teachers.kind or plugin.cls.portable
    if repeatable:
        return Taught(freeze(taught.network), card, spec, plugin)
    named = f"{kind}:{card.weights_sha256[:12]}"
    return Taught(freeze(taught.network), card, named, plugin, digest_of_card(card))


# --- several networks as one -------------------------------------------------------------------------------


class _SideBySide(nn.Module):
    """Clips (N, C, T, H, W) to the features of all members, (N, D1 + D2 + ...)."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        return torch.cat([member(clips_NCTHW).float() for member in self.members], dim=1)


def join_networks(networks: Sequence[Network]) -> Network:
    """One network whose logits, pretext logits and unnormalised embeddings are the means of several networks'.

    Each head is a linear layer over the members' features side by side, as any network's is; there are no taps.
    """
    specs = [network.spec for network in networks]
    clips = networks[0].pretext.in_features // specs[0].features
    spec = NetworkSpec(
        backbone="+".join(spec.backbone for spec in specs),
        features=sum(spec.features for spec in specs),
        classes=specs[0].classes,
        taps={},
        tap_paths={},
        gmacs=sum(spec.gmacs for spec in specs),
        classifier=_mean_of_linears([network.action for network in networks]),
    )
    first, last = ([network.projection[at] for network in networks] for at in (0, 2))
    backbone, embedding = _SideBySide([network.backbone for network in networks]), len(last[0].get_parameter("bias"))
    with torch.device("meta"):  # the heads made here are replaced, and nothing is drawn for them
        joint = Network(backbone, spec, clips, embedding)
    joint.pretext = _mean_of_linears([network.pretext for network in networks], clips)
    joint.projection = nn.Sequential(_blocks_of_linears(first), nn.ReLU(), _mean_of_linears(last))
    return joint


def _mean_of_linears(layers: Sequence[nn.Module], clips: int = 1) -> nn.Linear:
    """The mean of several linear layers, as one over all their inputs; those of a clip stand side by side."""
    weights = [layer.get_parameter("weight") for layer in layers]
    beside = torch.cat([weight.view(len(weight), clips, -1) for weight in weights], dim=2)
    biases = torch.stack([layer.get_parameter("bias") for layer in layers])
    return _linear(beside.flatten(1) / len(layers), biases.mean(0))


def _blocks_of_linears(layers: Sequence[nn.Module]) -> nn.Linear:
    """Several linear layers as one, each from its own inputs to its own outputs."""
    weights = [layer.get_parameter("weight") for layer in layers]
    biases = torch.cat([layer.get_parameter("bias") for layer in layers])
    return _linear(torch.block_diag(*weights), biases)  # type: ignore[no-untyped-call]


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    return layer


def join_cards(cards: Sequence[TeacherCard], weights_sha256: str) -> TeacherCard:
    """What several networks together have seen and cost; None where one does not say, or they do not agree."""
    videos = [card.training_videos for card in cards]
    seen = tuple(sorted({name for known in videos for name in known or ()}))
    seconds = [card.train_s for card in cards]
    return TeacherCard(
        backbone="+".join(card.backbone for card in cards),
        weights_sha256=weights_sha256,
        dataset=_agreed(card.dataset for card in cards),
        split=_agreed(card.split for card in cards),
        fraction=_agreed(card.fraction for card in cards),
        training_videos=None if None in videos else seen,
        training_list_sha256=_agreed(card.training_list_sha256 for card in cards),
        train_s=None if None in seconds else sum(each or 0.0 for each in seconds),
        epochs=_agreed(card.epochs for card in cards),
        run_id="+".join(card.run_id for card in cards if card.run_id) or None,
        partial=any(card.partial for card in cards),
    )


def _agreed(values: Iterable[Value | None]) -> Value | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


# --- weights on disk ---------------------------------------------------------------------------------------


def digest_of_state(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of all tensors, in order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def weights_content(network: Network, card: Mapping[str, Any], *, classifies: bool = True) -> dict[str, Any]:
    """What `weights.pt` holds: a format number, the tensors and the declaration.

    The action head of a network that does not classify with it is NaN: its features and maps teach, and a method
    that compares its logits stops after the first epoch, since its loss is not finite, and never measures noise.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if not classifies:
        state |= {name: torch.full_like(state[name], torch.nan) for name in state if name.startswith("action.")}
    return {"format": FORMAT, "network": state, "card": dict(card)}


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Tensors and declaration (None if there is none) of a checkpoint, loaded as data only. Raises DataError."""
    if not path.is_file():
        raise DataError(path, "no such checkpoint; give the path of a weights.pt that a run has left")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; all of them mean the file is no plain checkpoint
        reason = str(error).splitlines()[0]
        raise DataError(path, f"is not a checkpoint that can be loaded as data only ({reason})") from error
    if isinstance(content, dict) and content.get("format") == FORMAT:
        network, card = content.get("network"), content.get("card")
        if isinstance(network, dict) and isinstance(card, dict) and _declares(card):
            return network, card
        raise DataError(path, "is damaged or from another kdbench: its declaration cannot be read; train it again")
    if isinstance(content, dict) and all(isinstance(value, Tensor) for value in content.values()):
        return content, None
    raise DataError(path, "holds no network; give a weights.pt that a run has left, or a plain state dictionary")


def _declares(card: Mapping[str, Any]) -> bool:
    """Whether a declaration has the fields of a card and no others, each of its type."""
    try:
        card_of(card, "")
    except msgspec.ValidationError:
        return False
    return card.keys() <= {field.name for field in fields(TeacherCard)}


def load_weights(network: Network, state: Mapping[str, Tensor], place: str) -> str:
    """Put tensors into a network and return their digest. Raises DataError naming what does not fit."""
    wanted = network.state_dict()
    lacking, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    odd = [name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape]
    if lacking or extra or odd:
        first = (lacking or extra or sorted(odd))[0]
        raise DataError(place, f"does not fit {network.spec.backbone} on this board (first at '{first}')")
    network.load_state_dict(dict(state))
    return digest_of_state(state)


def card_of(values: Mapping[str, Any], weights_sha256: str) -> TeacherCard:
    """The inverse of `card_values`, with the digest that was computed from the tensors.

    Raises msgspec.ValidationError where a value has another type than the card's field.
    """
    return msgspec.convert({**values, "weights_sha256": weights_sha256}, TeacherCard)


def digest_of_card(card: TeacherCard) -> str:
    """SHA-256 over all that a card says."""
    return hashlib.sha256(json.dumps(asdict(card), sort_keys=True, default=str).encode()).hexdigest()


def card_values(card: TeacherCard) -> dict[str, Any]:
    """A card as plain values, for `weights.pt`; the digest is computed on reading."""
    values = asdict(card)
    del values["weights_sha256"]
    return values
