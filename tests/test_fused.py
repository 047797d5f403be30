"""Fused modules: units are read before an activation that a layer or its norm holds inside, or it is said."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from vislib.ascent import ascend
from vislib.attribution import Target, attribute
from vislib.network import Network


class NormAct(nn.BatchNorm2d):
    """Batch norm, dropout and an activation in one module, as timm has them."""

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Dropout(0.5), act

    def forward(self, maps: Tensor) -> Tensor:
        return self.drop(self.act(super().forward(maps)))


class FunctionalNormAct(nn.BatchNorm2d):
    def forward(self, maps: Tensor) -> Tensor:
        normed = F.batch_norm(
            maps, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )
        return F.relu_(normed)


class OwnArithmetic(nn.BatchNorm2d):
    """Neither torch's batch norm nor torch's activation is called."""

    def forward(self, maps: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        scale = self.weight / (self.running_var + self.eps).sqrt()
        normed = (maps - self.running_mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        return normed * (normed > 0)


class ConvRelu(nn.Conv2d):
    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(super().forward(maps), inplace=True)


class ConvOwn(nn.Conv2d):
    def forward(self, maps: Tensor) -> Tensor:
        out = super().forward(maps)
        return out * (out > 0)


class StandardisedConv(nn.Conv2d):
    """A derived class that is still a convolution."""

    def forward(self, maps: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(maps, weight, self.bias, padding=self.padding)


class LinearGelu(nn.Linear):
    def forward(self, rows: Tensor) -> Tensor:
        return F.gelu(super().forward(rows))


class NotANormByName(nn.Module):
    """A custom norm: nothing says what it is, so the convolution before it is read."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu((maps - maps.mean((2, 3), keepdim=True)) * self.scale)


