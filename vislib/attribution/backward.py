"""The way back: gradients of the target's score under a ReLU rule, to the pixels or to the first convolution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from vislib.attribution.query import Query
from vislib.errors import AttributionError
from vislib.network import Network
from vislib.relu import relu_rule

_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d}
# Sums kept at the first convolution are larger than images: for many images they would not fit.
_MOST_IMAGES = 8


@dataclass(frozen=True, eq=False)
class Visit:
    """One forward pass with a graph: from `leaf`, the images, to `scores`, by way of the first convolution."""

    leaf: Float[Tensor, "m c *spatial"]
    scores: Float[Tensor, "m"]
    relus: int
    edge: GradientEdge | None  # that convolution's output in the graph
    values: Float[Tensor, "m k *first"] | None  # and what it was, where asked for

    def to_pixels(self) -> Float[Tensor, "m c *spatial"]:
        """The gradient of each score by its own image; raises AttributionError where there is none."""
        gradient: Tensor | None = None
        if self.scores.requires_grad:
            (gradient,) = torch.autograd.grad(self.scores.sum(), self.leaf, allow_unused=True)
        if gradient is None:
            raise AttributionError(
                "No gradient comes from the target back to the image, because the network detaches it on the "
                "way; choose a perturbation method."
            )
        return gradient


class _FirstConvolution(TorchFunctionMode):
    """Remembers where in the graph the first convolution's output is, and a copy of it where `keep` says so."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep = keep
        self.edge: GradientEdge | None = None
        self.values: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.edge is None and func in _CONVOLUTIONS and result.requires_grad:
            # An edge stays what it is when a ReLU works in place on the tensor.
            self.edge = get_gradient_edge(result)
            self.values = result.detach().clone() if self.keep else None
        return result


def visit(
    query: Query,
    images: Float[Tensor, "m c *spatial"],
    rows: Sequence[int] | None = None,
    rule: str = "plain",
    *,
    keep: bool = False,
) -> Visit:
    """Score changed images with a graph under a ReLU rule; `rows` says which image each of them stands for."""
    leaf = images.detach().requires_grad_()
    with torch.enable_grad(), relu_rule(rule) as relus, _FirstConvolution(keep) as first:
        scores = query.score(leaf, rows)
    return Visit(leaf, scores, relus.calls, first.edge, first.values)


def gradients(
    query: Query, rule: str = "plain"
) -> tuple[Float[Tensor, "n c *spatial"], Float[Tensor, "n"], int]:
    """The score's gradient by each image, the scores, and how many ReLUs were met."""
    parts = []
    for rows in query.batches(len(query.images), gradients=True):
        one = visit(query, query.images[rows.start : rows.stop], rows, rule)
        parts.append((one.to_pixels(), one.scores.detach(), one.relus))
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]), parts[0][2]


class Meeting:
    """Where the gradients of many copies of the images meet, to go on to the pixels together.

    Standardisation and the first convolution are affine: their Jacobian is the same for every copy, so that
    weighted sums of gradients may be made at that convolution's output and taken to the pixels once. That spares
    the dearest step of the way back. Where a trial shows that it does not hold for a network, and for many images,
    gradients meet at the pixels themselves.
    """

    def __init__(self, query: Query, rule: str = "plain", *, early: bool = True) -> None:
        self._query, self._rule = query, rule
        early = early and len(query.images) <= _MOST_IMAGES and _affine(query)
        own = visit(query, query.images, rule=rule, keep=early)
        self.scores, self.relus = own.scores.detach(), own.relus
        # The graph behind the edge is kept for the way to the pixels; what follows it is freed here.
        self._leaf, self._edge = own.leaf, own.edge if early else None
        self.values = own.values if early and own.values is not None else query.images
        self._sums: list[Tensor] = []

    def values_of(self, images: Float[Tensor, "m c *spatial"]) -> tuple[Tensor, Float[Tensor, "m"]]:
        """What images are at the meeting place, as `values` says it of the query's own, and their scores."""
        one = visit(self._query, images, keep=self._edge is not None)
        return images if one.values is None else one.values, one.scores.detach()

    def gradients(
        self, copies: Float[Tensor, "m c *spatial"], rows: Sequence[int]
    ) -> Float[Tensor, "m k *first"]:
        """The gradient of each copy's score at the meeting place."""
        one = visit(self._query, copies, rows, self._rule)
        if self._edge is None or one.edge is None:
            return one.to_pixels()
        return torch.autograd.grad(one.scores.sum(), [one.edge])[0]

    def add(
        self, gradient: Float[Tensor, "m k *first"], rows: Sequence[int], *weights: Sequence[float]
    ) -> None:
        """Add each gradient to its image's sums, one sum for each list of weights."""
        if not self._sums:
            like = torch.empty_like(gradient[:1])  # keeps the order of axes in memory
            self._sums = [torch.cat([torch.zeros_like(like) for _ in self._query.images]) for _ in weights]
        for total, factors in zip(self._sums, weights, strict=True):
            for one, row, factor in zip(gradient, rows, factors, strict=True):
                total[row].add_(one, alpha=factor)

    def to_pixels(self, *factors: Sequence[float]) -> Float[Tensor, "n c *spatial"]:
        """The sums, each times its factor for each image, added up and taken to the pixels."""
        axes = self._sums[0].ndim - 1
        total = torch.zeros_like(self._sums[0])
        for one, factor in zip(self._sums, factors, strict=True):
            total += one * torch.tensor(factor).to(one).view(-1, *[1] * axes)
        if self._edge is None:
            return total
        return torch.autograd.grad([self._edge], [self._leaf], [total], retain_graph=True)[0]


_affine_networks: WeakKeyDictionary[Network, dict[str, bool]] = WeakKeyDictionary()


def _affine(query: Query) -> bool:
    """Whether all that the target's layer sees of the image is an affine map's output, the first convolution's.

    Found by trial, once for each network and layer: the gradient of a random image takes its way to the pixels
    through the graph of another one.
    """
    known = _affine_networks.setdefault(query.network, {})
    if query.target.layer not in known:
        generator = torch.Generator().manual_seed(1)
        other = torch.rand(query.images[:1].shape, generator=generator).to(query.images)
        own, there = visit(query, query.images[:1], [0]), visit(query, other, [0])
        if own.edge is None or there.edge is None or not there.scores.requires_grad:
            known[query.target.layer] = False
            return False
        score = there.scores.sum()
        expected, early = torch.autograd.grad(
            score, [get_gradient_edge(there.leaf), there.edge], allow_unused=True
        )
        if expected is None or early is None or not bool(expected.any()):
            return False  # says nothing of other images
        (got,) = torch.autograd.grad([own.edge], [own.leaf], [early])
        known[query.target.layer] = torch.allclose(got, expected, atol=1e-4 * float(expected.abs().max()))
    return known[query.target.layer]
