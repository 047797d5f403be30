"""Regularisers: what is done to the pixels between two steps, with one strength a row of the batch."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vislib.ascent.presets import Preset

_CONVOLUTION = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


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
    n, c, *spatial = images.shape
    dims = len(spatial)
    kernels = gaussian_kernels(sigmas)
    radius = kernels.shape[1] // 2
    weight = torch.from_numpy(kernels).to(images).repeat_interleave(c, 0)
    blurred = images.reshape(1, n * c, *spatial)
    for axis in range(2, 2 + dims):
        shape = [n * c, 1, *[1] * dims]
        shape[axis] = -1
        padded = blurred.index_select(axis, _mirrored(blurred.shape[axis], radius).to(images.device))
        blurred = _CONVOLUTION[dims](padded, weight.view(shape), groups=n * c)
    return blurred.view(images.shape)


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


def gaussian_kernels(sigmas: Sequence[float]) -> Float[np.ndarray, "n taps"]:
    """Normalised Gaussians of one length, cut at 4 sigma (rounded, as scipy does), 0 beyond; sigma 0 is a delta."""
    radii = [int(4.0 * sigma + 0.5) for sigma in sigmas]
    taps = np.arange(-max(radii), max(radii) + 1)
    rows = []
    for sigma, radius in zip(sigmas, radii, strict=True):
        row = np.exp(-0.5 * (taps / sigma) ** 2) if sigma > 0 else (taps == 0).astype(float)
        row = np.where(np.abs(taps) <= radius, row, 0.0)
        rows.append(row / row.sum())
    return np.stack(rows).astype(np.float32)


def _mirrored(size: int, radius: int) -> Tensor:
    """Indices -radius … size + radius - 1, mirrored into 0 … size - 1 with the border pixel doubled."""
    index = torch.arange(-radius, size + radius) % (2 * size)
    return torch.where(index < size, index, 2 * size - 1 - index)


def _per_row(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(tuple(values), dtype=images.dtype, device=images.device).view(
        -1, *[1] * (images.ndim - 1)
    )
