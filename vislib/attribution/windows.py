"""Windows over an image: where they are, in which order they are asked about, and the map that their values make."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor

from vislib.attribution.incremental import Rerun
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution
from vislib.attribution.target import Target

# The first, coarsest level has at least this many windows on the longest axis, where there are as many.
FIRST = 5


@dataclass(frozen=True)
class Grid:
    """Windows of one size at every combination of `starts` (one tuple an axis); those at the end may be cut off."""

    spatial: tuple[int, ...]
    window: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    @classmethod
    def cut_off(cls, spatial: Sequence[int], window: Sequence[int], stride: int) -> "Grid":
        """The first window at 0, then one every `stride`; the last may reach over the end."""
        starts = (
            tuple(stride * i for i in range(max(0, -(-(size - own) // stride)) + 1))
            for size, own in zip(spatial, window, strict=True)
        )
        return cls(tuple(spatial), tuple(window), tuple(starts))

    @classmethod
    def whole(cls, spatial: Sequence[int], window: Sequence[int], stride: int) -> "Grid":
        """The first window at 0, then one every `stride`, and one that ends where the image does."""
        starts = (
            tuple(dict.fromkeys((*range(0, size - own, stride), size - own)))
            for size, own in zip(spatial, window, strict=True)
        )
        return cls(tuple(spatial), tuple(window), tuple(starts))

    @property
    def shape(self) -> tuple[int, ...]:
        """Windows on each axis."""
        return tuple(len(starts) for starts in self.starts)

    def places(self, windows: Int64[np.ndarray, " m"]) -> Int[Tensor, "m axes"]:
        """Where windows of these numbers (in row-major order) start."""
        indices = np.unravel_index(windows, self.shape)
        return torch.tensor(
            np.stack([np.take(own, index) for own, index in zip(self.starts, indices, strict=True)], 1)
        )

    def levels(self) -> list[Int64[np.ndarray, " m"]]:
        """All windows, coarse to fine: every 8th, say, on each axis, then the rest of every 4th, and so on.

        Within a level they are in a random order, always the same.
        """
        indices = np.indices(self.shape).reshape(len(self.shape), -1)
        coarsest = 0
        while max(self.shape) > 2 ** (coarsest + 1) * (FIRST - 1):
            coarsest += 1
        level = np.full(indices.shape[1], coarsest)
        for depth in range(coarsest, 0, -1):
            level[(indices % 2**depth != 0).any(0)] = depth - 1
        order = np.random.default_rng(0).permutation(indices.shape[1])
        return [order[level[order] == depth] for depth in range(coarsest, -1, -1) if (level == depth).any()]

    def maps(
        self, values: Float64[Tensor, "n windows"], seen: Bool[Tensor, "n windows"]
    ) -> tuple[Float64[Tensor, "n *grid"], Float64[Tensor, "n *spatial"]]:
        """Values of all windows, and for each element the mean over the windows that cover it.

        Windows not seen yet take the mean of their nearest seen neighbours; elements that only they cover, theirs.
        """
        known = seen.double().view(-1, *self.shape)
        given = values.view(-1, *self.shape) * known
        covers = [
            _between(torch.tensor(starts), size, own)
            for starts, size, own in zip(self.starts, self.spatial, self.window, strict=True)
        ]
        filled = _filled(given, known)
        total, count = _spread(given, covers), _spread(known, covers)
        if bool((count > 0).all()):
            return filled, total / count
        guessed = _spread(filled, covers) / _spread(torch.ones_like(known), covers)
        return filled, torch.where(count > 0, total / count.clamp(min=1), guessed)


def sweep(
    query: Query,
    grid: Grid,
    rerun_of: Callable[[int], Rerun],
    relevance: Callable[[Rerun, int, Int64[np.ndarray, " m"]], Float[Tensor, "m"]],
    at_once: Callable[[Rerun], int],
    *,
    notes: Sequence[str] = (),
) -> Iterator[Attribution]:
    """Ask `relevance(rerun, image, windows)` about every window of every image, and yield maps of what is known.

    `step` counts the windows asked about.
    """
    n, windows = len(query.images), int(np.prod(grid.shape))
    values = torch.zeros(n, windows, dtype=torch.float64)
    seen = torch.zeros(n, windows, dtype=torch.bool)
    with torch.no_grad():
        scores = torch.cat([query.score(query.images[rows], list(rows)) for rows in query.batches(n)])
    current, rerun, done = -1, None, 0
    for level in grid.levels():
        for image in range(n):
            if rerun is None or image != current:
                current, rerun = image, rerun_of(image)
            size = at_once(rerun)
            for first in range(0, len(level), size):
                chosen = level[
                    first : first + size
                ]  # the last one is smaller, and no window is asked about twice
                values[image, chosen] = relevance(rerun, image, chosen).double().cpu()
                seen[image, chosen] = True
                done += len(chosen)
                raw, full = grid.maps(values, seen)
                yield query.result(raw, scores, values=full, step=done, steps=n * windows, notes=notes)


def units_of(target: Target) -> tuple[tuple[int, ...], Target]:
    """The units that a checked target reads, and the target for a layer that has them alone."""
    unit, against = target.unit, target.against
    assert isinstance(unit, tuple)
    units = tuple(sorted({*unit, *(against if isinstance(against, tuple) else ())}))
    among = replace(
        target,
        unit=tuple(units.index(one) for one in unit),
        against=tuple(units.index(one) for one in against) if isinstance(against, tuple) else None,
    )
    return units, among


def fitted(query: Query, window: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The window's size on each axis, cut to the image's, and the sentence that says so."""
    spatial = tuple(query.images.shape[2:])
    if window <= min(spatial):
        return (window,) * len(spatial), ()
    size = " x ".join(str(length) for length in spatial)
    return tuple(min(window, length) for length in spatial), (
        f"The window of {window} pixels is larger than the image of {size} and was cut to it.",
    )


def _between(starts: Tensor, size: int, window: int) -> Float64[Tensor, "windows size"]:
    """1 where a window (a row) covers a position."""
    at = torch.arange(size)
    return ((at >= starts[:, None]) & (at < starts[:, None] + window)).double()


def _spread(grid: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """A linear map along every axis after the first."""
    for matrix in matrices:
        grid = torch.tensordot(grid, matrix, dims=([1], [0]))  # the axis done goes to the end
    return grid


def _filled(
    given: Float64[Tensor, "n *grid"], known: Float64[Tensor, "n *grid"]
) -> Float64[Tensor, "n *grid"]:
    """`given` where known; elsewhere the mean of what is known within the least distance that has any."""
    filled, found, reach = given.clone(), known > 0, 1
    while reach < 2 * max(given.shape[1:]) and not bool(found.all()):
        near = [_between(torch.arange(size) - reach, size, 2 * reach + 1) for size in given.shape[1:]]
        total, count = _spread(given, near), _spread(known, near)
        filled = torch.where(found | (count == 0), filled, total / count.clamp(min=1))
        found, reach = found | (count > 0), 2 * reach
    return filled
