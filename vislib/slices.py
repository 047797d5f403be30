"""Slices: one plane of a volume as a 2-D network's input, and a map over it back on the volume's grid."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Float64, Shaped
from scipy.sparse import csr_array

from vislib.errors import ImageError
from vislib.preparation import STORED, Preparation
from vislib.volume import PLANES, Volume, check_grid

_SLANT = 1.0  # mm between the ends of a slice, from which on it does not lie at one height


@dataclass(frozen=True)
class View:
    """Voxel axes of a plane: the picture's columns run along `columns`, its rows against `rows`."""

    rows: int
    columns: int
    across: int


# As models/brain/heads.py shows heads: anterior or superior up, the left hand or the back of the head left.
VIEWS: Mapping[str, View] = MappingProxyType(
    {"axial": View(1, 0, 2), "coronal": View(2, 0, 1), "sagittal": View(2, 1, 0)}
)


@dataclass(frozen=True, eq=False)
class Slice:
    """One plane of a volume as a network's input, and the way between its pixels and the volume's voxels."""

    image: Float32[np.ndarray, "1 c h w"]  # [0, 1]
    affine: Float64[np.ndarray, "4 4"]  # pixel (row, column, 0, 1) to mm (right, anterior, superior, 1)
    plane: str
    index: int
    grid: tuple[int, int, int]  # the volume's shape
    start: tuple[float, float]  # where the first row and column lie, in voxels along their axes ...
    step: tuple[float, float]  # ... and the way to the next one

    def sample(self, array: Shaped[np.ndarray, "x y z"], order: int = 0) -> Shaped[np.ndarray, "h w"]:
        """See another array on the volume's grid as the image is seen; 0 outside.

        `order` 0 takes the nearest voxel and keeps the type (for masks), 1 is linear as for the image, float32.
        Raises ImageError for another grid or order.
        """
        check_grid(array, self.grid)
        if order not in (0, 1):
            raise ImageError(f"There is no interpolation of order {order}: choose 0 (nearest) or 1 (linear).")
        cut = _cut(array, self.plane, self.index)
        places = _places(self.start, self.step, self.image.shape[2:])
        if order == 1:
            return _resampled(cut.astype(np.float32), *places, self.step)
        rows, columns = (np.floor(at + 0.5).astype(np.int64) for at in places)
        seen = np.zeros((len(rows), len(columns)), cut.dtype)
        inside = [
            np.flatnonzero((at >= 0) & (at < size))
            for at, size in zip((rows, columns), cut.shape, strict=True)
        ]
        seen[np.ix_(*inside)] = cut[np.ix_(rows[inside[0]], columns[inside[1]])]
        return seen

    def back(self, values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "x y z"]:
        """Put a map over the image on the volume's grid: linear at the slice's voxel centres, 0 elsewhere.

        Raises ImageError for a map of another size than the image.
        """
        whole = np.zeros(self.grid, np.float32)
        self.put(values, whole)
        return whole

    def put(self, values: Float32[np.ndarray, "h w"], into: Float32[np.ndarray, "x y z"]) -> None:
        """Write a map over the image into this slice of an array, as `back` does; other slices stay as they are.

        Raises ImageError for a map of another size than the image and for an array on another grid.
        """
        check_grid(into, self.grid)
        if values.shape != self.image.shape[2:]:
            raise ImageError(
                f"A map of {values.shape} does not lie on a slice of {self.image.shape[2:]} pixels; "
                "give one that was computed for this slice."
            )
        cut = _cut(into, self.plane, self.index)
        rows, columns = (
            (np.arange(size) - start) / step
            for size, start, step in zip(cut.shape, self.start, self.step, strict=True)
        )
        cut[...] = _resampled(values, rows, columns, (1.0, 1.0))


def slice_image(
    volume: Volume,
    plane: str,
    index: int,
    network_input_shape: tuple[int, ...],
    spacing: tuple[float, ...] = (),
    preparation: Preparation = STORED,
) -> Slice:
    """Cut slice `index` of a plane as the network takes it: in [0, 1], centred on the volume's field of view.

    Rows run to the back (axial) or down, columns to the right or (sagittal) to the front, along the volume's own
    voxel axes also where these are oblique. `spacing` is mm a pixel along rows and columns; without it the whole
    slice just fits into the picture. `preparation` says what becomes 0 and 1. Linear, with a filter as wide as
    the reduction; 0 outside the volume; grey is repeated for three channels. Raises ImageError for a plane, index,
    shape or spacing that does not fit.
    """
    view, count = _view(plane), slices(volume, plane)
    if not 0 <= index < count:
        raise ImageError(f"{volume.name} has no {plane} slice {index}; its slices are 0 to {count - 1}.")
    start, step = slice_grid(volume, plane, network_input_shape, spacing)
    channels, *size = network_input_shape
    cut = preparation.window(volume).unit(_cut(volume.data, plane, index))
    if preparation.brain_only:
        cut *= _cut(volume.brain, plane, index)
    image = _resampled(cut, *_places(start, step, size), step).clip(0, 1)
    pixel_to_voxel = np.zeros((4, 4))
    pixel_to_voxel[[view.rows, view.columns, view.across], range(3)] = *step, 1
    pixel_to_voxel[[view.rows, view.columns, view.across, 3], 3] = *start, index, 1
    affine = volume.affine @ pixel_to_voxel
    x, y, z = volume.data.shape
    return Slice(image[None, None].repeat(channels, 1), affine, plane, index, (x, y, z), start, step)


