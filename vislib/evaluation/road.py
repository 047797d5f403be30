"""ROAD: remove and debias. Removed pixels are imputed from what remains, so that their absence does not show."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import sparse
from torch import Tensor

from vislib.attribution.target import Target
from vislib.errors import AttributionError
from vislib.evaluation.faithfulness import places
from vislib.evaluation.scores import batch_size, class_target, probability
from vislib.network import Network

PERCENTAGES = (20, 40, 60, 80)
NOISE = 0.01  # standard deviation, of images in [0, 1]
ACCURACY = 1e-5  # residual of the linear systems, as a share of their right sides: far below the noise
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Road:
    """Probability of the class after the most (MoRF) or the least relevant pixels (LeRF) were removed."""

    percentages: tuple[float, ...]
    morf: Float[np.ndarray, "n points"]
    lerf: Float[np.ndarray, "n points"]

    @property
    def score(self) -> Float[np.ndarray, " n"]:
        """(LeRF - MoRF) / 2, the mean over the percentages: above 0 where the map is right, -0.5 to 0.5."""
        return (self.lerf - self.morf).mean(1) / 2


Steps = Generator[float, None, Road]


def neighbour_weights(axes: int) -> dict[tuple[int, ...], float]:
    """Offset to weight: direct neighbours 1/6 and diagonal ones 1/12 in 2-D.

    In 3-D likewise halved with every further axis that differs: faces 4/56, edges 2/56, corners 1/56.
    """
    offsets = [offset for offset in product((-1, 0, 1), repeat=axes) if any(offset)]
    raw = [0.5 ** sum(map(abs, offset)) for offset in offsets]
    return {offset: weight / sum(raw) for offset, weight in zip(offsets, raw, strict=True)}


def impute(
    image: Float[np.ndarray, "c *spatial"],
    removed: Bool[np.ndarray, "*spatial"],
    *,
    noise: float = NOISE,
    random: np.random.Generator | None = None,
) -> Float[np.ndarray, "c *spatial"]:
    """Noisy linear imputation: each removed pixel is the weighted mean of its neighbours, plus noise.

    At the border the weights of the neighbours that exist are scaled up. Rong et al. 2022, arXiv 2202.00449. The
    system is symmetric and positive definite, and solved by conjugate gradients, since in 3-D a factorisation
    would not fit into memory. Raises AttributionError when all is removed.
    """
    if removed.all():
        raise AttributionError(
            "All pixels were to be imputed, which leaves nothing to do it from; keep some."
        )
    filled = image.astype(np.float64)
    if removed.any():
        mean = filled[:, ~removed].mean(1)
        filled[:, removed] = _solve(*_system(filled, removed), mean)
        if noise:
            random = random or np.random.default_rng(0)
            filled[:, removed] += noise * random.standard_normal((len(filled), int(removed.sum())))
    return filled.astype(image.dtype)


def _system(
    image: np.ndarray, removed: Bool[np.ndarray, "*spatial"]
) -> tuple[sparse.csr_array, Float[np.ndarray, "c unknowns"]]:
    """The matrix over the removed pixels, and the right side of every channel."""
    count = int(removed.sum())
    index = np.full(removed.shape, -1)
    index[removed] = np.arange(count)
    outside = -2
    index = np.pad(index, 1, constant_values=outside)
    padded = np.pad(image, [(0, 0)] + [(1, 1)] * removed.ndim)
    diagonal, right = np.zeros(count), np.zeros((len(image), count))
    rows, columns, values = [np.arange(count)], [np.arange(count)], [diagonal]
    for offset, weight in neighbour_weights(removed.ndim).items():
        window = tuple(
            slice(1 + step, 1 + step + size) for step, size in zip(offset, removed.shape, strict=True)
        )
        neighbour = index[window][removed]
        diagonal += weight * (neighbour != outside)
        right += weight * padded[(slice(None), *window)][:, removed] * (neighbour == -1)
        unknown = np.flatnonzero(neighbour >= 0)
        rows.append(unknown)
        columns.append(neighbour[unknown])
        values.append(np.full(len(unknown), -weight))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(entries, shape=(count, count)), right


def _solve(
    system: sparse.csr_array, right: Float[np.ndarray, "c unknowns"], start: Float[np.ndarray, " c"]
) -> Float[np.ndarray, "c unknowns"]:
    """Conjugate gradients (Hestenes and Stiefel 1952), all channels at once.

    scipy's own calls a threaded BLAS for every inner product, which on busy cores takes 50 times longer.
    """
    found = np.repeat(start[:, None], right.shape[1], 1)
    residual = right - (system @ found.T).T
    direction, error = residual.copy(), _inner(residual, residual)
    enough = ACCURACY**2 * _inner(right, right)
    while (error > enough).any():
        product = (system @ direction.T).T
        step = error / np.maximum(_inner(direction, product), TINY)
        found += step[:, None] * direction
        residual -= step[:, None] * product
        before, error = error, _inner(residual, residual)
        direction = residual + (error / np.maximum(before, TINY))[:, None] * direction
    return found


def _inner(a: Float[np.ndarray, "c unknowns"], b: Float[np.ndarray, "c unknowns"]) -> Float[np.ndarray, " c"]:
    return np.einsum("cu,cu->c", a, b)


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
                found += probability(network, stacked, target, several).tolist()
                waiting = []
            yield done / total
    table = np.array(found).reshape(len(images), len(percentages), 2)
    return Road(percentages, table[:, :, 0], table[:, :, 1])
