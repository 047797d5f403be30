"""The values of a volume as float32: read block by block, scaled, counted or said where float32 cannot hold them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Num

from vislib.labels import FEW, different, is_labels
from vislib.volume_source import Block, Source
from vislib.words import counted

AT_ONCE = 1_000_000  # voxels read in one go, and no more than a sixteenth of all
SMALL, LARGE = 1e-30, 1e30  # sums and squares of values beyond these leave float32
MOSTLY = 99.8  # percentile of the sizes that must lie between them for the others to count as outliers
STEPS = 4096  # values that can be told apart are fewer than a scan's own 12 bits: worth a word
_HOLES = 0.01  # of the voxels: a larger share that is not finite is no hole in a scan but lies outside of it
_BESIDE = 7  # every so manieth value beside what is not finite is looked at
_SEEN = 64  # every so manieth value is looked at for that


@dataclass(frozen=True)
class Values:
    """What was done to a file's values; `notes` says it.

    The file's values are those of the array times ten to the `power`, or the `numbers` at the places that it holds.
    """

    power: int
    numbers: tuple[int, ...]
    notes: tuple[str, ...]


def read_values(source: Source, time: int, into: Float32[np.ndarray, "i j k"]) -> Values:
    """Read one time of a file into an array in the file's own order.

    Values that float32 cannot compute with are divided by a power of ten, labels that it cannot tell apart are counted.
    What is not finite becomes what stands for nothing: see `background`.
    """
    largest, told = 0.0, _Told()
    for where in blocks(source.shape, source.slowest):
        block = source.block(where, time)
        into[where] = block
        largest = max(largest, _largest(block))
        told.compare(block, into[where])
    power = 0 if largest == 0 or SMALL <= largest <= LARGE else _power(source, time)
    if power:
        for where in blocks(source.shape, source.slowest):
            into[where] = np.asarray(source.block(where, time), np.float64) / 10.0**power
        beyond = f"Its values, up to {largest:.3g}, are beyond what can be computed with"
        return Values(
            power, (), (f"{beyond}: all were divided by 1e{power:+d}.", *_mended(into, largest / 10.0**power))
        )
    if told.changed and told.whole and (numbers := _counted(source, time, into)):
        said = (
            f"Its labels, up to {max(map(abs, numbers)):,}, are larger than can be computed with: they are counted "
            f"0 to {len(numbers) - 1} in their order, and called by their own numbers."
        )
        return Values(0, numbers, (said,))
    return Values(0, (), (*told.words(), *_mended(into, largest)))


class _Told:
    """How well float32 tells the values of a file apart."""

    def __init__(self) -> None:
        self.changed = 0  # values that float32 rounds
        self._low, self._high = math.inf, -math.inf
        self.whole = True  # whether all that float32 rounds are whole numbers

    def compare(self, block: Num[np.ndarray, "i j k"], kept: Float32[np.ndarray, "i j k"]) -> None:
        """Count what float32 rounds in a block."""
        if block.dtype.itemsize < 4 or block.dtype == np.float32 or not block.size:
            return
        exact = np.asarray(block, np.float64)
        changed = np.isfinite(kept) & (kept != exact)
        count = int(np.count_nonzero(changed))
        self.changed += count
        self.whole = self.whole and not (count and (exact[changed] != np.rint(exact[changed])).any())
        known = exact[np.isfinite(kept)]  # what is beyond float32 is told elsewhere
        if known.size:
            self._low, self._high = min(self._low, float(known.min())), max(self._high, float(known.max()))

    def words(self) -> list[str]:
        """The sentence for values so near each other, for their size, that few of them are told apart."""
        if not self.changed or self._high <= self._low:
            return []
        step = float(np.spacing(np.float32(max(abs(self._low), abs(self._high)))))
        steps = int((self._high - self._low) / step)
        if steps >= STEPS:
            return []
        return [
            f"Its values, {self._low:.10g} to {self._high:.10g}, are so near each other that they are told apart in "
            f"{counted(steps, 'step')} only: subtract an offset before the file is written."
        ]


def _counted(source: Source, time: int, into: Float32[np.ndarray, "i j k"]) -> tuple[int, ...]:
    """Replace labels by their places in the order of their numbers, 0 first; those numbers, none where it is no atlas.

    A file's labels may be larger than float32 holds exactly: those of the Allen Institute's atlases reach 614,454,277.
    """

    def block(where: Block) -> np.ndarray:
        return np.asarray(source.block(where, time), np.float64)

    known = different(block(where) for where in blocks(source.shape, source.slowest))
    if known is None or not (known == np.rint(known)).all():
        return ()
    known = np.union1d(known, [0.0])
    known = known[np.argsort(known != 0, kind="stable")]
    order = np.argsort(known)
    places = np.empty_like(into)
    for where in blocks(source.shape, source.slowest):
        places[where] = order[np.searchsorted(known, block(where), sorter=order)]
    if not is_labels(places):
        return ()
    into[...] = places
    return tuple(int(number) for number in known)


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


def background(least: float, beside: Float32[np.ndarray, " n"]) -> float:
    """What stands for nothing among values of which `least` is the least: 0, or the least one of a scan below 0.

    Outside of a mask, an atlas or a map of effects there is 0; around a CT there is air, of about -1000. The values
    `beside` the place tell which: the least value is taken where their median lies nearer to that than to 0.
    """
    if least >= 0 or not beside.size:
        return 0.0
    middle = float(np.median(beside))
    return least if middle - least < abs(middle) else 0.0


def _mended(data: Float32[np.ndarray, "x y z"], largest: float) -> list[str]:
    """Replace, in place, what is not finite; the sentence that says so. `largest`: of the file's finite values."""
    count = sum(part.size - int(np.count_nonzero(np.isfinite(part))) for part in data)
    if count == 0:
        return []
    value = _in_place_of_missing(data, count)
    for part in data:
        part[~np.isfinite(part)] = value
    beyond = f", or one beyond float32 (up to {largest:.3g})," if largest > np.finfo(np.float32).max else ""
    were = "was" if count == 1 else "were"
    return [f"{counted(count, 'voxel')} that held no finite number{beyond} {were} set to {value:g}."]


def _in_place_of_missing(data: Float32[np.ndarray, "x y z"], count: int) -> float:
    """The value of the `count` voxels that are not finite.

    A few such voxels of a scan above 0 are holes in it, and become its least value; many, or those among whole numbers,
    are what lies outside.
    """
    low, whole, beside = math.inf, True, []
    before = np.zeros(data.shape[1:], bool)
    for part in data:
        missing = ~np.isfinite(part)
        known = part[~missing]
        low = min(low, float(known.min())) if known.size else low
        whole = whole and bool((known == np.rint(known)).all())
        near = before.copy()
        for one, other in ((slice(1, None), slice(-1)), (slice(-1), slice(1, None))):
            near[one] |= missing[other]
            near[:, one] |= missing[:, other]
        beside.append(part[near & ~missing][::_BESIDE])
        before = missing
    if low < 0:
        # A mask or an atlas may have numbers below 0: outside is none of them.
        numbers = different(part[np.isfinite(part)] for part in data) if whole else None
        few = numbers is not None and len(numbers) <= FEW
        return 0.0 if few else background(low, np.concatenate(beside))
    holes = count < _HOLES * data.size and not whole
    return low if 0 < low < math.inf and holes else 0.0
