"""`through`: the network goes on with what a patch returns, after the activation that directly follows a layer."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.errors import NetworkError
from vislib.network import Network


class Written(nn.Module):
    """conv -> activation, written in one of the ways in which people write it -> conv -> mean."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=way.endswith("module in place"))
        self.second = nn.Conv2d(4, 3, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        if self.way.startswith("dropout, "):
            maps = F.dropout2d(maps, training=self.training, inplace=self.way.endswith("in place"))
        if self.way.endswith("batch norm"):
            maps = self.norm(maps)
        maps = self.activated(maps)
        return self.second(maps).mean((2, 3))

    def activated(self, maps: Tensor) -> Tensor:
        if self.way == "method in place":
            maps.relu_()
            return maps
        if self.way == "keyword":
            return F.relu(input=maps, inplace=True)
        return FUNCTIONS.get(self.way, self.relu)(maps)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "function": F.relu,
    "torch": torch.relu,
    "silu": F.silu,
    "sine": torch.sin,
    "shrink": F.softshrink,
    "clamp": lambda maps: maps.clamp(min=0),
    "clamp, both ends": lambda maps: torch.clamp(maps, 0, 1),
    "clamp in place": lambda maps: maps.clamp_min_(0),
    "clip": lambda maps: torch.clip(input=maps, min=0.0),
    "copy": lambda maps: maps.clone().relu_(),
    "copy of a copy": lambda maps: F.relu(maps.float().contiguous(memory_format=torch.channels_last).clone()),
}
BEFORE = ["dropout, function", "dropout, module in place", "dropout, batch norm"]
WAYS = ["module", "module in place", "method in place", "keyword", "batch norm", *FUNCTIONS, *BEFORE]
# What follows here is no activation, or not the only one to see the maps: they are patched as they are.
NOT = {
    "none": lambda maps: maps,
    "a guard": lambda maps: maps.clamp(min=-0.1),
    "a factor": lambda maps: F.relu(maps * 2),
    "two readers": lambda maps: F.relu(maps.clone()) + maps,
    "two readers of a copy": lambda maps: (copied := maps.clone()).relu() + copied,
}
FUNCTIONS |= NOT


def network_of(way: str) -> Network:
    torch.manual_seed(0)
    return Network.from_module(Written(way), (2, 9, 9), device="cpu")


@pytest.mark.parametrize("way", WAYS)
def test_a_patch_sees_and_replaces_what_the_rest_of_the_network_sees(way: str) -> None:
    network = network_of(way)
    images = torch.rand(3, 2, 9, 9)
    module, seen = network.module, []
    before = module.first(images)
    expected = module.activated(module.norm(before) if way.endswith("batch norm") else before.clone())

    def patch(maps: Tensor) -> Tensor:
        seen.append(maps.clone())
        return 2 * maps + 1

    got = network.activations(images, ["logits"], through={"first": patch})["logits"]
    torch.testing.assert_close(seen[0], expected)
    torch.testing.assert_close(got, module.second(2 * expected + 1).mean((2, 3)))
    plain = network.activations(images, ["logits"])["logits"]
    torch.testing.assert_close(plain, module.second(expected).mean((2, 3)))


@pytest.mark.parametrize("way", NOT)
def test_maps_that_no_activation_alone_sees_are_patched_as_they_are(way: str) -> None:
    network = network_of(way)
    images = torch.rand(3, 2, 9, 9)
    module, seen = network.module, []

    def patch(maps: Tensor) -> Tensor:
        seen.append(maps.clone())
        return 2 * maps + 1

    got = network.activations(images, ["logits"], through={"first": patch})["logits"]
    torch.testing.assert_close(seen[0], module.first(images))
    expected = module.second(module.activated(2 * module.first(images) + 1)).mean((2, 3))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_reaches_a_leaf_put_in_the_maps_place(way: str) -> None:
    network = network_of(way)
    leaves: list[Tensor] = []

    def cut(maps: Tensor) -> Tensor:
        leaves.append(maps.detach().clone().requires_grad_())
        return leaves[0]

    got = network.activations(torch.rand(1, 2, 9, 9), ["logits"], through={"first": cut})["logits"]
    (gradient,) = torch.autograd.grad(got[0, 1], leaves)
    expected = torch.autograd.functional.jacobian(
        lambda maps: network.module.second(maps).mean((2, 3))[0, 1], leaves[0].detach()
    )
    torch.testing.assert_close(gradient, expected)


def test_reading_a_layer_that_is_patched_gives_its_own_output() -> None:
    network = network_of("module in place")
    images = torch.rand(1, 2, 9, 9)
    own = network.activations(images, ["first"])["first"]
    got = network.activations(images, ["first", "logits"], through={"first": torch.zeros_like})
    torch.testing.assert_close(got["first"], own)


def test_a_layer_that_comes_too_late_or_last_is_refused_in_a_sentence() -> None:
    network = network_of("module")
    images = torch.rand(1, 2, 9, 9)
    with pytest.raises(NetworkError, match="'second' comes after first"):
        network.activations(images, ["first"], through={"second": lambda maps: maps})
    with pytest.raises(NetworkError, match="Nothing follows"):
        network.activations(images, ["logits"], through={"logits": lambda maps: maps})
    with pytest.raises(NetworkError, match="no layer 'third'"):
        network.activations(images, ["logits"], through={"third": lambda maps: maps})


def test_a_patch_that_fails_leaves_no_hook_behind() -> None:
    network = network_of("function")

    def fail(maps: Tensor) -> Tensor:
        raise NetworkError("Enough.")

    with pytest.raises(NetworkError, match="Enough"):
        network.activations(torch.rand(1, 2, 9, 9), ["logits"], through={"first": fail})
    assert not any(part._forward_hooks for part in network.module.modules())
