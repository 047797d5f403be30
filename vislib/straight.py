"""Sheared volumes: put on a grid of right angles, so that what is drawn and what networks see has its true shape."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64

from vislib.errors import ImageError
from vislib.resample import resample
from vislib.volume import Volume, turned
from vislib.volume_source import VOXELS
from vislib.volume_values import background

SHEARED = 0.5  # degrees that two axes may lie off a right angle: half a voxel over 60
STEEPEST = 60.0  # degrees, and no scanner tilts as far


def degrees_sheared(affine: Float64[np.ndarray, "4 4"]) -> float:
    """Degrees that any two axes of an affine lie off a right angle, at most."""
    axes = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(0))
    cosines = np.abs((axes.T @ axes)[np.triu_indices(3, 1)])
    return float(np.degrees(np.arcsin(min(1.0, float(cosines.max())))))


def straightened(volume: Volume) -> tuple[Volume, tuple[str, ...]]:
    """A volume whose axes stand at right angles, and the sentence about it: itself where they do already.

    The two axes that come nearest to a right angle stay (of a tilted stack those of its slices, which are then only
    shifted), the voxel's volume too. Linear, the nearest voxel for labels; around it lies what stands for nothing, see
    `background`. Raises ImageError for axes more than STEEPEST degrees off.
    """
    degrees = degrees_sheared(volume.affine)
    if degrees < SHEARED:
        return volume, ()
    if degrees > STEEPEST:
        raise ImageError(
            f"{volume.name} has axes that lie {degrees:.0f} degrees off a right angle, which no scanner makes; check "
            "its affine, or resample it first."
        )
    affine, shape = right_grid(volume.affine, volume.data.shape)
    if shape[0] * shape[1] * shape[2] > VOXELS:
        raise ImageError(
            f"{volume.name} is sheared and too large to be put on right angles; resample it first."
        )
    order = 0 if volume.labelled else 1
    faces = [np.moveaxis(volume.data, axis, 0)[end].reshape(-1) for axis in range(3) for end in (0, -1)]
    around = background(float(volume.data.min()), np.concatenate(faces))
    data = resample(volume.data, volume.affine, shape, affine, order, antialias=False, outside=around)
    way = "by the nearest voxel" if order == 0 else "linearly"
    note = (
        f"Its axes are sheared, up to {degrees:.1f} degrees off a right angle: it was resampled {way} to right "
        f"angles, with {around:g} around it; a map of it is saved on the file's own grid."
    )
    return replace(volume, data=data, affine=affine, straightened=True), (note,)


def right_grid(
    affine: Float64[np.ndarray, "4 4"], shape: tuple[int, ...]
) -> tuple[Float64[np.ndarray, "4 4"], tuple[int, int, int]]:
    """Affine and shape of the smallest grid of right angles, in RAS+ order, that holds the voxels of a sheared one."""
    axes = affine[:3, :3]
    lengths = np.sqrt((axes**2).sum(0))
    cosines = np.abs((axes / lengths).T @ (axes / lengths))
    one, other = min(((0, 1), (0, 2), (1, 2)), key=lambda pair: float(cosines[pair]))
    order = [one, other, 3 - one - other]
    straight, upper = np.linalg.qr(axes[:, order])
    new = np.eye(4)
    new[:3, order] = straight * np.diag(upper)  # as long as what is left of each axis, and as it points
    new[:3, 3] = affine[:3, 3]
    corners = np.array(np.meshgrid(*((0, n - 1) for n in shape), [1.0])).reshape(4, -1)
    at = np.linalg.solve(new, affine @ corners)[:3]
    first, last = np.floor(at.min(1) + 1e-3), np.ceil(at.max(1) - 1e-3)
    new[:3, 3] = (new @ [*first, 1.0])[:3]
    x, y, z = (int(n) for n in last - first + 1)
    _, new, sizes = turned(new, (x, y, z))
    return new, sizes


def on_own_grid(volume: Volume, data: Float32[np.ndarray, "x y z"]) -> Float32[np.ndarray, "i j k"]:
    """A map over a straightened volume on its file's own, sheared grid, in the order of the file's axes; linear."""
    i, j, k = (*volume.own_shape, 1, 1)[:3]
    known = np.where(np.isfinite(data), data, np.float32(0))
    return resample(known, volume.affine, (i, j, k), volume.own_affine, antialias=False)
