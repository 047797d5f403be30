"""Where the brain is in a volume: a threshold, its largest piece, no holes; and whether the contrast is inverted."""

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from vislib.images import stretched
from vislib.levels import darkest, spread

BINS = 256  # of the histogram that Otsu's threshold is found in
BRIDGE = 2.5  # mm: what hangs on the largest piece by less is cut off (membranes, vessels, noise)
MOUTH = 8.0  # mm: a dark lesion that opens to the outside by less than twice this is inside
COARSE = 2.5  # mm: about as coarse as the grid is on which such mouths are closed
SOME = 4_000_000  # voxels that a histogram is made of, evenly spread, where there are more


def otsu(values: Float32[np.ndarray, "*any"]) -> float:
    """The threshold that splits values into two classes with the largest variance between them.

    The brightest 0.2 % count as equal, and what lies far below all others (`vislib.levels.darkest`). Otsu 1979, A
    threshold selection method from gray-level histograms.
    """
    flat = spread(values, SOME)
    low, high = (float(end) for end in np.percentile(flat, (0, 99.8)))
    low = darkest(flat, low, high)
    if not high > low:
        return low
    if high - low < 1e-30:  # whose bins float32 does not tell apart
        return low + (high - low) * otsu(stretched(flat, low, high))
    counts, edges = np.histogram(np.clip(flat, low, high), BINS, (low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above, sums = flat.size - below, np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1:-1][np.nanargmax(between)])


def brain_mask(
    data: Float32[np.ndarray, "x y z"], voxel: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Bool[np.ndarray, "x y z"]:
    """The largest bright piece of a volume, holes filled; `voxel` is its size in mm.

    Otsu's threshold, an opening with a ball of BRIDGE mm radius (as far as voxels are finer than that), the
    largest connected piece of it, grown back within the threshold, a closing with a ball of MOUTH mm, holes
    filled. Of a picture that shows skull and scalp this is the head: it strips nothing. Where all values are equal
    it is everything.
    """
    bright = data > otsu(data)
    if not bright.any():
        return np.ones(data.shape, bool)
    ball = _ball(voxel, BRIDGE, 3)
    core = largest(ndimage.binary_erosion(bright, ball, border_value=1))
    if not core.any():
        core = largest(bright)
    around = _around(core, ball.shape)
    piece = largest(bright[around] & ndimage.binary_dilation(core[around], ball))
    mask = np.zeros(data.shape, bool)
    mask[around] = ndimage.binary_fill_holes(piece | _closed(piece, voxel))
    return mask


def largest(mask: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """The largest piece of a mask, voxels hanging together by their faces; nothing of nothing."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.reshape(-1))
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax())


def looks_inverted(data: Float32[np.ndarray, "x y z"]) -> bool:
    """Whether an even background, seen in all eight corners, is brighter than most of the middle of a volume."""
    if min(data.shape) < 8:
        return False
    corners = np.concatenate([data[x, y, z].reshape(-1) for x, y, z in _corners(data.shape)])
    middle = data[tuple(slice(n // 4, n - n // 4) for n in data.shape)]
    middle = middle.reshape(-1)[:: max(1, middle.size // SOME)]
    values = np.concatenate((corners, middle))
    spread = np.subtract(*np.percentile(values, (99, 1)))
    even = np.subtract(*np.percentile(corners, (90, 10))) < 0.1 * spread
    return bool(even and np.median(corners) > np.percentile(middle, 75) + 0.1 * spread)


def _corners(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    ends = [(slice(0, max(1, n // 10)), slice(n - max(1, n // 10), n)) for n in shape]
    return [(x, y, z) for x in ends[0] for y in ends[1] for z in ends[2]]


def _closed(mask: Bool[np.ndarray, "x y z"], voxel: tuple[float, float, float]) -> Bool[np.ndarray, "x y z"]:
    """A mask's closing, within its outline: of every second voxel or fewer where these are fine."""
    steps = [max(1, round(COARSE / mm)) for mm in voxel]
    x, y, z = steps
    coarse = mask[::x, ::y, ::z]
    ball = _ball((voxel[0] * x, voxel[1] * y, voxel[2] * z), MOUTH, 8)
    edges = [(n // 2, n // 2) for n in ball.shape]
    closed = ndimage.binary_closing(np.pad(coarse, edges), ball)
    closed = closed[
        tuple(slice(before, before + n) for (before, _), n in zip(edges, coarse.shape, strict=True))
    ]
    if max(steps) > 1:
        closed = ndimage.binary_erosion(closed)
    for axis, step in enumerate(steps):
        closed = closed.repeat(step, axis)
    return np.asarray(closed[tuple(slice(0, n) for n in mask.shape)], bool)


def _around(mask: Bool[np.ndarray, "x y z"], margin: tuple[int, ...]) -> tuple[slice, ...]:
    """The box of a mask that is not empty, so much wider on each side as the grid allows."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(
        slice(max(0, one.start - more), min(size, one.stop + more))
        for one, more, size in zip(box, margin, mask.shape, strict=True)
    )


def _ball(voxel: tuple[float, float, float], radius: float, most: int) -> Bool[np.ndarray, "x y z"]:
    """Voxels within so many mm, never more than `most` along an axis."""
    reach = [min(most, int(radius / mm)) for mm in voxel]
    away = np.meshgrid(
        *(np.arange(-n, n + 1) * mm for n, mm in zip(reach, voxel, strict=True)), indexing="ij", sparse=True
    )
    return np.asarray(sum(axis**2 for axis in away) <= radius**2)
