"""Norms that take their own numbers: one image has the map that it has beside others, by every rule of the ReLUs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.attribution import Target, attribute
from vislib.network import Network


class Normed(nn.Module):
    """Two convolutions with a norm behind the first."""

    def __init__(self, norm: Callable[[Tensor], Tensor], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head, self.norm = nn.Linear(8, 3), norm

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.norm(self.first(images)))
        return self.head(F.relu(self.second(maps)).mean((2, 3)))


def as_one_image(maps: Tensor) -> Tensor:
    """An instance norm by hand, as torch's own makes it of a batch norm."""
    n, c, *size = maps.shape
    return F.batch_norm(maps.reshape(1, n * c, *size), None, None, training=True).reshape(maps.shape)


NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "instance norm": F.instance_norm,
    "a batch norm of one image": as_one_image,
    "group norm": lambda maps: F.group_norm(maps, 4),
}
TARGETS = {
    "class": Target(1),
    "opposite": Target(1, opposite=True),
    "hidden unit": Target(3, layer="second"),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "method", ["Deconvnet", "Guided backprop", "Deconvolution", "Saliency", "Input x gradient"]
)
def test_one_image_alone_has_the_map_that_it_has_beside_others(
    method: str, target: str, norm: str, seed: int
) -> None:
    network = Network.from_module(Normed(NORMS[norm], seed).eval(), (1, 12, 12), device="cpu")
    images = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
    together = attribute(network, images, TARGETS[target], method).values
    for row in range(3):
        alone = attribute(network, images[row : row + 1], TARGETS[target], method).values
        assert np.abs(alone[0] - together[row]).max() <= 1e-3 * np.abs(together[row]).max()


def test_an_axis_that_is_squeezed_away_is_no_wrong_gradient() -> None:
    class Squeezed(Normed):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).squeeze()

    network = Network.from_module(Squeezed(lambda maps: maps, 0).eval(), (1, 12, 12), device="cpu")
    assert network.notes == ()
    assert network.layout == torch.channels_last
