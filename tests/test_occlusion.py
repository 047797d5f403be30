"""Occlusion against its definition, element by element, and the order in which it becomes known."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vislib.attribution import METHODS, Target, attribute, attribution_steps
from vislib.attribution.occlusion import FILLS, fill
from vislib.attribution.windows import Grid
from vislib.errors import AttributionError
from vislib.network import Network

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


def network_of(*spatial: int, channels: int = 2) -> Network:
    torch.manual_seed(0)
    axes = len(spatial)
    module = nn.Sequential(
        CONV[axes](channels, 4, 3, padding=1),
        nn.Tanh(),
        POOL[axes](2, 2, ceil_mode=True),
        CONV[axes](4, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(3),
    ).double()
    module(torch.rand(1, channels, *spatial, dtype=torch.float64))
    return Network.from_module(module, (channels, *spatial), mean=(0.4,), std=(0.3,), device="cpu")


def images_of(network: Network, n: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(n, *network.input_shape, generator=generator, dtype=torch.float64)


def by_definition(
    network: Network, image: Tensor, hidden: Tensor, score, window: int, stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """The slow way: every window in turn, every element's sum and count."""
    spatial = image.shape[1:]
    counts = [len(range(0, max(1, size - min(window, size) + stride), stride)) for size in spatial]
    raw, total, covered = np.zeros(counts), np.zeros(spatial), np.zeros(spatial)
    clean = score(network, image[None])
    for index in np.ndindex(*counts):
        place = tuple(slice(i * stride, i * stride + window) for i in index)
        occluded = image.clone()
        occluded[:, *place] = hidden[:, *place]
        raw[index] = clean - score(network, occluded[None])
        total[place] += raw[index]
        covered[place] += 1
    return raw, total / covered


def check(
    network: Network, images: Tensor, target: Target, scores: Sequence, window: int, stride: int
) -> None:
    answer = attribute(network, images, target, "Occlusion", window=window, stride=stride, fill="zero")
    for row, score in enumerate(scores):
        raw, values = by_definition(
            network, images[row], torch.zeros_like(images[row]), score, window, stride
        )
        np.testing.assert_allclose(answer.raw[row], raw, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(answer.values[row], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("spatial", "window", "stride"),
    [
        ((15, 12), 4, 3),  # cut off on one axis
        ((12, 12), 3, 3),  # windows side by side
        ((13, 14), 5, 4),
        ((11,), 4, 2),
        ((7, 8, 9), 4, 3),
        ((8, 9), 8, 5),
        ((8, 9), 30, 7),  # larger than the image
    ],
)
def test_equals_the_definition(spatial: tuple[int, ...], window: int, stride: int) -> None:
    network = network_of(*spatial)
    check(network, images_of(network), Target(1), [lambda net, x: float(net.logits(x)[0, 1])], window, stride)


def test_many_images_each_with_a_unit_of_its_own_and_another_against_it() -> None:
    network = network_of(12, 11)

    def of(unit: int, against: int):
        return lambda net, x: float(net.logits(x)[0, unit] - net.logits(x)[0, against])

    target = Target((2, 0, 1), against=(0, 1, 0))
    check(network, images_of(network, 3), target, [of(2, 0), of(0, 1), of(1, 0)], 4, 3)


def test_hidden_units_with_and_without_a_position() -> None:
    network = network_of(12, 11)
    images = images_of(network)
    maps = lambda net, x: net.activations(x, ["3"])["3"][0, 4]  # noqa: E731
    check(network, images, Target(4, "3"), [lambda net, x: float(maps(net, x).mean())], 4, 2)
    at = Target(4, "3", position=(1, 2))
    check(network, images, at, [lambda net, x: float(maps(net, x)[1, 2])], 4, 2)


def test_what_hides_a_window() -> None:
    images, random = images_of(network_of(16, 16), 2), torch.Generator().manual_seed(0)
    filled = {kind: fill(images, kind, (8, 8), random) for kind in FILLS}
    assert not filled["zero"].any()
    torch.testing.assert_close(filled["mean"][1, 0], images[1, 0].mean().expand(16, 16))
    assert filled["blur"].std() < 0.2 * images.std()
    torch.testing.assert_close(filled["blur"].mean((2, 3)), images.mean((2, 3)), atol=0.05, rtol=0)
    assert ((filled["noise"] >= 0) & (filled["noise"] <= 1)).all()
    torch.testing.assert_close(filled["noise"].mean((2, 3)), images.mean((2, 3)), atol=0.1, rtol=0)
    assert filled["noise"].std() > 0.2


@pytest.mark.parametrize("kind", FILLS)
def test_every_fill_is_used(kind: str) -> None:
    network = network_of(9, 9)
    images = images_of(network)
    answer = attribute(network, images, 0, "Occlusion", window=3, stride=3, fill=kind, seed=5)
    hidden = fill(images, kind, (3, 3), torch.Generator().manual_seed(5))
    raw, _ = by_definition(network, images[0], hidden[0], lambda net, x: float(net.logits(x)[0, 0]), 3, 3)
    np.testing.assert_allclose(answer.raw[0], raw, rtol=1e-5, atol=1e-6)


def test_comes_coarse_to_fine_and_counts_its_windows() -> None:
    network = network_of(40, 40)
    images = images_of(network, 2)
    steps = list(attribution_steps(network, images, 0, "Occlusion", window=4, stride=2))
    grid = Grid.cut_off((40, 40), (4, 4), 2)
    assert [len(level) for level in grid.levels()] == [25, 75, 261]
    assert steps[-1].steps == 2 * 19 * 19 == steps[-1].step
    assert [s.step for s in steps] == sorted({s.step for s in steps})
    assert sum(s.done for s in steps) == 1
    assert all(np.isfinite(s.values).all() and s.raw.shape == (2, 19, 19) for s in steps)
    np.testing.assert_allclose(steps[-1].scores, network.logits(images)[:, 0].numpy(), rtol=1e-5)
    # The coarse levels tell most of it: the whole map lies close to what 200 of 722 windows gave.
    coarse = next(s for s in steps if s.step >= 200)
    likeness = np.corrcoef(coarse.values.ravel(), steps[-1].values.ravel())[0, 1]
    assert likeness > 0.7


def test_a_partial_map_is_the_mean_over_the_windows_seen() -> None:
    grid = Grid.cut_off((6,), (3,), 1)
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0]], dtype=torch.float64)
    raw, full = grid.maps(values, torch.tensor([[True, False, False, True]]))
    assert full.tolist() == [[1, 1, 1, 8, 8, 8]]
    assert raw.tolist() == [[1, 1, 8, 8]]  # each from its nearest
    raw, full = grid.maps(values, torch.tensor([[True, False, True, False]]))
    assert full.tolist() == [[1, 1, 2.5, 4, 4, 4]]
    assert raw.tolist() == [[1, 2.5, 4, 4]]
    raw, full = grid.maps(values, torch.tensor([[False] * 4]))
    assert not raw.any()
    assert not full.any()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=2), st.integers(1, 9), st.integers(1, 9))
