"""The way back: gradients of the target's score under a ReLU rule, to the pixels or to the first convolution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from vislib.attribution.query import Query
from vislib.errors import AttributionError
from vislib.relu import relu_rule

_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d}


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
        ones = torch.ones_like(self.scores)  # not a sum, which would need its own graph
        if self.scores.requires_grad:
            (gradient,) = torch.autograd.grad(self.scores, self.leaf, ones, allow_unused=True)
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
