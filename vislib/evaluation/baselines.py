"""Baselines: maps that know nothing of the network, which an explanation must beat to be worth its colours."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage
from torch import Tensor

from vislib.network import Network

CENTRE_WIDTH = 0.25  # standard deviation of the bump in the middle, as a share of each side


def sobel(network: Network, images: Float[Tensor, "n c *spatial"]) -> Float32[np.ndarray, "n *spatial"]:
    """Edges: the length of the image's Sobel gradient, over all channels."""
    maps = np.zeros((len(images), *images.shape[2:]), np.float32)
    for row, image in zip(maps, _arrays(images), strict=True):
        for channel in image:  # one at a time: Sobel smooths along every other axis
            row += sum(ndimage.sobel(channel, axis) ** 2 for axis in range(channel.ndim))
    return np.sqrt(maps)


def centre(network: Network, images: Float[Tensor, "n c *spatial"]) -> Float32[np.ndarray, "n *spatial"]:
    """A Gaussian bump in the middle of every image: photographers and slices put things there."""
    spatial = tuple(images.shape[2:])
    axes = np.meshgrid(*[(np.arange(size) + 0.5) / size - 0.5 for size in spatial], indexing="ij")
    bump = np.exp(-sum(axis**2 for axis in axes) / (2 * CENTRE_WIDTH**2)).astype(np.float32)
    return np.broadcast_to(bump, (len(images), *spatial)).copy()


def intensity(network: Network, images: Float[Tensor, "n c *spatial"]) -> Float32[np.ndarray, "n *spatial"]:
    """How far each pixel lies from the network's mean, summed over channels."""
    mean = np.array(network.mean, np.float32).reshape(-1, *[1] * (images.ndim - 2))
    return np.abs(_arrays(images) - mean).sum(1)


def noise(network: Network, images: Float[Tensor, "n c *spatial"]) -> Float32[np.ndarray, "n *spatial"]:
    """Uniform random numbers: what no knowledge at all scores."""
    return np.random.default_rng(0).random((len(images), *images.shape[2:]), dtype=np.float32)


Baseline = Callable[[Network, Tensor], np.ndarray]
BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {"Sobel edges": sobel, "centre": centre, "|intensity|": intensity, "uniform noise": noise}
)


def _arrays(images: Tensor) -> Float32[np.ndarray, "n c *spatial"]:
    return images.detach().cpu().float().numpy()
