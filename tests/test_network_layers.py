"""Layers of a network: which ones a module has, what each captures, and the fingerprint of the whole."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from network_making import CONV, GLOBAL, NORM, Brain, Head, brain, shuffle_norms, wrap
from torch import Tensor, nn

from vislib.network import Layer, Network


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1)
        self.two = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.two(F.relu(self.one(x), inplace=True)))


def facts(network: Network) -> list[tuple[str, str, str]]:
    return [(layer.name, layer.kind, layer.capture) for layer in network.layers.values()]


def test_layers_of_a_plain_network() -> None:
    network = wrap(brain(), (1, 16, 12))
    assert list(network.layers.values()) == [
        Layer("conv1", "conv", 4, (16, 12), "bn1", True),
        Layer("conv2", "conv", 6, (8, 6), "bn2", True),
        Layer("conv3", "conv", 8, (8, 6), "bn3", True),
        Layer("logits", "logits", 3, (), ""),
    ]
    assert network.layer("fc") is network.layers["logits"]
    assert network.opening == "conv2"
    assert wrap(brain(), (1, 16, 12), opening="fc").opening == "logits"


def test_captures_are_read_before_the_relu_and_after_the_norm() -> None:
    module = brain()
    network = wrap(module)
    images = torch.rand(3, 1, 16, 16)
    first = module.bn1(module.conv1(images))
    second = module.bn2(module.conv2(first.clamp(min=0)))
    third = module.bn3(module.conv3(second.clamp(min=0)))
    expected = {"conv1": first, "conv2": second, "conv3": third, "fc": module(images)}
    got = network.activations(images, expected)
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert torch.allclose(got[name], value, atol=1e-5), name
        assert (value < 0).any()


def test_norm_after_the_relu_is_not_the_convolution() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(2), Head(2))
    assert facts(wrap(module))[0] == ("0", "conv", "0")


def test_dense_layers_but_not_the_one_whose_output_is_the_logits() -> None:
    dense = nn.Sequential(nn.Linear(8, 5), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(5, 3), nn.Dropout())
    module = nn.Sequential(nn.Conv2d(1, 2, 3, stride=7), nn.Flatten(), dense)
    network = wrap(module, (1, 14, 14))
    assert facts(network) == [("0", "conv", "0"), ("2.0", "dense", "2.0"), ("logits", "logits", "")]
    assert network.layers["2.0"].spatial == ()
    for alias in ("2", "2.3", "2.4"):
        assert network.layer(alias).name == "logits"
    images = torch.rand(2, 1, 14, 14)
    before_relu = dense[0](module[0](images).flatten(1))
    assert torch.allclose(network.activations(images, ["2.0"])["2.0"], before_relu, atol=1e-6)


def test_nested_blocks_with_one_output_are_one_layer() -> None:
    stages = [nn.Sequential(Residual(4), Residual(4)) for _ in range(2)]
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(*stages), Head(4))
    network = wrap(module)
    blocks = [layer.name for layer in network.layers.values() if layer.kind == "block"]
    assert blocks == ["1.0.0", "1.0", "1.1.0", "1.1"]
    assert [network.layer(name).name for name in ("1.0.1", "1.1.1", "1")] == ["1.0", "1.1", "1.1"]
    images = torch.rand(2, 1, 16, 16)
    expected = module[1](module[0](images))
    got = network.activations(images, ["1", "1.1", "1.1.1"])
    assert all(torch.allclose(got[name], expected, atol=1e-6) for name in ("1", "1.1", "1.1.1"))


def test_flat_trunk_and_wrapped_convolution_stand_for_their_convolution() -> None:
    def unit(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(before, after, 3), nn.BatchNorm2d(after), nn.ReLU())

    network = wrap(nn.Sequential(nn.Sequential(unit(1, 2), unit(2, 4), nn.MaxPool2d(2)), Head(4)))
    assert facts(network) == [
        ("0.0.0", "conv", "0.0.1"),
        ("0.1.0", "conv", "0.1.1"),
        ("logits", "logits", ""),
    ]
    assert [network.layer(name).name for name in ("0.0", "0.1", "0")] == ["0.0.0", "0.1.0", "0.1.0"]


def test_block_of_one_convolution_and_a_residual_is_a_block() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return x + F.relu(self.conv(x))

    network = wrap(nn.Sequential(nn.Conv2d(1, 2, 3), Small(), Small(), Head(2)))
    assert [f[:2] for f in facts(network)] == [
        ("0", "conv"),
        ("1.conv", "conv"),
        ("1", "block"),
        ("2.conv", "conv"),
        ("2", "block"),
        ("logits", "logits"),
    ]


def test_parallel_branches_are_a_block() -> None:
    class Fire(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)

    network = wrap(nn.Sequential(nn.Conv2d(1, 2, 3), Fire(), Head(7)))
    assert network.layers["1"] == Layer("1", "block", 7, (14, 14), "1")


def test_block_changed_in_place_afterwards_is_captured_before() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3), Residual(2), Residual(2), nn.Hardtanh(0.1, 0.2, inplace=True), Head(2)
    )
    network = wrap(module)
    images = torch.rand(2, 1, 16, 16)
    expected = module[2](module[1](module[0](images)))
    got = network.activations(images, ["2", "logits"])
    assert torch.allclose(got["2"], expected, atol=1e-6)
    assert (expected > 0.2).any()


def test_shared_module_counts_with_its_first_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 1, 3), nn.Linear(1, 2)
            self.again = self.conv

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.again(self.conv(x)).mean((2, 3)))

    module = Twice()
    network = wrap(module)
    assert network.layers["conv"].spatial == (14, 14)
    assert network.layer("again") is network.layers["conv"]
    images = torch.rand(2, 1, 16, 16)
    got = network.activations(images, ["conv", "again", "logits"])
    assert torch.allclose(got["conv"], F.conv2d(images, module.conv.weight, module.conv.bias), atol=1e-6)
    assert torch.equal(got["again"], got["conv"])


@pytest.mark.parametrize(
    "pack",
    [
        lambda y: {"features": y + 1, "logits": y},
        lambda y: {"aux": y + 1, "out": y},
        lambda y: {"first": y},
        lambda y: namedtuple("Output", "scores aux")(y, None),
        lambda y: [None, (y,)],
    ],
)
def test_outputs_that_are_not_one_tensor(pack: Callable[[Tensor], Any]) -> None:
    class Packed(Brain):
        def forward(self, x: Tensor) -> Any:
            return pack(super().forward(x))

    torch.manual_seed(0)
    module = shuffle_norms(Packed()).eval()
    network = wrap(module)
    images = torch.rand(2, 1, 16, 16)
    assert network.layers["logits"].channels == 3
    assert torch.allclose(network.logits(images), Brain.forward(module, images), atol=1e-5)


def test_fully_convolutional_logits_are_averaged_over_positions() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    network = wrap(module, labels=tuple("abcde"))
    assert network.layers["logits"] == Layer("logits", "logits", 5, (12, 12), "")
    assert network.layer("2").name == "logits"
    images = torch.rand(2, 1, 16, 16)
    assert torch.allclose(network.logits(images), module(images).mean((2, 3)), atol=1e-6)
    assert network.activations(images, ["logits"])["logits"].shape == (2, 5, 12, 12)


@settings(max_examples=20, phases=[Phase.generate])
@given(
    axes=st.integers(1, 3),
    channels=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    inputs=st.integers(1, 3),
    norm=st.booleans(),
    inplace=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_small_network(
    axes: int, channels: list[int], inputs: int, norm: bool, inplace: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    names, before = [], inputs
    for after in channels:
        names.append(str(len(parts)))
        parts += [CONV[axes](before, after, 3, padding=1), *([NORM[axes](after)] if norm else [])]
        parts.append(nn.ReLU(inplace=inplace))
        before = after
    parts += [GLOBAL[axes](1), nn.Flatten(), nn.Linear(before, 2)]
    module = shuffle_norms(nn.Sequential(*parts)).double().eval()
    mean, std = [0.1 * i for i in range(inputs)], [0.5 + i for i in range(inputs)]
    sizes = (7, 6, 5)[:axes]
    network = wrap(module, (inputs, *sizes), mean=mean, std=std)
    images = torch.rand(2, inputs, *sizes, dtype=torch.float64, requires_grad=True)

    shift = torch.tensor(mean, dtype=torch.float64).view(1, -1, *[1] * axes)
    x = (images - shift) / torch.tensor(std, dtype=torch.float64).view(1, -1, *[1] * axes)
    for name, after in zip(names, channels, strict=True):
        x = module[int(name)](x.clamp(min=0) if name != "0" else x)
        x = module[int(name) + 1](x) if norm else x
        assert network.layers[name] == Layer(name, "conv", after, sizes, str(int(name) + norm), True)
        got = network.activations(images, [name])[name]
        assert torch.allclose(got, x)
        expected, grad = (
            torch.autograd.grad(v.square().sum(), images, retain_graph=True)[0] for v in (x, got)
        )
        assert torch.allclose(grad, expected)
    assert [layer.kind for layer in network.layers.values()] == ["conv"] * len(names) + ["logits"]
    scores = module[-1](x.clamp(min=0).flatten(2).mean(2))
    assert torch.allclose(network.logits(images), scores)
    assert torch.allclose(network.logits(images[1:]), scores[1:])  # rows do not see each other


def test_images_of_another_size() -> None:
    module = brain()
    images = torch.rand(2, 1, 40, 28)
    assert torch.allclose(wrap(module).logits(images), module(images), atol=1e-5)


def test_fingerprint_names_architecture_weights_and_preprocessing() -> None:
    one = wrap(brain())
    assert one.fingerprint == wrap(brain().train(), name="other", labels=tuple("abc")).fingerprint
    assert len(one.fingerprint) == 16
    assert int(one.fingerprint, 16) >= 0
    changed = brain()
    with torch.no_grad():
        changed.conv2.weight.view(-1)[3] += 1e-3
    buffered = brain()
    buffered.bn1.running_mean[0] += 1
    others = [wrap(changed), wrap(buffered), wrap(brain(), (1, 16, 17)), wrap(brain(), mean=(0.5,))]
    others += [wrap(brain(), std=(0.5,)), wrap(brain(channels=(4, 6, 9)))]
    assert len({network.fingerprint for network in (one, *others)}) == 7
