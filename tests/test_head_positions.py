"""Outputs with positions: one probability for an image is the mean of those that the module itself gives them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vislib.attribution import Target, attribute
from vislib.attribution.prediction_difference import class_probabilities
from vislib.evaluation.faithfulness import deletion
from vislib.evaluation.scores import measured
from vislib.network import Network

SHARED: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda maps: maps.softmax(1),
    "softmax by hand": lambda maps: maps.exp() / maps.exp().sum(1, keepdim=True),
    "a module": nn.Softmax2d(),
    "log_softmax": lambda maps: maps.log_softmax(1),
}
OWN: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "logsigmoid": nn.functional.logsigmoid,
}


class Segments(nn.Module):
    """Three maps, far apart from place to place, so that the order of mean and softmax counts."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.one, self.two, self.end = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1), end
        self.two.weight.data *= 30

    def forward(self, images: Tensor) -> Tensor:
        return self.end(self.two(torch.relu(self.one(images))))


def opened(end: Callable[[Tensor], Tensor], **card: str) -> Network:
    return Network.from_module(Segments(end).eval(), (1, 10, 12), device="cpu", **card)


def images(n: int = 2) -> Tensor:
    return torch.rand(n, 1, 10, 12, generator=torch.Generator().manual_seed(1))


def by_places(end: str, images: Tensor) -> Tensor:
    """Of every place alone, in a loop; then the mean."""
    with torch.no_grad():
        maps = Segments(lambda maps: maps).eval()(images).double()
    places = [maps[:, :, y, x] for y in range(maps.shape[2]) for x in range(maps.shape[3])]
    each = [place.softmax(1) if end in SHARED else place.sigmoid() for place in places]
    return torch.stack(each).mean(0)


@pytest.mark.parametrize("end", [*SHARED, *OWN])
def test_the_modules_own_probabilities_are_averaged(end: str) -> None:
    network, expected = opened({**SHARED, **OWN}[end]), by_places(end, images())
    assert network.output.normalised
    np.testing.assert_allclose(network.probabilities(images()), expected, atol=2e-5)
    np.testing.assert_allclose(network.head.values(network.logits(images())), expected, atol=2e-5)
    for unit in range(3):
        found = measured(network, images(), Target(unit).checked(network, 2), (0, 1))
        np.testing.assert_allclose(found, expected[:, unit], atol=2e-5)
    maps = np.random.default_rng(0).random((2, 10, 12)).astype(np.float32)
    curve = deletion(network, images(), Target(1), maps, steps=2)
    np.testing.assert_allclose(curve.probabilities[:, 0], expected[:, 1], atol=2e-5)


@pytest.mark.parametrize("end", [*SHARED, *OWN])
def test_prediction_difference_reads_the_same(end: str) -> None:
    network, expected = opened({**SHARED, **OWN}[end]), by_places(end, images())
    scores = network.activations(images(), "logits")["logits"].double()
    np.testing.assert_allclose(class_probabilities(scores, network), expected, atol=2e-5)
    found = attribute(network, images(1), 1, "Prediction difference", window=6, stride=6, samples=1)
    assert "percentages are the means of these probabilities" in " ".join(found.notes)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_logits_with_positions_are_averaged_before_their_softmax(kind: str) -> None:
    network = opened(lambda maps: maps, head=kind)
    with torch.no_grad():
        mean = network.module(images()).flatten(2).mean(2).double()
    expected = mean.softmax(1) if kind == "softmax" else mean.sigmoid()
    np.testing.assert_allclose(network.probabilities(images()), expected, atol=1e-5)
    notes = attribute(network, images(1), 0, "Saliency").notes
    assert "The score is the mean over the 10 x 12 positions of the output." in notes


def test_the_score_that_is_explained_is_what_the_probabilities_are_made_from() -> None:
    network, plain = opened(SHARED["softmax"]), opened(lambda maps: maps)
    found = attribute(network, images(), 1, "Saliency")
    expected = attribute(plain, images(), 1, "Saliency")
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-4, atol=1e-6)