def shuffled(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.uniform_(part.bias, -1, 1)
    return module.eval()


class Net(nn.Module):
    def __init__(self, conv: nn.Module, norm: nn.Module, dense: type[nn.Linear] = nn.Linear) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm
        self.later, self.dense, self.head = nn.Conv2d(6, 5, 3), dense(5, 7), nn.Linear(7, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.later(self.norm(self.conv(images))))
        return self.head(self.dense(maps.mean((2, 3))))


def conv(kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Conv2d:
    return kind(1, 6, 3, padding=1)


def split(norm: nn.Module) -> Tensor:
    """The plain batch norm in a fused one."""
    plain = nn.BatchNorm2d(6)
    plain.load_state_dict(norm.state_dict(), strict=False)
    return plain.eval()


def by_norm(net: nn.Module, images: Tensor) -> Tensor:
    return split(net.norm)(net.conv(images))


def by_convolution(net: nn.Module, images: Tensor) -> Tensor:
    return F.conv2d(images, net.conv.weight, net.conv.bias, padding=1)


def alone(net: nn.Module, images: Tensor) -> Tensor:
    return net.conv(images)


# How to make it, what its units are, and how they are read where that is not as everywhere.
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor], str]] = {
    "norm and ReLU": (lambda: Net(conv(), NormAct(6, nn.ReLU(inplace=True))), by_norm, ""),
    "norm and SiLU": (lambda: Net(conv(), NormAct(6, nn.SiLU())), by_norm, ""),
    "norm and PReLU": (lambda: Net(conv(), NormAct(6, nn.PReLU())), by_norm, ""),
    "norm and nothing": (lambda: Net(conv(), NormAct(6, nn.Identity())), by_norm, ""),
    "functional": (lambda: Net(conv(), FunctionalNormAct(6)), by_norm, ""),
    "own arithmetic": (lambda: Net(conv(), OwnArithmetic(6)), by_convolution, "before its norm"),
    "convolution and ReLU": (lambda: Net(conv(ConvRelu), nn.Identity()), by_convolution, ""),
    "convolution and own ReLU": (lambda: Net(conv(ConvOwn), nn.Identity()), alone, "after its own function"),
    "standardised weights": (lambda: Net(conv(StandardisedConv), NormAct(6, nn.ReLU())), by_norm, ""),
    "weight norm": (lambda: Net(parametrizations.weight_norm(conv()), NormAct(6, nn.ReLU())), by_norm, ""),
    "spectral norm": (lambda: Net(parametrizations.spectral_norm(conv()), nn.ReLU()), alone, ""),
    "a norm of its own": (lambda: Net(conv(), NotANormByName(6)), alone, ""),
    "a container": (
        lambda: Net(conv(), nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(inplace=True))),
        lambda net, x: net.norm[0](net.conv(x)),
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_units_are_read_before_the_activation_or_it_is_said(case: str) -> None:
    torch.manual_seed(0)
    make, true, odd = CASES[case]
    module = shuffled(make())
    network = Network.from_module(module, (1, 9, 9), device="cpu")
    images, mine = torch.rand(2, 1, 9, 9), torch.rand(2, 1, 9, 9).requires_grad_()
    got = network.activations(images, ["conv"])["conv"]
    torch.testing.assert_close(got, true(module, images))
    assert network.layers["conv"].odd == odd
    # A gradient that the activation would have cut is there, and right.
    (gradient,) = torch.autograd.grad(network.activations(mine, ["conv"])["conv"][:, 2].sum(), mine)
    (expected,) = torch.autograd.grad(true(module, mine)[:, 2].sum(), mine)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(network.logits(images), module(images))


def test_a_dense_layer_is_read_before_its_own_activation() -> None:
    torch.manual_seed(0)
    module = shuffled(Net(conv(), nn.ReLU(), LinearGelu))
    network = Network.from_module(module, (1, 9, 9), device="cpu")
    images = torch.rand(2, 1, 9, 9)
    pooled = F.relu(module.later(module.norm(module.conv(images)))).mean((2, 3))
    torch.testing.assert_close(
        network.activations(images, ["dense"])["dense"],
        F.linear(pooled, module.dense.weight, module.dense.bias),
    )


def both() -> tuple[Network, Network]:
    """The same network with norm and ReLU fused, and apart."""
    torch.manual_seed(0)
    fused = shuffled(Net(conv(), NormAct(6, nn.ReLU(inplace=True))))
    apart = Net(conv(), nn.Sequential(split(fused.norm), nn.ReLU(inplace=True))).eval()
    for name in ("conv", "later", "dense", "head"):
        getattr(apart, name).load_state_dict(getattr(fused, name).state_dict())
    return tuple(Network.from_module(module, (1, 9, 9), device="cpu") for module in (fused, apart))


@pytest.mark.parametrize("method", ["Grad-CAM", "LayerCAM", "Score-CAM", "Guided backprop", "Deconvolution"])
def test_maps_are_those_of_the_same_network_with_norm_and_activation_apart(method: str) -> None:
    images = torch.rand(2, 1, 9, 9)
    options = {} if method in ("Guided backprop", "Deconvolution") else {"layer": "conv"}
    target = Target(2, "conv") if method == "Deconvolution" else Target(1)
    fused, apart = (attribute(network, images, target, method, **options).values for network in both())
    np.testing.assert_allclose(fused, apart, atol=1e-5 * max(1e-6, np.abs(apart).max()))


def test_ascent_is_that_of_the_network_apart() -> None:
    frames = [list(ascend(network, "conv", range(6), "none", steps=3))[-1] for network in both()]
    np.testing.assert_allclose(frames[0].images, frames[1].images, atol=1e-5)
    np.testing.assert_allclose(frames[0].scores, frames[1].scores, atol=1e-5)


def test_two_threads_read_a_fused_layer_at_once() -> None:
    network, apart = both()
    images = [torch.rand(2, 1, 9, 9) for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda one: network.activations(one, ["conv"])["conv"], images))
    for one, found in zip(images, got, strict=True):
        torch.testing.assert_close(found, apart.activations(one, ["conv"])["conv"])
