"""Deletion, insertion and ROAD by hand on networks whose answer is known, and against dense solves."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vislib.attribution import Target
from vislib.errors import AttributionError
from vislib.evaluation.faithfulness import Curve, blurred, deletion, deletion_steps, insertion, places
from vislib.evaluation.road import impute, neighbours, road, road_steps
from vislib.network import Network

MEAN = 0.25


class LogOdds(nn.Module):
    """Two classes over standardised images; the first one's probability is the mean of `weight * image`."""

    def __init__(self, weight):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)  # a layer that could be asked for, and says nothing
        self.weight = nn.Parameter(weight)

    def forward(self, images):
        self.conv(images)
        p = (self.weight * (images + MEAN)).mean((1, 2, 3)).clamp(1e-9, 1 - 1e-9)
        return torch.stack([p.log(), (1 - p).log()], 1)


def linear(size=4, weight=None):
    torch.manual_seed(0)
    weight = torch.ones(1, size, size) if weight is None else weight
    return Network.from_module(LogOdds(weight), (1, size, size), mean=(MEAN,))


def test_places_sort_a_map_and_break_ties_at_random():
    maps = np.array([[[3.0, 1.0], [2.0, 5.0]]], np.float32)
    assert places(maps).tolist() == [[1, 3, 2, 0]]
    flat = places(np.zeros((2, 16, 16), np.float32))
    assert sorted(flat[0].tolist()) == list(range(256))
    assert np.array_equal(flat[0], flat[1])
    assert abs(np.corrcoef(flat[0], np.arange(256))[0, 1]) < 0.2
    with pytest.raises(AttributionError, match="NaN"):
        places(np.full((1, 2, 2), np.nan, np.float32))


def test_deletion_of_a_linear_probability_by_hand():
    """Each pixel adds its value / 16; deleted pixels count with the mean, largest of the map first."""
    network = linear()
    image = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    maps = image[:, 0].numpy()
    curve = deletion(network, image, 0, maps, steps=4)
    for row in range(2):
        falling = np.sort(maps[row].ravel())[::-1]
        expected = [(falling[4 * k :].sum() + 4 * k * MEAN) / 16 for k in range(5)]
        assert np.allclose(curve.probabilities[row], expected, atol=1e-6)
        by_hand = sum((a + b) / 2 for a, b in pairwise(expected)) / 4
        assert curve.auc[row] == pytest.approx(by_hand, abs=1e-6)
    assert np.allclose(curve.fractions, [0, 0.25, 0.5, 0.75, 1])


def test_insertion_starts_from_the_blur_and_ends_at_the_image():
    network = linear(6)
    image = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    soft = blurred(image).numpy().ravel()
    values, maps = image.numpy().ravel(), np.random.default_rng(0).random((1, 6, 6)).astype(np.float32)
    curve = insertion(network, image, 0, maps, steps=3)
    order = np.argsort(-maps.ravel())
    for point in range(4):
        mixed = soft.copy()
        mixed[order[: 12 * point]] = values[order[: 12 * point]]
        assert curve.probabilities[0, point] == pytest.approx(mixed.mean(), abs=1e-6)


def test_the_blur_is_a_gaussian_of_eleven_pixels():
    image = torch.rand(2, 3, 14, 15, generator=torch.Generator().manual_seed(1))
    taps = torch.exp(-(torch.arange(-5.0, 6.0) ** 2) / 50)
    window = torch.outer(taps, taps) / taps.sum() ** 2
    expected = F.conv2d(F.pad(image, (5,) * 4, mode="replicate"), window.expand(3, 1, 11, 11), groups=3)
    assert torch.allclose(blurred(image), expected, atol=1e-6)
    assert torch.allclose(blurred(torch.full((1, 1, 3, 4, 5), 0.3)), torch.tensor(0.3))


def test_rows_stand_for_their_own_class_and_do_not_mix():
    network = linear()
    image = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1)).repeat(2, 1, 1, 1)
    maps = image[:, 0].numpy()
    curve = deletion(
        network, image, Target((0, 1)), maps, steps=40
    )  # steps finer than pixels, several batches
    assert np.allclose(curve.probabilities[0], 1 - curve.probabilities[1], atol=1e-6)
    against = deletion(network, image, Target(0, against=1), maps, steps=40)
    assert np.allclose(
        against.probabilities[0], curve.probabilities[0], atol=1e-5
    )  # of two classes, the same


def test_curves_come_in_steps_and_say_what_is_done():
    network = linear()
    steps = deletion_steps(network, torch.rand(3, 1, 4, 4), 0, np.zeros((3, 4, 4), np.float32), steps=28)
    curves = []

    def run():
        curves.append((yield from steps))

    shares = list(run())
    assert len(shares) == 3  # 87 images, 32 at once
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert isinstance(curves[0], Curve)


def test_what_has_no_probability_is_refused_at_once():
    network = linear()
    images, maps = torch.rand(1, 1, 4, 4), np.zeros((1, 4, 4), np.float32)
    with pytest.raises(AttributionError, match="probability of a class"):
        deletion_steps(network, images, Target(0, layer="conv"), maps)
    with pytest.raises(AttributionError, match="1 step or more"):
        deletion_steps(network, images, 0, maps, steps=0)
    with pytest.raises(AttributionError, match="percentages"):
        road_steps(network, images, 0, maps, percentages=(0, 50))


