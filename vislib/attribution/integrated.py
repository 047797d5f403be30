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
COMPLETE = 0.01  # a relative error of the sum above which the rule of equal steps is reported
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

    The integral is a midpoint rule over `steps` points. Its weights, 1 / steps each, are then changed as little as
    makes the attributions add up to `y(x) - y(x')` (completeness; a regression on the slope of the score, whose
    integral is known), but none below 0. `numbers` has `completeness_error`, the relative error of the map's
    sum, and `rule_error`, that of the midpoint rule alone. The partial maps use the points visited so far, which
    lie all along the way from the start.
    """
    start = baseline(query, query.choice("baseline"))
    way = query.images - start
    n, steps = len(query.images), query.whole("steps")
    meeting = Meeting(query)
    tangent, scores_at_start = meeting.tangent(start)
    change = (meeting.scores.double() - scores_at_start.double()).tolist()
    # Golden steps: the points visited so far always lie all along the way.
    points = [(k + 0.5) / steps for k in sorted(range(steps), key=lambda k: k * _GOLDEN % 1)]
    slopes: list[list[float]] = [[] for _ in range(n)]

    def weigh(gradient: Tensor, rows: Sequence[int]) -> tuple[list[float], list[float]]:
        along = [float((one * tangent[row]).sum()) for one, row in zip(gradient, rows, strict=True)]
        for row, slope in zip(rows, along, strict=True):
            slopes[row].append(slope)
        return [1.0] * len(rows), [slope - change[row] for row, slope in zip(rows, along, strict=True)]

    batches = list(query.batches(steps * n, gradients=True))
    for step, pairs in enumerate(batches, 1):
        rows = [pair % n for pair in pairs]
        at = torch.tensor([points[pair // n] for pair in pairs]).to(start)
        meeting.add(start[rows] + at.view(-1, *[1] * (start.ndim - 1)) * way[rows], rows, weigh)
        if all(slopes):
            fitted = [fitted_weights(own, whole) for own, whole in zip(slopes, change, strict=True)]
            product = way * meeting.to_pixels([even for even, _ in fitted], [tilt for _, tilt in fitted])
            yield _result(query, product, meeting.scores, slopes, change, step, len(batches))


def fitted_weights(slopes: list[float], change: float) -> tuple[float, float]:
    """(a, b) such that the points' weights are `a + b (slope - change)`: `sum w = 1` and `sum w slope = change`.

    Of all such weights those closest to 1 / m each; where one would fall below 0, they stop there and miss the
    change.
    """
    m = len(slopes)
    mean = math.fsum(slopes) / m  # the same in any order: shares of a batch end in any
    apart = [slope - mean for slope in slopes]
    spread = math.fsum(one * one for one in apart)
    tilt = (change - mean) / spread if spread > 0 else 0.0
    if (largest := max(-tilt * one for one in apart)) > 1 / m:
        tilt /= largest * m
    return 1 / m - tilt * (mean - change), tilt


def _result(
    query: Query,
    product: Float[Tensor, "n c *spatial"],
    scores: Float[Tensor, "n"],
    slopes: list[list[float]],
    change: list[float],
    step: int,
    steps: int,
) -> Attribution:
    def relative(sums: list[float]) -> list[float]:
        # A change of 0 has no relative error; the smallest number stands in for it.
        return [abs(s - c) / max(abs(c), 1e-30) if s != c else 0.0 for s, c in zip(sums, change, strict=True)]

    error = relative(product.double().flatten(1).sum(1).tolist())
    rule = relative([math.fsum(own) / len(own) for own in slopes])
    where = "" if len(change) == 1 else " (the worst of the images)"
    notes = [
        f"The map adds up to the score's change from the baseline image to within {max(error):.2%}{where}."
    ]
    if max(rule) > COMPLETE:
        notes.append(
            f"The rule of {min(map(len, slopes))} equal steps alone misses that change by {max(rule):.1%}{where}, "
            "so the steps' weights were fitted to it; more steps make a finer map."
        )
    return query.result(
        product.sum(1),
        scores,
        step=step,
        steps=steps,
        notes=notes,
        numbers={
            "completeness_error": torch.tensor(error, dtype=torch.float32),
            "rule_error": torch.tensor(rule, dtype=torch.float32),
        },
        colour=product,
    )
