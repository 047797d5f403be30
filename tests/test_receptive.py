"""Receptive fields against set propagation and the closed form; crops against the whole image."""

import math

import pytest
import torch
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vislib.errors import NetworkError
from vislib.network import Network
from vislib.receptive import crop_for, receptive_field

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
GLOBAL = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
Step = tuple[str, int, int, int, int]  # what, kernel, stride, padding, dilation


@st.composite
def steps(draw: st.DrawFn) -> Step:
    what = draw(st.sampled_from(["conv", "conv", "max", "average"]))
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    dilation = draw(st.integers(1, 2)) if what != "average" else 1
    reach = dilation * (kernel - 1) // 2 if what == "conv" else kernel // 2
    return what, kernel, stride, draw(st.integers(0, reach)), dilation


def build(chain: list[Step], axes: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    channels = 1
    for what, kernel, stride, padding, dilation in chain:
        if what == "conv":
            parts += [
                CONV[axes](channels, 2, kernel, stride, padding, dilation),
                NORM[axes](2),
                nn.ReLU(inplace=True),
            ]
            channels = 2
        elif what == "max":
            parts.append(MAX[axes](kernel, stride, padding, dilation))
        else:
            parts.append(AVERAGE[axes](kernel, stride, padding))
    # The last convolution is the layer to ask for: pools alone are no layer.
    parts += [CONV[axes](channels, 2, 1), GLOBAL[axes](1), nn.Flatten()]
    return nn.Sequential(*parts)


def output_sizes(chain: list[Step], size: int) -> list[int]:
    sizes = [size]
    for _, kernel, stride, padding, dilation in chain:
        sizes.append((sizes[-1] + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
    return sizes


def seen_from(chain: list[Step], sizes: list[int], position: int) -> set[int]:
    """Input positions on one axis that `position` depends on, step by step backwards, without padding."""
    places = {position}
    for (_, kernel, stride, padding, dilation), size in zip(
        reversed(chain), reversed(sizes[:-1]), strict=True
    ):
        reached = {p * stride - padding + dilation * i for p in places for i in range(kernel)}
        places = {p for p in reached if 0 <= p < size}
    return places


@settings(max_examples=25, phases=[Phase.generate])
@given(
    chain=st.lists(steps(), min_size=1, max_size=4),
    axes=st.integers(1, 3),
    where=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 3),
)
def test_field_of_a_chain_is_what_its_positions_reach(
    chain: list[Step], axes: int, where: float, seed: int
) -> None:
    shape = {1: (31,), 2: (23, 20), 3: (13, 12, 11)}[axes]
    sizes = [output_sizes(chain, size) for size in shape]
    assume(all(size >= 3 for path in sizes for size in path[:-1]) and all(path[-1] >= 1 for path in sizes))
    network = Network.from_module(build(chain, axes, seed), (1, *shape), device="cpu")
    layer = [name for name, known in network.layers.items() if known.kind == "conv"][-1]
    position = tuple(int(where * path[-1]) for path in sizes)
    seen = [seen_from(chain, path, place) for path, place in zip(sizes, position, strict=True)]
    assume(all(seen))

    field = network.receptive_field(layer, position)

    assert field.position == position
    assert field.start == tuple(min(places) for places in seen)
    assert field.size == tuple(max(places) - min(places) + 1 for places in seen)
    assert field.clipped == any(min(p) == 0 or max(p) == n - 1 for p, n in zip(seen, shape, strict=True))
    total = math.prod(stride for _, _, stride, _, _ in chain)
    for axis, path in enumerate(sizes):
        centre = path[-1] // 2
        if path[-1] > 2 and all(untouched(chain, path, place) for place in (centre - 1, centre, centre + 1)):
            assert field.stride[axis] == total


def untouched(chain: list[Step], sizes: list[int], position: int) -> bool:
    """Whether no padding, neither of the image nor of a layer between, is within reach, nor the image's border."""
    first, last = position, position
    for (_, kernel, stride, padding, dilation), size in zip(
        reversed(chain), reversed(sizes[:-1]), strict=True
    ):
        first, last = first * stride - padding, last * stride - padding + dilation * (kernel - 1)
        if first < 0 or last >= size:
            return False
    return first > 0 and last < sizes[0] - 1


@settings(max_examples=15, phases=[Phase.generate])
@given(
    chain=st.lists(steps(), min_size=1, max_size=4),
    axes=st.integers(1, 3),
    where=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 3),
)
def test_neuron_on_its_crop_is_the_neuron_on_the_whole(
    chain: list[Step], axes: int, where: float, seed: int
) -> None:
    shape = {1: (31,), 2: (23, 20), 3: (13, 12, 11)}[axes]
    sizes = [output_sizes(chain, size) for size in shape]
    assume(all(size >= 3 for path in sizes for size in path[:-1]) and all(path[-1] >= 1 for path in sizes))
    network = Network.from_module(build(chain, axes, seed).double(), (1, *shape), device="cpu")
    layer = [name for name, known in network.layers.items() if known.kind == "conv"][-1]
    position = tuple(int(where * path[-1]) for path in sizes)
    assert_same_neuron(network, layer, position)


def assert_same_neuron(network: Network, layer: str, position: tuple[int, ...], close: float = 1e-12) -> None:
    """Compared on images that are not those of crop_for's own check."""
    crop = crop_for(network, layer, position)
    images = torch.rand(3, *network.input_shape, dtype=network.dtype)
    whole = network.activations(images, (layer,))[layer]
    part = network.activations(images[:, :, *crop.slices], (layer,))[layer]
    wanted, got = whole[:, :, *position], part[:, :, *crop.position]
    assert torch.allclose(got, wanted, rtol=0, atol=close * float(whole.abs().max()))


class Residual(nn.Module):
    def __init__(self, channels: int, gate: bool) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1)
        self.two = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Hardsigmoid())
        self.gated = gate

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(torch.relu(self.one(x)))
        return torch.relu(x + (y * self.gate(y) if self.gated else y))


