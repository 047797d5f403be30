"""Outputs with another number of axes than the images have, and convolutions that put out no maps over the image."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.ascent import ascend
from vislib.ascent.defaults import find_defaults
from vislib.attribution import attribute
from vislib.errors import NetworkError
from vislib.network import Network

SIZE = (1, 14, 12)
IMAGES = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(0))


class Maps(nn.Module):
    """Maps of `units` channels over the image, and what is made of them."""

    def __init__(self, units: int, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head, self.end = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, units, 1), end

    def forward(self, images: Tensor) -> Tensor:
        return self.end(self.head(F.relu(self.conv(images))))


def opened(units: int, end: Callable[[Tensor], Tensor]) -> Network:
    return Network.from_module(Maps(units, end).eval(), SIZE, device="cpu")


ONE: dict[str, Callable[[Tensor], Tensor]] = {
    "values": lambda maps: maps[:, 0],
    "sigmoid": lambda maps: maps.squeeze(1).sigmoid(),
    "sigmoid, then squeezed": lambda maps: maps.sigmoid().squeeze(1),
}


@pytest.mark.parametrize("kind", ONE)
def test_an_output_as_large_as_the_image_is_one_unit_and_that_is_said(kind: str) -> None:
    network = opened(1, ONE[kind])
    assert (network.layers["logits"].channels, network.layers["logits"].spatial) == (1, SIZE[1:])
    assert "read as one unit over 14 x 12 positions" in network.notes[0]
    with torch.no_grad():
        expected = Maps(1, ONE[kind])(IMAGES).flatten(1).mean(1, keepdim=True)
        shown = network.logits(IMAGES) if kind == "values" else network.probabilities(IMAGES)
    assert torch.allclose(shown, expected, atol=1e-6)
    works(network)


def works(network: Network) -> None:
    """Whatever a page asks of the output of a network that it opens."""
    find_defaults(network)
    assert network.receptive_field("logits").size
    assert [frame.step for frame in ascend(network, "logits", [0], steps=2)][-1] == 2
    assert attribute(network, IMAGES[:1], 0, "Saliency").values.shape == (1, *SIZE[1:])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_axes_of_one_position_are_none(axes: int) -> None:
    network = opened(3, lambda maps: maps.mean((2, 3)).reshape(-1, 3, *[1] * axes))
    with torch.no_grad():
        expected = Maps(3, lambda maps: maps.mean((2, 3)))(IMAGES)
    assert torch.allclose(network.logits(IMAGES), expected, atol=1e-6)
    works(network)


@pytest.mark.parametrize(
    ("units", "end", "shape"),
    [
        (3, lambda maps: maps.mean((2, 3))[:, None], "(1, 3)"),  # crops or clips
        (3, lambda maps: maps.mean(2), "(3, 12)"),  # a sequence
        (1, lambda maps: maps[:, 0, ::2, ::2], "(7, 6)"),  # a coarser map of one unit
        (3, lambda maps: maps[..., None].expand(-1, -1, -1, -1, 2), "(3, 14, 12, 2)"),
    ],
)
def test_other_numbers_of_axes_are_refused_with_what_to_return(
    units: int, end: Callable[[Tensor], Tensor], shape: str
) -> None:
    with pytest.raises(NetworkError) as caught:
        opened(units, end)
    said = str(caught.value)
    assert f"gave scores of shape {shape} for an image of 14 x 12" in said
    assert "have its forward return (images, classes)" in said


class Projected(nn.Module):
    """A volume whose maps are projected: what follows sees no places of the volume."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv3d(1, 4, 3), nn.Linear(4, 3)
        self.flat = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(count)))

    def forward(self, volumes: Tensor) -> Tensor:
        return self.head(self.flat(F.relu(self.conv(volumes)).amax(-1)).mean((2, 3)))


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, "'flat.0' is not"), (2, "'flat.0', 'flat.1' are not"), (5, "'flat.2' and 2 more are not")],
)
def test_convolutions_that_are_not_listed_are_named(count: int, names: str) -> None:
    network = Network.from_module(Projected(count), (1, 8, 8, 6), device="cpu")
    assert list(network.layers) == ["conv", "logits"]
    (note,) = network.notes
    assert f"{names} listed" in note
