"""Volume: MRI data and its affine, kept together in RAS+ order, and the window of values that is seen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Num, Shaped
from nibabel import orientations

from vislib.brain_mask import brain_mask
from vislib.errors import ImageError
from vislib.images import stretched
from vislib.labels import Label, is_labels
from vislib.levels import darkest, spread
from vislib.nifti_space import unit_mm
from vislib.placement import Placement, in_mm
from vislib.words import counted

PLANES = ("axial", "coronal", "sagittal")
USED = 128  # the least value of 8 bits at which all of them are used
BRIGHTEST = 99.8  # percentile of the values that becomes 1
SEEN = 4_000_000  # values that a percentile is taken of, evenly spread, where there are more

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Window:
    """The values that are shown black (`low`, and all below) and white (`high`, and all above)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low <= self.high < math.inf:
            raise ImageError(
                f"A window from {self.low:g} to {self.high:g} cannot be: give two finite numbers, the darker first."
            )

    @classmethod
    def from_percentiles(cls, values: Float32[np.ndarray, "*any"], low: float, high: float) -> "Window":
        """The window between two percentiles (0 to 100) of finite values; of SEEN of them where there are more."""
        if not 0 <= low < high <= 100:
            raise ImageError(
                f"Percentiles {low:g} and {high:g} cannot be a window: give two from 0 to 100, the smaller first."
            )
        ends = np.percentile(spread(values, SEEN), (low, high)) if values.size else (0, 0)
        return cls(float(ends[0]), float(ends[1]))

    @property
    def level(self) -> float:
        """The middle of the window, as radiologists say it."""
        return self.low / 2 + self.high / 2

    @property
    def width(self) -> float:
        """How many values wide the window is; 0 shows no contrast."""
        return self.high - self.low

    def unit(self, values: Float32[np.ndarray, "*any"]) -> Float32[np.ndarray, "*any"]:
        """Map `low` to 0 and `high` to 1, clipped, in little memory; without a width only clip the values."""
        if values.ndim < 3:
            return stretched(values, self.low, self.high)
        units = np.empty_like(values)
        for index, part in enumerate(values):
            units[index] = stretched(part, self.low, self.high)
        return units


