"""Localisation: does a map lie on the object, whose mask is known? Pointing game, mass and rank accuracy."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from vislib.errors import AttributionError

TOLERANCE = 15 / 224  # of the shortest side: the 15 pixels of the pointing game on images of 224


def pointing_game(
    maps: Float[np.ndarray, "n *spatial"],
    masks: Bool[np.ndarray, "n *spatial"],
    tolerance: float | None = None,
) -> Float[np.ndarray, " n"]:
    """1 where a map's maximum lies within `tolerance` pixels of the mask, 0 elsewhere.

    The maximum is the one of the map as it is, signs and all. Among several maxima the share that hits counts, so
    that a constant map scores what a random point would. `tolerance` defaults to 15 pixels at 224, scaled to the
    shortest side. Zhang et al. 2018, arXiv 1608.00507. Raises AttributionError for an empty mask or a map with NaN.
    """
    _check(maps, masks)
    reach = TOLERANCE * min(maps.shape[1:]) if tolerance is None else tolerance
    hits = np.empty(len(maps))
    for row, (values, mask) in enumerate(zip(maps, masks, strict=True)):
        near = ndimage.distance_transform_edt(~mask) <= reach
        hits[row] = near[values == values.max()].mean()
    return hits


def mass_accuracy(
    maps: Float[np.ndarray, "n *spatial"], masks: Bool[np.ndarray, "n *spatial"]
) -> Float[np.ndarray, " n"]:
    """Share of each map's absolute values inside the mask; a map of zeros counts as a uniform one.

    Arras et al. 2020, arXiv 2003.07258. Raises AttributionError for an empty mask or a map with NaN.
    """
    _check(maps, masks)
    mass, inside = np.abs(maps).reshape(len(maps), -1).astype(np.float64), masks.reshape(len(maps), -1)
    mass[~mass.any(1)] = 1.0
    return (mass * inside).sum(1) / mass.sum(1)


def rank_accuracy(
    maps: Float[np.ndarray, "n *spatial"], masks: Bool[np.ndarray, "n *spatial"]
) -> Float[np.ndarray, " n"]:
    """Share inside the mask of the p pixels with the largest absolute values, p being the mask's size.

    Where the p-th place is tied, the tied pixels share it evenly. Arras et al. 2020, arXiv 2003.07258. Raises
    AttributionError for an empty mask or a map with NaN.
    """
    _check(maps, masks)
    shares = np.empty(len(maps))
    for row, (values, mask) in enumerate(zip(maps, masks, strict=True)):
        size, inside = np.abs(values).ravel(), mask.ravel()
        p = int(inside.sum())
        least = np.partition(size, len(size) - p)[len(size) - p]
        above, tied = size > least, size == least
        places = (p - above.sum()) / tied.sum()
        shares[row] = ((above & inside).sum() + places * (tied & inside).sum()) / p
    return shares


def _check(maps: np.ndarray, masks: np.ndarray) -> None:
    if not np.isfinite(maps).all():
        raise AttributionError(
            "A map with NaN or infinite values was to be judged; give maps of finite numbers."
        )
    if not masks.reshape(len(masks), -1).any(1).all():
        raise AttributionError("An empty mask was given, and nothing can lie in it; leave such images out.")
