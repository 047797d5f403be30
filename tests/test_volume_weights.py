"""Maps of slices weighted by the probability of what they explain, and what a volume's map says of itself."""

import json
import math

import numpy as np
import pytest
import torch
from test_attribution_every import any_shape
from torch import nn
from volume_making import box

from vislib.attribution import Target, attribute, attribute_volume, volume_attribution_steps
from vislib.clusters import clusters, maximum
from vislib.network import Network
from vislib.volumes import PLANES, VIEWS, slice_image

LABELS = ("healthy", "ill")


class Brightness(nn.Module):
    """Logits (0, gain * mean - bias): the probability of "ill" is the sigmoid of the second."""

    def __init__(self, gain: float, bias: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1)
        self.last = nn.Linear(2, 2)
        with torch.no_grad():
            self.first.weight[:] = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
            self.first.bias[:] = 0
            self.last.weight[:] = torch.tensor([[0, 0], [gain, 0]])
            self.last.bias[:] = torch.tensor([0, -bias])

    def forward(self, x):
        return self.last(self.first(x).mean((2, 3)))


def network(gain: float = 40.0, bias: float = 20.0) -> Network:
    return Network.from_module(
        Brightness(gain, bias).eval(), (1, 8, 8), labels=LABELS, name="two", device="cpu"
    )


def ramp(count: int = 9) -> "object":
    """A volume of 8 x 8 slices of one value each, from 0 to 255."""
    volume = box((8, 8, count), (1.0, 1.0, 1.0))
    volume.data[:] = np.linspace(0, 255, count, dtype=np.float32)
    return volume


def chance(volume, index: int, gain: float = 40.0, bias: float = 20.0) -> float:
    return 1 / (1 + math.exp(bias - gain * float(volume.data[0, 0, index]) / 255))


class OneOf(nn.Module):
    """Scores (gain * mean - bias), alone or beside one of 0, as they are or as the head's probabilities."""

    def __init__(self, units: int, end: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1)
        self.last = nn.Linear(2, units)
        self.end = {"softmax": nn.Softmax(1), "sigmoid": nn.Sigmoid(), "": nn.Identity()}[end]
        with torch.no_grad():
            self.first.weight[:] = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
            self.first.bias[:] = 0
            self.last.weight[:] = 0
            self.last.weight[-1, 0] = 40.0
            self.last.bias[:] = 0
            self.last.bias[-1] = -20.0

    def forward(self, x):
        return self.end(self.last(self.first(x).mean((2, 3))))


@pytest.mark.parametrize(
    ("units", "end", "head", "opposite"),
    [
        (1, "", "sigmoid", False),
        (1, "", "sigmoid", True),
        (2, "", "sigmoid", False),
        (2, "", "softmax", False),
        (2, "softmax", "probabilities", False),
        (1, "sigmoid", "probabilities", False),
        (1, "sigmoid", "probabilities", True),
    ],
)
def test_the_weights_are_what_the_head_means(units, end, head, opposite):
    one = Network.from_module(OneOf(units, end).eval(), (1, 8, 8), name="one", head=head, device="cpu")
    volume = ramp()
    got = attribute_volume(one, volume, Target(units - 1, opposite=opposite), "Saliency")
    # In every case the probability of the last unit is the sigmoid of its score.
    wanted = np.array([chance(volume, k) for k in range(9)])
    np.testing.assert_allclose(got.probabilities, 1 - wanted if opposite else wanted, rtol=1e-3, atol=1e-6)


def test_a_value_has_no_weights_and_that_is_said():
    one = Network.from_module(
        OneOf(2, "").eval(), (1, 8, 8), name="age", head="score", unit="years", device="cpu"
    )
    got = attribute_volume(one, ramp(), 1, "Saliency")
    assert got.probabilities is None
    np.testing.assert_array_equal(got.values, got.maps)
    assert any("no probabilities" in sentence for sentence in got.words)


def test_the_weights_are_the_networks_probabilities_slice_by_slice():
    volume = ramp()
    got = attribute_volume(network(), volume, 1, "Saliency")
    wanted = np.array([chance(volume, k) for k in range(9)])
    np.testing.assert_allclose(got.probabilities, wanted, rtol=1e-4)
    assert got.weighted
    np.testing.assert_allclose(got.values, got.maps * wanted, rtol=1e-4)
    other = attribute_volume(network(), volume, Target(0, against=1), "Saliency")
    np.testing.assert_allclose(other.probabilities, 1 - wanted, rtol=1e-4)


