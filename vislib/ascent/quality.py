"""Two numbers by which a picture's looks are watched: the share that is saturated, and sharpness."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

MARGIN = 0.01  # values at most this far from 0 or from 1 count as saturated


def saturated(images: Float[Tensor, "n c *spatial"]) -> Float[Tensor, " n"]:
    """The share of each image's values that are within MARGIN of 0 or 1, the ends of what an image can hold."""
    flat = images.flatten(1)
    return ((flat <= MARGIN) | (flat >= 1.0 - MARGIN)).mean(1, dtype=torch.float32)


def sharpness(images: Float[Tensor, "n c *spatial"]) -> Float[Tensor, " n"]:
    """The root mean square difference of neighbouring pixels, in standard deviations of the pixels of a channel.

    The square root of 2 for noise in which no pixel knows its neighbours, 2 sin(pi / p) for waves of p pixels along
    one of one axis, towards 0 for what is smooth; 0 for a flat image.
    """
    axes = [axis for axis in range(2, images.ndim) if images.shape[axis] > 1]
    variance = images.flatten(2).var(2, correction=0).mean(1)
    if not axes:
        return torch.zeros_like(variance)
    steps = [images.diff(dim=axis).flatten(1).norm(dim=1).square() for axis in axes]
    counts = [math.prod(images.shape[1:]) * (1 - 1 / images.shape[axis]) for axis in axes]
    square = torch.stack([total / count for total, count in zip(steps, counts, strict=True)]).mean(0)
    # Rounding alone is no contrast: 1e-12 is the variance of values that differ by one millionth.
    return torch.where(variance > 1e-12, (square / variance.clamp(min=1e-12)).sqrt(), 0.0)
