"""Networks through which no gradient comes: a sentence by every rule of the ReLUs, and no map of zeros."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.attribution import attribute
from vislib.errors import AttributionError, NetworkError
from vislib.network import Network


class Cut(torch.autograd.Function):
    """The identity, of which nobody wrote the way back."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values * 1

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        return None


class Broken(nn.Module):
    """Two convolutions and a head, with `cut` at one of three places."""

    def __init__(self, place: str, cut: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)
        self.place, self.cut = place, cut

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.first(images))
        maps = self.cut(maps) if self.place == "maps" else maps
        pooled = F.relu(self.second(maps)).mean((2, 3))
        scores = self.head(self.cut(pooled) if self.place == "pooled" else pooled)
        return self.cut(scores) if self.place == "scores" else scores


@pytest.mark.parametrize(
    "method", ["Saliency", "Guided backprop", "Deconvnet", "Deconvolution", "SmoothGrad"]
)
@pytest.mark.parametrize("cut", [Cut.apply, Tensor.detach], ids=["no way back", "detached"])
@pytest.mark.parametrize("place", ["maps", "pooled", "scores"])
def test_no_map_of_zeros_stands_for_a_missing_gradient(
    place: str, cut: Callable[[Tensor], Tensor], method: str
) -> None:
    network = Network.from_module(Broken(place, cut).eval(), (1, 12, 12), device="cpu")
    with pytest.raises((AttributionError, NetworkError), match="radient"):
        attribute(network, torch.rand(1, 1, 12, 12), 0, method)


@pytest.mark.parametrize(
    "method", ["Saliency", "Input x gradient", "SmoothGrad", "Integrated gradients", "Occlusion"]
)
def test_a_map_that_is_0_everywhere_says_so(method: str) -> None:
    """A rounding has a gradient, of 0; and of a score that is rounded to one number no window takes anything."""
    module = Broken("scores", lambda scores: (scores / 1e3).round()).eval()
    network = Network.from_module(module, (1, 12, 12), device="cpu", head="score")
    found = attribute(network, torch.rand(1, 1, 12, 12), 0, method)
    assert not found.values.any()
    assert any("is exactly 0 everywhere" in note for note in found.notes)


def test_only_the_map_that_is_0_is_named() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[0].bias.fill_(-1.0)
    network = Network.from_module(module, (1, 6, 6), device="cpu")
    images = torch.stack([torch.ones(1, 6, 6), torch.rand(1, 6, 6) / 20, torch.zeros(1, 6, 6)])
    found = attribute(network, images, 0, "Saliency")
    assert not found.values[1:].any()
    assert any(
        note.startswith("The map of image 2 is exactly 0") for note in found.notes
    )  # the third is flat
