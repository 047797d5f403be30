"""Pictures that are read: every format, depth, palette and orientation comes in right."""

import io

import numpy as np
import pytest
from picture_making import COLOUR, GREY, channels_first, encoded, png_header
from PIL import Image, ImageOps

from vislib import images
from vislib.images import read_picture

pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless_pictures_come_in_exactly(kind, array):
    got = read_picture(encoded(array, kind), "one.file")
    assert np.array_equal(got.pixels, channels_first(array))
    assert (got.name, got.original, got.notes) == ("one.file", (30, 20), ())


def test_a_lossless_webp_comes_in_exactly():
    assert np.array_equal(read_picture(encoded(COLOUR, "WEBP", lossless=True)).pixels, channels_first(COLOUR))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("c", [1, 3])
def test_lossy_pictures_come_in_nearly(kind, c):
    y, x = np.mgrid[:60, :80]
    smooth = np.stack([y * 4, x * 3, 2 * y + x], -1).astype(np.uint8)[:, :, :c].squeeze()
    got = read_picture(encoded(smooth, kind, quality=95))
    wanted = channels_first(smooth)
    assert got.pixels.shape[0] == (1 if (c == 1 and kind == "JPEG") else 3)  # a WebP has no grey
    assert np.abs(got.pixels - wanted).max() < 0.05


def test_one_bit_becomes_black_and_white():
    bits = GREY > 100
    got = read_picture(encoded(Image.fromarray(bits)))
    assert np.array_equal(got.pixels[0], bits.astype(np.float32))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_are_exact(kind):
    array = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)
    array[0, :2] = 0, 65535
    got = read_picture(encoded(array, kind))
    assert np.array_equal(got.pixels[0], array.astype(np.float32) / np.float32(65535))
    assert got.notes == ()


def test_sixteen_bits_of_colour_keep_their_upper_eight():
    array = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    got = read_picture(png_header(7, 5, 16, 2, rows))
    assert np.abs(got.pixels - np.moveaxis(array / 65535, -1, 0)).max() < 1.5 / 255
    assert got.notes == ("Of the 16 bits of its colours the upper 8 were read.",)


def deepened(array, kind, bits):
    """The bytes of a picture whose grey values are stored in so many bits, or as floating point."""
    return encoded(array.astype({8: np.uint8, 16: np.uint16, 32: np.int32, "F": np.float32}[bits]), kind)


STORED = [
    *(("WEBP", 8, high) for high in (1, 3, 255)),
    *((kind, 8, high) for kind in ("PNG", "TIFF") for high in (1, 3, 20, 255)),
    *((kind, 16, high) for kind in ("PNG", "TIFF") for high in (1, 255, 1023, 4095, 16383, 65535)),
    *(("TIFF", bits, high) for bits in (32, "F") for high in (1, 255, 4095, 65535)),
]


@pytest.mark.parametrize(("kind", "bits", "high"), STORED)
def test_no_picture_is_black_for_how_its_values_are_stored(kind, bits, high):
    array = np.round(np.linspace(0, high, 600)).reshape(20, 30)
    data = (
        encoded(array.astype(np.uint8), kind, lossless=True)
        if kind == "WEBP"
        else deepened(array, kind, bits)
    )
    got = read_picture(data)
    np.testing.assert_allclose(got.pixels[0], array / high, atol=1e-6 if bits != 8 else 0.51 / 255)
    told = f"Its values, 0 to {high:g}, were stretched from black to white."
    assert got.notes == (() if (bits, high) in ((8, 255), (16, 65535)) else (told,))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_masks_of_0_and_1_are_black_and_white_in_every_mode(mode):
    mask = (GREY > 100).astype(np.uint8)
    image = Image.fromarray(mask)
    if mode == "P":
        image.putpalette([0, 0, 0, 1, 1, 1] + [0] * 762)
    image = image.convert(mode)
    got = read_picture(encoded(image))
    assert (got.pixels == mask).all()
    assert got.notes == ("Its values, 0 to 1, were stretched from black to white.",)


