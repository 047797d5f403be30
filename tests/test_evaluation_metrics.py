"""Localisation, similarity, intervals and baselines against closed forms and slow re-implementations."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import nn

from vislib.errors import AttributionError
from vislib.evaluation.baselines import BASELINES, sobel
from vislib.evaluation.intervals import Interval, bootstrap
from vislib.evaluation.localisation import mass_accuracy, pointing_game, rank_accuracy
from vislib.evaluation.similarity import C1, C2, rank_correlation, sizes, ssim
from vislib.network import Network

SHAPES = [(9, 11), (5, 6, 7)]


def random_maps(shape, n=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32)


def random_masks(shape, n=4, seed=1):
    return np.random.default_rng(seed).random((n, *shape)) < 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_map_equal_to_the_mask_is_right_in_every_way(shape):
    masks = random_masks(shape)
    maps = masks.astype(np.float32)
    for metric in (mass_accuracy, rank_accuracy, pointing_game):
        assert np.array_equal(metric(maps, masks), np.ones(4)), metric.__name__
    elsewhere = (~ndimage.binary_dilation(masks, iterations=2)).astype(np.float32)
    assert np.array_equal(mass_accuracy(elsewhere, masks), np.zeros(4))


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_a_uniform_map_scores_the_masks_share(value):
    masks = random_masks((9, 11))
    share = masks.reshape(4, -1).mean(1)
    maps = np.full(masks.shape, value, np.float32)
    assert np.allclose(mass_accuracy(maps, masks), share)
    assert np.allclose(rank_accuracy(maps, masks), share)
    near = np.stack([ndimage.distance_transform_edt(~mask) <= 2 for mask in masks]).reshape(4, -1).mean(1)
    assert np.allclose(pointing_game(maps, masks, 2.0), near)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.3])
def test_pointing_measures_the_distance_to_the_nearest_pixel_of_the_mask(shape, tolerance):
    maps, masks = random_maps(shape, 40), random_masks(shape, 40)
    expected = []
    for values, mask in zip(maps, masks, strict=True):
        top = np.array(np.unravel_index(values.argmax(), shape))
        nearest = min(np.linalg.norm(top - place) for place in np.argwhere(mask))
        expected.append(float(nearest <= tolerance))
    assert 0 < sum(expected) < 40
    assert np.array_equal(pointing_game(maps, masks, tolerance), expected)


def test_the_tolerance_is_fifteen_pixels_at_224_and_scales_with_the_shortest_side():
    masks = np.zeros((1, 224, 300), bool)
    masks[0, 100, 100] = True
    maps = np.zeros((2, 224, 300), np.float32)
    maps[0, 100, 115] = maps[1, 100, 116] = 1
    assert pointing_game(maps, masks.repeat(2, 0)).tolist() == [1.0, 0.0]
    small = np.zeros((1, 112, 112), bool)
    small[0, 50, 50] = True
    maps = np.zeros((2, 112, 112), np.float32)
    maps[0, 50, 57] = maps[1, 50, 58] = 1
    assert pointing_game(maps, small.repeat(2, 0)).tolist() == [1.0, 0.0]


def test_several_maxima_count_with_the_share_that_hits():
    masks = np.zeros((1, 8, 8), bool)
    masks[0, 0, 0] = True
    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, 0, 0] = maps[0, 7, 7] = maps[0, 7, 0] = maps[0, 0, 1] = 3
    assert pointing_game(maps, masks, 1.0).tolist() == [0.5]


def test_signs_count_as_sizes_for_mass_and_rank_but_not_for_the_maximum():
    masks = np.zeros((1, 4, 4), bool)
    masks[0, 1, 1] = True
    maps = np.zeros((1, 4, 4), np.float32)
    maps[0, 1, 1], maps[0, 3, 3] = -3.0, 1.0
    assert mass_accuracy(maps, masks).tolist() == [0.75]
    assert rank_accuracy(maps, masks).tolist() == [1.0]
    assert pointing_game(maps, masks, 1.0).tolist() == [0.0]


@pytest.mark.parametrize("shape", SHAPES)
def test_rank_accuracy_is_what_sorting_gives(shape):
    maps, masks = random_maps(shape), random_masks(shape)
    expected = []
    for values, mask in zip(maps, masks, strict=True):
        p = mask.sum()
        chosen = np.argsort(-np.abs(values).ravel())[:p]
        expected.append(mask.ravel()[chosen].mean())
    assert np.allclose(rank_accuracy(maps, masks), expected)


def test_tied_places_are_shared():
    """Two pixels of the mask: one place is sure, the other one is drawn among three, of which one is inside."""
    maps = np.array([[[5.0, 1.0, 1.0, 1.0, 0.0]]], np.float32)
    masks = np.array([[[True, True, False, False, False]]])
    assert rank_accuracy(maps, masks)[0] == pytest.approx((1 + 1 / 3) / 2)


def test_what_cannot_be_judged_is_said():
    masks = random_masks((9, 11))
    maps = random_maps((9, 11))
    with pytest.raises(AttributionError, match="empty mask"):
        mass_accuracy(maps, np.zeros_like(masks))
    broken = maps.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(AttributionError, match="NaN"):
        rank_accuracy(broken, masks)


def slow_ssim(a, b):
    """Wang et al. 2004, pixel by pixel over the mirrored image."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = taps / taps.sum()
    for _ in range(a.ndim - 1):
        window = np.multiply.outer(window, taps / taps.sum())
    x, y = (np.pad(v.astype(np.float64), 5, mode="symmetric") for v in (a, b))
    total = 0.0
    for place in np.ndindex(a.shape):
        here = tuple(slice(p, p + 11) for p in place)
        u, v = x[here], y[here]
        mu, mv = (window * u).sum(), (window * v).sum()
        vu, vv = (window * (u - mu) ** 2).sum(), (window * (v - mv) ** 2).sum()
        uv = (window * (u - mu) * (v - mv)).sum()
        total += (2 * mu * mv + C1) * (2 * uv + C2) / ((mu**2 + mv**2 + C1) * (vu + vv + C2))
    return total / a.size


