"""Pictures: stretch against plain quantiles, lossless and bounded-loss round trips, mosaics by pixel."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from vislib import display
from vislib.errors import ImageError


def smooth_image(seed: int, c: int, h: int, w: int) -> np.ndarray:
    """A picture with a natural image's falling spectrum, uint8 (c, h, w)."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)
    noise = rng.normal(size=(1, h, w)) + 0.3 * rng.normal(size=(c, h, w))
    spectrum = np.fft.fft2(noise) / np.maximum(np.hypot(fx, fy), 1 / max(h, w)) ** 1.5
    return display.stretch(np.fft.ifft2(spectrum).real.astype(np.float32)[None])[0]


@pytest.mark.parametrize("shape", [(3, 1, 20, 30), (2, 3, 16, 16), (2, 1, 8, 9, 10)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stretch_is_the_quantile_stretch_of_each_image(shape, dtype):
    images = np.random.default_rng(0).gamma(2.0, size=shape).astype(dtype)
    got = display.stretch(images)
    for image, picture in zip(images, got, strict=True):
        low, high = np.quantile(image.astype(np.float64), [0.01, 0.99])
        wanted = np.clip((image - low) / (high - low) * 255, 0, 255)
        assert np.abs(picture - wanted).max() <= 0.501
    assert got.dtype == np.uint8


def test_a_constant_image_keeps_its_value():
    images = np.stack([np.full((1, 5, 5), value, np.float32) for value in (0.0, 0.25, 1.0, 7.0)])
    assert [int(p.min()) for p in display.stretch(images)] == [0, 64, 255, 255]
    assert (display.stretch(images) == display.stretch(images)[:, :, :1, :1]).all()


def test_a_nearly_constant_image_is_stretched_over_its_whole_range():
    image = np.full((1, 1, 30, 30), 0.5, np.float32)
    image[0, 0, 3, 4] = 0.6
    picture = display.stretch(image)
    assert picture[0, 0, 3, 4] == 255
    assert picture.sum() == 255


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True), min_size=4, max_size=4
    )
)
@example([0.0, 0.0, 0.0, 4.0611072833551453e-38])
def test_stretch_takes_any_floats_and_keeps_their_order(values):
    image = np.array(values, np.float32).reshape(1, 1, 2, 2)
    picture = display.stretch(image)[0].ravel().astype(int)
    finite = np.isfinite(image.ravel())
    order = np.argsort(image.ravel()[finite], kind="stable")
    assert (np.diff(picture[finite][order]) >= 0).all()
    assert (picture[np.isnan(image.ravel())] == 0).all()
    assert (picture[image.ravel() == np.inf] == 255).all()


def test_a_nan_leaves_the_other_pixels_as_they_were():
    images = np.random.default_rng(1).uniform(size=(1, 1, 40, 40)).astype(np.float32)
    clean = display.stretch(images)
    images[0, 0, 0, 0] = np.nan
    assert np.abs(display.stretch(images)[0, 0].ravel()[1:].astype(int) - clean[0, 0].ravel()[1:]).max() <= 1


@pytest.mark.parametrize(
    "shape", [(1, 20, 20), (3, 47, 12), (2, 64, 64), (5, 9, 9), (1, 12, 13, 14), (3, 4, 5, 6)]
)
def test_small_pictures_and_volumes_come_back_exactly(shape):
    picture = np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(display.decode(display.encode(picture)), picture)


@pytest.mark.parametrize(("c", "h", "w"), [(1, 128, 128), (3, 128, 128), (3, 64, 96)])
def test_a_natural_picture_is_a_small_jpeg_close_to_itself(c, h, w):
    picture = smooth_image(3, c, h, w)
    data = display.encode(picture)
    back = display.decode(data)
    assert display.mime(data) == "image/jpeg"
    assert back.shape == picture.shape
    assert len(data) <= 10_000 * h * w / 128**2 + 1000
    assert np.abs(back.astype(int) - picture).mean() < (3.0 if c == 1 else 6.0)


def test_noise_is_kept_within_about_ten_kilobytes():
    noise = np.random.default_rng(4).integers(0, 256, (3, 128, 128)).astype(np.uint8)
    assert len(display.encode(noise)) <= 12_000


