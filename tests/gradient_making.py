"""What gradient methods are tested with: a network in float64, images for it, its own gradient, and what is close."""

import numpy as np
import torch
from torch import Tensor, nn

from vislib.network import Network

MEAN, STD = (0.4, 0.5), (0.2, 0.3)


def double(dims: int = 2, *, size: int = 14) -> Network:
    """Two convolutions with ReLUs, max pooling and a linear layer, in float64: formulas are compared to rounding."""
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    pool = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}[dims]
    torch.manual_seed(5)
    module = nn.Sequential(
        conv(2, 5, 3, 2), nn.ReLU(), conv(5, 6, 3), nn.ReLU(inplace=True), pool(2), nn.Flatten()
    )
    features = module(torch.zeros(1, 2, *[size] * dims)).shape[1]
    module.append(nn.Linear(features, 3))
    return Network.from_module(
        module.double(), (2, *[size] * dims), mean=MEAN, std=STD, name="double", device="cpu"
    )


def images_for(network: Network, n: int = 2, seed: int = 0) -> Tensor:
    """The same images each time, of the size and precision that the network takes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *network.input_shape, generator=generator, dtype=network.dtype)


def own_gradient(network: Network, images: Tensor, unit: int) -> Tensor:
    """The plain gradient of a unit's scores."""
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network.logits(leaf)[:, unit].sum(), leaf)
    return gradient


def close(got: np.ndarray, expected: Tensor, tolerance: float = 1e-5) -> None:
    """To `tolerance` of the largest value."""
    assert got.shape == tuple(expected.shape)
    assert float(np.abs(got - expected.numpy()).max()) <= tolerance * float(expected.abs().max())
