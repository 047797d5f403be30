"""One plane of a volume as pixels: cut, coloured as VolumeView colours it, outlined, lettered, drawn into a picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from dashboard import palettes
from dashboard.orientation import as_drawn, flipped, letters
from dashboard.places import OwnAxes
from dashboard.volume_codes import LabelCodes
from vislib.labels import Label
from vislib.slices import VIEWS, upright

BRIGHT, QUIET, WARM, CROSS = (232, 238, 243), (150, 160, 171), (235, 170, 80), (94, 224, 140)
_CROSS_ALPHA, _CROSS_GAP = 0.78, 9
_OUTLINE = (((0, 0, 0), 0.7, 3.5), ((255, 255, 255), 1.0, 1.5))  # colour, alpha, pixels wide
_FINE = 4  # times as fine lines are drawn before they are averaged

Box = tuple[int, int, int, int]  # left, top, width, height


@dataclass(frozen=True)
class Look:
    """How a volume and a map over it are shown; fields are those of VolumeView and mean the same."""

    window_low: float
    window_high: float
    palette: str = "grey"
    smooth: bool = True
    opacity: float = 0.6
    threshold: float = 0.0
    alpha_by_value: bool = True
    map_palette: str = "inferno"
    diverging: str = "blue-red"
    radiological: bool = True

    @classmethod
    def of(cls, view: Any) -> "Look":
        """The look of a VolumeView."""
        return cls(**{field.name: getattr(view, field.name) for field in fields(cls)})


@dataclass(frozen=True, eq=False)
class Scene:
    """What is shown: a volume in RAS+ order and, on its grid, a map and a mask whose outline is drawn.

    `limit` is the value of the map's strongest colour; 0 for the largest.
    """

    data: Float32[np.ndarray, "x y z"]
    affine: Shaped[np.ndarray, "4 4"]
    map: Float32[np.ndarray, "x y z"] | None = None
    signed: bool = False
    limit: float = 0.0
    mask: Shaped[np.ndarray, "x y z"] | None = None
    labels: LabelCodes | None = None  # the map holds regions, never to be blended, of ...
    names: Mapping[int, Label] = field(default_factory=dict)  # ... these names and colours
    own: OwnAxes | None = field(default_factory=OwnAxes)  # how the file counts its voxels; None: not at all

    def __post_init__(self) -> None:
        for name, array in (("map", self.map), ("mask", self.mask)):
            if array is not None and array.shape != self.data.shape:
                raise ValueError(
                    f"The {name} is of shape {array.shape}, the volume of {self.data.shape}: resample it."
                )

    @cached_property
    def voxel(self) -> tuple[float, float, float]:
        """Distance, in mm, of neighbouring voxels along each axis."""
        x, y, z = np.sqrt((np.asarray(self.affine, float)[:3, :3] ** 2).sum(0)).tolist()
        return x, y, z

    @cached_property
    def extent(self) -> tuple[float, float, float]:
        """Size of the grid in mm."""
        x, y, z = (size * mm for size, mm in zip(self.data.shape, self.voxel, strict=True))
        return x, y, z

    @cached_property
    def strongest(self) -> float:
        """The value of the strongest colour; 0 where the map has no colours."""
        if self.map is None or self.labels is not None:
            return 0.0
        peak = palettes.largest(self.map.reshape(len(self.map), -1), self.signed)
        return self.limit if self.limit > 0 and peak > 0 else peak

    def mm(self, ijk: tuple[float, float, float]) -> tuple[float, float, float]:
        """Where a voxel lies."""
        x, y, z = (np.asarray(self.affine, float)[:3] @ [*ijk, 1.0]).tolist()
        return x, y, z


def seen(
    array: Shaped[np.ndarray, "x y z"], plane: str, at: int, radiological: bool
) -> Shaped[np.ndarray, "h w"]:
    """One plane of an array as it lies on the screen: the first row uppermost."""
    return as_drawn(upright(array, plane, at), plane, radiological)


def coloured(scene: Scene, look: Look, plane: str, at: int) -> UInt8[np.ndarray, "h w 3"]:
    """The colours of a plane's voxels, the map's over the volume's, as VolumeView has them."""
    picture = window(seen(scene.data, plane, at, look.radiological), look)
    if scene.map is None or scene.strongest <= 0:
        return picture
    values = seen(scene.map, plane, at, look.radiological)
    # With the map's strongest value beside it, a plane without any is coloured by the same rule.
    row = np.append(values.astype(np.float64).reshape(-1), scene.strongest)[None]
    layer = shade(row, scene, look, look.alpha_by_value)[0, :-1].reshape(*values.shape, 4)
    return palettes.over(picture, layer, look.opacity)