def test_windows_cover_everything_and_levels_hold_each_once(
    sizes: list[int], window: int, stride: int
) -> None:
    stride = min(stride, window)
    for make in (Grid.cut_off, Grid.whole):
        grid = make(sizes, [min(window, size) for size in sizes], stride)
        order = np.concatenate(grid.levels())
        assert sorted(order) == list(range(int(np.prod(grid.shape))))
        covered = np.zeros(sizes, dtype=bool)
        for place in grid.places(order).tolist():
            assert all(at < size for at, size in zip(place, sizes, strict=True))
            covered[tuple(slice(at, at + own) for at, own in zip(place, grid.window, strict=True))] = True
            if make == Grid.whole:
                assert all(a + o <= s for a, o, s in zip(place, grid.window, sizes, strict=True))
        assert covered.all()


def test_the_same_question_has_the_same_answer_after_a_cancelled_one() -> None:
    network = network_of(24, 24)
    images = images_of(network)
    ask = lambda: attribution_steps(  # noqa: E731
        network, images, 1, "Occlusion", window=4, stride=2, fill="noise", seed=9
    )
    *_, first = ask()
    cancelled = ask()
    next(cancelled)
    cancelled.close()
    assert not any(part._forward_hooks for part in network.module.modules())
    *_, second = ask()
    np.testing.assert_array_equal(first.values, second.values)
    assert torch.is_grad_enabled()


def test_wrong_numbers_are_refused_before_anything_is_computed() -> None:
    network = network_of(9, 9)
    images = images_of(network)
    with pytest.raises(AttributionError, match="no window covers; give a stride of at most 4"):
        attribution_steps(network, images, 0, "Occlusion", window=4, stride=5)
    with pytest.raises(AttributionError, match="window cannot be 0"):
        attribution_steps(network, images, 0, "Occlusion", window=0)
    with pytest.raises(AttributionError, match="fill cannot be 'red'"):
        attribution_steps(network, images, 0, "Occlusion", fill="red")


def test_a_window_larger_than_the_image_is_cut_and_said() -> None:
    network = network_of(9, 7)
    answer = attribute(network, images_of(network), 0, "Occlusion", window=8, stride=8)
    assert answer.notes == ("The window of 8 pixels is larger than the image of 9 x 7 and was cut to it.",)
    assert answer.raw.shape == (1, 2, 1)


def test_is_described() -> None:
    assert METHODS["Occlusion"].family == "perturbation"
    assert METHODS["Occlusion"].defaults() == {"window": 24, "stride": 8, "fill": "mean"}
