"""Pictures as a network sees them: cut, shrunk or stretched to its size, and in its channels."""

from itertools import pairwise

import numpy as np
import pytest
from picture_making import COLOUR, GREY, assert_sentence, channels_first
from PIL import Image
from torch import nn

from vislib.errors import ImageError
from vislib.images import FITS, Picture, prepare
from vislib.network import Network

RNG = np.random.default_rng(1)


def network_of(*shape: int, mean: tuple[float, ...] = (0.0,)) -> Network:
    """Any network over images of that shape."""
    conv = {2: nn.Conv1d, 3: nn.Conv2d, 4: nn.Conv3d}[len(shape)]
    module = nn.Sequential(conv(shape[0], 2, 1), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    return Network.from_module(module, shape, mean=mean)


def picture_of(pixels: np.ndarray) -> Picture:
    return Picture(pixels.astype(np.float32), "a test", (pixels.shape[2], pixels.shape[1]), ())


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (50, 70), (500, 30), (9, 4000)])
def test_a_constant_picture_stays_constant(fit, c, shape):
    got = prepare(picture_of(np.full((c, *shape), 0.3)), network_of(3, 32, 24, mean=(0.3,)), fit)
    assert got.shape == (1, 3, 32, 24)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, 0.3, atol=1e-6)


def test_a_picture_of_the_networks_size_is_not_touched():
    pixels = channels_first(COLOUR)
    for fit in FITS:
        assert np.array_equal(prepare(picture_of(pixels), network_of(3, 20, 30), fit)[0], pixels)


def test_colour_becomes_grey_by_luma_and_grey_becomes_colour():
    wanted = np.asarray(Image.fromarray(COLOUR).convert("L")) / 255
    got = prepare(picture_of(channels_first(COLOUR)), network_of(1, 20, 30))
    assert np.abs(got[0, 0] - wanted).max() < 1.01 / 255
    np.testing.assert_allclose(got[0, 0], COLOUR @ [0.299, 0.587, 0.114] / 255, atol=1e-6)
    grey = prepare(picture_of(channels_first(GREY)), network_of(3, 20, 30))
    assert np.array_equal(grey[0], channels_first(GREY).repeat(3, 0))


@pytest.mark.parametrize(("h", "w"), [(60, 200), (200, 60), (17, 31), (640, 480)])
def test_a_ramp_shows_where_each_fit_puts_the_picture(h, w):
    """Values tell where in the picture (in shares of its height and width) each pixel of the result is from."""
    network = network_of(3, 40, 30, mean=(0.9, 0.1, 0.2))
    y, x = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
    picture = picture_of(np.stack([y, x, np.zeros_like(x)]))
    step = {"crop": min(h / 40, w / 30), "whole": max(h / 40, w / 30)}
    for fit in FITS:
        down, right = (step[fit], step[fit]) if fit in step else (h / 40, w / 30)
        high, wide = (round(h / down), round(w / right)) if fit == "whole" else (40, 30)
        if fit == "whole":
            down, right = h / high, w / wide
        top, left = (40 - high) // 2, (30 - wide) // 2
        offset = (0, 0) if fit == "whole" else ((h - 40 * down) / 2, (w - 30 * right) / 2)
        rows = (offset[0] + (np.arange(high) + 0.5) * down) / h
        columns = (offset[1] + (np.arange(wide) + 0.5) * right) / w
        got = prepare(picture, network, fit)[0]
        inner = np.zeros((40, 30), bool)
        inner[top : top + high, left : left + wide] = True
        border = got[:, ~inner].T
        np.testing.assert_allclose(border, np.broadcast_to([0.9, 0.1, 0.2], border.shape), atol=1e-6)
        seen = got[:, top : top + high, left : left + wide]
        cut = slice(3, -3)  # at its borders a filter has pixels on one side only
        assert np.abs(seen[0] - rows[:, None])[cut].max() < 0.02 * down * 40 / h
        assert np.abs(seen[1] - columns)[:, cut].max() < 0.02 * right * 30 / w


def test_shrinking_averages_and_does_not_alias():
    board = np.indices((320, 320)).sum(0) % 2
    got = prepare(picture_of(board[None]), network_of(1, 32, 32))
    assert np.abs(got - 0.5).max() < 0.02
    noise = RNG.random((1, 600, 600))
    assert prepare(picture_of(noise), network_of(1, 30, 30)).std() < 0.03  # of 0.29


def keys(t: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel with a = -1/2 (Keys 1981)."""
    t = np.abs(t)
    return np.where(
        t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0)
    )


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize(("h", "w"), [(90, 61), (11, 8), (23, 100)])
def test_resizing_is_what_a_slow_loop_computes(fit, h, w):
    pixels = RNG.random((1, h, w)).astype(np.float32)
    down, right = h / 16, w / 20
    if fit == "crop":
        down = right = min(down, right)

    def line(values: np.ndarray, start: float, step: float, count: int) -> np.ndarray:
        out = []
        for k in range(count):
            middle = start + (k + 0.5) * step
            weight = keys((np.arange(len(values)) + 0.5 - middle) / max(1.0, step))
            out.append((values * weight[:, None]).sum(0) / weight.sum())
        return np.stack(out)

    across = line(pixels[0].T.astype(float), (w - 20 * right) / 2, right, 20).T
    wanted = line(across, (h - 16 * down) / 2, down, 16).clip(0, 1)
    got = prepare(picture_of(pixels), network_of(1, 16, 20), fit)[0, 0]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_values_stay_between_0_and_1_where_the_filter_overshoots():
    edge = np.zeros((1, 30, 30))
    edge[:, :, 15:] = 1
    got = prepare(picture_of(edge), network_of(1, 100, 100))
    assert got.min() == 0
    assert got.max() == 1


def test_what_no_picture_fits_is_said():
    picture = picture_of(np.zeros((3, 8, 8)))
    with pytest.raises(
        ImageError, match="no way 'zoom' to fit a picture; choose one of crop, whole, stretch"
    ):
        prepare(picture, network_of(3, 8, 8), "zoom")
    for network in (network_of(2, 8, 8), network_of(1, 8, 8, 8), network_of(1, 8)):
        with pytest.raises(ImageError, match="1 or 3 channels and 2 spatial axes") as caught:
            prepare(picture, network)
        assert_sentence(caught.value)


def test_every_fit_is_described_for_a_menu():
    assert list(FITS) == ["crop", "whole", "stretch"]
    assert all(len(words) > 20 for words in FITS.values())
    assert all(a != b for a, b in pairwise(FITS.values()))
