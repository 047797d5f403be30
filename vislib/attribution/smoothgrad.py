"""SmoothGrad: the mean of a gradient method over noisy copies of the image."""

from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.attribution.gradients import FAMILY, no_relu, strongest_channel
from vislib.attribution.meeting import Meeting
from vislib.attribution.method import method, parameter
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution

Reduce = Callable[[Tensor], Tensor]

# What is averaged: the ReLU rule of its gradient, and how its channels become one.
OF: Mapping[str, tuple[str, Reduce]] = {
    "gradient": ("plain", lambda mean: mean.abs().amax(1)),
    "guided backprop": ("guided", strongest_channel),
    "deconvnet": ("deconvnet", strongest_channel),
    "input x gradient": ("plain", lambda mean: mean.sum(1)),
}


@method(
    "SmoothGrad",
    family=FAMILY,
    description="the mean gradient over noisy copies of the image: less speckle",
    source="Smilkov et al. 2017, arXiv 1706.03825",
    signed=False,
    parameters=(
        parameter("samples", "int", 1, 1000, "", "noisy copies of the image", default=50),
        parameter(
            *("noise", "float", 0.0, 1.0, "of the image's range"),
            "standard deviation of the noise, as a share of the image's largest minus its smallest value",
            default=0.15,
        ),
        parameter(*("of", "choice", 0, 0, ""), "what is averaged", choices=tuple(OF), default="gradient"),
    ),
)
def smoothgrad(query: Query) -> Iterator[Attribution]:
    """`mean of the gradient at x + N(0, sigma^2)`, `sigma = noise * (max - min)` of the image (Smilkov et al. 2017).

    Channels are reduced as the method that is averaged does it: the largest size for the gradient, the value of
    largest size for guided backprop and deconvnet, the sum for input x gradient; all but the first are signed. The
    k-th copy of every image of a batch has the same noise, so that its map does not depend on the others.
    """
    n, of = len(query.images), query.choice("of")
    rule, reduce = OF[of]
    meeting = Meeting(query, rule, times_input=of == "input x gradient")
    flat = query.images.flatten(1)
    sigma = query.number("noise") * (flat.amax(1) - flat.amin(1)).view(-1, *[1] * (query.images.ndim - 1))
    generator = query.generator()
    noises: dict[int, Tensor] = {}
    counts = [0] * n
    batches = list(query.batches(query.whole("samples") * n, gradients=True))
    for step, pairs in enumerate(batches, 1):
        rows = [pair % n for pair in pairs]
        wanted = range(pairs[0] // n, pairs[-1] // n + 1)
        noises = {k: noises[k] if k in noises else _noise(query, generator) for k in wanted}
        copies = query.images[rows] + sigma[rows] * torch.stack([noises[pair // n] for pair in pairs])
        meeting.add(copies, rows)
        for row in rows:
            counts[row] += 1
        if all(counts):
            mean = meeting.to_pixels([1 / count for count in counts])
            yield query.result(
                reduce(mean),
                meeting.scores,
                step=step,
                steps=len(batches),
                notes=no_relu(query, meeting.relus) if rule != "plain" else (),
                colour=mean,
                signed=of != "gradient",
            )


def _noise(query: Query, generator: torch.Generator) -> Float[Tensor, "c *spatial"]:
    return torch.randn(query.images.shape[1:], generator=generator).to(query.images)
