"""Obtaining a teacher: by plugin, frozen, and refused where it has seen the student's test videos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdbench.api import TeacherCard, TeacherContext, TeacherNetwork
from kdbench.board import Board
from kdbench.errors import DataError, RunFailed
from kdbench.models import Network, build_network, freeze
from kdbench.records import PluginRef, TeacherRef
from kdbench.registry import Registered, Registry
from kdbench.request import split_spec

FORMAT = 1
LoadTrained = Callable[[str, float], TeacherNetwork]


@dataclass(frozen=True)
class Taught:
    """A frozen teacher and how the record names it."""

    network: Network
    card: TeacherCard
    spec: str
    plugin: Registered

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

    def network(self, backbone: str) -> Network:
        plugin = self.registry.get("backbones", backbone)
        return build_network(self.board, plugin, self.classes, self.board.teachers.seed, {})

    def from_file(self, path: Path, backbone: str | None = None) -> TeacherNetwork:
        state, declared = read_weights(path)
        if declared is None and backbone is None:
            raise DataError(path, "does not say which backbone it holds; name it: BACKBONE@PATH")
        values = declared if declared is not None else {"backbone": backbone}
        network = self.network(str(values["backbone"]))
        digest = load_weights(network, state, str(path))
        return TeacherNetwork(network, card_of(values, digest))

    def trained(self, backbone: str, fraction: float) -> TeacherNetwork:
        return self.load_trained(backbone, fraction)

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
    # A path says nothing to a reader of the record, and may say too much: the weights' digest stands for it.
    named = spec if kind == context.board.teachers.kind else f"{kind}:{card.weights_sha256[:12]}"
    return Taught(freeze(taught.network), card, named, plugin)


# --- weights on disk ---------------------------------------------------------------------------------------


def digest_of_state(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of all tensors, in order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def weights_content(network: Network, card: Mapping[str, Any]) -> dict[str, Any]:
    """What `weights.pt` holds: a format number, the tensors and the declaration."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
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
        known = {field.name for field in fields(TeacherCard)}
        if isinstance(network, dict) and isinstance(card, dict) and "backbone" in card and card.keys() <= known:
            return network, card
        raise DataError(path, "is damaged or from another kdbench: its declaration cannot be read; train it again")
    if isinstance(content, dict) and all(isinstance(value, Tensor) for value in content.values()):
        return content, None
    raise DataError(path, "holds no network; give a weights.pt that a run has left, or a plain state dictionary")


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
    """The inverse of `card_values`, with the digest that was computed from the tensors."""
    videos = values.get("training_videos")
    known = {**values, "training_videos": None if videos is None else tuple(videos)}
    return TeacherCard(**known, weights_sha256=weights_sha256)


def card_values(card: TeacherCard) -> dict[str, Any]:
    """A card as plain values, for `weights.pt`; the digest is computed on reading."""
    values = asdict(card)
    del values["weights_sha256"]
    return values
