"""Measure a backbone without running it: parameters, multiply-accumulates, feature size and tap shapes.

The forward pass runs on the meta device: shapes are computed, activations are not, so a full-size network is
measured in well under a second on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from kdbench.errors import PluginError


@dataclass(frozen=True)
class Measured:
    """Sizes of a backbone.

    `params` counts trainable and frozen parameters. `gmacs` are the 1e9 multiply-accumulates of convolutions
    and matrix products for one clip. `features` is D; `taps` are shapes (C, T, H, W) by tap name.
    """

    params: int
    gmacs: float
    features: int
    taps: Mapping[str, tuple[int, int, int, int]]


def describe(module: nn.Module, clip: tuple[int, int, int, int], taps: Mapping[str, str]) -> Measured:
    """Measure a backbone for clips of shape (C, T, H, W); `taps` maps names to paths of submodules.

    The module is left as it was: weights, buffers, training flags and hooks. Raises PluginError when the
    clip is too small for the network, when the output is not (B, D), or when a tap is no map (B, C, T, H, W).
    """
    seen: dict[str, Any] = {}
    with ExitStack() as undo:
        undo.enter_context(_evaluating(module))
        for name, path in taps.items():
            undo.callback(_submodule(module, name, path).register_forward_hook(_keep(seen, name)).remove)
        undo.enter_context(torch.device("meta"))
        undo.enter_context(torch.no_grad())
        counter = undo.enter_context(FlopCounterMode(display=False))
        features = _forward(module, clip)
    if not isinstance(features, Tensor) or features.ndim != 2 or features.shape[0] != 1:
        raise PluginError(f"the backbone turns one clip {_text((1, *clip))} into {_shape(features)}; it must be (1, D)")
    return Measured(
        params=sum(parameter.numel() for parameter in module.parameters()),
        gmacs=counter.get_total_flops() / 2e9,  # the counter counts a multiply and an add as two
        features=features.shape[1],
        taps={name: _map_shape(name, seen.get(name)) for name in taps},
    )


def _forward(module: nn.Module, clip: tuple[int, int, int, int]) -> Any:
    weights: dict[str, Tensor] = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }
    try:
        return functional_call(module, weights, (torch.empty(1, *clip),))
    except PluginError:
        raise
    except (RuntimeError, ValueError) as error:  # how torch says that a map became smaller than a kernel
        reason = str(error).partition("\n")[0]
        raise PluginError(f"the backbone cannot take a clip {_text(clip)} (C, T, H, W): {reason}") from error


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode: batch normalisation needs no second value per channel, and dropout draws nothing."""
    flags = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in flags:
            part.training = training


def _submodule(module: nn.Module, name: str, path: str) -> nn.Module:
    try:
        return module.get_submodule(path)
    except AttributeError:
        known = ", ".join(child for child, _ in module.named_children())
        raise PluginError(f"tap '{name}' is at '{path}', where the backbone has no module; it has: {known}") from None


def _keep(seen: dict[str, Any], name: str) -> Callable[..., None]:
    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        seen[name] = output

    return keep


def _map_shape(name: str, output: Any) -> tuple[int, int, int, int]:
    if not isinstance(output, Tensor) or output.ndim != 5:
        raise PluginError(f"tap '{name}' gives {_shape(output)}; a tap must be a feature map (B, C, T, H, W)")
    _, channels, frames, height, width = output.shape
    return channels, frames, height, width


def _shape(output: Any) -> str:
    if output is None:
        return "nothing, because the forward pass does not use it"
    return _text(output.shape) if isinstance(output, Tensor) else type(output).__name__


def _text(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
