"""Labels: whether a volume holds regions (a mask or an atlas) and not intensities, and what a region is called."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Num, Shaped

FEW = 16  # different values that are few, whatever they are
EACH = 4  # voxels that a value of these must have on average
MOST = 4096  # different whole numbers that an atlas may hold
ALIKE = 0.4  # share of the voxels beside a region's voxels that hold the same number, for the median region


@dataclass(frozen=True)
class Label:
    """A region's name, and its colour (red, green, blue of 0 to 255) where a table gives one."""

    name: str
    colour: tuple[int, int, int] | None = None


def is_labels(data: Num[np.ndarray, "x y z"] | Bool[np.ndarray, "x y z"]) -> bool:
    """Whether an array holds labels of regions and not intensities: it must never be interpolated then.

    So it is where there are 2 to FEW different values, whatever they are, or up to MOST different whole numbers that
    lie in regions: of the voxels beside those of the median number a share of ALIKE holds the same number. A scan of
    whole numbers has as many of them, but seldom two alike side by side.
    """
    known = different(data)
    if known is None or len(known) < 2 or data.size < EACH * len(known):
        return False
    if len(known) <= FEW:
        return True
    return bool(np.median(_alike(data, known)) >= ALIKE)


def different(parts: Iterable[np.ndarray]) -> Shaped[np.ndarray, " n"] | None:
    """The different values of an array's parts, in order; None for more than MOST, or than FEW that are not whole."""
    known: np.ndarray | None = None
    for part in parts:
        known = np.unique(part) if known is None else np.union1d(known, part)
        if len(known) > MOST or not np.isfinite(known).all():
            return None
        if len(known) > FEW and not (known == np.rint(known)).all():
            return None
    return known


def _alike(
    data: Shaped[np.ndarray, "x y z"], different: Shaped[np.ndarray, " n"]
) -> Shaped[np.ndarray, " n"]:
    """For each value the share of its voxels' neighbours, by their faces, that hold it too."""
    count = len(different)
    numbers = np.searchsorted(different, data).astype(np.int32)
    same, beside = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for axis in range(3):
        turned = np.moveaxis(numbers, axis, 0)
        for one, other in zip(turned[1:], turned[:-1], strict=True):
            same += 2 * np.bincount(one[one == other], minlength=count)
            beside += np.bincount(one.reshape(-1), minlength=count)
            beside += np.bincount(other.reshape(-1), minlength=count)
    return np.asarray(same / np.maximum(beside, 1))
