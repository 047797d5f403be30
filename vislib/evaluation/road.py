"""ROAD: remove and debias. Removed pixels are imputed from what remains, so that their absence does not show."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vislib.attribution.target import Target
from vislib.errors import AttributionError
from vislib.evaluation.faithfulness import has_moved, mean_image, on_own_scale, places
from vislib.evaluation.scores import batch_size, class_target, measured
from vislib.network import Network

PERCENTAGES = (20, 40, 60, 80)
NOISE = 0.01  # standard deviation, of images in [0, 1]
# Residual of the linear system as a share of its right side: it leaves errors of about 0.001, a tenth of the noise.
ACCURACY = 1e-4
COARSEST = 8  # pixels a side, below which there is no coarser guess
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Road:
    """What the network says after the most (MoRF) or the least relevant pixels (LeRF) were removed, and before.

    Probabilities; of a network whose output is a value, places on its own scale as in `Curve`.
    """

    percentages: tuple[float, ...]
    morf: Float[np.ndarray, "n points"]
    lerf: Float[np.ndarray, "n points"]
    clean: Float[np.ndarray, " n"]

    @property
    def score(self) -> Float[np.ndarray, " n"]:
        """(LeRF - MoRF) / 2, the mean over the percentages: above 0 where the map is right.

        -0.5 to 0.5 of probabilities; NaN, not measured, where removal does not move what the network says.
        """
        moved = has_moved(np.concatenate([self.clean[:, None], self.morf, self.lerf], 1))
        return np.where(moved, self.difference, np.nan)

    @property
    def difference(self) -> Float[np.ndarray, " n"]:
        """As `score`, also where nothing moves."""
        return (self.lerf - self.morf).mean(1) / 2


Steps = Generator[float, None, Road]


def impute(
    image: Float[np.ndarray, "c *spatial"],
    removed: Bool[np.ndarray, "*spatial"],
    *,
    noise: float = NOISE,
    random: np.random.Generator | None = None,
    accuracy: float = ACCURACY,
) -> Float[np.ndarray, "c *spatial"]:
    """Noisy linear imputation: each removed pixel is the weighted mean of its neighbours, plus noise.

    Direct neighbours weigh 1/6 and diagonal ones 1/12; in 3-D likewise halved with every further axis that differs
    (faces 4/56, edges 2/56, corners 1/56). At the border the weights of the neighbours that exist are scaled up. Rong
    et al. 2022, arXiv 2202.00449. Raises AttributionError when all is removed.
    """
    if removed.all():
        raise AttributionError(
            "All pixels were to be imputed, which leaves nothing to do it from; keep some."
        )
    filled = image.astype(np.float64)
    if removed.any():
        filled = _solve(filled, removed, _guess(filled, removed, accuracy), accuracy)
        if noise:
            random = random or np.random.default_rng(0)
            filled[:, removed] += noise * random.standard_normal((len(filled), int(removed.sum())))
    return filled.astype(image.dtype)


def neighbours(values: Float[np.ndarray, "c *spatial"]) -> Float[np.ndarray, "c *spatial"]:
    """Sum over each pixel's neighbours, twice what has one more axis in common with it: 2 and 1 in 2-D."""
    total = values
    for axis in range(1, values.ndim):  # 1 2 1 along every axis gives these weights, and the pixel itself
        ahead = tuple(slice(1, None) if a == axis else slice(None) for a in range(values.ndim))
        behind = tuple(slice(None, -1) if a == axis else slice(None) for a in range(values.ndim))
        along = 2 * total
        along[ahead] += total[behind]
        along[behind] += total[ahead]
        total = along
    return total - 2 ** (values.ndim - 1) * values


def _solve(
    image: Float[np.ndarray, "c *spatial"],
    removed: Bool[np.ndarray, "*spatial"],
    guess: Float[np.ndarray, "c *spatial"],
    accuracy: float,
) -> Float[np.ndarray, "c *spatial"]:
    """Conjugate gradients (Hestenes and Stiefel 1952) on the grid itself, all channels at once.

    The system is symmetric and positive definite. In 3-D a factorisation would not fit into memory; and scipy's own
    conjugate gradients call a threaded BLAS for every inner product, which on busy cores takes 50 times longer.
    """
    column = (-1, *[1] * removed.ndim)
    degree = neighbours(np.ones((1, *removed.shape)))
    known = np.where(removed, 0.0, image)
    right = np.where(removed, neighbours(known), 0.0)

    def system(values: np.ndarray) -> np.ndarray:
        return np.where(removed, degree * values - neighbours(values), 0.0)

    found = np.where(removed, guess, 0.0)
    residual = right - system(found)
    direction, error = residual, _inner(residual, residual)
    enough = accuracy**2 * _inner(right, right)
    while (error > enough).any():
        product = system(direction)
        step = (error / np.maximum(_inner(direction, product), TINY)).reshape(column)
        found = found + step * direction
        residual = residual - step * product
        before, error = error, _inner(residual, residual)
        direction = residual + (error / np.maximum(before, TINY)).reshape(column) * direction
    return known + found


