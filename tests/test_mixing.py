"""Networks whose answer to an image depends on what else is in the batch: each image is computed alone."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.ascent import ascend
from vislib.attribution import METHODS, attribute
from vislib.evaluation.scores import class_target, measured
from vislib.network import Network


class Mixing(nn.Module):
    """Two convolutions; `mix` changes the maps between them by all rows of the batch."""

    def __init__(self, mix: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.head, self.mix = nn.Linear(8, 3), mix

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.second(F.relu(self.mix(self.first(images)))))
        return self.head(maps.mean((2, 3)))


def normed(maps: Tensor) -> Tensor:
    return F.batch_norm(maps, None, None, training=True)


MIXES: dict[str, Callable[[Tensor], Tensor]] = {
    "a batch norm that trains": normed,
    "the batch's mean": lambda maps: maps - 0.8 * maps.mean(0),
    "the largest of all": lambda maps: maps / maps.abs().max(),
    "each row's neighbour": lambda maps: maps + 0.5 * maps.roll(1, 0),
}
FEW = {
    "SmoothGrad": {"samples": 4},
    "Integrated gradients": {"steps": 5},
    "Occlusion": {"window": 6, "stride": 5},
    "Prediction difference": {"window": 6, "stride": 5, "samples": 2},
}


@pytest.fixture(params=MIXES)
def module(request: pytest.FixtureRequest) -> Mixing:
    return Mixing(MIXES[request.param]).eval()


@pytest.fixture
def network(module: Mixing) -> Network:
    return Network.from_module(module, (1, 16, 16), device="cpu")


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(5)) * torch.tensor(
        [1.0, 0.4, 0.1]
    ).view(3, 1, 1, 1)


def one_by_one(module: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([module(image[None]) for image in images])


def test_numbers_are_those_of_the_image_alone(module: Mixing, network: Network, images: Tensor) -> None:
    expected = one_by_one(module, images)
    assert not torch.allclose(module(images), expected, atol=1e-3)
    assert network.mixes
    assert "Every image is computed alone here." in network.cautions[0]
    assert torch.allclose(network.logits(images), expected, atol=1e-6)
    assert torch.allclose(network.probabilities(images), expected.softmax(1), atol=1e-6)
    found = measured(network, images, class_target(network, 1, 3), range(3))
    assert np.abs(found - expected.softmax(1)[:, 1].detach().numpy()).max() <= 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_every_method_maps_each_image_alone(network: Network, images: Tensor, method: str) -> None:
    problem = METHODS[method].check(network)
    if problem:
        return
    layer = "second" if "layer" in METHODS[method].needs else None
    together = attribute(network, images, 1, method, layer=layer, **FEW.get(method, {}))
    for row in range(3):
        alone = attribute(network, images[row : row + 1], 1, method, layer=layer, **FEW.get(method, {}))
        scale = max(1e-6, float(np.abs(alone.values).max()))
        if method not in (
            "SmoothGrad",
            "Prediction difference",
        ):  # whose random numbers go on from row to row
            assert np.abs(together.values[row] - alone.values[0]).max() <= 1e-4 * scale
        assert np.isclose(together.scores[row], alone.scores[0], atol=1e-5)


def test_copies_of_an_image_are_computed_alone(module: Mixing, network: Network, images: Tensor) -> None:
    total = torch.zeros(1, 1, 16, 16)
    for k in range(20):
        point = ((k + 0.5) / 20 * images[:1]).requires_grad_()
        total += torch.autograd.grad(module(point)[0, 1], point)[0] / 20
    found = attribute(network, images[:1], 1, "Integrated gradients", steps=20)
    expected = (total * images[:1]).sum(1).detach().numpy()
    assert np.abs(found.values - expected).max() <= 1e-4 * np.abs(expected).max()


def test_windows_are_hidden_alone(module: Mixing, network: Network, images: Tensor) -> None:
    with torch.no_grad():
        clean = module(images[:1])[0, 1]
        drops = torch.zeros(16, 16)
        counts = torch.zeros(16, 16)
        for top in range(0, 16, 4):
            for left in range(0, 16, 4):
                hidden = images[:1].clone()
                hidden[..., top : top + 4, left : left + 4] = 0
                drops[top : top + 4, left : left + 4] += clean - module(hidden)[0, 1]
                counts[top : top + 4, left : left + 4] += 1
    found = attribute(network, images[:1], 1, "Occlusion", window=4, stride=4, fill="zero")
    expected = (drops / counts).numpy()
    assert np.abs(found.values[0] - expected).max() <= 1e-4 * np.abs(expected).max()


def test_units_climb_alone(network: Network) -> None:
    *_, page = ascend(network, "second", [0, 3, 5], "smooth steps", steps=6)
    for row, unit in enumerate([0, 3, 5]):
        with torch.no_grad():
            maps = network.activations(torch.as_tensor(page.images[row : row + 1]), ["second"])["second"]
        assert np.isclose(page.scores[row], float(maps[0, unit].mean()), atol=1e-5)


def test_what_has_no_number_for_one_image_is_asked_beside_its_copy() -> None:
    """As a minibatch standard deviation: that of one row is not a number, and of equal rows 0."""

    def deviation(maps: Tensor) -> Tensor:
        return torch.cat([maps[:, :-1], maps.std(0).mean().expand(len(maps), 1, *maps.shape[2:])], 1)

    module = Mixing(deviation).eval()
    network = Network.from_module(module, (1, 16, 16), device="cpu")
    some = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    expected = torch.cat([module(torch.stack([one, one]))[:1] for one in some])
    assert "computed alone here, beside a copy of itself" in network.cautions[0]
    assert torch.allclose(network.logits(some), expected, atol=1e-6)
    *_, last = ascend(network, "second", [0, 1], steps=3)
    assert np.isfinite(last.images).all()
    assert np.isfinite(last.scores).all()
