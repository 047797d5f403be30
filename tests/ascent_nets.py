"""Small networks for the ascent's tests: seeded weights, two and three spatial axes, and a linear one."""

import torch
from torch import nn

from vislib.network import Network


def small(dims: int = 2, channels: int = 1, *, size: int | None = None, gain: float = 1.0) -> Network:
    """Two convolutions, a max pool, a third convolution, global average and a linear layer; `gain` multiplies the
    third convolution, because the published constant rates suit units of large values."""
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[dims]
    average = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims]
    torch.manual_seed(3)
    module = nn.Sequential(
        conv(channels, 6, 5, 2, 2), nn.ReLU(), conv(6, 8, 3, 1, 1), nn.ReLU(), pool(2),
        conv(8, 10, 3, 1, 1), nn.ReLU(), average(1), nn.Flatten(), nn.Linear(10, 4),
    )  # fmt: skip
    with torch.no_grad():
        module[5].weight *= gain
    size = size or {2: 40, 3: 16}[dims]
    mean = {1: (0.3,), 3: (0.485, 0.456, 0.406)}[channels]
    std = {1: (0.25,), 3: (0.229, 0.224, 0.225)}[channels]
    return Network.from_module(module, (channels, *[size] * dims), mean=mean, std=std, name="small")


def linear(size: int = 6, channels: int = 2) -> tuple[Network, torch.Tensor]:
    """A network whose units are linear functions of the image, and their weights (units, channels, size, size)."""
    torch.manual_seed(4)
    module = nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, 3))
    with torch.no_grad():
        module[1].weight *= 100.0
    network = Network.from_module(module, (channels, size, size), mean=(0.4, 0.5), name="linear")
    return network, module[1].weight.detach().view(3, channels, size, size)