def _guess(
    image: Float[np.ndarray, "c *spatial"], removed: Bool[np.ndarray, "*spatial"], accuracy: float
) -> Float[np.ndarray, "c *spatial"]:
    """The solution for blocks of two pixels along every axis; it saves most of the steps where holes are wide."""
    axes = removed.ndim
    if min(removed.shape) < COARSEST or not removed.any():
        mean = image[:, ~removed].mean(1)
        return np.broadcast_to(mean.reshape(-1, *[1] * axes), image.shape)
    odd = [(0, size % 2) for size in removed.shape]
    there = _blocks(np.pad(~removed, odd)[None].astype(np.float64))
    coarse = _blocks(np.pad(np.where(removed, 0.0, image), [(0, 0), *odd])) / np.maximum(there, 1)
    holes = there[0] == 0
    if holes.any():
        coarse = _solve(coarse, holes, _guess(coarse, holes, accuracy), accuracy)
    for axis in range(1, axes + 1):
        coarse = coarse.repeat(2, axis)
    return coarse[(slice(None), *(slice(size) for size in removed.shape))]


def _blocks(values: Float[np.ndarray, "c *spatial"]) -> Float[np.ndarray, "c *halves"]:
    """Sums over blocks of two along every axis but the first."""
    for axis in range(1, values.ndim):
        even = tuple(slice(None, None, 2) if a == axis else slice(None) for a in range(values.ndim))
        uneven = tuple(slice(1, None, 2) if a == axis else slice(None) for a in range(values.ndim))
        values = values[even] + values[uneven]
    return values


def _inner(a: Float[np.ndarray, "c *spatial"], b: Float[np.ndarray, "c *spatial"]) -> Float[np.ndarray, " c"]:
    return np.einsum("cu,cu->c", a.reshape(len(a), -1), b.reshape(len(b), -1))


def road_steps(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | int,
    maps: Float[np.ndarray, "n *spatial"],
    *,
    percentages: Sequence[float] = PERCENTAGES,
    seed: int = 0,
) -> Steps:
    """As `road`, a short step at a time: one imputation, or one forward pass."""
    if not percentages or not all(0 < share < 100 for share in percentages):
        raise AttributionError(
            f"ROAD was given the percentages {tuple(percentages)}; give some between 0 and 100."
        )
    checked = class_target(network, target, len(images))
    return _run(network, images, checked, places(maps, seed), tuple(percentages), seed)


def road(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | int,
    maps: Float[np.ndarray, "n *spatial"],
    *,
    percentages: Sequence[float] = PERCENTAGES,
    seed: int = 0,
) -> Road:
    """Remove a map's most, or least, relevant pixels by noisy linear imputation and read the probability.

    ROAD, Rong et al. 2022, arXiv 2202.00449. Raises AttributionError for a target that is no class.
    """
    steps = road_steps(network, images, target, maps, percentages=percentages, seed=seed)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _run(
    network: Network,
    images: Tensor,
    target: Target,
    ranks: np.ndarray,
    percentages: tuple[float, ...],
    seed: int,
) -> Steps:
    spatial, cases = tuple(images.shape[2:]), 2 * len(percentages)
    size, batch, total = int(np.prod(spatial)), batch_size(network, images), len(images) * cases
    found: list[float] = []
    waiting: list[np.ndarray] = []
    for row, image in enumerate(images.detach().cpu().float().numpy()):
        for case in range(cases):
            count = round(size * percentages[case // 2] / 100)
            gone = ranks[row] < count if case % 2 == 0 else ranks[row] >= size - count
            # The same noise for every map, so that two maps of one image differ in what they remove alone.
            random = np.random.default_rng([seed, row, case])
            waiting.append(impute(image, gone.reshape(spatial), random=random))
            done = len(found) + len(waiting)
            if len(waiting) == batch or done == total:
                several = [place // cases for place in range(len(found), done)]
                stacked = torch.from_numpy(np.stack(waiting))
                found += measured(network, stacked, target, several).tolist()
                waiting = []
            yield done / total
    table = np.array(found).reshape(len(images), cases)
    clean = measured(network, images, target, range(len(images)))
    if not network.head.has_probability:
        gone = mean_image(network, images)
        table = on_own_scale(table, clean, measured(network, gone, target, range(len(images))))
        clean = np.ones(len(images))
    return Road(percentages, table[:, 0::2], table[:, 1::2], clean)
