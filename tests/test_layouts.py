"""Memory layouts: networks that read memory in order run as they are, with the values of the plain module."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.ascent import ascend
from vislib.attribution import Target, attribute
from vislib.attribution.incremental import reruns
from vislib.errors import NetworkError
from vislib.evaluation.sanity import random_network
from vislib.network import Network

METHODS = (
    "Saliency",
    "Input x gradient",
    "Grad-CAM",
    "LayerCAM",
    "Score-CAM",
    "Occlusion",
    "Integrated gradients",
)


class Flattening(nn.Module):
    """Two convolutions, and a flattening that is given by `flatten`."""

    def __init__(self, flatten: Callable[[Tensor], Tensor], axes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.conv1, self.conv2 = conv(2, 4, 3, padding=1), conv(4, 6, 3, stride=2, padding=1)
        self.head = nn.Linear(6 * 5**axes, 3)
        self.flatten = flatten

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.flatten(F.relu(self.conv2(F.relu(self.conv1(images))))))


def strict(maps: Tensor) -> Tensor:
    assert maps.is_contiguous(), "maps in the usual order of axes are needed"
    return maps.flatten(1)


FLATTENINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "view(n, -1)": lambda maps: maps.view(len(maps), -1),
    "view(-1, features)": lambda maps: maps.view(-1, maps[0].numel()),
    "rows of channels": lambda maps: maps.view(maps.shape[0] * maps.shape[1], -1).view(len(maps), -1),
    "assert": strict,
    "as_strided": lambda maps: maps.as_strided((len(maps), maps[0].numel()), (maps[0].numel(), 1)),
    "reshape": lambda maps: maps.reshape(len(maps), -1),
    "flatten": lambda maps: maps.flatten(1),
}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("way", FLATTENINGS)
def test_a_network_answers_as_its_plain_module_does_however_it_flattens(way: str, axes: int) -> None:
    module = Flattening(FLATTENINGS[way], axes).eval()
    images = torch.rand(3, 2, *[10] * axes)
    network = Network.from_module(module, images.shape[1:], device="cpu")
    torch.testing.assert_close(network.logits(images), module(images))
    torch.testing.assert_close(network.twin().logits(images), module(images))
    torch.testing.assert_close(
        network.activations(images, ["conv2"])["conv2"], module.conv2(F.relu(module.conv1(images)))
    )
    leaf = images.clone().requires_grad_()
    mine = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module(leaf)[:, 1].sum(), leaf)
    (got,) = torch.autograd.grad(network.logits(mine)[:, 1].sum(), mine)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_network_with_view_are_those_of_the_same_one_with_reshape(method: str) -> None:
    viewing, reshaping = (
        Network.from_module(Flattening(FLATTENINGS[way]), (2, 10, 10), device="cpu")
        for way in ("view(n, -1)", "reshape")
    )
    images = torch.rand(2, 2, 10, 10)
    got, expected = (attribute(network, images, Target(1), method) for network in (viewing, reshaping))
    np.testing.assert_allclose(got.values, expected.values, atol=1e-4 * np.abs(expected.values).max())


def test_windows_are_computed_locally_in_a_network_with_view() -> None:
    network = Network.from_module(Flattening(FLATTENINGS["view(n, -1)"]), (2, 10, 10), device="cpu")
    image, patches = torch.rand(1, 2, 10, 10), torch.rand(3, 2, 2, 2)
    rerun = reruns(network, "logits", image, (2, 2))(0)
    assert type(rerun).__name__ == "_Incremental"  # not by way of the whole network
    changed = image.repeat(3, 1, 1, 1)
    for row, place in enumerate((0, 3, 7)):
        changed[row, :, place : place + 2, place : place + 2] = patches[row]
    starts = torch.tensor([[0, 0], [3, 3], [7, 7]])
    torch.testing.assert_close(rerun(patches, starts), network.logits(changed))


@pytest.mark.parametrize("preset", ["none", "Fourier, robust", "smooth steps"])
def test_a_network_with_view_climbs_to_the_images_of_the_same_one_with_reshape(preset: str) -> None:
    last = []
    for way in ("view(n, -1)", "reshape"):
        network = Network.from_module(Flattening(FLATTENINGS[way]), (2, 10, 10), device="cpu")
        *_, frame = ascend(network, "conv2", range(6), preset, steps=4)
        last.append(frame)
    np.testing.assert_allclose(last[0].images, last[1].images, atol=1e-4)
    np.testing.assert_allclose(last[0].scores, last[1].scores, rtol=1e-3, atol=1e-5)


def test_random_weights_of_a_network_with_view_run_as_well() -> None:
    network = random_network(
        Network.from_module(Flattening(FLATTENINGS["assert"]), (2, 10, 10), device="cpu")
    )
    assert network.logits(torch.rand(2, 2, 10, 10)).shape == (2, 3)


def test_what_fails_in_every_layout_fails_with_the_plain_modules_own_words() -> None:
    module = Flattening(lambda maps: maps.view(len(maps), 7))
    with pytest.raises(NetworkError, match=r"shape '\[2, 7\]' is invalid"):
        Network.from_module(module, (2, 10, 10), device="cpu")


class Stacked(nn.Module):
    """A 2-D network with a 3-D convolution and a buffer of four axes inside."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.deep = nn.Conv3d(1, 2, (2, 3, 3), padding=(0, 1, 1))
        self.flat = nn.Conv2d(2, 3, 3)
        self.register_buffer("mask", torch.rand(1, 3, 8, 8))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.flat(self.deep(images[:, None]).squeeze(2))
        return (maps.flatten(1) * self.mask.view(1, -1)).view(len(maps), 3, -1).sum(2)


