"""Pictures to keep of a volume and a map over it: three planes through a crosshair, and a mosaic of slices."""

import math
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from dashboard.orientation import CONVENTIONS, LETTERS
from dashboard.plane_picture import (
    BRIGHT,
    QUIET,
    WARM,
    Box,
    Look,
    Pane,
    Scene,
    font,
    say,
    shade,
    window,
)
from vislib.display import png
from vislib.label_tables import region_words
from vislib.slices import VIEWS
from vislib.volume import PLANES, degrees_oblique

__all__ = ["Look", "Scene", "lightbox", "three_planes"]

_PAGE, _SUNKEN = (18, 22, 27), (44, 50, 57)
_WIDE, _TALL = 1100, 1180  # pixels, about
_GAP, _MARGIN = 3, 24  # between panes; and between a pane's border and its plane, for the letters
_FACTS, _LEAST = 300, 150  # pixels that facts and panes are wide at least
_PAD, _HEAD = 12, 34
_THIN = 0.6  # outlines of a lightbox's small planes
_CELLS, _MOST_COLUMNS = 30, 12  # of a lightbox, unless rows and columns are given
_SHAPE = 1.3  # its width by its height, nearly
_SHOWS, _OF_WINDOW = (
    0.005,
    0.1,
)  # a slice shows something where so many of its voxels are so far up in the window
_TILT = 2  # degrees from which planes are said to be oblique, as VolumeView does
_SPELLED = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "×": "x", "³": "3", "²": "2", "µ": "u", "ß": "ss", "≥": ">="}
)


def three_planes(
    scene: Scene, look: Look, ijk: tuple[int, int, int], *, title: str = "", facts: Sequence[str] = ()
) -> bytes:
    """The planes through a voxel as VolumeView lays them out, and facts, as PNG of about 1100 pixels a side.

    Coronal and sagittal plane above, axial plane below, all at one scale; beside it `title`, place and values of
    the crosshair, the colours with numbers, and `facts`, one a line. Raises ValueError for a voxel that is not
    there.
    """
    if not all(0 <= at < size for at, size in zip(ijk, scene.data.shape, strict=True)):
        raise ValueError(f"There is no voxel {ijk} in a volume of {scene.data.shape} voxels.")
    boxes, scale = _boxes(scene)
    column, top, width, _ = boxes["facts"]
    notes = _Notes(width - 2 * _PAD)
    _tell(notes, scene, look, ijk, title, facts)
    left, _, wide, high = boxes["axial"]
    boxes["axial"] = left, top, wide, max(high, notes.y + _PAD)
    sheet = Image.new("RGB", (column + width, top + boxes["axial"][3]), _PAGE)
    length = _nice_length(0.3 * min(box[2] for box in boxes.values()) / scale)
    for plane in PLANES:
        box, at = boxes[plane], ijk[VIEWS[plane].across]
        pane = Pane(scene, look, plane, at, box, scale)
        pane.paint(sheet)
        pane.cross(sheet, ijk)
        pane.letter(sheet, 15)
        say(sheet, (box[0] + 7, box[1] + 5), f"{plane.capitalize()} {_slice(scene, plane, at)}", 13)
        _scale_bar(sheet, box, length, scale)
    notes.put(sheet, column + _PAD, top)
    return png(np.asarray(sheet))


