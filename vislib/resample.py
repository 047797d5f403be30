"""Grids: a volume seen on any other grid in mm, as a 3-D network takes it, and maps back on the volume's own."""

import math

import numpy as np
from jaxtyping import Bool, Float32, Float64, Num
from scipy import ndimage

from vislib.errors import ImageError
from vislib.preparation import STORED, Preparation
from vislib.volume import Volume

NEW_VOXELS = 512_000_000  # that a grid may have
_FWHM = math.sqrt(8 * math.log(2))  # of a Gaussian, in standard deviations
_EDGE = 1e-6  # of a voxel: what rounding may put outside of the border


def resample(
    data: Num[np.ndarray, "x y z"] | Bool[np.ndarray, "x y z"],
    affine: Float64[np.ndarray, "4 4"],
    shape: tuple[int, int, int],
    new_affine: Float64[np.ndarray, "4 4"],
    order: int = 1,
    *,
    antialias: bool = True,
    outside: float = 0.0,
) -> Num[np.ndarray, "i j k"] | Bool[np.ndarray, "i j k"]:
    """See an array on another grid; both affines lead from voxels to the same mm.

    `order` 0 takes the nearest voxel and keeps the type (for masks); 1 is linear, 2 to 5 are splines, which may
    overshoot; float32 then. Voxels are boxes: the last half voxel continues its value, beyond it is `outside`.
    Where the new voxels are larger, a Gaussian goes first whose width at half height, together with the old
    voxel's, is the new voxel's (not for order 0). Raises ImageError for a grid or order that cannot be.
    """
    if order not in range(6):
        raise ImageError(
            f"There is no interpolation of order {order}: choose 0 (nearest), 1 (linear) or 2 to 5."
        )
    if min(shape) < 1 or math.prod(shape) > NEW_VOXELS:
        raise ImageError(
            f"A grid of {' x '.join(map(str, shape))} voxels cannot be: give 1 to {NEW_VOXELS // 1_000_000} million."
        )
    way = _voxel_to_voxel(affine, new_affine)
    kind = data.dtype if order == 0 else np.dtype(np.float32)
    source = data.view(np.uint8) if data.dtype == bool else data
    if order > 0:
        source = data.astype(np.float32, copy=False)
        steps = np.sqrt((way[:3, :3] ** 2).sum(1))
        widths = np.sqrt(np.clip(steps**2 - 1, 0, None)) / _FWHM
        if antialias and widths.max() > 0.05:
            source = ndimage.gaussian_filter(source, widths, mode="nearest", truncate=3.0)
    seen = np.empty(shape, source.dtype)
    ndimage.affine_transform(
        source, way[:3, :3], way[:3, 3], shape, output=seen, order=order, mode="nearest", prefilter=order > 1
    )
    _blank(seen, way, data.shape, outside)
    return seen.view(bool) if kind.kind == "b" else seen.astype(kind, copy=False)


def to_network(
    volume: Volume,
    input_shape: tuple[int, ...],
    spacing: tuple[float, ...] = (),
    preparation: Preparation = STORED,
) -> tuple[Float32[np.ndarray, "1 c x y z"], Float64[np.ndarray, "4 4"]]:
    """A volume as a 3-D network takes it, in [0, 1], centred on its field of view; and the affine of that grid.

    `input_shape` is (channels, x, y, z). Axes run as the volume's own do, so an oblique one stays as it was
    scanned. `spacing` is mm a voxel along each axis; without it the whole volume just fits. 0 outside the volume;
    grey is repeated for three channels. Raises ImageError for a shape or spacing that does not fit.
    """
    channels, *size = input_shape
    if len(size) != 3 or channels not in (1, 3) or min(size) < 1:
        raise ImageError(
            f"A network whose input has shape {input_shape} (channels, then spatial sizes) takes no volumes: "
            "choose one over 1 or 3 channels and 3 spatial axes."
        )
    shape = (size[0], size[1], size[2])
    affine = network_grid(volume, shape, spacing)
    image = resample(preparation.unit(volume), volume.affine, shape, affine).clip(0, 1)
    return image[None, None].repeat(channels, 1), affine


