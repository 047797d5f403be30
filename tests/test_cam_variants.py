"""Class activation maps of networks written otherwise: their last ReLU, their precision, a thread of their own."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.attribution import METHODS, attribute
from vislib.network import Network


class Gap(nn.Module):
    """Two convolutions with ReLUs, global average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.one, self.two, self.head = nn.Conv2d(2, 4, 3, 2), nn.Conv2d(4, 6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.two(F.relu(self.one(x)))).flatten(2).mean(2))

    def last(self, maps: Tensor) -> Tensor:
        return F.relu(maps)


def opened(module: nn.Module) -> Network:
    return Network.from_module(module.eval(), (2, 15, 15), device="cpu")


def images(n: int = 2) -> Tensor:
    return torch.rand(n, 2, 15, 15, generator=torch.Generator().manual_seed(3))


class Rectified(Gap):
    """The last ReLU in one of the ways in which people write it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def last(self, maps: Tensor) -> Tensor:
        return WRITTEN[self.way](maps)


WRITTEN = {
    "relu": F.relu,
    "behind an idle dropout": lambda maps: F.relu(F.dropout2d(maps, training=False)),
    "behind a copy": lambda maps: F.relu(maps.clone()),
    "a clamp": lambda maps: maps.clamp(min=0),
    "a clamp in place": lambda maps: maps.clamp_(0.0),
    "none": lambda maps: maps,
}


@pytest.mark.parametrize("method", ["CAM", "Grad-CAM", "Grad-CAM++", "LayerCAM"])
@pytest.mark.parametrize("way", [way for way in WRITTEN if way not in ("relu", "none")])
def test_a_relu_is_one_however_it_is_written(method: str, way: str) -> None:
    expected, got = (attribute(opened(Rectified(one)), images(), 1, method) for one in ("relu", way))
    np.testing.assert_allclose(got.values, expected.values, rtol=1e-5, atol=1e-8)
    assert got.notes == expected.notes
    assert not any("below 0, and" in note for note in got.notes)


def test_grad_cam_plus_says_where_its_weights_are_not_derived_for_such_maps() -> None:
    network = opened(Rectified("none"))
    assert "derived for maps behind a ReLU" in " ".join(attribute(network, images(1), 1, "Grad-CAM++").notes)
    assert not attribute(network, images(1), 1, "LayerCAM").notes


class Coarse(Gap):
    """Computed in bfloat16, as under the autocast that it was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


def test_a_head_that_is_computed_in_bfloat16_is_still_found() -> None:
    plain, coarse = (attribute(opened(made), images(), 1, "CAM") for made in (Gap(), Coarse()))
    assert coarse.layer == plain.layer == "two"
    assert np.abs(coarse.values - plain.values).max() <= 0.03 * np.abs(plain.values).max()


class Elsewhere(Gap):
    """Computed in a thread of its own, where nothing can be put in a layer's place."""

    def forward(self, x: Tensor) -> Tensor:
        made: list[Tensor] = []
        thread = threading.Thread(target=lambda: made.append(Gap.forward(self, x)))
        thread.start()
        thread.join()
        return made[0]


def test_what_cannot_be_gone_through_is_said_by_every_methods_check() -> None:
    network = opened(Elsewhere())
    said = {name: one.check(network) for name, one in METHODS.items()}
    assert said["CAM"].endswith(".")
    assert not said["Saliency"]