@dataclass(frozen=True, eq=False)
class Volume:
    """Values on a grid of voxels in RAS+ order: axes run to the right, to the front, up, as nearly as they can.

    Axes of the file were only flipped and exchanged, never resampled (but where they were sheared: `straightened`):
    `file_index` leads from a voxel of `data` to the file's own and `canonical_index` back. No picture's left and right
    ever change this array. `own` is a NIfTI-1 header of the file's own grid in the file's unit of length,
    `orientation` (nibabel's ornt) says which RAS+ axis, and which way, each axis of the file is.
    """

    data: Float32[np.ndarray, "x y z"]
    affine: Float64[np.ndarray, "4 4"]  # voxel (i, j, k, 1) to mm (right, anterior, superior, 1)
    name: str
    own: Any  # nibabel.Nifti1Header
    orientation: Float64[np.ndarray, "3 2"]
    stored: str  # the type of the file's numbers, such as "uint8"
    notes: tuple[str, ...] = ()  # sentences for the person who sent it
    times: int = 1  # how many time points the file holds ...
    time: int = 0  # ... and which of them this is
    placement: Placement = field(default_factory=Placement)  # how the file says where it lies
    labels: Mapping[int, Label] = field(default_factory=dict)  # of regions, where the file itself names them
    power: int = 0  # the file's values are those of `data` times ten to this power
    # Of labels that float32 cannot hold: the file's number of each value 0, 1, … of `data`.
    numbers: tuple[int, ...] = ()
    straightened: bool = (
        False  # whether the file's axes were sheared, and `data` was resampled to right angles
    )

    @property
    def own_shape(self) -> tuple[int, ...]:
        """The shape of the file's array at one time; there may be axes of one entry after the third."""
        return tuple(int(size) for size in self.own.get_data_shape())

    @property
    def own_affine(self) -> Float64[np.ndarray, "4 4"]:
        """Voxel of the file to mm, whatever the file's unit of length."""
        return in_mm(np.asarray(self.own.get_best_affine(), np.float64), unit_mm(self.own))

    @property
    def file_shape(self) -> tuple[int, ...]:
        """The shape of the file's array, time points last."""
        return (*self.own_shape[:3], self.times) if self.times > 1 else self.own_shape

    @property
    def axis_codes(self) -> str:
        """Where the file's axes run, as nearly as they can: "LAS" is to the left, to the front, up."""
        return "".join(orientations.ornt2axcodes(self.orientation))

    @property
    def codes(self) -> str:
        """Where the axes of `data` run: always "RAS"."""
        return "RAS"

    def file_index(self, voxel: Sequence[int]) -> Place:
        """The file's own index of a voxel of `data`: what `image.get_fdata()[i, j, k]` takes. Raises ImageError."""
        at = self.to_file @ [*self._inside(voxel, self.data.shape, "RAS+"), 1]
        i, j, k = self._inside(
            np.floor(at[:3] + 0.5).astype(int).tolist(), (*self.own_shape, 1)[:3], self.axis_codes
        )
        return i, j, k

    def canonical_index(self, own: Sequence[int]) -> Place:
        """The voxel of `data` that has an index in the file's own array; the inverse of `file_index`."""
        at = [*self._inside(own, (*self.own_shape, 1)[:3], self.axis_codes), 1]
        i, j, k = np.floor(np.linalg.solve(self.to_file, at)[:3] + 0.5).astype(int).tolist()
        return i, j, k

    @cached_property
    def to_file(self) -> Float64[np.ndarray, "4 4"]:
        """A voxel (i, j, k, 1) of `data` to the file's own index; whole numbers but where it was `straightened`."""
        if self.straightened:
            return np.asarray(np.linalg.solve(self.own_affine, self.affine), np.float64)
        return np.asarray(orientations.inv_ornt_aff(self.orientation, self._own_sizes), np.float64)

    @property
    def _own_sizes(self) -> tuple[int, ...]:
        return (*self.own_shape, 1, 1)[:3]

    def mm(self, voxel: Sequence[float] | Num[np.ndarray, "3"]) -> tuple[float, float, float]:
        """Where a voxel of `data` lies, in mm to the right, to the front and up."""
        x, y, z = (self.affine[:3, :3] @ np.asarray(voxel, np.float64) + self.affine[:3, 3]).tolist()
        return x, y, z

    def nearest(self, mm: Sequence[float] | Num[np.ndarray, "3"]) -> Place:
        """The voxel of `data` in whose box a place in mm lies; raises ImageError where it lies outside of all."""
        place = np.asarray(mm, np.float64)
        if place.shape != (3,) or not np.isfinite(place).all():
            raise ImageError(
                f"{list(mm)} is no place: give three finite numbers, mm to the right, front and up."
            )
        at = np.linalg.solve(self.affine[:3, :3], place - self.affine[:3, 3])
        i, j, k = (math.floor(one + 0.5) for one in at)
        if not all(0 <= one < size for one, size in zip((i, j, k), self.data.shape, strict=True)):
            raise ImageError(
                f"{', '.join(f'{one:g}' for one in place)} mm lies outside of {self.name}; "
                f"its middle lies at {', '.join(f'{one:.0f}' for one in self.mm(self._middle))} mm."
            )
        return i, j, k

    @property
    def _middle(self) -> list[float]:
        return [(size - 1) / 2 for size in self.data.shape]

    def _inside(self, index: Sequence[int], shape: Sequence[int], codes: str) -> list[int]:
        given = [int(one) for one in index]  # of a straightened volume's corners there is none
        if len(given) != 3 or not all(0 <= one < size for one, size in zip(given, shape, strict=True)):
            sizes = ", ".join(f"0 to {size - 1}" for size in shape[:3])
            raise ImageError(f"{self.name} has no voxel {list(index)}; its indices ({codes}) are {sizes}.")
        return given

    def named(self, labels: Mapping[int, Label]) -> Mapping[int, Label]:
        """The names of regions by their values in `data`, given those by the file's numbers."""
        if not self.numbers:
            return labels
        found = {}
        for value, number in enumerate(self.numbers):
            known = labels.get(number)
            found[value] = Label("", number=number) if known is None else replace(known, number=number)
        return found

    @cached_property
    def labelled(self) -> bool:
        """Whether it holds labels of regions (a mask, an atlas) and not intensities: never to be interpolated."""
        return bool(self.labels) or is_labels(self.data)

    @cached_property
    def voxel(self) -> tuple[float, float, float]:
        """Distance, in mm, of neighbouring voxels along each axis."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(0)).tolist()
        return x, y, z

    @property
    def oblique(self) -> float:
        """Degrees that the voxel axes lie away from right, front and up, at most; 0 is straight."""
        return degrees_oblique(self.affine)

    @cached_property
    def brain(self) -> Bool[np.ndarray, "x y z"]:
        """Where the brain (or the head, in a picture that shows it all) is, by `brain_mask`."""
        return brain_mask(self.data, self.voxel)

    @cached_property
    def _by_type(self) -> bool:
        """Whether the stored type says what is black and white: 8 bits, the highest of which is used."""
        return self.stored == "uint8" and float(self.data.max()) >= USED

    @cached_property
    def window(self) -> Window:
        """The values that become 0 and 1 for a network."""
        if self._by_type:
            return Window(0.0, 255.0)
        low, high = self._least, Window.from_percentiles(self.data, 0, BRIGHTEST).high
        if not high > low:
            return Window(low, float(self.data.max()))
        dark = darkest(self.data, low, high)
        return Window(low if dark > low and self.labelled else dark, high)  # of labels none is padding

    @cached_property
    def _least(self) -> float:
        return float(self.data.min())

    @cached_property
    def scaling(self) -> str:
        """How values become [0, 1], as a sentence."""
        low, high = self.window.low, self.window.high
        if self._by_type:
            return "Values of 0 to 255 are divided by 255."
        if low == high:
            return nothing_to_see(low)
        most = f"{high:g}, which {BRIGHTEST:g} % do not exceed"
        if low > self._least:
            below = int(np.count_nonzero(self.data < low))
            return (
                f"Values from {low:g} to {most}, are stretched from 0 to 1; {counted(below, 'voxel')}, down to "
                f"{self._least:g}, {'lies' if below == 1 else 'lie'} far below them."
            )
        return f"Values from {low:g}, the least, to {most}, are stretched from 0 to 1."

    def unit(self) -> Float32[np.ndarray, "x y z"]:
        """The values in [0, 1], scaled as `scaling` says."""
        return self.window.unit(self.data)


def nothing_to_see(value: float) -> str:
    """The sentence about a volume of one value."""
    return f"Every voxel holds {value:g}: there is nothing to see."


def degrees_oblique(affine: Float64[np.ndarray, "4 4"]) -> float:
    """Degrees between the axes of a RAS+ affine and right, front and up, at most."""
    axes = affine[:3, :3]
    cosines = np.abs(np.diag(axes)) / np.sqrt((axes**2).sum(0))
    return math.degrees(math.acos(min(1.0, float(cosines.min()))))


def turned(
    own_affine: Float64[np.ndarray, "4 4"], own_shape: tuple[int, ...]
) -> tuple[Float64[np.ndarray, "3 2"], Float64[np.ndarray, "4 4"], tuple[int, int, int]]:
    """The orientation of a file's grid, and its affine and shape once it is turned to RAS+."""
    orientation = orientations.io_orientation(own_affine)
    shape = [0, 0, 0]
    for axis, (target, _) in enumerate(orientation):
        shape[int(target)] = own_shape[axis]
    affine = own_affine @ orientations.inv_ornt_aff(orientation, own_shape[:3])
    return orientation, affine, (shape[0], shape[1], shape[2])


def as_own(
    array: Shaped[np.ndarray, "x y z"], orientation: Float64[np.ndarray, "3 2"]
) -> Shaped[np.ndarray, "i j k"]:
    """A view on an array in RAS+ order as the file's axes run."""
    view = array.transpose([int(axis) for axis in orientation[:, 0]])
    return np.flip(view, tuple(axis for axis in range(3) if orientation[axis, 1] < 0))


def check_grid(array: Shaped[np.ndarray, "..."], grid: tuple[int, ...]) -> None:
    """Raise ImageError where an array does not lie on a volume's grid."""
    if array.shape != grid:
        raise ImageError(
            f"An array of shape {array.shape} does not lie on a volume of {grid} voxels; "
            "give one on the volume's own grid, in RAS+ order."
        )
