"""The planes of a unit's picture that is a volume: drawn the way round that slices are, with letters that say it."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from dashboard.orientation import SIDES, letters
from dashboard.plane_picture import font
from vislib import display

_LEAST = 24  # pixels of a plane's height: letters in a smaller one would hide it
_RIM, _INK = 0, 232


def part_letters(radiological: bool) -> list[str]:
    """Of each of display.PLANES the letters at its left, right, top and bottom."""
    return ["".join(letters(plane, radiological)[side] for side in SIDES) for plane in display.PLANES]


def lettered(
    mosaic: UInt8[np.ndarray, "H W d"],
    sizes: Sequence[int],
    count: int,
    columns: int,
    gap: int,
    radiological: bool,
) -> UInt8[np.ndarray, "H W d"]:
    """A mosaic of units' pictures as `display.tile` lays it out, with letters in each plane of each volume.

    `sizes` are those of the pictures; nothing is written into flat ones, which have no sides of a patient.
    """
    if len(sizes) != 3:
        return mosaic
    ink, rim = _written(mosaic.shape[:2], tuple(sizes), count, columns, gap, radiological)
    written = mosaic.copy()
    written[rim] = _RIM
    written[ink] = _INK
    return written


@lru_cache(maxsize=8)
def _written(
    shape: tuple[int, int], sizes: tuple[int, ...], count: int, columns: int, gap: int, radiological: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Where letters are in a mosaic, and where their dark rims are."""
    high = (shape[0] + gap) // ceil(count / columns) - gap
    wide = (shape[1] + gap) // columns - gap
    ink, rim = (Image.new("1", (shape[1], shape[0])) for _ in range(2))
    x, y, z = sizes
    scale, edges = wide / (2 * x + y + 2 * display.GAP), display.plane_edges(sizes)
    planes = ((x, y), (x, z), (y, z))  # columns and rows of each
    if high >= _LEAST:
        size = max(8, min(16, high // 9))
        for cell in range(count):
            left, top = cell % columns * (wide + gap), cell // columns * (high + gap)
            for edge, (across, down), said in zip(edges, planes, part_letters(radiological), strict=True):
                box = left + edge * wide, top + (high - down * scale) / 2, across * scale, down * scale
                _write(ink, rim, box, said, size)
    return np.asarray(ink), np.asarray(rim)


def _write(
    ink: Image.Image, rim: Image.Image, box: tuple[float, float, float, float], said: str, size: int
) -> None:
    """Letters at the left, right, top and bottom of a box."""
    left, top, wide, high = box
    edge, middle, centre = size // 2 + 1, top + high / 2, left + wide / 2
    places = (
        (left + edge, middle),
        (left + wide - edge, middle),
        (centre, top + edge),
        (centre, top + high - edge),
    )
    for place, letter in zip(places, said, strict=True):
        ImageDraw.Draw(rim).text(place, letter, fill=1, font=font(size), anchor="mm", stroke_width=1)
        ImageDraw.Draw(ink).text(place, letter, fill=1, font=font(size), anchor="mm")
