"""The door for pictures: every format and depth comes in right, all else is refused in one sentence; and `prepare`."""

import io
import struct
import warnings
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from PIL import Image, ImageFile, ImageOps
from torch import nn

from vislib import images
from vislib.errors import ImageError
from vislib.images import FITS, Picture, prepare, read_picture
from vislib.network import Network

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _no_warning_leaks():
    with warnings.catch_warnings(action="error"):
        yield


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def channels_first(array: np.ndarray) -> np.ndarray:
    """uint8 (h, w) or (h, w, 3) as what read_picture must give."""
    return np.moveaxis(np.atleast_3d(array), -1, 0).astype(np.float32) / 255


def png_header(width: int, height: int, depth: int, colour: int, rows: bytes = b"") -> bytes:
    """A PNG that promises a size, whatever it holds."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def network_of(*shape: int, mean: tuple[float, ...] = (0.0,)) -> Network:
    """Any network over images of that shape."""
    conv = {2: nn.Conv1d, 3: nn.Conv2d, 4: nn.Conv3d}[len(shape)]
    module = nn.Sequential(conv(shape[0], 2, 1), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    return Network.from_module(module, shape, mean=mean)


def picture_of(pixels: np.ndarray) -> Picture:
    return Picture(pixels.astype(np.float32), "a test", (pixels.shape[2], pixels.shape[1]), ())


def assert_sentence(error: ImageError) -> None:
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 300
    assert not isinstance(error.__cause__, TypeCheckError), error.__cause__


# What comes in right


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
    assert "0.1 % at either end lie beyond" in got.notes[0]
    few = np.zeros((100, 100), np.uint16)
    few[5, 5] = 9  # a small object is no hot pixel: nothing else is there
    assert read_picture(encoded(few)).pixels[0, 5, 5] == 1


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


# What is refused


BAD = {
    "nothing": (b"", "empty"),
    "text": (b"Dear all,\nplease find attached\n", "is text"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", r"web page"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "gif": (encoded(Image.new("L", (4, 4)), "GIF"), "is a GIF"),
    "bmp": (encoded(Image.new("L", (4, 4)), "BMP"), "is a BMP"),
    "zip": (b"PK\3\4" + bytes(50), "ZIP"),
    "sound": (b"RIFF\0\0\0\0WAVEfmt " + bytes(50), "unknown kind"),
    "zeros": (bytes(1000), "unknown kind"),
    "cut jpeg": (encoded(COLOUR, "JPEG")[:-200], "a JPEG that is damaged or cut off"),
    "cut png": (encoded(COLOUR)[:-400], "a PNG that is damaged or cut off"),
    "cut webp": (encoded(COLOUR, "WEBP", lossless=True)[:-400], "a WebP that is damaged or cut off"),
    "cut tiff": (encoded(COLOUR, "TIFF")[:-400], "a TIFF that is damaged or cut off"),
    "cut header": (encoded(COLOUR)[:20], "a PNG that is damaged or cut off"),
    "only a start": (b"\xff\xd8\xff", "a JPEG that is damaged or cut off"),
    "no pixels": (png_header(0, 5, 8, 0), "a PNG that is damaged or cut off"),
    "a bomb of one bit": (png_header(20000, 20000, 1, 0), "400 million pixels"),
    "a bomb just over": (png_header(16000, 4001, 8, 0), "16000 x 4001 pixels"),
    "a line too long": (png_header(16385, 1, 8, 0), "16385 x 1 pixels"),
    "a bomb that warns": (png_header(10000, 10000, 8, 2), "10000 x 10000 pixels"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_picture_is_refused_in_a_sentence(case):
    data, words = BAD[case]
    with pytest.raises(ImageError, match=words) as caught:
        read_picture(data, "photo.png")
    assert_sentence(caught.value)
    assert str(caught.value).startswith("photo.png ")


def test_a_small_file_that_swells_is_refused_before_it_is_decoded(monkeypatch):
    bomb = png_header(20000, 20000, 1, 0, bytes(20000 * 2501))
    assert len(bomb) < 100_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="make it smaller"):
        read_picture(bomb)


def test_a_file_too_large_is_refused():
    with pytest.raises(ImageError, match=r"file of 64\.0 MB; pictures may have 64 MB"):
        read_picture(bytes(images.FILE_BYTES + 1))


def test_a_strange_name_stays_on_one_line():
    with pytest.raises(ImageError) as caught:
        read_picture(b"", "a\n\x00b\u202e" + "x" * 5000)
    assert_sentence(caught.value)
    assert str(caught.value).startswith("a??b?xxx")


def test_nobody_elses_settings_are_touched():
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, warnings.filters[:]
    read_picture(encoded(COLOUR))
    with pytest.raises(ImageError):
        read_picture(b"no")
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, warnings.filters) == before
    assert before[1] is False


# Whatever comes


def read_or_refuse(data: bytes) -> None:
    try:
        got = read_picture(data)
    except ImageError as error:
        assert_sentence(error)
        return
    assert got.pixels.dtype == np.float32
    assert got.pixels.shape[0] in (1, 3)
    assert got.pixels.min() >= 0  # NaN would fail
    assert got.pixels.max() <= 1
    assert sorted(got.pixels.shape[1:]) == sorted(got.original)


@settings(max_examples=300)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0"]))
def test_random_bytes_are_refused(data, start):
    read_or_refuse(start + data)


def some_pictures() -> list[bytes]:
    small = Image.fromarray(COLOUR)
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = small.quantize(16)
    return [
        encoded(small),
        encoded(palette, transparency=1),
        encoded(GREY.astype(np.uint16) * 257),
        encoded(small, save_all=True, append_images=[palette.convert("RGB")]),
        encoded(small, "JPEG", exif=exif),
        encoded(small.convert("CMYK"), "JPEG", progressive=True),
        encoded(small, "WEBP", exif=exif),
        encoded(small, "WEBP", save_all=True, append_images=[palette.convert("RGB")]),
        encoded(small, "TIFF", exif=exif),
        encoded(small, "TIFF", compression="tiff_lzw", save_all=True, append_images=[small]),
        encoded(GREY.astype(np.float32), "TIFF", compression="tiff_deflate"),
        encoded(Image.fromarray(GREY > 9), "TIFF", compression="group4"),
    ]


PICTURES = some_pictures()


@settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_pictures_are_read_or_refused(data):
    damaged = bytearray(data.draw(st.sampled_from(PICTURES)))
    for _ in range(data.draw(st.integers(1, 4))):
        # Half of the damage goes into the first bytes, where what matters most is said.
        end = len(damaged) if data.draw(st.booleans()) else min(len(damaged), 120)
        at = data.draw(st.integers(0, max(0, end - 1)))
        what = data.draw(st.sampled_from(["flip", "cut", "insert", "remove"]))
        if what == "cut":
            del damaged[at:]
        elif what == "remove":
            del damaged[at : at + data.draw(st.integers(1, 20))]
        elif what == "insert":
            damaged[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        elif damaged:
            damaged[at] ^= data.draw(st.integers(1, 255))
    read_or_refuse(bytes(damaged))


# As the network sees it


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