@pytest.mark.parametrize("plane", PLANES)
def test_weights_lie_along_the_plane_that_was_cut(plane):
    volume = box((6, 7, 5), (1.0, 1.0, 1.0))
    net = network(9.0, 4.0)
    got = attribute_volume(net, volume, 1, "Input x gradient", plane=plane)
    plain = attribute_volume(net, volume, 1, "Input x gradient", plane=plane, weighted=False)
    assert not plain.weighted
    for index in range(volume.data.shape[VIEWS[plane].across]):
        cut = slice_image(volume, plane, index, net.input_shape, net.spacing)
        p = float(net.logits(torch.from_numpy(cut.image)).softmax(1)[0, 1])
        back = cut.back(attribute(net, torch.from_numpy(cut.image), 1, "Input x gradient").values[0])
        place = tuple(index if axis == VIEWS[plane].across else slice(None) for axis in range(3))
        np.testing.assert_allclose(plain.values[place], back[place], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(got.values[place], p * back[place], rtol=1e-4, atol=1e-7)


def test_the_maximum_is_where_the_class_is_probable():
    """A map may be strongest in a slice in which the class has next to no probability."""
    volume = ramp(9)
    net = network()
    volume.data[2, 3, 1] = 255  # one bright voxel in a dark slice
    volume.data[:, :, 8] = 200
    got = attribute_volume(net, volume, 1, "Input x gradient")
    plain = got.weigh(False)
    assert maximum(plain.values, plain.signed) == (2, 3, 1)
    assert got.probabilities[1] < 0.01 < 0.99 < got.probabilities[8]
    place = maximum(got.values, got.signed)
    assert got.probabilities[place[2]] > 0.99
    (found, *_) = clusters(got.values, volume.affine, 0.5 * float(got.values.max()))
    assert got.probabilities[found.peak_ijk[2]] > 0.99


def test_weights_come_with_their_slices_and_are_switched_without_asking_again():
    volume = box((6, 7, 21), (1.0, 1.0, 1.0))
    answers = list(volume_attribution_steps(network(), volume, 1, "Saliency"))
    for one in answers:
        assert (np.isfinite(one.probabilities) == np.isfinite(one.scores)).all()
        assert (np.isfinite(one.values) == np.isfinite(one.maps)).all()
    whole = answers[-1]
    plain = whole.weigh(False)
    assert plain.values is whole.maps
    np.testing.assert_array_equal(plain.weigh().values, whole.values)
    assert whole.weigh(True) is whole
    assert plain.limit > whole.limit > 0


def test_what_was_weighted_is_said_also_in_the_files_words():
    whole = attribute_volume(network(), ramp(), 1, "Grad-CAM", layer="first")
    assert "weighted by the probability of the class in that slice, < 0.1 % to > 99.9 %." in whole.words[-1]
    spec = whole.spec
    assert spec["weighted"] is True
    np.testing.assert_allclose(spec["slice_probabilities"], whole.probabilities, atol=1e-6)
    plain = whole.weigh(False)
    assert "are not weighted" in plain.words[-1]
    assert plain.spec["weighted"] is False
    json.dumps(spec, allow_nan=False)
    *_, partial, _last = volume_attribution_steps(network(), box((6, 7, 21), (1.0, 1.0, 1.0)), 1, "Saliency")
    json.dumps(partial.spec, allow_nan=False)


def test_a_unit_has_no_probability_and_that_is_said():
    got = attribute_volume(network(), ramp(), Target(0, "first"), "Saliency")
    assert got.probabilities is None
    assert got.values is got.maps
    assert (
        got.words[-1] == "A unit of first has no probability: the slices' maps are put together unweighted."
    )
    assert got.spec["weighted"] is False
    plain = attribute_volume(network(), ramp(), Target(0, "first"), "Saliency", weighted=False)
    assert plain.words == plain.notes


def test_a_3d_networks_map_is_one_and_not_weighted():
    got = attribute_volume(any_shape(3, 1), box((8, 9, 7), (1.0, 1.0, 1.0)), 1, "Saliency")
    assert (got.probabilities, got.weighted, got.words) == (None, False, got.notes)
    assert got.spec == {}
    assert got.weigh() is got


@pytest.mark.parametrize(
    ("method", "layer"), [("Grad-CAM", None), ("CAM", None), ("Saliency", None), ("Grad-CAM", "first")]
)
def test_the_layer_that_was_used_is_named(method, layer):
    got = attribute_volume(network(), ramp(), 1, method, layer=layer)
    assert got.layer == ("" if method == "Saliency" else "first")
