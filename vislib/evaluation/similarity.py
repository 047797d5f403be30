"""Similarity of two maps: rank correlation and structural similarity (SSIM)."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage, stats

# Wang et al. 2004: a Gaussian window of 11 pixels, and what keeps the quotients finite for values in [0, 1].
SIGMA, RADIUS = 1.5, 5
C1, C2 = 0.01**2, 0.03**2


def rank_correlation(
    a: Float[np.ndarray, "n *spatial"], b: Float[np.ndarray, "n *spatial"]
) -> Float[np.ndarray, " n"]:
    """Spearman's correlation of each pair of maps; 0 where one of them is constant and has no order."""
    ranks = [stats.rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (a, b)]
    first, second = (r - r.mean(1, keepdims=True) for r in ranks)
    scale = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return np.divide((first * second).sum(1), scale, out=np.zeros(len(a)), where=scale > 0)


def ssim(a: Float[np.ndarray, "n *spatial"], b: Float[np.ndarray, "n *spatial"]) -> Float[np.ndarray, " n"]:
    """Mean structural similarity of each pair of maps with values in [0, 1]; borders are mirrored.

    Wang et al. 2004, doi 10.1109/TIP.2003.819861, over any number of axes.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)

    def smooth(values: np.ndarray) -> np.ndarray:
        for axis in range(1, values.ndim):
            values = ndimage.gaussian_filter1d(values, SIGMA, axis, radius=RADIUS)
        return values

    mx, my = smooth(x), smooth(y)
    vx, vy, vxy = smooth(x * x) - mx * mx, smooth(y * y) - my * my, smooth(x * y) - mx * my
    local = (2 * mx * my + C1) * (2 * vxy + C2) / ((mx**2 + my**2 + C1) * (vx + vy + C2))
    return local.reshape(len(local), -1).mean(1)


def sizes(maps: Float[np.ndarray, "n *spatial"]) -> Float[np.ndarray, "n *spatial"]:
    """Absolute values of each map, divided by their maximum."""
    size = np.abs(maps)
    top = size.reshape(len(size), -1).max(1).reshape(-1, *[1] * (size.ndim - 1))
    return size / np.where(top > 0, top, 1)
