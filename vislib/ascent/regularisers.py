"""Regularisers: what is done to the pixels between two steps, with one strength a row of the batch."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vislib.ascent.presets import Preset


def regularise(
    images: Float[Tensor, "n c *spatial"],
    gradient: Float[Tensor, "n c *spatial"],
    presets: Sequence[Preset],
    mean: Float[Tensor, "1 c *ones"],
    step: int,
) -> Float[Tensor, "n c *spatial"]:
    """Decay, blur, small norms, small contributions: in this order, as in Yosinski et al. 2015 (arXiv 1506.06579).

    `gradient` is the one that the step was made with; "zero" is the data's `mean`. A row blurs at steps 0,
    blur_every, 2 blur_every, …
    """
    if any(preset.decay for preset in presets):
        images = decay(images, [preset.decay for preset in presets], mean)
    sigmas = [preset.blur_sigma if step % preset.blur_every == 0 else 0.0 for preset in presets]
    if any(sigmas):
        images = blur(images, sigmas)
    if any(preset.norm_percentile for preset in presets):
        images = drop_small(images, (images - mean).norm(dim=1), [p.norm_percentile for p in presets], mean)
    if any(preset.contribution_percentile for preset in presets):
        contribution = ((images - mean) * gradient).sum(1).abs()
        images = drop_small(images, contribution, [p.contribution_percentile for p in presets], mean)
    return images


def decay(
    images: Float[Tensor, "n c *spatial"], amounts: Sequence[float], mean: Float[Tensor, "1 c *ones"]
) -> Float[Tensor, "n c *spatial"]:
    """`x <- mean + (1 - amount) (x - mean)`, one amount a row."""
    if len(set(amounts)) == 1:
        return torch.lerp(images, mean.expand_as(images), amounts[0])
    return torch.lerp(images, mean.expand_as(images), _per_row(amounts, images))


def blur(images: Float[Tensor, "n c *spatial"], sigmas: Sequence[float]) -> Float[Tensor, "n c *spatial"]:
    """Gaussian blur of every channel, one sigma (pixels) a row, 0 for none; as `scipy.ndimage.gaussian_filter`.

    The kernel ends at 4 sigma; beyond the border the image is mirrored (d c b a | a b c d).
    """
    n, _, *spatial = images.shape
    rows = tuple(sigmas) if len(set(sigmas)) > 1 else tuple(sigmas[:1])
    blurred = images
    for axis, size in enumerate(spatial):
        # A product with a banded matrix: for images of hundreds of pixels faster than a grouped convolution, and
        # the border is part of it.
        matrix = torch.from_numpy(blur_matrices(rows, size)).to(images)
        after = math.prod(spatial[axis + 1 :])
        if after == 1:
            blurred = blurred.reshape(n, -1, size) @ matrix.mT
        else:
            blurred = matrix[:, None] @ blurred.reshape(n, -1, size, after)
    return blurred.reshape(images.shape)


def drop_small(
    images: Float[Tensor, "n c *spatial"],
    amount: Float[Tensor, "n *spatial"],
    percentiles: Sequence[float],
    mean: Float[Tensor, "1 c *ones"],
) -> Float[Tensor, "n c *spatial"]:
    """Pixels whose `amount` is below its row's percentile (linear interpolation, as numpy's) go to the mean."""
    ordered = amount.flatten(1).sort(dim=1).values
    place = (
        torch.tensor(percentiles, dtype=torch.float64, device=images.device) / 100.0 * (ordered.shape[1] - 1)
    )
    low = place.floor().long()[:, None]
    high = place.ceil().long()[:, None]
    threshold = torch.lerp(ordered.gather(1, low), ordered.gather(1, high), (place[:, None] - low).to(images))
    small = amount < threshold.view(-1, *[1] * (amount.ndim - 1))
    return torch.where(small[:, None], mean, images)


@functools.lru_cache(maxsize=16)
def blur_matrices(sigmas: tuple[float, ...], size: int) -> Float[np.ndarray, "n size size"]:
    """For each sigma the matrix that blurs a line of `size` pixels; the unit matrix for 0."""
    matrices = np.zeros((len(sigmas), size, size), np.float32)
    for matrix, sigma in zip(matrices, sigmas, strict=True):
        radius = int(4.0 * sigma + 0.5)  # rounded as scipy does
        taps = np.arange(-radius, radius + 1)
        weights = np.exp(-0.5 * (taps / sigma) ** 2) if sigma > 0 else np.ones(1)
        reached = (np.arange(size)[:, None] + taps) % (2 * size)
        mirrored = np.where(reached < size, reached, 2 * size - 1 - reached)
        np.add.at(matrix, (np.arange(size)[:, None], mirrored), weights / weights.sum())
    return matrices


def _per_row(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(tuple(values), dtype=images.dtype, device=images.device).view(
        -1, *[1] * (images.ndim - 1)
    )