def lightbox(
    scene: Scene,
    look: Look,
    plane: str = PLANES[0],
    *,
    rows: int = 0,
    columns: int = 0,
    title: str = "",
    facts: Sequence[str] = (),
) -> bytes:
    """Evenly spaced slices of a plane, the lowest first, as PNG of about 1100 pixels a side.

    `rows` or `columns` of 0 are chosen. Slices at both ends that show nearly nothing are left out. Each says where
    it lies; below are the colours with numbers, and `facts`, one a line. Raises ValueError for an unknown plane.
    """
    if plane not in VIEWS:
        raise ValueError(f"There is no plane {plane!r}; choose one of {', '.join(PLANES)}.")
    view = VIEWS[plane]
    first, last = _showing(scene, look, plane)
    across, down = scene.extent[view.columns], scene.extent[view.rows]
    indices, columns = _cells(first, last, across / down, rows, columns)
    rows = -(-len(indices) // columns)
    foot = _Notes(_WIDE - 2 * _PAD)
    _tell_below(foot, scene, look, facts)
    scale = min(
        ((_WIDE + _GAP) / columns - _GAP) / across,
        ((_TALL - _HEAD - foot.y + _GAP) / rows - _GAP) / down,
    )
    wide, high = (max(60, round(extent * scale)) for extent in (across, down))
    width = max(_WIDE, columns * (wide + _GAP) - _GAP)
    start = (width - columns * (wide + _GAP) + _GAP) // 2
    bottom = _HEAD + rows * (high + _GAP) - _GAP
    sheet = Image.new("RGB", (width, bottom + foot.y + _PAD), _PAGE)
    draw = ImageDraw.Draw(sheet)
    convention = (
        "The patient’s front is on the right" if view.columns == 1 else CONVENTIONS[look.radiological]
    )
    draw.text((_PAD, 9), _plain(title), BRIGHT, font(16))
    draw.text((width - _PAD, 11), convention, QUIET, font(13), anchor="ra")
    for number, at in enumerate(indices):
        box = start + number % columns * (wide + _GAP), _HEAD + number // columns * (high + _GAP), wide, high
        pane = Pane(scene, look, plane, at, box, scale)
        pane.paint(sheet, _THIN)
        pane.letter(sheet, 11, QUIET)
        say(sheet, (box[0] + 5, box[1] + 4), _position(scene, view.across, at), 12)
    foot.put(sheet, _PAD, bottom)
    return png(np.asarray(sheet))


# where things are


def _boxes(scene: Scene) -> tuple[dict[str, Box], float]:
    """Boxes of the planes and of the facts, and pixels a mm."""
    x, y, z = scene.extent
    margins = 2 * _MARGIN
    scale = min((_WIDE - _GAP - 2 * margins) / (x + y), (_TALL - _GAP - 2 * margins) / (z + y))
    left, right, top, bottom = (
        max(least, round(mm * scale) + margins)
        for mm, least in ((x, _LEAST), (y, _FACTS), (z, _LEAST), (y, _LEAST))
    )
    beside, below = left + _GAP, top + _GAP
    return {
        "coronal": (0, 0, left, top),
        "sagittal": (beside, 0, right, top),
        "axial": (0, below, left, bottom),
        "facts": (beside, below, right, bottom),
    }, scale


def _showing(scene: Scene, look: Look, plane: str) -> tuple[int, int]:
    """The first and the last slice of a plane that show something; of a volume that shows nothing, all."""
    view = VIEWS[plane]
    level = look.window_low + _OF_WINDOW * (look.window_high - look.window_low)
    counts = np.count_nonzero(scene.data > level, axis=(view.rows, view.columns))
    size = scene.data.shape[view.rows] * scene.data.shape[view.columns]
    shown = np.flatnonzero(counts > _SHOWS * size)
    return (int(shown[0]), int(shown[-1])) if shown.size else (0, len(counts) - 1)


def _cells(first: int, last: int, ratio: float, rows: int, columns: int) -> tuple[list[int], int]:
    """Which slices are shown, and in how many columns."""
    count = min(last - first + 1, rows * columns or _CELLS)
    if columns < 1:
        if rows > 0:
            columns = -(-count // rows)
        else:
            ratio = min(4.0, max(0.25, ratio))  # a flat plane's cells have letters all the same
            shapes = {k: k * ratio / -(-count // k) for k in range(1, min(count, _MOST_COLUMNS) + 1)}
            columns = min(shapes, key=lambda k: abs(math.log(shapes[k] / _SHAPE)))
    columns = min(columns, count)
    rows = rows if rows > 0 else -(-count // columns)
    places = np.linspace(first, last, min(last - first + 1, rows * columns))
    return [int(at) for at in np.floor(places + 0.5)], columns


def _position(scene: Scene, across: int, at: int) -> str:
    """Where the middle of a slice lies, such as "z = 12 mm"."""
    x, y, z = ((size - 1) / 2 for size in scene.data.shape)
    middle = [x, y, z]
    middle[across] = at
    mm = round(scene.mm((middle[0], middle[1], middle[2]))[across], 1) + 0.0  # no minus before a zero
    return f"{'xyz'[across]} = {mm:g} mm"


def _slice(scene: Scene, plane: str, at: int) -> str:
    """A slice as the file counts it, such as "k 61"; in mm where it does not."""
    across = VIEWS[plane].across
    if scene.own is None:
        return _position(scene, across, at)
    letter, number = scene.own.place(scene.data.shape, across, at)
    return f"{letter} {number}"


def _nice_length(mm: float) -> float:
    """The longest of 1, 2, 5, 10, 20, 50 ... that is at most `mm`."""
    power = 10.0 ** math.floor(math.log10(mm))
    return power * next(k for k in (5, 2, 1) if mm >= k * power or k == 1)


def _scale_bar(sheet: Image.Image, box: Box, length: float, scale: float) -> None:
    left, bottom, wide = box[0] + 9, box[1] + box[3] - 9, round(length * scale)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left - 1, bottom - 4, left + wide, bottom + 1), fill=(0, 0, 0))
    draw.line((left, bottom, left + wide - 1, bottom), BRIGHT, 2)
    for x in (left, left + wide - 1):
        draw.line((x, bottom - 3, x, bottom), BRIGHT)
    say(sheet, (left + wide / 2, bottom - 6), f"{length:g} mm", 12, anchor="ms")


# what is said


def _tell(
    notes: "_Notes", scene: Scene, look: Look, ijk: tuple[int, int, int], title: str, facts: Sequence[str]
) -> None:
    """All that VolumeView says beside its planes."""
    mm = tuple(round(at, 1) + 0.0 for at in scene.mm(ijk))
    notes.words(title, 16)
    _warn(notes, scene)
    notes.space(4)
    if scene.own is not None:  # as the file counts
        own = sorted(scene.own.place(scene.data.shape, axis, at) for axis, at in enumerate(ijk))
        notes.row("Voxel", [f"{name} {at}" for name, at in own])
    notes.row("mm", [f"{name} {at:.1f}" for name, at in zip("xyz", mm, strict=True)])
    sides = [LETTERS[axis][0 if at < 0 else 1] for axis, at in enumerate(mm)]
    notes.row("", [f"{side} {abs(at):.1f}" for side, at in zip(sides, mm, strict=True)])
    value = float(scene.data[ijk])
    notes.row("Volume", [_number(value)])
    if scene.map is not None and scene.labels is not None:
        there = float(scene.map[ijk])
        notes.row("Region", ["none" if there == 0 else region_words(there, scene.names)])
    elif scene.map is not None:
        there = float(scene.map[ijk])
        notes.row("Map", [_number(there) if math.isfinite(there) else "not known"])
    notes.space(8)
    _window_bar(notes, look, value)
    if scene.map is not None and scene.strongest > 0:
        notes.space(6)
        _map_bar(notes, scene, look, float(scene.map[ijk]))
    notes.space(6)
    notes.words(CONVENTIONS[look.radiological], 13, QUIET)
    for fact in facts:
        notes.words(fact, 13, QUIET)


def _warn(notes: "_Notes", scene: Scene) -> None:
    """What VolumeView notes of a volume and its map."""
    tilt = degrees_oblique(np.asarray(scene.affine, np.float64))
    if tilt > _TILT:
        notes.words(f"Planes follow the voxels, {tilt:.0f}° from the patient’s axes.", 13, WARM)
    if scene.map is not None and scene.labels is None and scene.strongest <= 0:
        notes.words(
            "The map is zero everywhere." if scene.signed else "The map is nowhere above 0.", 13, WARM
        )


def _tell_below(notes: "_Notes", scene: Scene, look: Look, facts: Sequence[str]) -> None:
    """The one bar of colours that a lightbox needs, and facts."""
    if scene.map is not None and scene.strongest > 0:
        _map_bar(notes, scene, look, math.nan)
    else:
        _window_bar(notes, look, math.nan)
    _warn(notes, scene)
    for fact in facts:
        notes.words(fact, 13, QUIET)


def _window_bar(notes: "_Notes", look: Look, value: float) -> None:
    low, high = look.window_low, look.window_high
    colours = window(np.linspace(low, high, 256)[None], look)[0]
    level, width = low / 2 + high / 2, high - low
    said = f"width {_number(width)}, level {_number(level)}"
    share = (value - low) / width if width > 0 else math.nan
    notes.bar("Window", said, colours, [_number(low), _number(level), _number(high)], share)


def _map_bar(notes: "_Notes", scene: Scene, look: Look, value: float) -> None:
    limit = scene.strongest
    steps = np.arange(256) / 255 if not scene.signed else (np.arange(256) - 127.5) / 127.5
    pixels = shade(steps[None] * limit, scene, look, False)[0]
    colours = np.where(pixels[:, 3:] > 0, pixels[:, :3], np.array(_SUNKEN, np.uint8))
    numbers = [f"-{_number(limit)}", "0", f"+{_number(limit)}"] if scene.signed else ["0", "", _number(limit)]
    said = f"from {_number(look.threshold * limit)}" if look.threshold > 0 else ""
    notes.bar("Map", said, colours, numbers, (value / limit + 1) / 2 if scene.signed else value / limit)


def under(pixels: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "h2 w 3"]:
    """A picture with a sentence below it, in amber."""
    notes = _Notes(max(1, pixels.shape[1] - 2 * _PAD))
    notes.words(text, max(13, pixels.shape[1] // 40), WARM)
    sheet = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + notes.y + _PAD), _PAGE)
    sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)), (0, 0))
    notes.put(sheet, _PAD, pixels.shape[0])
    return np.asarray(sheet)


