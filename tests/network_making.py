"""Networks that tests make: any module opened as a network, and a small one shaped like the default network."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vislib.network import Network

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
GLOBAL = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def wrap(module: nn.Module, shape: Sequence[int] = (1, 16, 16), **options: Any) -> Network:
    """The module as a network on the CPU."""
    return Network.from_module(module, shape, device="cpu", **options)


def shuffle_norms(module: nn.Module) -> nn.Module:
    """Batch norms that do something: fresh ones are the identity."""
    for part in module.modules():
        if isinstance(part, tuple(NORM.values())):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.uniform_(part.bias, -1, 1)
    return module


class Brain(nn.Module):
    """The shape of the default network: named convolutions, batch norms, in-place ReLUs, GAP, one linear layer."""

    def __init__(self, axes: int = 2, channels: Sequence[int] = (4, 6, 8), classes: int = 3) -> None:
        super().__init__()
        before = 1
        for i, after in enumerate(channels, 1):
            setattr(self, f"conv{i}", CONV[axes](before, after, 3, padding=1, stride=1 + (i == 2)))
            setattr(self, f"bn{i}", NORM[axes](after))
            before = after
        self.depth = len(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool = GLOBAL[axes](1)
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, self.depth + 1):
            x = self.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return self.fc(self.pool(x).flatten(1))


def brain(**options: Any) -> nn.Module:
    """A `Brain` with the same weights each time."""
    torch.manual_seed(0)
    return shuffle_norms(Brain(**options)).eval()


class Head(nn.Sequential):
    """Classes of maps: their global average and one linear layer."""

    def __init__(self, channels: int, classes: int = 3) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