def slices(volume: Volume, plane: str) -> int:
    """How many slices there are in a plane; raises ImageError for an unknown plane."""
    return volume.data.shape[_view(plane).across]


def best_slice(mask: Shaped[np.ndarray, "x y z"], plane: str) -> int:
    """The slice with most of a mask, the first of equals; the middle one where the mask is empty."""
    view = _view(plane)
    counts = np.count_nonzero(mask, axis=(view.rows, view.columns))
    return int(counts.argmax()) if counts.any() else mask.shape[view.across] // 2


def position(volume: Volume, plane: str, index: int) -> float:
    """Where the middle of a slice lies, in mm to the right (sagittal), front (coronal) or top (axial)."""
    across = _view(plane).across
    middle = np.append((np.array(volume.data.shape) - 1) / 2, 1.0)
    middle[across] = index
    return float(volume.affine[across] @ middle)


def caption(volume: Volume, plane: str, index: int) -> str:
    """Name a slice, such as "axial, z = 12 mm"; of an oblique volume by its middle, since it runs through others."""
    mm = round(position(volume, plane, index), 1) + 0.0  # no minus before a zero
    across = _view(plane).across
    within = np.delete(volume.affine[across, :3] * volume.data.shape, across)
    middle = " at its middle" if np.abs(within).sum() >= _SLANT else ""
    return f"{plane}, {'xyz'[across]} = {mm:g} mm{middle}"


def _view(plane: str) -> View:
    if plane not in VIEWS:
        raise ImageError(f"There is no plane {plane!r}; choose one of {', '.join(PLANES)}.")
    return VIEWS[plane]


def slice_grid(
    volume: Volume, plane: str, network_input_shape: tuple[int, ...], spacing: tuple[float, ...] = ()
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the first row and column of `slice_image` lie, in voxels along their axes, and the steps to the next ones.

    Raises ImageError for a plane, shape or spacing that does not fit.
    """
    view = _view(plane)
    channels, *size = network_input_shape
    if len(size) != 2 or channels not in (1, 3) or min(size) < 1:
        raise ImageError(
            f"A network whose input has shape {network_input_shape} (channels, then spatial sizes) takes no slices: "
            "choose one over 1 or 3 channels and 2 spatial axes."
        )
    axes = (view.rows, view.columns)
    counts, voxel = [volume.data.shape[axis] for axis in axes], [volume.voxel[axis] for axis in axes]
    if not spacing:
        spacing = (max(n * mm / pixels for n, mm, pixels in zip(counts, voxel, size, strict=True)),) * 2
    if len(spacing) != 2 or not all(0 < mm < math.inf for mm in spacing):
        raise ImageError(f"Pixels of {spacing} mm cannot be: give two numbers above 0, such as (1.5, 1.5).")
    step = -spacing[0] / voxel[0], spacing[1] / voxel[1]
    first, left = ((n - 1 - (k - 1) * way) / 2 for n, k, way in zip(counts, size, step, strict=True))
    return (first, left), step


def _places(
    start: tuple[float, float], step: tuple[float, float], size: Sequence[int]
) -> tuple[Float64[np.ndarray, "h"], Float64[np.ndarray, "w"]]:
    """Where rows and columns of pixels lie, in voxels along their axes."""
    rows, columns = (one + way * np.arange(count) for one, way, count in zip(start, step, size, strict=True))
    return rows, columns


def upright(array: Shaped[np.ndarray, "x y z"], plane: str, index: int) -> Shaped[np.ndarray, "h w"]:
    """A view on one slice as it is looked at: front or top up, the patient's left or back on the left."""
    return _cut(array, plane, index)[::-1]


def _cut(array: Shaped[np.ndarray, "x y z"], plane: str, index: int) -> Shaped[np.ndarray, "rows columns"]:
    """A view on one slice; rows follow the later voxel axis in every plane."""
    return np.moveaxis(array, _view(plane).across, 0)[index].T


def _resampled(
    cut: Float32[np.ndarray, "m n"],
    rows: Float64[np.ndarray, "h"],
    columns: Float64[np.ndarray, "w"],
    step: tuple[float, float],
) -> Float32[np.ndarray, "h w"]:
    """Values at places given in pixels of `cut`, `step` apart."""
    # Sparse: the threads that dense matrices wake take a hundred times as long where others work beside them.
    down, right = (
        csr_array(_weights(at, size, abs(way)))
        for at, size, way in zip((rows, columns), cut.shape, step, strict=True)
    )
    return np.ascontiguousarray((right @ (down @ cut).T).T)


def _weights(at: Float64[np.ndarray, "p"], size: int, step: float) -> Float32[np.ndarray, "p size"]:
    """Linear interpolation at places on a line of `size` pixels, its triangle as wide as the step where that is larger.

    The last half pixel at each end continues its value; beyond it is nothing.
    """
    weights = np.clip(1 - np.abs(at[:, None] - np.arange(size)) / max(1.0, step), 0, None)
    inside = (at >= -0.5) & (at <= size - 0.5)
    total = weights.sum(1)
    return (weights * (inside / np.where(inside, total, 1))[:, None]).astype(np.float32)
