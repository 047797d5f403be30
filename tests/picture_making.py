"""Pictures that tests make: files of any format, a grey and a coloured picture, and PNGs that promise any size."""

import io
import struct
import zlib

import numpy as np
from jaxtyping import TypeCheckError
from PIL import Image

from vislib.errors import ImageError

_RNG = np.random.default_rng(0)
GREY = _RNG.integers(0, 256, (20, 30), dtype=np.uint8)
COLOUR = _RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    """A picture file's bytes."""
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


def assert_sentence(error: ImageError) -> None:
    """One short sentence, and not what the shape checker says."""
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 300
    assert not isinstance(error.__cause__, TypeCheckError), error.__cause__
