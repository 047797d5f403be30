"""The way back: gradients of the target's score under a ReLU rule, to the pixels or to the first convolution."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.attribution.query import Query
from vislib.attribution.stem import Stem
from vislib.errors import AttributionError
from vislib.relu import relu_rule


@dataclass(frozen=True, eq=False)
class Visit:
    """One forward pass with a graph: from `leaf`, the images, to `scores`, by way of the first convolution."""

    leaf: Float[Tensor, "m c *spatial"]
    scores: Float[Tensor, "m"]
    relus: int
    stem: Stem

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


def visit(
    query: Query,
    images: Float[Tensor, "m c *spatial"],
    rows: Sequence[int] | None = None,
    rule: str = "plain",
) -> Visit:
    """Score changed images with a graph under a ReLU rule; `rows` says which image each of them stands for."""
    leaf = images.detach().requires_grad_()
    with torch.enable_grad(), relu_rule(rule) as relus, Stem(leaf) as stem:
        scores = query.score(leaf, rows)
    return Visit(leaf, scores, relus.calls, stem)


def gradients(
    query: Query, rule: str = "plain"
) -> tuple[Float[Tensor, "n c *spatial"], Float[Tensor, "n"], int]:
    """The score's gradient by each image, the scores, and how many ReLUs were met."""
    parts = []
    for rows in query.batches(len(query.images), gradients=True):
        one = visit(query, query.images[rows.start : rows.stop], rows, rule)
        parts.append((one.to_pixels(), one.scores.detach(), one.relus))
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]), parts[0][2]
