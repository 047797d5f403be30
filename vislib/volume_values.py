"""The values of a volume as float32: read block by block, far too large or small ones scaled, the rest made finite."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Num

from vislib.volume_source import Block, Source
from vislib.words import counted

AT_ONCE = 1_000_000  # voxels read in one go, and no more than a sixteenth of all
SMALL, LARGE = 1e-30, 1e30  # sums and squares of values beyond these leave float32
MOSTLY = 99.8  # percentile of the sizes that must lie between them for the others to count as outliers
_SEEN = 64  # every so manieth value is looked at for that


def read_values(source: Source, time: int, into: Float32[np.ndarray, "i j k"]) -> tuple[int, list[str]]:
    """Read one time of a file into an array in the file's own order; the power of ten taken out, and what must be said.

    The file's values are those of the array times ten to that power: 0 but for values that float32 cannot hold or
    compute with. What is not finite becomes 0, or the smallest value where 0 lies outside the values.
    """
    largest = 0.0
    for where in blocks(source.shape, source.slowest):
        block = source.block(where, time)
        into[where] = block
        largest = max(largest, _largest(block))
    power = 0 if largest == 0 or SMALL <= largest <= LARGE else _power(source, time)
    notes = []
    if power:
        for where in blocks(source.shape, source.slowest):
            into[where] = np.asarray(source.block(where, time), np.float64) / 10.0**power
        notes.append(
            f"Its values, up to {largest:.3g}, are beyond what can be computed with: all were divided by 1e{power:+d}."
        )
    return power, [*notes, *_mended(into)]


def _largest(block: Num[np.ndarray, "i j k"]) -> float:
    """The largest size of a block's finite values."""
    if block.dtype.kind != "f":
        return 1.0  # whole numbers need no scale
    ends = max(abs(float(block.min())), abs(float(block.max()))) if block.size else 0.0
    if math.isfinite(ends):
        return ends
    sizes = np.abs(block[np.isfinite(block)])
    return float(sizes.max()) if sizes.size else 0.0


def _power(source: Source, time: int) -> int:
    """The power of ten to be taken out so that most of a file's values can be computed with."""
    seen = []
    for where in blocks(source.shape, source.slowest):
        block = np.asarray(source.block(where, time), np.float64).reshape(-1)
        sizes = np.abs(block[np.isfinite(block) & (block != 0)])
        seen.append(sizes[:: _SEEN if sizes.size > 100 * _SEEN else 1])
    size = float(np.percentile(np.concatenate(seen), MOSTLY))
    return 0 if SMALL <= size <= LARGE else min(max(math.floor(math.log10(size)), -300), 300)


def blocks(shape: tuple[int, int, int], slowest: int) -> Iterator[Block]:
    """Blocks of at most AT_ONCE voxels (or one row), in the order in which they lie in the file."""
    most = max(1, min(AT_ONCE, math.prod(shape) // 16))
    plane = math.prod(shape) // shape[slowest]
    rows = max(1, min(shape[1], most // (plane // shape[1])))
    planes = max(1, most // plane)
    for first in range(0, shape[slowest], planes):
        for row in range(0, shape[1], rows):
            block = [slice(0, n) for n in shape]
            block[1] = slice(row, min(row + rows, shape[1]))
            block[slowest] = slice(first, min(first + planes, shape[slowest]))
            yield block[0], block[1], block[2]


def _mended(data: Float32[np.ndarray, "x y z"]) -> list[str]:
    """Replace, in place, what is not finite; the sentence that says so."""
    count, low, high = 0, math.inf, -math.inf
    for part in data:
        finite = np.isfinite(part)
        missing = finite.size - int(np.count_nonzero(finite))
        count += missing
        if missing < finite.size:
            known = part[finite] if missing else part
            low, high = min(low, float(known.min())), max(high, float(known.max()))
    if count == 0:
        return []
    value = low if 0 < low <= high or low <= high < 0 else 0.0
    for part in data:
        part[~np.isfinite(part)] = value
    return [
        f"{counted(count, 'voxel')} that held no finite number {'was' if count == 1 else 'were'} set to {value:g}."
    ]
