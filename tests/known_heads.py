"""Networks whose logits are known in closed form, whatever their end makes of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vislib.network import Network

SIZE = 8


class Known(nn.Module):
    """Logits `bias + gain * mean(x)`, whatever else is done to them by `end`."""

    def __init__(self, bias: Tensor, gain: Tensor, end: Callable[[Tensor], Any] = lambda y: y) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)
        self.bias, self.gain = nn.Parameter(bias), nn.Parameter(gain)
        self.end = end

    def logits(self, x: Tensor) -> Tensor:
        return self.bias + self.gain * self.conv(x).mean((1, 2, 3))[:, None]

    def forward(self, x: Tensor) -> Any:
        return self.end(self.logits(x))


def known(units: int = 3, end: Callable[[Tensor], Any] = lambda y: y, bias: float = 0.0) -> Known:
    """The first units of three, each with a gain of its own."""
    gain = torch.tensor([3.0, -2.0, 1.0])[:units]
    return Known(bias + torch.tensor([0.3, 0.1, -0.2])[:units], gain, end)


def images(n: int = 2) -> Tensor:
    """The same images each time."""
    return torch.rand(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def open_(module: nn.Module, **more: Any) -> Network:
    """The module as a network over such images."""
    return Network.from_module(module, (1, SIZE, SIZE), device="cpu", **more)


def by_hand(y: Tensor) -> Tensor:
    """A softmax that no torch function of that name computes."""
    e = y.exp()
    return e / e.sum(1, keepdim=True)


class EndsWith(nn.Module):
    """`Known` and then a module of its own."""

    def __init__(self, end: nn.Module, units: int = 3) -> None:
        super().__init__()
        self.body, self.end = known(units), end

    def logits(self, x: Tensor) -> Tensor:
        return self.body.logits(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.body(x))
