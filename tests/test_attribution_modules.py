"""Gradient methods over modules written in any way: exact where gradients meet early, or refused in a sentence."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gradient_making import MEAN, STD, close, images_for, own_gradient
from torch import Tensor, nn

from vislib.attribution import Target, attribute
from vislib.attribution.meeting import Meeting
from vislib.attribution.query import Query
from vislib.errors import AttributionError
from vislib.network import Network


class Ways(nn.Module):
    """Networks that look at their images in one way or another before and beside the first convolution."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.kind = kind
        self.one, self.other = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        self.head, self.scale = nn.Linear(4, 3), nn.Parameter(torch.rand(2, 1, 1) + 0.5)

    def before(self, x: Tensor) -> Tensor:
        kind = self.kind
        if kind == "clamped":
            return x.clamp(-1.5, 1.5)
        if kind == "clamped far out":
            return x.clamp(-6, 3.0)
        if kind == "squared":
            return x**2
        if kind == "own statistics":
            return x / x.std((1, 2, 3), keepdim=True)
        if kind == "detached statistics":
            return x * x.detach().amax((1, 2, 3), keepdim=True)
        if kind == "branch":
            return x if float(x.detach().max()) < 1.6 else x * 2
        if kind == "where":
            return torch.where(x > 1.2, x * 3, x)
        if kind == "padded":
            return F.pad(x.sub(0.1).mul(self.scale).flip(2), (1, 1, 1, 1))
        if kind == "colours":
            return torch.cat([x[:, 1:], x[:, :1]], 1).permute(0, 1, 3, 2).contiguous() / 2
        return x.exp() if kind == "exponential" else x

    def forward(self, x: Tensor) -> Tensor:
        maps = self.one(self.before(x)).relu_()
        if self.kind == "two branches":
            maps = maps * self.other(x).relu()
        if self.kind == "brightness beside":
            maps = maps + x.clamp(min=1.5).mean((1, 2, 3), keepdim=True)
        return self.head((maps**2).mean((2, 3)))


EARLY = ["affine", "padded", "colours"]
LATE = [
    *("clamped", "clamped far out", "squared", "own statistics", "detached statistics", "branch", "where"),
    *("exponential", "two branches", "brightness beside"),
]


@pytest.mark.parametrize("kind", [*EARLY, *LATE])
def test_gradients_meet_early_only_where_that_is_exact(kind: str) -> None:
    """Noise takes the copies far out of [0, 1], where a clamp, a branch or a square is another map than inside."""
    network = Network.from_module(Ways(kind).double(), (2, 8, 8), mean=MEAN, std=STD, name=kind, device="cpu")
    images = images_for(network)
    generator = torch.Generator().manual_seed(0)
    total, samples = torch.zeros_like(images), 8
    for _ in range(samples):
        noise = 0.6 * (images.flatten(1).amax(1) - images.flatten(1).amin(1)).view(-1, 1, 1, 1)
        copies = images + noise * torch.randn(images.shape[1:], generator=generator)
        total += torch.cat([own_gradient(network, copy[None], 1) for copy in copies])
    options = {"samples": samples, "noise": 0.6}
    target = Target(1).checked(network, len(images))
    query = Query("SmoothGrad", False, network, images, target, "", {}, 0)
    assert Meeting(query).early == (kind in EARLY)
    if kind == "branch":  # which looks at the whole batch: images one by one, then
        return
    close(attribute(network, images, 1, "SmoothGrad", **options).colour, total / samples)
    points = [(k + 0.5) / 6 for k in range(6)]
    path = sum(images * own_gradient(network, images * point, 1) for point in points) / 6
    close(attribute(network, images, 1, "Integrated gradients", steps=6).colour, path)
    many = images.repeat(5, 1, 1, 1)  # too many images to keep sums of maps for
    close(attribute(network, many, 1, "SmoothGrad", **options).colour, total.repeat(5, 1, 1, 1) / samples)


class Written(nn.Module):
    """One function, its ReLUs written in one of the ways in which people write them."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.one, self.two = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 3)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.two(self.relu(self.one(x)))).mean((2, 3)))


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "function": F.relu,
    "in place": nn.ReLU(inplace=True),
    "method in place": Tensor.relu_,
    "torch": torch.relu,
}


@pytest.mark.parametrize("method", ["Guided backprop", "Deconvnet", "SmoothGrad", "Integrated gradients"])
def test_relus_may_be_shared_functional_or_in_place(method: str) -> None:
    options = {"of": "guided backprop", "samples": 4} if method == "SmoothGrad" else {}
    maps = {}
    for way, relu in {"shared module": nn.ReLU(), **WAYS}.items():
        network = Network.from_module(Written(relu), (2, 9, 9), name=way, device="cpu")
        answer = attribute(network, images_for(network), Target(2, layer="two"), method, **options)
        assert not any("met no ReLU" in note for note in answer.notes)
        maps[way] = answer.values
    for way in WAYS:
        np.testing.assert_allclose(maps[way], maps["shared module"], atol=1e-6 * np.abs(maps[way]).max())


def test_a_network_without_relus_says_that_the_rule_did_nothing() -> None:
    network = Network.from_module(Written(F.silu), (2, 9, 9), name="smooth", device="cpu")
    images = images_for(network)
    plain = attribute(network, images, 1, "Saliency")
    for method, options in (("Guided backprop", {}), ("Deconvnet", {}), ("SmoothGrad", {"of": "deconvnet"})):
        got = attribute(network, images, 1, method, **options)
        assert got.notes == (
            f"{method} met no ReLU on the way to logits in smooth, so it equals the plain gradient here.",
        )
    assert (attribute(network, images, 1, "Deconvnet").colour == plain.colour).all()


class Works(nn.Module):
    """Standardises its input in place, as some people's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.sub_(0.5).flatten(1))


@pytest.mark.parametrize("method", ["Saliency", "SmoothGrad", "Integrated gradients", "Guided backprop"])
def test_a_module_that_works_in_place_on_its_input_does_not_touch_the_images(method: str) -> None:
    torch.manual_seed(0)
    network = Network.from_module(Works(), (2, 2, 2), name="works", device="cpu")
    images = torch.rand(2, 2, 2, 2)
    before = images.clone()
    got = attribute(network, images, 1, method)
    assert torch.equal(images, before)
    expected = network.module.head.weight[1].view(2, 2, 2).detach()
    if method != "Integrated gradients":
        close(got.colour, expected.expand(2, -1, -1, -1))


class Detached(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv, self.head = how, nn.Conv2d(2, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "detach":
            return self.head(self.conv(x).detach().mean((2, 3)))
        return self.head(torch.log(self.conv(x).mean((2, 3)) - 1e4))


@pytest.mark.parametrize("method", ["Saliency", "Guided backprop", "SmoothGrad", "Integrated gradients"])
def test_what_has_no_gradient_or_no_number_is_refused_in_a_sentence(method: str) -> None:
    for how, said in (("detach", "No gradient comes from the target"), ("log", "values that are not finite")):
        network = Network.from_module(Detached(how), (2, 9, 9), name=how, device="cpu")
        with pytest.raises(AttributionError, match=said):
            attribute(network, images_for(network), 0, method)
