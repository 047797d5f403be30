"""Levels: which of a picture's values become black and white, where its stored type does not say."""

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image

# A stored type says what black and white are where its upper bits are used. Fewer are missing of 16, since 10, 12 and
# 14 bits are kept in these; a picture of 8 bits may well be dark.
USED = {255: 32, 65535: 32768}
MARKED = 65535  # a few pixels of this type, of a mark or dead ones, do not say that its upper bits are used
RARE = 0.1  # per cent of the pixels at either end that are left out ...
FAR = 8  # ... where the range is so many times wider than without them: hot and dead pixels
FEW_BELOW = 0.2  # per cent of a volume's voxels
MANY = 4_000_000  # of a volume
SEEN = 1_000_000  # values, evenly spread, from which the ends are taken where there are more


def window(known: Float32[np.ndarray, " n"], full: int | None) -> tuple[float, float, str]:
    """What becomes black and what white, and a sentence where it was the values that decided, else "".

    `full` is the greatest number that the stored type can hold, None where that says nothing (floating point, 32 bits).
    """
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    used = full is not None and (high >= USED[full] or low == high)
    some = known[:: 1 + known.size // SEEN]
    if used:
        some = some[some < high]  # a mark that was burnt in may be large
    inner_low, inner_high = np.percentile(some if some.size else 0.0, (RARE, 100 - RARE))
    few = inner_low < inner_high and high - low > FAR * (inner_high - inner_low)
    # Of 8 bits a few bright pixels may be all the light that there is.
    marked = full == MARKED and few and FAR * inner_high <= full
    if full is not None and used and not marked:
        return 0.0, float(full), ""
    rare = ""
    if few:
        low, high = float(inner_low), float(inner_high)
        share = 100 * float(((known < low) | (known > high)).mean())
        rare = f"; {share:.2g} % of the pixels lie beyond"
    if not low < high:
        return low, high, ""
    return low, high, f"Its values, {low:g} to {high:g}, were stretched from black to white{rare}."


def spread(values: Shaped[np.ndarray, "*any"], most: int) -> Shaped[np.ndarray, " n"]:
    """At most so many of the values, evenly spread; no copy."""
    flat = values.reshape(-1)
    return flat[:: max(1, -(-flat.size // most))]


def darkest(values: Float32[np.ndarray, "*any"], least: float, high: float) -> float:
    """What becomes black where `high` becomes white: the least value, unless it lies further below than others spread.

    As a few voxels do, or the padding around a scan (-32768 in a CT), which would make all else white. FEW_BELOW per
    cent may be left out, and any number of voxels of one value below 0 (0 is a background) that is FAR times as far
    below.
    """
    flat = spread(values, MANY)
    inner = float(np.percentile(flat, FEW_BELOW))
    if inner - least > high - inner > 0:
        return inner
    if least >= 0:
        return least
    above = flat[flat > least]
    lowest = float(np.percentile(above, FEW_BELOW)) if above.size else least
    return lowest if lowest - least > FAR * (high - lowest) > 0 else least


def lifted(image: Image.Image, notes: list[str]) -> Image.Image:
    """A picture in L, LA, RGB or RGBA, its values stretched where only the lowest are used: masks, labels."""
    colours = 1 if image.mode in ("L", "LA") else 3
    bands = image.split()
    extrema = [band.getextrema() for band in bands[:colours]]
    ends = np.array(extrema, np.float32)
    low, high, said = window(ends.ravel(), 255)
    if not said:
        return image
    notes.append(said)
    table = [round(255 * min(max(0.0, (value - low) / (high - low)), 1)) for value in range(256)]
    return Image.merge(image.mode, [*(band.point(table) for band in bands[:colours]), *bands[colours:]])
