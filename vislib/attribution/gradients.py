"""Gradient methods that ask once: saliency, guided backpropagation, deconvnet, input times gradient."""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from vislib.attribution.backward import gradients
from vislib.attribution.method import method
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution

FAMILY = "gradients"


def strongest_channel(pixels: Float[Tensor, "n c *spatial"]) -> Float[Tensor, "n *spatial"]:
    """At each place the channel's value of largest size, with its sign."""
    return pixels.gather(1, pixels.abs().argmax(1, keepdim=True))[:, 0]


def no_relu(query: Query, relus: int) -> tuple[str, ...]:
    """A sentence for a ReLU rule that had nothing to do."""
    if relus:
        return ()
    return (
        f"{query.method} met no ReLU on the way to {query.target.layer} in {query.network.name}, so it equals the "
        "plain gradient here.",
    )


@method(
    "Saliency",
    family=FAMILY,
    description="how much each pixel's change would change the score: the gradient's largest size over channels",
    source="Simonyan et al. 2013, arXiv 1312.6034",
    signed=False,
)
def saliency(query: Query) -> Iterator[Attribution]:
    """`max_c |dy/dx|` (Simonyan et al. 2013)."""
    gradient, scores, _ = gradients(query)
    yield query.result(gradient.abs().amax(1), scores, colour=gradient)


def _ruled(query: Query, rule: str) -> Iterator[Attribution]:
    gradient, scores, relus = gradients(query, rule)
    yield query.result(strongest_channel(gradient), scores, notes=no_relu(query, relus), colour=gradient)


@method(
    "Guided backprop",
    family=FAMILY,
    description="the gradient, of which each ReLU lets through what is positive, and only where it fired",
    source="Springenberg et al. 2014, arXiv 1412.6806",
    needs=("ReLUs",),
)
def guided_backprop(query: Query) -> Iterator[Attribution]:
    """The gradient with `R * [z > 0] * [R > 0]` at each ReLU (Springenberg et al. 2014).

    The map has, at each place, the channel's value of largest size with its sign.
    """
    yield from _ruled(query, "guided")


@method(
    "Deconvnet",
    family=FAMILY,
    description="the gradient, of which each ReLU lets through what is positive, whether it fired or not",
    source="Zeiler and Fergus 2013, arXiv 1311.2901",
    needs=("ReLUs",),
)
def deconvnet(query: Query) -> Iterator[Attribution]:
    """The gradient with `R * [R > 0]` at each ReLU (Zeiler & Fergus 2013), of the target's score.

    "Deconvolution" starts from a unit's activation instead, as the paper does. The map has, at each place, the
    channel's value of largest size with its sign.
    """
    yield from _ruled(query, "deconvnet")


@method(
    "Input x gradient",
    family=FAMILY,
    description="the gradient times the image, summed over channels: what each pixel's light adds to the score",
    source="Shrikumar et al. 2016, arXiv 1605.01713",
)
def input_x_gradient(query: Query) -> Iterator[Attribution]:
    """`sum_c x_c dy/dx_c` for the image in [0, 1] (Shrikumar et al. 2016)."""
    gradient, scores, _ = gradients(query)
    product = query.images * gradient
    yield query.result(product.sum(1), scores, colour=product)
