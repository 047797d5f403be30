"""Colours of maps: tables of 256 colours, and the rule by which a value gets its colour and its opacity."""

import colorsys
from collections.abc import Mapping

import numpy as np
from bokeh import palettes
from jaxtyping import Float, UInt8

from vislib.labels import Label

_SEQUENTIAL = {
    "inferno": palettes.Inferno256,
    "magma": palettes.Magma256,
    "viridis": palettes.Viridis256,
    "cividis": palettes.Cividis256,
    "turbo": palettes.Turbo256,
    "grey": palettes.Greys256,
}
# ColorBrewer's, without their two ends: those are nearly black, and the strongest values would be hard to see.
_DIVERGING = {
    "blue-red": palettes.RdBu11[1:-1],
    "purple-green": palettes.PRGn11[1:-1][::-1],
    "purple-orange": palettes.PuOr11[1:-1],
}
SEQUENTIAL = tuple(_SEQUENTIAL)
DIVERGING = tuple(_DIVERGING)
_GOLDEN = 0.6180339887498949  # of a turn: hues of numbers that follow lie far apart
_NEUTRAL = 128  # the entry of 0 in a diverging table; 127 entries lie on either side of it


def table(name: str) -> UInt8[np.ndarray, "256 3"]:
    """RGB colours of a palette; a diverging one has its neutral colour at 128 and is used from 1 to 255."""
    if name in _SEQUENTIAL:
        return _rgb(_SEQUENTIAL[name])
    anchors = _rgb(_DIVERGING[name]).astype(float)
    places = np.maximum(np.arange(256) - 1, 0) * (len(anchors) - 1) / 254
    return np.stack(
        [np.rint(np.interp(places, np.arange(len(anchors)), channel)) for channel in anchors.T], axis=1
    ).astype(np.uint8)


def tables() -> dict[str, bytes]:
    """Every table as 768 bytes, for the browser."""
    return {name: table(name).tobytes() for name in (*SEQUENTIAL, *DIVERGING)}


def categorical(values: Float[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """A colour for each label, the same for the same label everywhere; those of labels that follow differ well."""
    colours = np.empty((len(values), 3), np.uint8)
    for row, value in enumerate(values.tolist()):
        number = int(value) if float(value).is_integer() else row + 1
        light = (0.62, 0.5, 0.74)[number % 3]
        three = colorsys.hls_to_rgb(number * _GOLDEN % 1.0, light, 0.75)
        colours[row] = [round(255 * one) for one in three]
    return colours


def label_colours(values: Float[np.ndarray, " n"], labels: Mapping[int, Label]) -> UInt8[np.ndarray, "n 3"]:
    """The colour of each label: the one that a table gives it, else its own of all numbers."""
    colours = categorical(values)
    for row, value in enumerate(values.tolist()):
        known = labels.get(int(value)) if value == int(value) else None
        if known is not None and known.colour is not None:
            colours[row] = known.colour
    return colours


def largest(values: Float[np.ndarray, "h w"], signed: bool) -> float:
    """The value of the strongest colour: the largest finite |value|, of an unsigned map the largest above 0."""
    finite = values[np.isfinite(values)]
    return float(np.max(np.abs(finite) if signed else finite, initial=0.0))


def coloured(
    values: Float[np.ndarray, "h w"],
    signed: bool,
    palette: str,
    threshold: float = 0.0,
    alpha_by_value: bool = True,
    limit: float = 0.0,
    colour: UInt8[np.ndarray, "h w 3"] | None = None,
) -> UInt8[np.ndarray, "h w 4"]:
    """Colour a map as the browser does (`shade` in dist/lens.js): RGBA, alpha not multiplied in.

    A value's share is value / `limit` (0: `largest` of the map), clipped to [-1, 1], unsigned to [0, 1]. Where
    |share| < `threshold` and where a value is not a number the map is transparent, and everywhere if `largest`
    is 0; elsewhere opaque, or as opaque as |share|. `colour` takes the place of the palette's colours.
    """
    peak = largest(values, signed)
    pixels = np.zeros((*values.shape, 4), np.uint8)
    if peak == 0:
        return pixels
    limit = limit if limit > 0 else peak
    share = np.clip(values.astype(np.float64) / limit, -1.0 if signed else 0.0, 1.0)
    size = np.abs(share)
    shown = size >= threshold  # no NaN is
    share, size = share[shown], size[shown]
    entries = _NEUTRAL + _round(share * 127) if signed else _round(share * 255)
    pixels[shown, :3] = table(palette)[entries] if colour is None else colour[shown]
    pixels[shown, 3] = _round(size * 255) if alpha_by_value else 255
    return pixels


def over(
    picture: UInt8[np.ndarray, "h w 3"], layer: UInt8[np.ndarray, "h w 4"], opacity: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay a coloured map over a picture of the same size, at `opacity` 0..1."""
    alpha = layer[..., 3:] * (opacity / 255)
    return np.rint(picture * (1 - alpha) + layer[..., :3] * alpha).astype(np.uint8)


def _round(numbers: np.ndarray) -> np.ndarray:
    """Halves go up, as JavaScript's Math.round has them."""
    return np.floor(numbers + 0.5).astype(int)


def _rgb(colours: tuple[str, ...]) -> UInt8[np.ndarray, "n 3"]:
    return np.array([[int(one[at : at + 2], 16) for at in (1, 3, 5)] for one in colours], np.uint8)
