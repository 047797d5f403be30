"""Maps of layers that do not lie as the image does, because a forward moves the image: refused, or said."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vislib.attribution import attribute
from vislib.attribution.alignment import alignment
from vislib.errors import AttributionError
from vislib.network import Network

Move = Callable[[Tensor], Tensor]


class Moving(nn.Module):
    """Two convolutions that sum what they see, over the image as `move` leaves it."""

    def __init__(self, move: Move, axes: int) -> None:
        super().__init__()
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        self.first, self.second = convolution(1, 3, 3, padding=1), convolution(3, 3, 3, padding=1)
        self.head, self.move = nn.Linear(3, 2), move
        with torch.no_grad():
            for part in (self.first, self.second):
                part.weight.fill_(0.1)
                part.bias.zero_()
            self.head.weight.copy_(torch.tensor([[1.0] * 3, [-1.0] * 3]))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.first(self.move(images))))).flatten(2).mean(2))


def opened(move: Move, shape: tuple[int, ...]) -> Network:
    return Network.from_module(Moving(move, len(shape) - 1).eval(), shape, device="cpu")


FLAT, DEEP, LONG = (1, 32, 32), (1, 16, 16, 16), (1, 40)
LIES: dict[str, tuple[Move, tuple[int, ...]]] = {
    "as it is": (lambda z: z, FLAT),
    "halved": (lambda z: F.avg_pool2d(z, 2), FLAT),
    "doubled": (lambda z: F.interpolate(z, scale_factor=2), FLAT),
    "wide": (lambda z: z, (1, 20, 48)),
    "volume": (lambda z: z, DEEP),
    "line": (lambda z: z, LONG),
}
MOVED: dict[str, tuple[Move, tuple[int, ...]]] = {
    "mirrored": (lambda z: z.flip(-1), FLAT),
    "upside down": (lambda z: z.flip(-2), FLAT),
    "turned by half": (lambda z: z.flip(-1, -2), FLAT),
    "turned": (lambda z: torch.rot90(z, 1, (2, 3)), FLAT),
    "turned back": (lambda z: torch.rot90(z, -1, (2, 3)), FLAT),
    "transposed": (lambda z: z.transpose(2, 3), FLAT),
    "transposed over the other diagonal": (lambda z: z.transpose(2, 3).flip(2, 3), FLAT),
    "transposed, of other sizes": (lambda z: z.transpose(2, 3), (1, 20, 48)),
    "rolled by half": (lambda z: z.roll(16, -1), FLAT),
    "rolled by a quarter": (lambda z: z.roll(8, -2), FLAT),
    "padded on one side": (lambda z: F.pad(z, (16, 0, 16, 0)), FLAT),
    "cropped to half": (lambda z: z[..., 8:24, 8:24], FLAT),
    "cropped at one side": (lambda z: z[..., :20], FLAT),
    "zyx": (lambda z: z.permute(0, 1, 4, 3, 2), DEEP),
    "yzx": (lambda z: z.permute(0, 1, 3, 4, 2), DEEP),
    "xzy": (lambda z: z.permute(0, 1, 2, 4, 3), DEEP),
    "mirrored volume": (lambda z: z.flip(2), DEEP),
    "reversed line": (lambda z: z.flip(2), LONG),
}
NEARLY: dict[str, tuple[Move, tuple[int, ...], float]] = {
    # crop of 4 of 32 pixels: what is drawn at the border lies 4 pixels, an eighth of the image, inside
    "centre crop": (lambda z: z[..., 4:28, 4:28], FLAT, 0.125),
    "padded all around": (lambda z: F.pad(z, (8, 8, 8, 8)), FLAT, 1 / 6),
    "rolled a little": (lambda z: z.roll(4, -1), FLAT, 0.125),
}


@pytest.mark.parametrize("kind", LIES)
def test_maps_that_lie_as_the_image_are_drawn_without_a_word(kind: str) -> None:
    move, shape = LIES[kind]
    network = opened(move, shape)
    found = alignment(network, "second", shape[1:])
    assert (found.refusal, found.notes) == ("", ())
    # the strongest place of a map is where the image has a spot
    spot = [slice(round(0.15 * (axis + 1) * size), None) for axis, size in enumerate(shape[1:])]
    image = torch.zeros(1, *shape)
    image[(0, 0, *(slice(one.start, one.start + 2) for one in spot))] = 1
    values = attribute(network, image, 0, "Grad-CAM").values[0]
    peak = np.argwhere(values >= 0.999 * values.max()).mean(0)
    assert np.abs(peak - [one.start + 0.5 for one in spot]).max() <= 1


@pytest.mark.parametrize("kind", MOVED)
def test_maps_that_lie_elsewhere_are_refused(kind: str) -> None:
    network = opened(*MOVED[kind])
    image = torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(1))
    for method in ("CAM", "Grad-CAM", "Grad-CAM++", "LayerCAM", "Guided Grad-CAM", "Score-CAM"):
        with pytest.raises(AttributionError, match="does not see the places of the image"):
            attribute(network, image, 0, method)
    assert attribute(network, image, 0, "Saliency").values.any()


@pytest.mark.parametrize("kind", NEARLY)
def test_maps_that_lie_nearly_as_the_image_say_by_how_much(kind: str) -> None:
    move, shape, share = NEARLY[kind]
    network = opened(move, shape)
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(1))
    for method in ("Grad-CAM", "Score-CAM"):
        (note,) = [one for one in attribute(network, image, 0, method).notes if "cover each other" in one]
        percent = int(note.partition("off by ")[2].partition(" %")[0])
        assert abs(percent / 100 - share) <= 0.035
    assert not any("cover" in one for one in attribute(network, image, 0, "Saliency").notes)


@pytest.mark.parametrize("make", [torchvision.models.resnet18, torchvision.models.squeezenet1_1])
def test_no_layer_of_known_networks_lies_elsewhere(make: Callable[[], nn.Module]) -> None:
    """Down to maps of two by two, whose positions see all of the image."""
    torch.manual_seed(1)
    size = 64
    network = Network.from_module(make(), (3, size, size), device="cpu")
    for layer in network.layers.values():
        if layer.capture and max(layer.spatial, default=1) > 1:
            found = alignment(network, layer.name, (size, size))
            assert (layer.name, found.refusal, found.notes) == (layer.name, "", ())


def test_other_sizes_are_looked_at_again() -> None:
    def crop(images: Tensor) -> Tensor:
        return images[..., :20]

    network = opened(crop, (1, 20, 20))
    small, large = torch.rand(1, 1, 20, 20), torch.rand(1, 1, 20, 40)
    assert attribute(network, small, 0, "Grad-CAM").notes == ()
    with pytest.raises(AttributionError, match="does not see the places of the image"):
        attribute(network, large, 0, "Grad-CAM")


def test_nothing_is_told_from_random_answers_or_where_all_or_nothing_is_seen_everywhere() -> None:
    def noisy(images: Tensor) -> Tensor:
        return images + torch.rand_like(images)

    def everywhere(images: Tensor) -> Tensor:
        return images.mean((2, 3), keepdim=True).expand_as(images)

    for move in (noisy, everywhere, torch.zeros_like):
        found = alignment(opened(move, FLAT), "second", FLAT[1:])
        assert (found.refusal, found.notes) == ("", ())
