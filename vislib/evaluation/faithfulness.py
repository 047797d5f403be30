"""Faithfulness: does what the network says follow a map? Deletion and insertion curves (RISE)."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislib.attribution.target import Target
from vislib.errors import AttributionError
from vislib.evaluation.scores import batch_size, class_target, measured
from vislib.network import Network
from vislib.whole import checked_seed

STEPS = 28
MOVES = 0.01  # a curve that moves by less tells nothing
ROUNDING = 1e-4  # of a value: what removal changes less is rounding, not an effect
BLUR_WIDTH, BLUR_SIGMA = 11, 5.0  # pixels


@dataclass(frozen=True, eq=False)
class Curve:
    """What the network says of the target while pixels are deleted or inserted, the map's largest first.

    `probabilities` are shares of 1. Of a network whose output is a value (`values`, in its unit) they are places on
    the value's own scale: 1 is the clean image's, and 1 away from it the value when all is removed.
    """

    fractions: Float[np.ndarray, " points"]
    probabilities: Float[np.ndarray, "n points"]
    values: Float[np.ndarray, "n points"] | None = None

    @property
    def moved(self) -> Bool[np.ndarray, " n"]:
        """Whether a curve tells anything; one that hardly moves, or is not finite, does not."""
        return has_moved(self.probabilities)

    @property
    def auc(self) -> Float[np.ndarray, " n"]:
        """Area under each curve, by the trapezoid rule; NaN, not measured, under one that does not move."""
        return np.where(self.moved, self.area, np.nan)

    @property
    def area(self) -> Float[np.ndarray, " n"]:
        """As `auc`, also under a curve that does not move."""
        return np.trapezoid(self.probabilities, self.fractions, axis=1)


def has_moved(probabilities: Float[np.ndarray, "n points"]) -> Bool[np.ndarray, " n"]:
    """Whether what was measured changes by MOVES or more; False where it is not finite."""
    finite = np.isfinite(probabilities).all(1)
    return finite & (np.ptp(np.where(finite[:, None], probabilities, 0.0), axis=1) >= MOVES)


def removable(
    network: Network, images: Float[Tensor, "n c *spatial"], target: Target
) -> Bool[np.ndarray, " n"]:
    """Whether removing all of an image moves what the network says of it, so that the order of removal can tell."""
    rows = range(len(images))
    clean, removed = (measured(network, some, target, rows) for some in (images, mean_image(network, images)))
    least = MOVES if network.head.has_probability else ROUNDING * np.maximum(abs(clean), abs(removed))
    return np.abs(clean - removed) >= np.maximum(least, np.finfo(float).tiny)


def mean_image(network: Network, images: Float[Tensor, "n c *spatial"]) -> Float[Tensor, "n c *spatial"]:
    """The network's mean in place of every pixel: all is removed."""
    mean = torch.tensor(network.mean, dtype=images.dtype, device=images.device)
    return mean.view(1, -1, *[1] * (images.ndim - 2)).expand_as(images)


def on_own_scale(
    values: Float[np.ndarray, "n points"], clean: Float[np.ndarray, " n"], removed: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n points"]:
    """Values as places between `removed` (1 away from 1) and `clean` (1), larger for larger values; NaN where equal."""
    way = np.abs(clean - removed)
    largest = np.maximum(np.abs(clean), np.abs(removed))
    told = way > ROUNDING * largest
    return np.where(told[:, None], 1 + (values - clean[:, None]) / np.where(told, way, 1.0)[:, None], np.nan)


Steps = Generator[float, None, Curve]  # yields the share that is done, and returns the curve


def places(maps: Float[np.ndarray, "n *spatial"], seed: int = 0) -> Int[np.ndarray, "n pixels"]:
    """Each pixel's place when a map is sorted, 0 for its largest value; ties fall in a random order."""
    flat = maps.reshape(len(maps), -1)
    if not np.isfinite(flat).all():
        raise AttributionError(
            "A map with NaN or infinite values was to be judged; give maps of finite numbers."
        )
    shuffled = np.random.default_rng(checked_seed(seed, AttributionError)).permutation(flat.shape[1])
    order = shuffled[np.argsort(-flat[:, shuffled], axis=1, kind="stable")]
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1])[None], axis=1)
    return ranks