def weights_of(axes):
    """Offset to weight, as published in 2-D: direct neighbours 1/6, diagonal ones 1/12."""
    offsets = [offset for offset in product((-1, 0, 1), repeat=axes) if any(offset)]
    raw = {2: {1: 1 / 6, 2: 1 / 12}, 3: {1: 4 / 56, 2: 2 / 56, 3: 1 / 56}}[axes]
    return {offset: raw[sum(map(abs, offset))] for offset in offsets}


@pytest.mark.parametrize("axes", [2, 3])
def test_neighbours_weigh_a_sixth_and_a_twelfth(axes):
    image = np.zeros((1, *[5] * axes))
    image[(0, *[2] * axes)] = 1
    found = neighbours(image)[0]
    scale = {2: 12, 3: 56}[axes]
    for offset, weight in weights_of(axes).items():
        assert found[tuple(2 + step for step in offset)] == pytest.approx(scale * weight)
    assert found.sum() == pytest.approx(scale)
    assert found[(2,) * axes] == 0


def dense(image, removed):
    """The same equations, one by one, in a full matrix."""
    weights = weights_of(removed.ndim)
    places_of = [tuple(p) for p in np.argwhere(removed)]
    matrix, right = np.zeros((len(places_of),) * 2), np.zeros(len(places_of))
    for row, place in enumerate(places_of):
        for offset in product((-1, 0, 1), repeat=removed.ndim):
            there = tuple(np.add(place, offset))
            if offset not in weights or any(
                not 0 <= t < s for t, s in zip(there, removed.shape, strict=True)
            ):
                continue
            matrix[row, row] += weights[offset]
            if removed[there]:
                matrix[row, places_of.index(there)] -= weights[offset]
            else:
                right[row] += weights[offset] * image[there]
    filled = image.copy()
    filled[removed] = np.linalg.solve(matrix, right)
    return filled


@pytest.mark.parametrize(
    ("shape", "share"), [((5, 5), 0.4), ((5, 5), 0.8), ((4, 5, 3), 0.6), ((17, 21), 0.9), ((9, 8, 11), 0.9)]
)
def test_imputation_is_the_dense_solve(shape, share):
    random = np.random.default_rng(2)
    image = random.random((2, *shape))
    removed = random.random(shape) < share
    found, quick = impute(image, removed, noise=0, accuracy=1e-9), impute(image, removed, noise=0)
    for channel in range(2):
        exact = dense(image[channel], removed)
        assert np.allclose(found[channel], exact, atol=1e-7)
        assert np.abs(quick[channel] - exact).max() < 0.003  # a third of the noise that is added
    assert np.array_equal(found[:, ~removed], image[:, ~removed])


@pytest.mark.parametrize("axes", [2, 3])
def test_a_linear_ramp_is_restored_exactly(axes):
    grid = np.meshgrid(*[np.arange(9.0)] * axes, indexing="ij")
    ramp = 0.1 + sum((0.02 + 0.01 * number) * axis for number, axis in enumerate(grid))
    removed = np.zeros(ramp.shape, bool)
    removed[(slice(2, 7),) * axes] = True
    assert np.allclose(impute(ramp[None], removed, noise=0, accuracy=1e-9)[0], ramp, atol=1e-7)


def test_noise_is_a_hundredth_and_falls_on_removed_pixels_alone():
    image = np.full((1, 60, 60), 0.5, np.float32)
    removed = np.zeros((60, 60), bool)
    removed[10:50, 10:50] = True
    found = impute(image, removed, random=np.random.default_rng(1))[0] - 0.5
    assert found[removed].std() == pytest.approx(0.01, rel=0.05)
    assert not found[~removed].any()
    with pytest.raises(AttributionError, match="nothing"):
        impute(image, np.ones((60, 60), bool))


def test_nothing_removed_changes_nothing_and_black_stays_black():
    image = np.random.default_rng(0).random((1, 5, 5))
    assert np.array_equal(impute(image, np.zeros((5, 5), bool)), image)
    assert not impute(np.zeros((1, 5, 5)), np.eye(5) > 0, noise=0).any()


def test_road_by_hand():
    """The bright spot alone speaks for the class: a map of it loses all at once, its negative keeps all."""
    network = linear(10)
    image = torch.full((1, 1, 10, 10), 0.2)
    image[..., 4:6, 4:6] = 1.0
    maps = image[:, 0].numpy()
    found = road(network, image, 0, maps, percentages=(20, 40))
    assert found.percentages == (20, 40)
    assert np.allclose(found.morf, 0.2, atol=0.005)
    assert np.allclose(found.lerf, 0.232, atol=0.03)
    assert (found.lerf > found.morf).all()
    assert found.score[0] == pytest.approx(((found.lerf - found.morf).mean()) / 2)
    swapped = road(network, image, 0, -maps, percentages=(20, 40))
    assert swapped.score[0] < 0 < found.score[0]


def test_road_of_a_batch_is_road_of_each_in_turn():
    network = linear(6)
    images = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    maps = np.random.default_rng(0).random((5, 6, 6)).astype(np.float32)
    whole, first = road(network, images, 0, maps), road(network, images[:1], 0, maps[:1])
    assert whole.morf.shape == whole.lerf.shape == (5, 4)
    assert np.allclose(whole.morf[:1], first.morf, atol=1e-6)
    assert np.allclose(whole.lerf[:1], first.lerf, atol=1e-6)
