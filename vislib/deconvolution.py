"""Deconvolution: project a unit's activation in an image back to the pixels."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vislib.errors import NetworkError
from vislib.network import Layer, Network
from vislib.probe import LOGITS
from vislib.relu import RULES, relu_rule
from vislib.words import counted, were

STARTS: Mapping[str, str] = MappingProxyType(
    {
        "whole map": "the unit's activations at all positions",
        "strongest position": "1.0 where the unit is strongest, 0 elsewhere",
    }
)
PROJECTION_RULES: Mapping[str, str] = MappingProxyType(
    {name: RULES[name] for name in ("deconvnet", "guided", "plain")}
)
# torch dispatches pooling with and without indices under different names.
_MAX_POOLS = {
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d),
    *(F.max_pool1d_with_indices, F.max_pool2d_with_indices, F.max_pool3d_with_indices),
    *(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
}


@dataclass(frozen=True, eq=False)
class Projection:
    """What of an image drove a unit.

    pixels    the projection, larger where the pixel's light drove the unit up
    maps      the unit's activations, as the rest of the network sees them
    relus     ReLUs met on the way to the unit; without any, all rules are the same
    pools     maximum poolings met, whose switches lead the way back
    """

    pixels: Float[Tensor, "n c *spatial"]
    maps: Float[Tensor, "n *positions"]
    relus: int
    pools: int


class _ReachedError(BaseException):
    """Leaves a forward pass at the layer that is projected."""


class _CountPools(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.calls += func in _MAX_POOLS
        return func(*args, **(kwargs or {}))


def project(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    layer: str,
    units: int | Sequence[int],
    *,
    start: str = "whole map",
    rule: str = "deconvnet",
    position: tuple[int, ...] | None = None,
) -> Projection:
    """Project a unit of each image down to the pixels (Zeiler & Fergus 2013, arXiv 1311.2901).

    All but the unit's own activation is set to 0 in the layer's output, as the rest of the network sees it, and
    goes down: through the maximum poolings by the switches of the forward pass, through each ReLU by `rule` (one of
    PROJECTION_RULES; the paper rectifies what comes from above), through each convolution by its transposed
    filters, without biases. That is the gradient under the ReLU rule; where pooling windows overlap, what two of
    them send to one position adds up. `start` is one of STARTS and `position` keeps one position alone. `units` is
    one for all images or one each. Raises NetworkError for what is not there.
    """
    for given, allowed, what in ((start, STARTS, "start"), (rule, PROJECTION_RULES, "rule")):
        if given not in allowed:
            raise NetworkError(f"There is no {what} {given!r}; choose one of {', '.join(allowed)}.")
    known = network.layer(layer)
    chosen = network.check_units(known.name, [units] * len(images) if isinstance(units, int) else units)
    if len(chosen) != len(images):
        raise NetworkError(
            f"{were(len(chosen), 'unit')} given for {counted(len(images), 'image')}; give one for each."
        )
    leaf = images.detach().to(network.device, network.dtype).requires_grad_()
    with torch.enable_grad(), relu_rule(rule) as relus, _CountPools() as pools:
        output = _activated(network, leaf * 1.0, known)
        own = output[torch.arange(len(chosen)), torch.tensor(chosen)]
    seeds = _seeds(known, own.detach(), start, position)
    pixels: Tensor | None = None
    if own.requires_grad:
        (pixels,) = torch.autograd.grad(own, leaf, seeds, allow_unused=True)
    if pixels is None:
        raise NetworkError(
            f"No gradient comes from {known.name!r} of {network.name} back to the image, because the network "
            "detaches it on the way."
        )
    return Projection(pixels, own.detach(), relus.calls, pools.calls)


def _activated(network: Network, images: Tensor, layer: Layer) -> Tensor:
    """The layer's output as the rest of the network sees it; the forward pass ends there."""
    if layer.name == LOGITS:
        return network.activations(images, [LOGITS])[LOGITS]
    held: list[Tensor] = []

    def keep(output: Tensor) -> Tensor:
        held.append(output)
        raise _ReachedError

    with contextlib.suppress(_ReachedError):
        network.activations(images, [LOGITS], through={layer.name: keep})
    return held[0]


def _seeds(layer: Layer, own: Tensor, start: str, position: tuple[int, ...] | None) -> Tensor:
    """What goes down: zero but for the chosen positions."""
    spatial = tuple(own.shape[1:])
    kept = torch.ones_like(own)
    if position is not None:
        inside = len(position) == len(spatial)
        if not inside or not all(0 <= at < size for at, size in zip(position, spatial, strict=True)):
            raise NetworkError(
                f"{layer.name} was given position {position}, but it has {spatial} positions for this image."
            )
        kept = torch.zeros_like(own)
        place: tuple[Any, ...] = (slice(None), *position)
        kept[place] = 1.0
    elif start == "strongest position":
        flat = own.reshape(len(own), -1)
        kept = torch.zeros_like(flat).scatter_(1, flat.argmax(1, keepdim=True), 1.0).view_as(own)
    return kept if start == "strongest position" else own * kept
