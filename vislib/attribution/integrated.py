"""Integrated gradients: the gradient along a path from a baseline image, which adds up to the score's change."""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from vislib.attribution.gradients import FAMILY
from vislib.attribution.meeting import Meeting
from vislib.attribution.method import method, parameter
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution

BASELINES = ("zero", "mean", "blur")
BLUR = 1 / 16  # of each side: the blurred baseline's standard deviation
_GOLDEN = (math.sqrt(5) - 1) / 2


def baseline(query: Query, kind: str) -> Float[Tensor, "n c *spatial"]:
    """The image at which the path starts.

    zero  black
    mean  the network's mean colour, which is 0 after its standardisation
    blur  the image itself, blurred by a Gaussian of a sixteenth of each side
    """
    images = query.images
    if kind == "zero":
        return torch.zeros_like(images)
    if kind == "mean":
        mean = torch.tensor(query.network.mean).to(images)
        return mean.view(1, -1, *[1] * (images.ndim - 2)).expand_as(images).clone()
    sigma = (0, 0, *(size * BLUR for size in images.shape[2:]))
    return torch.from_numpy(ndimage.gaussian_filter(images.cpu().numpy(), sigma, mode="nearest")).to(images)


@method(
    "Integrated gradients",
    family=FAMILY,
    description="the gradient along the way from a baseline to the image, times the way: adds up to the score's change",
    source="Sundararajan et al. 2017, arXiv 1703.01365",
    parameters=(
        parameter(
            "steps", "int", 2, 1000, "", "points on the way from the baseline to the image", default=50
        ),
        parameter(
            *("baseline", "choice", 0, 0, ""),
            "where the way starts: black, the network's mean colour, or the image blurred",
            choices=BASELINES,
            default="zero",
        ),
    ),
)
def integrated_gradients(query: Query) -> Iterator[Attribution]:
    """`(x - x') * int_0^1 dy/dx(x' + t (x - x')) dt`, summed over channels (Sundararajan et al. 2017).

    The integral is a midpoint rule over `steps` points, which of the rules that were tried comes nearest to a fine
    integral (docs/integration.md). `numbers` has `completeness_error`: the part of `y(x) - y(x')` that the map's
    sum misses. The partial maps use the points visited so far, which lie all along the way from the start.
    """
    start = baseline(query, query.choice("baseline"))
    way = query.images - start
    n, steps = len(query.images), query.whole("steps")
    meeting = Meeting(query)
    change = (meeting.scores.double() - meeting.scores_of(start).double()).tolist()
    # Golden steps: the points visited so far always lie all along the way.
    points = [(k + 0.5) / steps for k in sorted(range(steps), key=lambda k: k * _GOLDEN % 1)]
    counts = [0] * n
    batches = list(query.batches(steps * n, gradients=True))
    for step, pairs in enumerate(batches, 1):
        rows = [pair % n for pair in pairs]
        at = torch.tensor([points[pair // n] for pair in pairs]).to(start)
        meeting.add(start[rows] + at.view(-1, *[1] * (start.ndim - 1)) * way[rows], rows)
        for row in rows:
            counts[row] += 1
        if all(counts):
            product = way * meeting.to_pixels([1 / count for count in counts])
            yield _result(query, product, meeting.scores, change, min(counts), step, len(batches))


def _result(
    query: Query,
    product: Float[Tensor, "n c *spatial"],
    scores: Float[Tensor, "n"],
    change: Sequence[float],
    points: int,
    step: int,
    steps: int,
) -> Attribution:
    sums = product.double().flatten(1).sum(1).tolist()
    # A change of 0 has no relative error; the smallest number stands in for it.
    error = [abs(s - c) / (abs(c) or 1e-30) if s != c else 0.0 for s, c in zip(sums, change, strict=True)]
    where = "" if len(change) == 1 else " (the worst of the images)"
    # One sentence whatever the numbers, so that those of a volume's slices become one.
    worst = max(error)  # what is not finite the result refuses, in a sentence
    percent = math.ceil(1000 * worst) / 10 if math.isfinite(worst) else worst
    missed = f"{percent:.1f}" if percent < 1000 else f"{percent:.0e}"  # of a change of next to nothing
    return query.result(
        product.sum(1),
        scores,
        step=step,
        steps=steps,
        notes=[
            f"With {points} points on the way the map's sum misses at most {missed} % of the score's change from "
            f"the baseline image{where}; more points come closer."
        ],
        numbers={"completeness_error": torch.tensor(error, dtype=torch.float32)},
        colour=product,
    )