@pytest.mark.parametrize("shape", [(13, 17), (6, 7, 8)])
def test_ssim_is_what_loops_give(shape):
    a = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    b = (0.7 * a + 0.3 * np.random.default_rng(1).random((2, *shape))).astype(np.float32)
    assert np.allclose(ssim(a, b), [slow_ssim(x, y) for x, y in zip(a, b, strict=True)], atol=1e-6)
    assert np.allclose(ssim(a, a), 1)


def test_rank_correlation_is_scipys():
    a = np.round(random_maps((7, 8)), 1)  # with ties
    b = np.round(a + random_maps((7, 8), seed=5), 1)
    expected = [stats.spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    assert np.allclose(rank_correlation(a, b), expected)
    assert rank_correlation(np.zeros_like(a), b).tolist() == [0.0] * 4


def test_sizes_have_a_largest_value_of_one():
    maps = random_maps((7, 8))
    maps[0] = 0
    found = sizes(maps)
    assert found[1:].reshape(3, -1).max(1).tolist() == [1.0] * 3
    assert not found[0].any()
    assert np.allclose(found[1] * np.abs(maps[1]).max(), np.abs(maps[1]))


def test_the_interval_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(3).gamma(2.0, size=60)
    found = bootstrap(values, resamples=20_000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.low, abs=0.02)
    assert found.high == pytest.approx(expected.high, abs=0.02)
    assert found.n == 60
    assert bootstrap(values) == bootstrap(values) != bootstrap(values, seed=1)


def test_an_interval_is_above_another_when_they_do_not_meet():
    assert Interval(0.5, 0.4, 0.6, 9).above(Interval(0.3, 0.2, 0.39, 9))
    assert not Interval(0.5, 0.4, 0.6, 9).above(Interval(0.3, 0.2, 0.41, 9))
    assert str(Interval(0.5, 0.4, 0.6, 9)) == "0.50 [0.40, 0.60]"


def small_network(spatial, channels=2):
    conv, pool = {2: (nn.Conv2d, nn.AdaptiveAvgPool2d), 3: (nn.Conv3d, nn.AdaptiveAvgPool3d)}[len(spatial)]
    module = nn.Sequential(conv(channels, 3, 3), pool(1), nn.Flatten())
    return Network.from_module(module, (channels, *spatial), mean=(0.4, 0.1)[:channels])


@pytest.mark.parametrize("spatial", [(12, 10), (6, 7, 8)])
def test_baselines_are_maps_of_each_image_alone(spatial):
    network = small_network(spatial)
    images = torch.rand(3, 2, *spatial, generator=torch.Generator().manual_seed(0))
    for name, baseline in BASELINES.items():
        maps = baseline(network, images)
        assert maps.shape == (3, *spatial), name
        assert maps.dtype == np.float32, name
        assert maps.min() >= 0, name
        assert np.array_equal(maps[:1], baseline(network, images[:1])), name
    far = (images - torch.tensor([0.4, 0.1]).view(1, 2, *[1] * len(spatial))).abs().sum(1)
    assert np.allclose(BASELINES["|intensity|"](network, images), far.numpy())
    middle = BASELINES["centre"](network, images)[0]
    assert np.allclose(middle, middle[::-1])
    assert middle.max() == middle[tuple(size // 2 for size in spatial)]


def test_sobel_finds_the_edge_and_nothing_else():
    images = torch.zeros(1, 1, 8, 8)
    images[..., 4:] = 1
    maps = sobel(small_network((8, 8), channels=1), images)
    assert np.array_equal(maps[0], np.tile([0, 0, 0, 4, 4, 0, 0, 0], (8, 1)))
