"""Prediction difference analysis: what a window's content adds to the evidence for a class."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vislib.attribution.incremental import Rerun, reruns
from vislib.attribution.method import method, parameter
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution
from vislib.attribution.samplers import Sampler, check_surround, reference, sampler
from vislib.attribution.windows import Grid, fitted, sweep, units_of
from vislib.errors import AttributionError
from vislib.network import Network
from vislib.probe import LOGITS

# N of the Laplace correction: the number of training images in the paper's experiments.
TRAINED_ON = 100_000
_MOST_DRAWS = 2**63  # of a generator's seed

Relevance = Callable[[Rerun, int, Int64[np.ndarray, " m"]], Float[Tensor, "m"]]


@method(
    "Prediction difference",
    family="perturbation",
    description="how many bits of evidence each window adds, beside what else could stand in its place",
    source="Zintgraf et al. 2017, arXiv 1702.04595",
    quick=False,
    parameters=(
        parameter(
            "window", "int", 1, 64, "pixels", "side of the window whose content is drawn anew", default=10
        ),
        parameter("stride", "int", 1, 64, "pixels", "from one window to the next; published: 1", default=2),
        parameter("samples", "int", 1, 100, "", "contents drawn for each window", default=10),
        parameter(
            *("sampler", "choice", 0, 0, ""),
            "conditional: what fits what is around the window; marginal: what other images have there",
            choices=("conditional", "marginal"),
            default="conditional",
        ),
        parameter(
            *("padding", "int", 0, 16, "pixels", "around the window, what its content is conditioned on"),
            used_when={"sampler": ("conditional",)},
            default=2,
        ),
    ),
)
def prediction_difference(query: Query) -> Iterator[Attribution]:
    """`log2 odds p(c|x) - log2 odds p(c|x without w)` (Zintgraf et al. 2017), the mean over the windows on a pixel.

    `p(c|x without w)` is the mean probability over `samples` contents of the window, all channels drawn
    together; probabilities are those of the network's head, Laplace-corrected (with K = 2 where each unit is a yes or
    no of its own). Values and units of other layers have no odds: `a - E[a]`. A target `against` another one is the
    difference of the two. Unlike the paper's windows, these are `stride` apart; the last ones end where the image
    does. Raises AttributionError for a stride above the window, surrounds too large for a Gaussian, and a domain that
    does not fit.
    """
    window, stride = query.whole("window"), query.whole("stride")
    if stride > window:
        raise AttributionError(
            f"Prediction difference was given a stride of {stride} pixels and windows of {window}, which leave "
            f"pixels that no window covers; give a stride of at most {window}."
        )
    sizes, notes = fitted(query, window)
    spatial = tuple(query.images.shape[2:])
    check_surround(query.choice("sampler"), sizes, query.whole("padding"), spatial)
    return _steps(query, Grid.whole(spatial, sizes, stride), (*notes, *_measured_in(query)))


def _steps(query: Query, grid: Grid, notes: tuple[str, ...]) -> Iterator[Attribution]:
    known = reference(query.network, query.images)
    draw = sampler(query.choice("sampler"), known, grid.window, query.whole("padding"), grid.spatial)
    head = query.network.head
    is_class = query.target.layer == LOGITS and head.has_probability
    units, target = (None, query.target) if is_class else units_of(query.target)
    of_class = replace(target, position=None)
    samples = query.whole("samples")
    rerun_of = reruns(query.network, target.layer, query.images, grid.window, units)
    contents = _contents(query, grid, draw, samples)

    def outputs(rerun: Rerun, image: int, windows: Int64[np.ndarray, " m"]) -> Tensor:
        patches, starts = contents(image, windows), grid.places(windows).repeat_interleave(samples, 0)
        size = rerun.rows
        parts = [
            rerun(patches[first : first + size], starts[first : first + size])
            for first in range(0, len(patches), size)
        ]
        return torch.cat(parts).double().cpu()

    def evidence(rerun: Rerun, image: int, windows: Int64[np.ndarray, " m"]) -> Float64[Tensor, "m"]:
        before = class_probabilities(rerun.clean.double().cpu(), query.network, target.position)
        after = class_probabilities(outputs(rerun, image, windows), query.network, target.position)
        after = after.view(len(windows), samples, -1).mean(1)
        classes = before.shape[1] if head.exclusive else 2
        # Without positions any more; `against` another class takes that one's difference off.
        gained = log2_odds(before, classes) - log2_odds(after, classes)
        return of_class.of(gained, [image] * len(windows))

    def change(rerun: Rerun, image: int, windows: Int64[np.ndarray, " m"]) -> Float64[Tensor, "m"]:
        after = target.of(outputs(rerun, image, windows), [image] * (len(windows) * samples))
        return target.of(rerun.clean.double().cpu(), [image]) - after.view(len(windows), samples).mean(1)

    yield from sweep(
        *(query, grid, rerun_of, evidence if is_class else change),
        lambda rerun: max(1, rerun.rows // samples),
        notes=(*notes, *known.notes),
    )


def _contents(
    query: Query, grid: Grid, draw: Sampler, samples: int
) -> Callable[[int, Int64[np.ndarray, " m"]], Tensor]:
    """Draw contents for windows of an image; each window's depend on the seed and on itself alone."""
    images = query.images.cpu()
    generator = torch.Generator()

    def contents(image: int, windows: Int64[np.ndarray, " m"]) -> Float[Tensor, "rows c *window"]:
        drawn = []
        for number, start in zip(windows.tolist(), grid.places(windows).tolist(), strict=True):
            generator.manual_seed((query.seed * 1_000_003**2 + number) % _MOST_DRAWS)
            drawn.append(draw(images[image], start, samples, generator))
        return torch.cat(drawn).to(query.images)

    return contents


def class_probabilities(
    logits: Float64[Tensor, "m classes *spatial"], network: Network, position: tuple[int, ...] | None = None
) -> Float64[Tensor, "m classes"]:
    """The head's probabilities; of logits with positions at one of them, or averaged over them."""
    if position:
        place: tuple[Any, ...] = (..., *position)
        logits = logits[place]
    return network.head.probabilities(network.output.averaged(logits))


def log2_odds(p: Float64[Tensor, "m units"], classes: int) -> Float64[Tensor, "m units"]:
    """`log2 p / (1 - p)` of probabilities after the Laplace correction `(p N + 1) / (N + K)`, K classes."""
    corrected = (p * TRAINED_ON + 1) / (TRAINED_ON + classes)
    return (corrected / (1 - corrected)).log2()


def _measured_in(query: Query) -> tuple[str, ...]:
    """What the map's numbers are, where they are no bits of evidence."""
    head = query.network.head
    if query.target.layer != LOGITS or head.has_probability:
        return ()
    return (f"The map is in {head.unit or 'units of the output'}: how far each window moves the value.",)