def test_a_photograph_is_about_ten_kilobytes_at_128_px():
    from sklearn.datasets import load_sample_image

    photo = np.asarray(
        Image.fromarray(load_sample_image("china.jpg")).resize((128, 128), Image.Resampling.BOX)
    )
    picture = np.moveaxis(photo, -1, 0)
    data = display.encode(picture)
    assert len(data) <= 10_000
    assert np.abs(display.decode(data).astype(int) - picture).mean() < 8


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", b"\xff\xd8broken", b"\x89PNGbroken", zlib.compress(b"no npy")]
)
def test_bytes_that_are_no_picture_give_one_sentence(data):
    with pytest.raises(ImageError, match="cannot be read"):
        display.decode(data)


def test_a_pickle_is_refused():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError):
        display.decode(zlib.compress(buffer.getvalue()))


def smooth_volume(seed: int, *shape: int) -> np.ndarray:
    """A volume without edges, such as gradient ascent gives, uint8."""
    rng = np.random.default_rng(seed)
    noise = (rng.normal(size=shape[1:]) + 0.3 * rng.normal(size=shape)).astype(np.float32)
    return display.stretch(gaussian_filter(noise, (0, 1.5, 1.5, 1.5))[None])[0]


@pytest.mark.parametrize("shape", [(1, 64, 80, 64), (3, 56, 48, 50), (1, 37, 81, 49)])
def test_a_large_volume_is_kept_as_a_jpeg_of_its_slices(shape):
    volume = smooth_volume(12, *shape)
    data = display.encode(volume)
    back = display.decode(data)
    assert back.shape == shape
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - volume).mean() < (3.0 if shape[0] == 1 else 6.0)
    assert display.mime(data) == "application/octet-stream"
    assert display.mime(display.viewable(data)) in ("image/jpeg", "image/png")
    if shape == (1, 64, 80, 64):
        assert len(data) <= 0.62 * volume.size
        lossless = io.BytesIO()
        np.save(lossless, volume)
        assert len(data) < 0.6 * len(zlib.compress(lossless.getvalue()))


def test_a_volume_of_two_channels_loses_nothing():
    volume = np.random.default_rng(13).integers(0, 256, (2, 50, 6, 6)).astype(np.uint8)
    assert np.array_equal(display.decode(display.encode(volume)), volume)