def test_colours_of_few_levels_keep_their_proportions():
    array = RNG.integers(0, 8, (20, 30, 3), dtype=np.uint8)
    array[0, 0], array[0, 1] = 0, 7
    np.testing.assert_allclose(
        read_picture(encoded(array)).pixels, channels_first(array) * 255 / 7, atol=0.51 / 255
    )


@pytest.mark.parametrize("value", [0, 1, 200])
@pytest.mark.parametrize("bits", [8, 16])
def test_one_value_alone_is_not_stretched(value, bits):
    got = read_picture(deepened(np.full((4, 5), value), "PNG", bits))
    np.testing.assert_allclose(got.pixels, value / (2**bits - 1), rtol=1e-6)
    assert got.notes == ()


def test_dark_pictures_of_8_bits_and_all_that_use_their_type_stay_as_they_are():
    for array in (np.full((4, 4), 5, np.uint8), GREY // 7, GREY.astype(np.uint16) * 129):
        array = array.copy()
        array[0, 0], array[0, 1] = (0, 32) if array.dtype == np.uint8 else (0, 32768)
        got = read_picture(encoded(array))
        np.testing.assert_allclose(got.pixels[0], array / np.float32(np.iinfo(array.dtype).max), rtol=1e-6)
        assert got.notes == ()


def test_a_few_hot_pixels_do_not_make_the_rest_black():
    array = RNG.integers(0, 1000, (100, 100)).astype(np.uint16)
    array[5, 5:8] = 30_000
    got = read_picture(encoded(array))
    assert 0.4 < np.median(got.pixels) < 0.6
    assert got.pixels[0, 5, 6] == 1
    assert " % of the pixels lie beyond" in got.notes[0]
    few = np.zeros((100, 100), np.uint16)
    few[5, 5] = 9  # a small object is no hot pixel: nothing else is there
    assert read_picture(encoded(few)).pixels[0, 5, 5] == 1


@pytest.mark.parametrize("marked", [1, 400])
def test_a_mark_does_not_make_a_picture_of_12_bits_black(marked):
    array = np.tile(np.linspace(0, 4095, 200), (100, 1)).astype(np.uint16)
    plain = read_picture(encoded(array)).pixels
    array.reshape(-1)[:marked] = 65535
    got = read_picture(encoded(array))
    np.testing.assert_allclose(got.pixels[0, 50:], plain[0, 50:], atol=0.01)
    assert (got.pixels.reshape(-1)[:marked] == 1).all()
    assert "0 to 4095, were stretched" in got.notes[0]


def test_a_mask_and_a_picture_of_16_bits_with_a_mark_stay_as_they_are():
    for high in (1, 40_000):  # a mask has but one other value
        array = np.tile(np.linspace(0, high - 1, 200), (100, 1)).astype(np.uint16)
        array[:20, :20] = 65535
        got = read_picture(encoded(array))
        np.testing.assert_allclose(got.pixels[0], array / np.float32(65535), rtol=1e-6)
        assert got.notes == ()


def test_a_transparent_level_has_no_part_in_the_window():
    array = np.array([[0, 500, 4095, 60_000]], np.uint16)
    got = read_picture(encoded(array, transparency=60_000))
    np.testing.assert_allclose(got.pixels[0, 0], [0, 500 / 4095, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_of_grey_are_stretched_and_say_so(dtype):
    array = (RNG.normal(size=(20, 30)) * 1000).astype(dtype)
    got = read_picture(encoded(array, "TIFF"))
    low, high = float(array.min()), float(array.max())
    np.testing.assert_allclose(got.pixels[0], (array - low) / (high - low), atol=1e-6)
    assert got.notes == (f"Its values, {low:g} to {high:g}, were stretched from black to white.",)


def test_what_is_not_finite_is_black_and_a_constant_keeps_its_value():
    array = np.array([[1, 2, 3], [np.nan, np.inf, -np.inf]], np.float32)
    assert read_picture(encoded(array, "TIFF")).pixels[0].tolist() == [[0, 0.5, 1], [0, 0, 0]]
    assert (read_picture(encoded(np.full((3, 3), 0.25, np.float32), "TIFF")).pixels == 0.25).all()
    assert (read_picture(encoded(np.full((3, 3), np.nan, np.float32), "TIFF")).pixels == 0).all()
    huge = np.array([[-9e35, 0, 9e35, 3e38]], np.float32)
    np.testing.assert_allclose(read_picture(encoded(huge, "TIFF")).pixels[0, 0], [0, 0.5, 1, 0])


def test_a_jpeg_in_printing_colours_becomes_rgb():
    wanted = np.full((16, 16, 3), (200, 90, 40), np.uint8)
    got = read_picture(encoded(Image.fromarray(wanted).convert("CMYK"), "JPEG", quality=95))
    assert got.pixels.shape == (3, 16, 16)
    assert np.abs(got.pixels - channels_first(wanted)).max() < 0.05
    assert "CMYK" in got.notes[0]


def test_alpha_is_put_on_white():
    alpha = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
    got = read_picture(encoded(np.dstack([COLOUR, alpha])))
    share = alpha / 255
    np.testing.assert_allclose(got.pixels, channels_first(COLOUR) * share + (1 - share), atol=1e-6)
    assert got.notes == ("Its transparent parts were put on white.",)
    grey = read_picture(encoded(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])))
    np.testing.assert_allclose(grey.pixels[0], GREY / 255 * share + (1 - share), atol=1e-6)
    opaque = read_picture(encoded(np.dstack([COLOUR, np.full_like(alpha, 255)])))
    assert np.array_equal(opaque.pixels, channels_first(COLOUR))
    assert opaque.notes == ()


@pytest.mark.parametrize("transparent", [3, bytes([255, 0, 128, 255])], ids=["one entry", "a share each"])
def test_a_palette_with_transparency_is_put_on_white(transparent):
    colours = np.array([(10, 200, 30), (0, 0, 255), (255, 0, 0), (9, 9, 9)], np.uint8)
    index = RNG.integers(0, 4, (20, 30), dtype=np.uint8)
    image = Image.fromarray(index).convert("P")
    image.putpalette(colours.tobytes())
    alpha = np.array([255, 255, 255, 0] if isinstance(transparent, int) else list(transparent), np.float32)
    got = read_picture(encoded(image, transparency=transparent))
    share = (alpha / 255)[index]
    np.testing.assert_allclose(got.pixels, channels_first(colours[index]) * share + (1 - share), atol=1e-6)
    assert got.notes == ("Its transparent parts were put on white.",)


def test_a_palette_of_colours_is_colour_and_one_of_greys_is_grey():
    image = Image.fromarray(GREY).convert("P")
    image.putpalette(bytes(range(256)) * 3)
    assert read_picture(encoded(image)).pixels.shape == (3, 20, 30)
    image.putpalette(np.arange(256, dtype=np.uint8).repeat(3).tobytes())
    assert np.array_equal(read_picture(encoded(image)).pixels, channels_first(GREY))


@pytest.mark.parametrize(("array", "clear"), [(GREY, 7), (COLOUR, (1, 2, 3))], ids=["grey", "colour"])
def test_a_transparent_colour_is_white(array, clear):
    array = array.copy()
    array[3, 4] = clear
    got = read_picture(encoded(array, transparency=clear))
    wanted = channels_first(array)
    wanted[:, (np.atleast_3d(array) == np.array(clear)).all(-1)] = 1
    assert np.array_equal(got.pixels, wanted)


def test_a_transparent_level_of_sixteen_bits_is_white():
    array = np.array([[0, 500, 65535]], np.uint16)
    assert read_picture(encoded(array, transparency=500)).pixels[0, 0].tolist() == [0, 1, 1]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(kind, orientation):
    y, x = np.mgrid[:16, :32]
    image = Image.fromarray((y * 12 + x).astype(np.uint8)).convert("RGB")
    image.getexif()[0x0112] = orientation
    options = {"TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    data = encoded(image, kind, exif=image.getexif(), **options)
    got = read_picture(data)
    wanted = channels_first(np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))
    assert np.array_equal(got.pixels, wanted)
    assert got.original == ((16, 32) if orientation >= 5 else (32, 16))


def test_orientation_six_puts_the_left_column_on_top():
    array = np.zeros((8, 16), np.uint8)
    array[:, 0] = 255  # the file's left column, which orientation 6 says is the upper row
    exif = Image.Exif()
    exif[0x0112] = 6
    got = read_picture(encoded(array, exif=exif))
    assert got.pixels.shape == (1, 16, 8)
    assert (got.pixels[0, 0] == 1).all()
    assert (got.pixels[0, 1:] == 0).all()


def test_a_damaged_exif_is_as_good_as_none():
    data = encoded(COLOUR, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert np.array_equal(read_picture(data).pixels, channels_first(COLOUR))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_read(kind):
    first, second = Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)
    lossless = {"lossless": True} if kind == "WEBP" else {}
    got = read_picture(encoded(first, kind, save_all=True, append_images=[second], **lossless))
    assert np.array_equal(got.pixels, channels_first(COLOUR))
    assert got.notes == ("Only the first of its frames is used.",)


def test_a_picture_of_one_pixel_comes_in():
    got = read_picture(encoded(np.full((1, 1), 51, np.uint8)))
    np.testing.assert_allclose(got.pixels, [[[0.2]]])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "I;16", "F"])
