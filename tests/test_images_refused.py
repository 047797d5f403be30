"""Pictures that cannot be read: files of other kinds, bombs and damage are refused in one sentence."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_making import COLOUR, GREY, assert_sentence, encoded, png_header
from PIL import Image, ImageFile

from vislib import images
from vislib.errors import ImageError
from vislib.images import read_picture

pytestmark = pytest.mark.filterwarnings("error")

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