def _number(value: float) -> str:
    """As the page writes numbers: three digits, thousands whole."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{float(f'{value:.3g}') + 0.0:g}"


def _plain(text: str) -> str:
    """Text in the letters that the font has."""
    spelled = unicodedata.normalize("NFKD", text.translate(_SPELLED))
    kept = (one for one in spelled if not unicodedata.combining(one))
    return "".join(one if one.isascii() or one in "°±·’‘“”…" else "?" for one in kept)


class _Notes:
    """A column of words and bars, written downwards; `y` is how far it is."""

    _BAR = 420

    def __init__(self, width: int) -> None:
        self.width, self.y = width, _PAD
        self._done: list[tuple[int, Image.Image]] = []

    def put(self, sheet: Image.Image, left: int, top: int) -> None:
        """Lay the column into a picture."""
        for y, line in self._done:
            sheet.paste(line, (left, top + y))

    def space(self, pixels: int) -> None:
        self.y += pixels

    def words(self, text: str, size: int, colour: tuple[int, int, int] = BRIGHT) -> None:
        """Text, broken into lines that fit."""
        line = ""
        for word in [*_plain(text).split(), ""]:
            longer = f"{line} {word}".strip()
            if line and (not word or font(size).getlength(longer) > self.width):
                self._line(size + 6).text((0, 2), line, colour, font(size))
                longer = word
            line = longer

    def row(self, name: str, values: Sequence[str]) -> None:
        """A name, and values in columns."""
        draw = self._line(20)
        draw.text((0, 2), name, QUIET, font(14))
        for column, value in enumerate(values):
            draw.text((66 + 76 * column, 2), _plain(value), BRIGHT, font(14))

    def bar(
        self, name: str, said: str, colours: UInt8[np.ndarray, "256 3"], numbers: Sequence[str], share: float
    ) -> None:
        """A bar of colours with a name above, numbers below, and a mark at a share of it."""
        width = min(self.width, self._BAR)
        draw = self._line(20)
        draw.text((0, 2), name, QUIET, font(13))
        draw.text((width - 1, 2), said, QUIET, font(13), anchor="ra")
        draw = self._line(18)
        entries = np.arange(width) * 256 // width
        strip = np.repeat(colours[entries][None], 10, axis=0)
        self._done[-1][1].paste(Image.fromarray(strip), (0, 4))
        if math.isfinite(share):
            x = round(min(1.0, max(0.0, share)) * (width - 1))
            draw.rectangle((x - 2, 1, x + 2, 16), fill=_PAGE)
            draw.rectangle((x - 1, 1, x, 16), fill=BRIGHT)
        draw = self._line(18)
        for number, x, anchor in zip(numbers, (0, width // 2, width - 1), ("la", "ma", "ra"), strict=True):
            draw.text((x, 1), number, BRIGHT, font(12), anchor=anchor)

    def _line(self, height: int) -> ImageDraw.ImageDraw:
        line = Image.new("RGB", (self.width, height), _PAGE)
        self._done.append((self.y, line))
        self.y += height
        return ImageDraw.Draw(line)