def test_weights_of_other_axes_than_the_images_stay_as_they_are() -> None:
    module = Stacked().eval()
    images = torch.rand(2, 2, 10, 10)
    torch.testing.assert_close(
        Network.from_module(module, (2, 10, 10), device="cpu").logits(images), module(images)
    )


def test_the_callers_weights_keep_their_layout() -> None:
    module = Flattening(FLATTENINGS["reshape"])
    before = [p.stride() for p in module.parameters()]
    Network.from_module(module, (2, 10, 10), device="cpu")
    assert [p.stride() for p in module.parameters()] == before


NORMED: dict[str, Callable[[], nn.Module]] = {
    "SiLU": lambda: nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.InstanceNorm2d(8), nn.SiLU()),
    "first": lambda: nn.Sequential(nn.InstanceNorm2d(2), nn.Conv2d(2, 8, 3, padding=1), nn.ReLU()),
    "before a convolution": lambda: nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.ReLU(),
        nn.InstanceNorm2d(8, affine=True),
        nn.Conv2d(8, 8, 3, padding=1),
    ),
    "ReLU": lambda: nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.InstanceNorm2d(8), nn.ReLU()),
    "group norm": lambda: nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU()),
}


@pytest.mark.parametrize("kind", NORMED)
@pytest.mark.parametrize("method", ["Saliency", "Input x gradient"])
def test_one_image_has_the_gradient_of_the_plain_module(kind: str, method: str) -> None:
    """With channels last torch's instance norm has another one for a batch of one."""
    torch.manual_seed(0)
    module = nn.Sequential(
        NORMED[kind](), nn.Conv2d(8, 8, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    ).eval()
    image = torch.rand(1, 2, 12, 12, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(image)[0, 1], image)
    network = Network.from_module(module, (2, 12, 12), device="cpu")
    got = attribute(network, image.detach(), 1, method).values
    maps = gradient.abs().amax(1) if method == "Saliency" else (gradient * image.detach()).sum(1)
    np.testing.assert_allclose(got, maps.numpy(), atol=1e-4 * float(maps.abs().max()))
    assert not any("by view" in note for note in network.notes)


class Failing(nn.Sequential):
    """A network of which some units are not finite, with no norm in it."""

    def __init__(self, value: float, units: slice) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(2, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
        )
        self.value, self.units = value, units

    def forward(self, images: Tensor) -> Tensor:
        scores = super().forward(images)
        factor = torch.ones_like(scores)
        factor[:, self.units] = self.value
        return scores * factor


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("units", [slice(None), slice(1, 2)], ids=["all", "one"])
def test_values_that_are_not_finite_are_no_layouts_fault(value: float, units: slice) -> None:
    network = Network.from_module(Failing(value, units).eval(), (2, 12, 12), device="cpu")
    assert not any("layout" in note for note in network.notes), network.notes