def regions(scene: Scene, look: Look, plane: str, at: int) -> UInt8[np.ndarray, "h w 4"] | None:
    """The colours of a plane's regions, no region transparent; None where the map holds none."""
    if scene.map is None or scene.labels is None:
        return None
    codes = scene.labels.of(seen(scene.map, plane, at, look.radiological))
    colours = palettes.label_colours(scene.labels.values, scene.names)
    table = np.zeros((len(colours) + 1, 4), np.uint8)
    table[1:, :3], table[1:, 3] = colours, 255
    return table[codes]


def shade(
    values: Shaped[np.ndarray, "h w"], scene: Scene, look: Look, alpha_by_value: bool
) -> UInt8[np.ndarray, "h w 4"]:
    """Colours of map values; one of them must not be 0."""
    palette = look.diverging if scene.signed else look.map_palette
    return palettes.coloured(values, scene.signed, palette, look.threshold, alpha_by_value, scene.strongest)


def window(values: Shaped[np.ndarray, "h w"], look: Look) -> UInt8[np.ndarray, "h w 3"]:
    """Colours of a volume's values; what is not finite has the first colour."""
    above = np.nan_to_num(values.astype(np.float64) - look.window_low, nan=-np.inf, posinf=np.inf)
    width = look.window_high - look.window_low
    share = np.clip(above / width, 0, 1) if width > 0 else (above > 0).astype(float)
    return palettes.table(look.palette)[np.floor(share * 255 + 0.5).astype(int)]


def contour(inside: Bool[np.ndarray, "h w"]) -> list[tuple[float, float, float, float]]:
    """Lines (x, y, x, y) through the middles between pixels in- and outside, in pixels from the upper left corner."""
    padded = np.pad(inside, 1).astype(np.uint8)
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, 1:], padded[1:, :-1]
    lines = []
    for y, x in np.argwhere((a != b) | (b != c) | (c != d)).tolist():
        ends = [
            place
            for one, other, place in (
                (a, b, (x, y - 0.5)),
                (b, c, (x + 0.5, y)),
                (c, d, (x, y + 0.5)),
                (d, a, (x - 0.5, y)),
            )
            if one[y, x] != other[y, x]
        ]
        lines += [(*start, *end) for start, end in zip(ends[::2], ends[1::2], strict=True)]
    return lines