def blurred(
    images: Float[Tensor, "n c *spatial"], width: int = BLUR_WIDTH, sigma: float = BLUR_SIGMA
) -> Float[Tensor, "n c *spatial"]:
    """Gaussian blur over a window of `width` (odd) pixels along every axis; borders are repeated."""
    offsets = torch.arange(width, device=images.device) - width // 2
    weights = torch.exp(-((offsets / sigma) ** 2) / 2).to(images.dtype)
    weights = weights / weights.sum()
    for axis in range(2, images.ndim):
        size = images.shape[axis]
        place = torch.arange(size, device=images.device)
        shifted = (
            weight * images.index_select(axis, (place + offset).clamp(0, size - 1))
            for weight, offset in zip(weights, offsets, strict=True)
        )
        images = torch.stack(list(shifted)).sum(0)
    return images


def deletion_steps(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | int,
    maps: Float[np.ndarray, "n *spatial"],
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Steps:
    """As `deletion`, a short step at a time."""
    images = images.to(network.device, network.dtype)
    return _exchange(network, images, mean_image(network, images), target, maps, steps, seed, clean=0)


def insertion_steps(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | int,
    maps: Float[np.ndarray, "n *spatial"],
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Steps:
    """As `insertion`, a short step at a time."""
    images = images.to(network.device, network.dtype)
    return _exchange(network, blurred(images), images, target, maps, steps, seed, clean=-1)


def deletion(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | int,
    maps: Float[np.ndarray, "n *spatial"],
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Curve:
    """Delete pixels in `steps` equal portions, the map's largest values first; a low area is faithful.

    Deleted pixels become zero in the network's standardised space, its mean (RISE, Petsiuk et al. 2018, arXiv
    1806.07421). All channels of a pixel go together. Raises AttributionError for a target that is no class.
    """
    return finish(deletion_steps(network, images, target, maps, steps=steps, seed=seed))


def insertion(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | int,
    maps: Float[np.ndarray, "n *spatial"],
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Curve:
    """Insert pixels into a blurred copy (11 pixels, sigma 5), largest values first; a high area is faithful.

    RISE, Petsiuk et al. 2018, arXiv 1806.07421; here the blur repeats the border, where theirs fills in zeros.
    Raises AttributionError for a target that is no class.
    """
    return finish(insertion_steps(network, images, target, maps, steps=steps, seed=seed))


def finish(steps: Generator[float, None, Curve]) -> Curve:
    """Run all the steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _exchange(
    network: Network,
    start: Tensor,
    end: Tensor,
    target: Target | int,
    maps: np.ndarray,
    steps: int,
    seed: int,
    *,
    clean: int,
) -> Steps:
    """What is said while the pixels of `start` give way to those of `end`; `clean` is the place of the whole image.

    All is checked before this returns.
    """
    n, size = len(start), int(np.prod(start.shape[2:]))
    if steps < 1:
        raise AttributionError(f"Pixels were to be exchanged in {steps} steps; give 1 step or more.")
    checked = class_target(network, target, n)
    ranks = torch.from_numpy(places(maps, seed)).view(n, 1, *start.shape[2:]).to(start.device)
    counts = np.round(np.linspace(0, size, steps + 1)).astype(int)
    return _run(network, start, end, checked, ranks, counts, clean)


def _run(
    network: Network,
    start: Tensor,
    end: Tensor,
    target: Target,
    ranks: Tensor,
    counts: Int[np.ndarray, " points"],
    clean: int,
) -> Steps:
    n, points = len(start), len(counts)
    several, levels = np.divmod(np.arange(n * points), points)
    found = np.empty(n * points)
    batch = batch_size(network, start)
    for first in range(0, n * points, batch):
        rows = several[first : first + batch]
        limit = torch.from_numpy(counts[levels[first : first + batch]]).to(start.device)
        changed = ranks[rows] < limit.view(-1, *[1] * (start.ndim - 1))
        mixed = torch.where(changed, end[rows], start[rows])
        found[first : first + batch] = measured(network, mixed, target, rows.tolist())
        yield min(1.0, (first + batch) / (n * points))
    table, fractions = found.reshape(n, points), counts / counts[-1]
    if network.head.has_probability:
        return Curve(fractions, table)
    ends = table[:, clean], table[:, -1 - clean]  # -1 - 0 is the last, -1 - (-1) the first
    return Curve(fractions, on_own_scale(table, *ends), table)