def test_large_pictures_are_made_smaller(mode, monkeypatch):
    monkeypatch.setattr(images, "KEPT_PIXELS", 5000)
    y, x = np.mgrid[:200, :300]
    ramp = (y / 199 * 0.5 + x / 299 * 0.5).astype(np.float32)
    if mode == "I;16":
        image = Image.fromarray((ramp * 65535).astype(np.uint16))
    else:
        image = Image.fromarray(ramp if mode == "F" else (ramp * 255).astype(np.uint8))
        image = image if mode == "F" else image.convert(mode)
    got = read_picture(encoded(image, "TIFF"))
    assert got.original == (300, 200)
    assert got.pixels.shape[1:] == (57, 86)
    assert got.notes[-1] == "Made smaller, from 300 x 200 to 86 x 57 pixels."
    rows, columns = (np.arange(57) + 0.5) / 57, (np.arange(86) + 0.5) / 86
    wanted = rows[:, None] * 0.5 + columns * 0.5
    inner = (slice(None), slice(3, -3), slice(3, -3))
    assert np.abs(got.pixels - wanted)[inner].max() < (0.7 if mode == "1" else 0.02)
    assert abs(got.pixels.mean() - 0.5) < 0.02


def test_a_large_jpeg_is_decoded_smaller_and_stays_in_place(monkeypatch):
    monkeypatch.setattr(images, "KEPT_PIXELS", 400_000)
    decoded, simplified = [], images._simplified
    monkeypatch.setattr(
        images, "_simplified", lambda image, *rest: decoded.append(image.size) or simplified(image, *rest)
    )
    y, x = np.mgrid[:2200, :3100]
    disc = ((y - 700) ** 2 + (x - 2100) ** 2 < 300**2).astype(np.uint8) * 255
    exif = Image.Exif()
    exif[0x0112] = 8  # turned left, 90 degrees
    got = read_picture(encoded(disc, "JPEG", exif=exif))
    c, h, w = got.pixels.shape
    assert (c, got.original) == (1, (2200, 3100))
    assert decoded == [(775, 550)]  # a quarter, by the decoder itself
    assert 395_000 < h * w <= images.KEPT_PIXELS
    weight = got.pixels[0]
    row = (weight.sum(1) * (np.arange(h) + 0.5)).sum() / weight.sum() / h
    column = (weight.sum(0) * (np.arange(w) + 0.5)).sum() / weight.sum() / w
    assert abs(row - (1 - 2100.5 / 3100)) < 1e-3
    assert abs(column - 700.5 / 2200) < 1e-3
