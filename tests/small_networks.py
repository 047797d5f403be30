"""Small networks for tests of the page: one that works, and some that go wrong in their own ways."""

import torch
from torch import Tensor, nn


def working() -> nn.Module:
    """Three convolutions that see 24 x 24 pixels; the last unit of the second never fires."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 20, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 40, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(40, 3),
    )
    with torch.no_grad():
        module[2].weight[19] = 0.0
        module[2].bias[19] = -1.0
    return module


class _Raises(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("the camera is on fire")


def raises() -> nn.Module:
    """A module whose forward raises."""
    return _Raises()


class _NotANumber(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        # Fine for the probe's constant image, the logarithm of a negative number for anything lively.
        maps = self.conv(images)
        return self.head(torch.log(0.001 - maps.flatten(2).var(2)))


def not_a_number() -> nn.Module:
    """A module whose logits become NaN as soon as the image has contrast."""
    return _NotANumber()


class _Greedy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 1:  # the probe sees one
            torch.empty(1 << 60, dtype=torch.uint8)
        return self.head(self.conv(images).relu().flatten(2).mean(2))


def greedy() -> nn.Module:
    """A module that asks for an exabyte as soon as it sees two images at once."""
    return _Greedy()


def no_head() -> nn.Module:
    """A network without global average pooling: its classifier sees every position."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(6 * 6 * 6, 3),
    )


def many() -> nn.Module:
    """Eight classes, more than a list of the five most probable ones holds."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 8),
    )
