"""Odd networks for tests of the page: random, over tokens, without a layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.dropout(F.relu(self.conv(images)).mean((2, 3)), 0.5, training=True))


def random() -> nn.Module:
    """Dropout that is left on."""
    return _Random()


class _Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Conv2d(1, 16, 4, stride=4), nn.Linear(16, 3)
        self.encoder = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(self.stem(images).flatten(2).transpose(1, 2)).mean(1))


def patches() -> nn.Module:
    """Patches of the image, then dense layers over tokens."""
    return _Patches()


def flat() -> nn.Module:
    """One dense layer and no other."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 3))