def network_grid(
    volume: Volume, shape: tuple[int, int, int], spacing: tuple[float, ...] = ()
) -> Float64[np.ndarray, "4 4"]:
    """The affine of a grid along the volume's axes, centred on it; raises ImageError for a spacing that cannot be."""
    voxel, own = np.array(volume.voxel), np.array(volume.data.shape)
    if not spacing:
        spacing = (float((own * voxel / shape).max()),) * 3
    if len(spacing) != 3 or not all(0 < mm < math.inf for mm in spacing):
        raise ImageError(
            f"Voxels of {spacing} mm cannot be: give three numbers above 0, such as (1.5, 1.5, 1.5)."
        )
    step = np.array(spacing) / voxel
    to_voxel = np.diag([*step, 1.0])
    to_voxel[:3, 3] = (own - 1 - (np.array(shape) - 1) * step) / 2
    return np.asarray(volume.affine @ to_voxel, np.float64)


def straight_grid(volume: Volume) -> tuple[tuple[int, int, int], Float64[np.ndarray, "4 4"]]:
    """Shape and affine of the smallest grid along right, front and up that holds a volume, as fine as its finest."""
    corners = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in volume.data.shape), [1.0])).reshape(4, -1)
    mm = (volume.affine @ corners)[:3]
    step = min(volume.voxel)
    x, y, z = (max(1, math.ceil(length / step - 1e-3)) for length in mm.max(1) - mm.min(1))
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = (mm.max(1) + mm.min(1)) / 2 - (np.array((x, y, z)) - 1) * step / 2
    return (x, y, z), affine


def lay_over(other: Volume, volume: Volume) -> Float32[np.ndarray, "x y z"]:
    """What another volume holds where this one lies, by their mm: on this one's grid, 0 where the other does not reach.

    Linear; the nearest voxel where the other holds labels (`Volume.labelled`), so that no value appears that it does
    not hold.
    """
    x, y, z = volume.data.shape
    return resample(other.data, other.affine, (x, y, z), volume.affine, 0 if other.labelled else 1)


def back_to_own(
    values: Float32[np.ndarray, "i j k"],
    map_affine: Float64[np.ndarray, "4 4"],
    volume: Volume,
    order: int = 1,
) -> Float32[np.ndarray, "x y z"]:
    """Put a map that lies on another grid on the volume's, linear, 0 where the map does not reach.

    `write_map` writes the result on the file's exact grid and affine.
    """
    x, y, z = volume.data.shape
    return resample(values, map_affine, (x, y, z), volume.affine, order)


def _voxel_to_voxel(
    affine: Float64[np.ndarray, "4 4"], new_affine: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "4 4"]:
    """The way from new voxels to old ones; raises ImageError where an affine is none."""
    for one in (affine, new_affine):
        if not np.isfinite(one).all() or abs(np.linalg.det(one[:3, :3])) < 1e-12:
            raise ImageError(
                f"The affine {np.round(one[:3], 3).tolist()} places no voxels: give one whose axes point in three "
                "directions."
            )
    return np.asarray(np.linalg.solve(affine, new_affine), np.float64)


def _blank(
    seen: Num[np.ndarray, "i j k"], way: Float64[np.ndarray, "4 4"], own: tuple[int, ...], outside: float
) -> None:
    """Set, in place, what lies outside of the boxes of a grid of `own` voxels."""
    _, columns, planes = (np.arange(n, dtype=np.float64) for n in seen.shape)
    for row, part in enumerate(seen):
        within = np.ones(part.shape, bool)
        for axis, size in enumerate(own):
            place = (way[axis, 1] * columns)[:, None] + (
                way[axis, 2] * planes + way[axis, 0] * row + way[axis, 3]
            )
            within &= (place >= -0.5 - _EDGE) & (place <= size - 0.5 + _EDGE)
        part[~within] = outside
