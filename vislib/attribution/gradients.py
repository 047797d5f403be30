"""Gradient methods: saliency, guided backpropagation and their kin, SmoothGrad, integrated gradients."""

from collections.abc import Iterator

import torch

from vislib.attribution.method import method
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution


@method(
    "Saliency",
    family="gradients",
    description="how much each pixel's change would change the score: the gradient's largest size over channels",
    source="Simonyan et al. 2013, arXiv 1312.6034",
    signed=False,
)
def saliency(query: Query) -> Iterator[Attribution]:
    """`max_c |dy/dx|` (Simonyan et al. 2013)."""
    images = query.images.clone().requires_grad_()
    scores = query.score(images)
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    yield query.result(gradient.abs().amax(1), scores, colour=gradient)