@pytest.mark.parametrize("sizes", [(1, 64, 80, 63), (0, 0, 0, 0), (1, 64, 80, 0), (1, 2**31, 80, 64)])
def test_a_kept_volume_with_other_sizes_gives_one_sentence(sizes):
    data = display.encode(smooth_volume(14, 1, 64, 80, 65))
    head = len(display.VOLUME)
    wrong = data[:head] + np.array(sizes, display.LAYOUT).tobytes() + data[head + 16 :]
    for broken in (wrong, data[: head + 9], data[: len(data) // 2]):
        with pytest.raises(ImageError, match="cannot be read"):
            display.decode(broken)


@pytest.mark.parametrize(("at", "x", "y", "z"), [(None, 2, 2, 3), ((0, 4, 6), 0, 4, 6), ((3, 0, 1), 3, 0, 1)])
def test_plane_shows_three_planes_upright(at, x, y, z):
    volume = np.random.default_rng(5).integers(0, 256, (1, 4, 5, 7)).astype(np.uint8)
    shown = display.plane(volume, at)
    coronal, sagittal = 4 + display.GAP, 8 + 2 * display.GAP
    assert shown.shape == (1, 7, sagittal + 5)
    for up in range(7):
        for right in range(4):
            assert shown[0, 6 - up, coronal + right] == volume[0, right, y, up]
        for right in range(5):
            assert shown[0, 6 - up, sagittal + right] == volume[0, x, right, up]
    for up in range(5):
        for right in range(4):
            assert shown[0, 1 + 4 - up, right] == volume[0, right, up, z]  # axial, centred in a taller strip
    for black in (shown[0, 0, :4], shown[0, 6, :4], shown[0, :, 4:coronal], shown[0, :, sagittal - 1]):
        assert not black.any()
    assert display.plane_edges((4, 5, 7)) == pytest.approx([0, coronal / 17, sagittal / 17])


@pytest.mark.parametrize("at", [(4, 0, 0), (0, -1, 0), (0, 0, 7), (1, 1)])
def test_planes_outside_a_volume_are_refused(at):
    with pytest.raises(ImageError, match=r"There is no voxel .* in a volume of \(4, 5, 7\)"):
        display.plane(np.zeros((1, 4, 5, 7), np.uint8), at)


def test_a_kept_volume_is_shown_where_it_is_asked_for():
    volume = np.zeros((1, 10, 10, 10), np.uint8)
    volume[0, 7] = 200
    data = display.encode(volume)
    assert display.decode(display.viewable(data))[0, :, -10:].max() == 0
    assert display.decode(display.viewable(data, (7, 5, 5)))[0, :, -10:].min() == 200


def test_plane_averages_odd_channel_counts_and_leaves_pictures_alone():
    picture = np.random.default_rng(6).integers(0, 256, (3, 6, 6)).astype(np.uint8)
    assert display.plane(picture) is picture
    two = display.plane(picture[:2])
    assert np.abs(two[0] - picture[:2].astype(float).mean(0)).max() <= 0.5
    with pytest.raises(ImageError, match="2 or 3"):
        display.plane(picture[:, 0])


def test_what_a_browser_gets_is_a_jpeg_or_png():
    volume = np.random.default_rng(7).integers(0, 256, (1, 20, 20, 20)).astype(np.uint8)
    data = display.encode(volume)
    assert display.mime(display.viewable(data)) == "image/jpeg"
    assert display.decode(display.viewable(data)).shape == (1, 20, 60 + 2 * display.GAP)
    small = display.encode(volume[:, 0])
    assert display.viewable(small) is small


def test_tile_enlarges_by_nearest_neighbour_row_by_row():
    pictures = np.random.default_rng(8).integers(0, 256, (5, 3, 4, 4)).astype(np.uint8)
    mosaic = display.tile(pictures, columns=3, cell=12, gap=2, background=17)
    assert mosaic.shape == (26, 40, 3)
    for y in range(26):
        for x in range(40):
            row, column, dy, dx = y // 14, x // 14, y % 14, x % 14
            inside = dy < 12 and dx < 12 and row * 3 + column < 5
            wanted = pictures[row * 3 + column, :, dy // 3, dx // 3] if inside else 17
            assert (mosaic[y, x] == wanted).all()


@pytest.mark.parametrize("cell", [4, 5, 7])
def test_tile_reduces_by_area_averages(cell):
    size = 12
    picture = np.random.default_rng(9).integers(0, 256, (1, 1, size, size)).astype(np.uint8)
    mosaic = display.tile(picture, columns=1, cell=cell)
    # Enlarged `cell` times by repetition, every output pixel is a whole block of size x size repeated pixels.
    blown = np.kron(picture[0, 0], np.ones((cell, cell)))
    wanted = blown.reshape(cell, size, cell, size).mean((1, 3))
    assert np.abs(mosaic[:, :, 0] - wanted).max() <= 0.501


def test_tile_keeps_the_aspect_and_takes_volumes():
    wide = np.zeros((2, 1, 10, 30), np.uint8)
    assert display.tile(wide, columns=2, cell=60).shape == (20, 120, 1)
    volumes = np.random.default_rng(10).integers(0, 256, (2, 1, 6, 6, 6)).astype(np.uint8)
    wide = 18 + 2 * display.GAP
    mosaic = display.tile(volumes, columns=2, cell=wide, gap=1)
    assert np.array_equal(mosaic[:, :wide, 0], display.plane(volumes[0])[0])
    assert np.array_equal(mosaic[:, wide + 1 :, 0], display.plane(volumes[1])[0])


@pytest.mark.parametrize(("n", "columns", "cell"), [(0, 1, 8), (1, 0, 8), (1, 1, 0)])
def test_a_mosaic_that_cannot_be_laid_out_says_so(n, columns, cell):
    with pytest.raises(ImageError, match="at least one picture"):
        display.tile(np.zeros((n, 1, 4, 4), np.uint8), columns, cell)


def test_jpeg_and_png_take_grey_and_colour_and_nothing_else():
    colour = np.moveaxis(smooth_image(11, 3, 50, 60), 0, -1)
    for array in (colour, colour[:, :, :1], colour[:, :, 0]):
        with Image.open(io.BytesIO(display.jpeg(array))) as image:
            assert image.size == (60, 50)
            assert np.abs(np.asarray(image).astype(int) - np.squeeze(array)).mean() < 6
        with Image.open(io.BytesIO(display.png(array))) as image:
            assert np.array_equal(np.asarray(image), np.squeeze(array))
    with pytest.raises(ImageError, match="not a picture"):
        display.jpeg(np.zeros((4, 4, 2), np.uint8))
