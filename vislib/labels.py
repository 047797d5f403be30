"""Labels: whether a volume holds regions (a mask or an atlas) and not intensities, and what a region is called."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Num, Shaped

FEW = 16  # different values that are few, whatever they are
EACH = 4  # voxels that a value of these must have on average
OFTEN = 16  # voxels that a value of a scan has on average; regions of an atlas may be small
MOST = 4096  # different whole numbers that an atlas may hold
# Share of the voxels beside a region's, the background left out, that hold the same number, for the median region.
ALIKE = 0.4


@dataclass(frozen=True)
class Label:
    """A region's name, and its colour (red, green, blue of 0 to 255) where a table gives one.

    `number` is the file's own where the array holds another one for the region: see `Volume.numbers`.
    """

    name: str
    colour: tuple[int, int, int] | None = None
    number: int | None = None


def is_labels(data: Num[np.ndarray, "x y z"] | Bool[np.ndarray, "x y z"]) -> bool:
    """Whether an array holds labels of regions and not intensities: it must never be interpolated then.

    So it is where there are 2 to FEW different values, whatever they are, or up to MOST different whole numbers that
    lie in regions, be these sheets or single voxels: of the voxels beside those of the median number, but for the
    background, a share of ALIKE holds the same number. A scan of whole numbers has as many of them, but seldom two
    alike side by side; one whose voxels were only repeated is judged by each voxel once.
    """
    known = different(data)
    if known is None or len(known) < 2 or data.size < EACH * len(known):
        return False
    if len(known) <= FEW:
        return True
    if np.median(_alike(data, known)) < ALIKE:
        return False
    once = _once(data)
    repeated = once.size < data.size and once.size >= OFTEN * len(known)
    return not repeated or bool(np.median(_alike(once, known)) >= ALIKE)


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
    """For each value the share of its voxels' neighbours, by their faces, that hold it too.

    The most frequent value is the background, which is no neighbour of others: a sheet of one voxel has little else
    beside it. A value that has no neighbour but the background lies apart, and has a share of 1.
    """
    count = len(different)
    numbers = np.searchsorted(different, data).astype(np.int32)
    background = int(np.bincount(numbers.reshape(-1), minlength=count).argmax())
    same, beside = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for axis in range(3):
        turned = np.moveaxis(numbers, axis, 0)
        for one, other in zip(turned[1:], turned[:-1], strict=True):
            same += 2 * np.bincount(one[one == other], minlength=count)
            for own, next_to in ((one, other), (other, one)):
                counted = (next_to != background) | (own == background)
                beside += np.bincount(own[counted], minlength=count)
    return np.where(beside > 0, same / np.maximum(beside, 1), 1.0)


def _once(data: Shaped[np.ndarray, "x y z"]) -> Shaped[np.ndarray, "a b c"]:
    """Each voxel once, where all are repeated two, three or four times along an axis, as by enlarging a scan."""
    for axis in range(3):
        for times in (4, 3, 2):
            turned = np.moveaxis(data, axis, 0)
            first = turned[::times]
            if len(turned) <= times or len(turned) % times:
                continue
            if all(np.array_equal(first, turned[k::times]) for k in range(1, times)):
                data = np.moveaxis(first, 0, axis)
                break
    return data
