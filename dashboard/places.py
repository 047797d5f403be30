"""Places of a volume in words: a voxel as its file counts it, and what a person types of one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Shaped

from vislib.errors import ImageError
from vislib.volume import Volume

INDICES = "ijk"  # of the file's axes
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_BETWEEN = r"(?:\s*[,;]\s*|\s+)"
_THREE = re.compile(rf"{_BETWEEN}".join([f"({_NUMBER})"] * 3))
_LONGEST = 60


@dataclass(frozen=True)
class OwnAxes:
    """How a file counts the voxels of an array in RAS+ order; by default as the array does.

    axes    of right, front and up: which axis of the file it is
    back    whether that axis runs the other way
    """

    axes: tuple[int, ...] = (0, 1, 2)
    back: tuple[bool, ...] = (False, False, False)

    @classmethod
    def of(cls, volume: Volume) -> "OwnAxes | None":
        """Those of a volume; None where a slice of it is none of the file's, since it was resampled."""
        if volume.straightened:
            return None
        axes, back = [0, 0, 0], [False, False, False]
        for own, (axis, way) in enumerate(volume.orientation):
            axes[int(axis)], back[int(axis)] = own, bool(way < 0)
        return cls(tuple(axes), tuple(back))

    def place(self, shape: Sequence[int], axis: int, at: int) -> tuple[str, int]:
        """The letter and the number by which the file counts a slice across an axis of the array."""
        return INDICES[self.axes[axis]], shape[axis] - 1 - at if self.back[axis] else at


def own_voxel(volume: Volume, ijk: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """A voxel as the file counts it; None where the file has none there (of a volume that was resampled)."""
    try:
        return volume.file_index(ijk)
    except ImageError:
        return None


def three_numbers(text: str, what: str) -> tuple[float, float, float]:
    """Three numbers as people type them, with commas, semicolons or blanks between them, in brackets or not.

    Raises ImageError for anything else.
    """
    plain = text.strip()[:_LONGEST].replace("−", "-").strip("()[] ").removesuffix("mm").strip()
    match = _THREE.fullmatch(plain)
    if match is None:
        raise ImageError(f"{text.strip()[:_LONGEST]!r} is no place: give {what}, such as 43, 48, 32.")
    x, y, z = (float(one) for one in match.groups())
    return x, y, z


def typed_voxel(text: str, volume: Volume) -> tuple[int, int, int]:
    """The voxel of `volume.data` whose index in the file a person has typed. Raises ImageError."""
    given = three_numbers(text, f"the three indices of a voxel in the file ({volume.axis_codes})")
    if any(one != int(one) for one in given):
        raise ImageError(
            f"{text.strip()[:_LONGEST]!r} is no voxel: give three whole numbers, such as 43, 48, 32."
        )
    return volume.canonical_index([int(one) for one in given])


def typed_mm(text: str, volume: Volume) -> tuple[int, int, int]:
    """The voxel of `volume.data` at the millimetres that a person has typed. Raises ImageError."""
    given = three_numbers(text, "mm to the right, to the front and up")
    at = np.linalg.solve(volume.affine[:3, :3], np.array(given) - volume.affine[:3, 3])
    if not all(-0.5 <= one < size - 0.5 for one, size in zip(at, volume.data.shape, strict=True)):
        low, high = reach(volume.affine, volume.data.shape)
        spans = ", ".join(
            f"{name} from {first:.1f} to {last:.1f}"
            for name, first, last in zip("xyz", low, high, strict=True)
        )
        tilted = " (along its oblique axes)" if volume.oblique > 1 else ""
        raise ImageError(
            f"{', '.join(f'{one:g}' for one in given)} mm lies outside of {volume.name}, which reaches {spans}{tilted}."
        )
    return volume.nearest(given)


def reach(
    affine: Shaped[np.ndarray, "4 4"], shape: Sequence[int]
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """The least and the largest mm, right, front and up, of the voxels' boxes."""
    corners = np.array(np.meshgrid(*((-0.5, size - 0.5) for size in shape), [1.0])).reshape(4, -1)
    mm = (np.asarray(affine, np.float64) @ corners)[:3]
    return mm.min(1), mm.max(1)