def residual_network(gate: bool) -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Residual(6, gate),
        Residual(6, gate),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )
    return Network.from_module(module, (1, 80, 76), device="cpu")


def test_residual_block_by_the_closed_form() -> None:
    network = residual_network(gate=False)
    # 5/2, then pool 3/2, then four 3/1: size 5 + 2 * 2 + 4 * (4 * 2), stride 4; starts at 4 * 10 - 2 - 4 * 4.
    field = receptive_field(network, "4", (10, 9))
    assert field == network.receptive_field("4", [10, 9])
    assert (field.start, field.size, field.stride, field.clipped) == ((22, 18), (41, 41), (4, 4), False)
    crop = crop_for(network, "4", (10, 9))
    assert crop.slices == (slice(20, 63), slice(16, 59))
    assert crop.position == (5, 5)


@pytest.mark.parametrize("position", [(0, 0), (10, 9), (19, 18), (0, 18), (19, 7)])
@pytest.mark.parametrize("layer", ["0", "3", "4.one", "4"])
def test_crop_of_a_residual_network(layer: str, position: tuple[int, int]) -> None:
    assert_same_neuron(residual_network(gate=False), layer, position, close=1e-5)


def test_small_crops_stay_small() -> None:
    network = residual_network(gate=False)
    crop = crop_for(network, "4", (0, 0))
    assert crop.slices == (slice(0, 23), slice(0, 23))
    assert crop.position == (0, 0)


def test_squeeze_and_excitation_sees_everything() -> None:
    network = residual_network(gate=True)
    field = network.receptive_field("3", (10, 9))
    assert (field.start, field.size, field.clipped) == ((0, 0), (80, 76), True)
    crop = crop_for(network, "3", (10, 9))
    assert crop.slices == (slice(0, 80), slice(0, 76))
    assert crop.position == (10, 9)
    assert_same_neuron(network, "3", (10, 9))


class Slope(nn.Module):
    """Reads absolute coordinates: no crop can stand for the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        slope = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
        return self.conv(x + slope).mean((2, 3))


def test_crop_falls_back_to_the_whole_where_its_check_fails() -> None:
    network = Network.from_module(Slope(), (1, 20, 20), device="cpu")
    assert network.receptive_field("conv").size == (3, 3)
    assert crop_for(network, "conv").slices == (slice(0, 20), slice(0, 20))
    assert crop_for(network, "conv").position == (10, 10)


def test_logits_see_the_whole_image() -> None:
    field = residual_network(gate=False).receptive_field("logits")
    assert (field.position, field.start, field.size, field.stride) == ((), (0, 0), (80, 76), (80, 76))
    crop = crop_for(residual_network(gate=False), "logits")
    assert (crop.slices, crop.position) == ((slice(0, 80), slice(0, 76)), ())


def test_max_pool_with_indices_and_adaptive_pools() -> None:
    class Pools(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)
            self.next = nn.Conv2d(1, 1, 1)
            self.last = nn.Conv2d(1, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            x, _ = nn.functional.max_pool2d(self.conv(x), 4, return_indices=True)
            x = nn.functional.adaptive_max_pool2d(self.next(x), 2)
            return self.last(x).mean((2, 3))

    torch.manual_seed(0)
    network = Network.from_module(Pools(), (1, 32, 32), device="cpu")
    assert network.receptive_field("next", (3, 5)).start == (12, 20)
    assert network.receptive_field("next", (3, 5)).size == (4, 4)
    assert network.receptive_field("last", (0, 1)).start == (0, 16)
    assert network.receptive_field("last", (0, 1)).size == (16, 16)


@pytest.mark.parametrize("position", [(20, 0), (0, -1), (0,)])
def test_position_outside_the_layer(position: tuple[int, ...]) -> None:
    network = residual_network(gate=False)
    with pytest.raises(NetworkError, match=r"layer '3' has no position .* start at 0 .* below \(20, 19\)"):
        network.receptive_field("3", position)
    with pytest.raises(NetworkError, match="no position"):
        crop_for(network, "3", position)