class Pane:
    """A plane in a box of a picture, in the middle, at so many pixels a mm; `flip` as VolumeView flips it."""

    def __init__(self, scene: Scene, look: Look, plane: str, at: int, box: Box, scale: float) -> None:
        self.scene, self.look, self.plane, self.at, self.box = scene, look, plane, at, box
        self.view, self.flip = VIEWS[plane], flipped(plane, look.radiological)
        self.columns, self.rows = (scene.data.shape[axis] for axis in (self.view.columns, self.view.rows))
        self.wide, self.high = (
            max(1, round(scene.extent[axis] * scale)) for axis in (self.view.columns, self.view.rows)
        )
        left, top, width, height = box
        self.left, self.top = left + (width - self.wide) // 2, top + (height - self.high) // 2

    def place_of(self, ijk: tuple[int, int, int]) -> tuple[float, float]:
        """Where the middle of a voxel lies in the picture."""
        x, y = ijk[self.view.columns] + 0.5, self.rows - (ijk[self.view.rows] + 0.5)
        x = self.columns - x if self.flip else x
        return self.left + x * self.wide / self.columns, self.top + y * self.high / self.rows

    def paint(self, sheet: Image.Image, bold: float = 1.0) -> None:
        """The plane, and the outline of the mask, whose lines are so many times as wide as the page's."""
        left, top, width, height = self.box
        ImageDraw.Draw(sheet).rectangle((left, top, left + width - 1, top + height - 1), fill=(0, 0, 0))
        pixels = coloured(self.scene, self.look, self.plane, self.at)
        over = regions(self.scene, self.look, self.plane, self.at)
        if self.look.smooth:
            image = Image.fromarray(pixels).resize((self.wide, self.high), Image.Resampling.BILINEAR)
        else:
            image = Image.fromarray(self._blocks(pixels))
        if over is not None:
            image = Image.fromarray(palettes.over(np.asarray(image), self._blocks(over), self.look.opacity))
        sheet.paste(image, (self.left, self.top))
        self._outline(sheet, bold)

    def _blocks(self, pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "H W c"]:
        """Every voxel as a block of its own colour."""
        rows, columns = (
            np.arange(n) * k // n for n, k in zip((self.high, self.wide), pixels.shape[:2], strict=True)
        )
        return np.ascontiguousarray(pixels[rows][:, columns])

    def _outline(self, sheet: Image.Image, bold: float) -> None:
        if self.scene.mask is None:
            return
        lines = contour(seen(self.scene.mask, self.plane, self.at, self.look.radiological) != 0)
        if not lines:
            return
        across, down = _FINE * self.wide / self.columns, _FINE * self.high / self.rows
        for colour, alpha, thick in _OUTLINE:
            fine = Image.new("L", (_FINE * self.wide, _FINE * self.high))
            draw, half = ImageDraw.Draw(fine), _FINE * thick * bold / 2
            for x, y, to_x, to_y in lines:
                ends = (x * across, y * down), (to_x * across, to_y * down)
                draw.line(ends, fill=255, width=round(2 * half))
                for at_x, at_y in ends:  # round ends, no wider than the line
                    draw.ellipse(
                        (at_x - half + 0.5, at_y - half + 0.5, at_x + half - 0.5, at_y + half - 0.5), fill=255
                    )
            mask = fine.reduce(_FINE).point(lambda level, alpha=alpha: round(level * alpha))
            sheet.paste(colour, (self.left, self.top), mask)

    def cross(self, sheet: Image.Image, ijk: tuple[int, int, int]) -> None:
        """Two lines through a voxel, which leave it free."""
        left, top, width, height = self.box
        x, y = (int(place) for place in self.place_of(ijk))
        mask = Image.new("L", sheet.size)
        draw, level, gap = ImageDraw.Draw(mask), round(255 * _CROSS_ALPHA), _CROSS_GAP
        for start, end in ((left, x - gap), (x + gap, left + width - 1)):
            if start <= end:
                draw.line((start, y, end, y), fill=level)
        for start, end in ((top, y - gap), (y + gap, top + height - 1)):
            if start <= end:
                draw.line((x, start, x, end), fill=level)
        sheet.paste(CROSS, (0, 0), mask)

    def letter(self, sheet: Image.Image, size: int, colour: tuple[int, int, int] = BRIGHT) -> None:
        """The directions, at the sides of the box."""
        letter(sheet, self.box, self.plane, self.look.radiological, size, colour)


@lru_cache(maxsize=16)
def font(size: int) -> Any:
    """Pillow's own, so that a picture is the same everywhere."""
    return ImageFont.load_default(size=size)


def say(
    sheet: Image.Image,
    at: tuple[float, float],
    text: str,
    size: int,
    colour: tuple[int, int, int] = BRIGHT,
    anchor: str = "la",
) -> None:
    """Words over a plane, with a dark rim."""
    ImageDraw.Draw(sheet).text(
        at, text, fill=colour, font=font(size), anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0)
    )


def letter(
    sheet: Image.Image,
    box: Box,
    plane: str,
    radiological: bool,
    size: int,
    colour: tuple[int, int, int] = BRIGHT,
) -> None:
    """The directions of a plane at the sides of a box; nothing for a picture that is no slice."""
    left, top, width, height = box
    middle, centre, edge = top + height / 2, left + width / 2, size // 2 + 3
    where = {
        "left": (left + edge, middle),
        "right": (left + width - edge, middle),
        "top": (centre, top + edge),
        "bottom": (centre, top + height - edge),
    }
    for side, one in letters(plane, radiological).items():
        say(sheet, where[side], one, size, colour, "mm")
