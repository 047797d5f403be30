"""Volume: MRI data and its affine, kept together; slices of it as a network's input, and maps written back."""

import gzip
import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float32, Float64, Shaped
from nibabel import orientations

from vislib.errors import ImageError
from vislib.images import printable, stretched

VOXELS = 512_000_000  # in all, as the header says before anything is read
SHRINKS = 1032  # times that gzip makes a file smaller at most
LONGEST = 32_767  # voxels along an axis: NIfTI-1 counts no further
BEFORE = 64_000_000  # bytes of header and extensions before the voxels
BRIGHTEST = 99.8  # percentile of the values that becomes 1
SEEN = 4_000_000  # voxels that the percentile is taken of, evenly spread, where there are more

PLANES = ("axial", "coronal", "sagittal")


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

_QUIET = logging.Logger("nibabel's complaints about headers, which it mends")
_QUIET.addHandler(logging.NullHandler())
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"),
)
_SENT = "give a 3-D NIfTI volume (.nii or .nii.gz)"


@dataclass(frozen=True, eq=False)
class Volume:
    """Values on a grid of voxels in RAS+ order: axes run to the right, to the front, up, as nearly as they can.

    Axes of the file were only flipped and exchanged, never resampled. `own` is a NIfTI-1 header of the file's own
    grid, `orientation` (nibabel's ornt) says which RAS+ axis, and which way, each axis of the file is.
    """

    data: Float32[np.ndarray, "x y z"]
    affine: Float64[np.ndarray, "4 4"]  # voxel (i, j, k, 1) to mm (right, anterior, superior, 1)
    name: str
    own: Any  # nibabel.Nifti1Header
    orientation: Float64[np.ndarray, "3 2"]
    stored: str  # the type of the file's numbers, such as "uint8"
    notes: tuple[str, ...] = ()  # sentences for the person who sent it

    @property
    def own_shape(self) -> tuple[int, ...]:
        """The shape of the file's array; there may be axes of one entry after the third."""
        return tuple(int(size) for size in self.own.get_data_shape())

    @property
    def own_affine(self) -> Float64[np.ndarray, "4 4"]:
        """Voxel of the file to mm."""
        return np.asarray(self.own.get_best_affine(), np.float64)

    @cached_property
    def voxel(self) -> tuple[float, float, float]:
        """Distance, in mm, of neighbouring voxels along each axis."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(0)).tolist()
        return x, y, z

    @cached_property
    def window(self) -> tuple[float, float]:
        """The values that become 0 and 1 for a network."""
        if self.stored == "uint8":
            return 0.0, 255.0
        values = self.data.reshape(-1)
        low, high = float(values.min()), float(np.percentile(values[:: -(-values.size // SEEN)], BRIGHTEST))
        return low, high if high > low else float(values.max())

    @property
    def scaling(self) -> str:
        """How values become [0, 1], as a sentence."""
        low, high = self.window
        if self.stored == "uint8":
            return "Values of 0 to 255 are divided by 255."
        most = f"{high:g}, which {BRIGHTEST:g} % do not exceed"
        return f"Values from {low:g}, the least, to {most}, are stretched from 0 to 1."

    def unit(self) -> Float32[np.ndarray, "x y z"]:
        """The values in [0, 1], scaled as `scaling` says."""
        return stretched(self.data, *self.window)


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
        _check_grid(array, self.grid)
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
        if values.shape != self.image.shape[2:]:
            raise ImageError(
                f"A map of {values.shape} does not lie on a slice of {self.image.shape[2:]} pixels; "
                "give one that was computed for this slice."
            )
        whole = np.zeros(self.grid, np.float32)
        cut = _cut(whole, self.plane, self.index)
        rows, columns = (
            (np.arange(size) - start) / step
            for size, start, step in zip(cut.shape, self.start, self.step, strict=True)
        )
        cut[...] = _resampled(values, rows, columns, (1.0, 1.0))
        return whole


def read_volume(path: Path, name: str | None = None) -> Volume:
    """Read a 3-D NIfTI-1 or NIfTI-2 file, gzipped or not, as float32 in RAS+ order.

    What is not finite becomes 0, or the smallest value where 0 lies outside the values. Its orientation is its
    sform, else its qform, else a guess, as nibabel has it. `name` stands for the file's own name in sentences.
    Raises ImageError, and nothing else, for anything that is no such file; a header that promises more than VOXELS
    voxels, or more than the file can hold, is refused before anything more is read.
    """
    called = printable(path.name if name is None else name)
    try:
        with path.open("rb") as raw, np.errstate(all="ignore"):
            return _read(raw, path.stat().st_size, called)
    except ImageError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise ImageError(f"{called} cannot be opened ({error.strerror}); {_SENT}.") from error
    except Exception as error:  # nibabel, gzip and numpy raise whatever a damaged file leads them to
        raise ImageError(f"{called} is damaged or cut off; save or send it again.") from error


def slice_image(
    volume: Volume,
    plane: str,
    index: int,
    network_input_shape: tuple[int, ...],
    spacing: tuple[float, ...] = (),
) -> Slice:
    """Cut slice `index` of a plane as the network takes it: in [0, 1], centred on the volume's field of view.

    Rows run to the back (axial) or down, columns to the right or (sagittal) to the front, along the volume's own
    voxel axes also where these are oblique. `spacing` is mm a pixel along rows and columns; without it the whole
    slice just fits into the picture. Linear, with a filter as wide as the reduction; 0 outside the volume; grey is
    repeated for three channels. Raises ImageError for a plane, index, shape or spacing that does not fit.
    """
    view, count = _view(plane), slices(volume, plane)
    if not 0 <= index < count:
        raise ImageError(f"{volume.name} has no {plane} slice {index}; its slices are 0 to {count - 1}.")
    channels, *size = network_input_shape
    if len(size) != 2 or channels not in (1, 3) or min(size) < 1:
        raise ImageError(
            f"A network whose input has shape {network_input_shape} (channels, then spatial sizes) takes no slices: "
            "choose one over 1 or 3 channels and 2 spatial axes."
        )
    cut = stretched(_cut(volume.data, plane, index), *volume.window)
    start, step = _layout(volume, view, (size[0], size[1]), spacing)
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
    """Name a slice, such as "axial, z = 12 mm"."""
    mm = round(position(volume, plane, index), 1) + 0.0  # no minus before a zero
    return f"{plane}, {'xyz'[_view(plane).across]} = {mm:g} mm"


def write_map(volume: Volume, data: Float32[np.ndarray, "x y z"], describes: str = "map") -> bytes:
    """Write a map over the volume as .nii.gz (NIfTI-1, float32) on the file's own grid, with its affines and codes.

    The same map gives the same bytes. `describes` goes into the header's free text, 79 bytes at most. Raises
    ImageError for a map on another grid.
    """
    _check_grid(data, volume.data.shape)
    header = volume.own.copy()
    header["vox_offset"] = header.single_vox_offset
    header["descrip"] = f"vislib: {describes}".encode("ascii", "replace")[:79]
    header.set_intent("estimate", name="vislib map")
    values = _as_own(data, volume.orientation).astype("<f4")
    header["cal_min"], header["cal_max"] = values.min(), values.max()
    return gzip.compress(header.binaryblock + bytes(4) + values.tobytes(order="F"), 6, mtime=0)


def _view(plane: str) -> View:
    if plane not in VIEWS:
        raise ImageError(f"There is no plane {plane!r}; choose one of {', '.join(PLANES)}.")
    return VIEWS[plane]


def _layout(
    volume: Volume, view: View, size: tuple[int, int], spacing: tuple[float, ...]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the first row and column of a centred picture lie, in voxels, and the steps to the next ones."""
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


def _check_grid(array: Shaped[np.ndarray, "..."], grid: tuple[int, ...]) -> None:
    if array.shape != grid:
        raise ImageError(
            f"An array of shape {array.shape} does not lie on a volume of {grid} voxels; "
            "give one on the volume's own grid, in RAS+ order."
        )


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
    down = _weights(rows, cut.shape[0], abs(step[0]))
    return down @ cut @ _weights(columns, cut.shape[1], abs(step[1])).T


def _weights(at: Float64[np.ndarray, "p"], size: int, step: float) -> Float32[np.ndarray, "p size"]:
    """Linear interpolation at places on a line of `size` pixels, its triangle as wide as the step where that is larger.

    The last half pixel at each end continues its value; beyond it is nothing.
    """
    weights = np.clip(1 - np.abs(at[:, None] - np.arange(size)) / max(1.0, step), 0, None)
    inside = (at >= -0.5) & (at <= size - 0.5)
    total = weights.sum(1)
    return (weights * (inside / np.where(inside, total, 1))[:, None]).astype(np.float32)


def _as_own(array: Shaped[np.ndarray, "x y z"], orientation: Float64[np.ndarray, "3 2"]) -> np.ndarray:
    """A view on an array in RAS+ order as the file's axes run."""
    view = array.transpose([int(axis) for axis in orientation[:, 0]])
    return np.flip(view, tuple(axis for axis in range(3) if orientation[axis, 1] < 0))


def _read(raw: io.BufferedIOBase, size: int, name: str) -> Volume:
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    stream: io.BufferedIOBase = gzip.GzipFile(fileobj=raw) if packed else raw
    header = _header(stream, name)
    shape = _checked_shape(header, size * SHRINKS if packed else size, name)
    own = _own(header)
    affine = np.asarray(own.get_best_affine(), np.float64)
    _check_affine(affine, name)
    orientation = orientations.io_orientation(affine)
    data, stored = _voxels(stream, header, shape, orientation)
    if packed:
        stream.read(1)  # at its end gzip compares its checksum
    notes = _mended(data)
    affine = affine @ orientations.inv_ornt_aff(orientation, shape)
    cosines = np.abs(np.diag(affine)[:3]) / np.sqrt((affine[:3, :3] ** 2).sum(0))
    degrees = math.degrees(math.acos(min(1.0, cosines.min())))
    if degrees >= 1:
        notes.append(f"Its voxel axes lie up to {degrees:.0f} degrees oblique: slices follow the voxels.")
    if own["sform_code"] == 0 and own["qform_code"] == 0:
        notes.append("Its header does not say how it lies in space: left and right are a guess.")
    return Volume(data, affine, name, own, orientation, stored, tuple(notes))


def _header(stream: io.BufferedIOBase, name: str) -> Any:
    """The header, mended where nibabel can."""
    block = stream.read(348)
    if block[344:348] == b"ni1\0":
        raise ImageError(f"{name} is the header of a pair (.hdr and .img) without its voxels; {_SENT}.")
    if block[4:8] == b"n+2\0":
        header: Any = nib.Nifti2Header(block + stream.read(540 - 348), check=False)
    elif block[344:348] == b"n+1\0":
        header = nib.Nifti1Header(block, check=False)
    else:
        raise ImageError(f"{name} is no NIfTI file; {_SENT}.")
    header.check_fix(_QUIET, 40)
    return header


def _checked_shape(header: Any, room: int, name: str) -> tuple[int, int, int]:
    """The three sizes; raises ImageError for what is too large, no volume, or more than `room` bytes can hold."""
    sizes = tuple(int(n) for n in header.get_data_shape())
    words = " x ".join(map(str, sizes))
    if len(sizes) < 3 or min(sizes) < 1 or any(n > 1 for n in sizes[3:]):
        raise ImageError(
            f"{name} holds {words or 'no'} numbers, which is not one 3-D volume; {_SENT}, such as one time point."
        )
    kind = header.get_data_dtype()
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise ImageError(
            f"{name} holds {'colours' if kind.kind == 'V' else kind.name}; give a volume of one real number a voxel."
        )
    count = math.prod(sizes)
    if count > VOXELS or max(sizes) > LONGEST:
        raise ImageError(
            f"{name} promises {words} voxels; volumes may have {VOXELS // 1_000_000} million in all and {LONGEST} "
            "along an axis: make it smaller first."
        )
    offset = int(header["vox_offset"])
    if offset < 0 or offset > BEFORE or offset + count * kind.itemsize > room:
        raise ImageError(f"{name} promises {words} voxels, more than the file can hold; send it again.")
    return sizes[0], sizes[1], sizes[2]


def _own(header: Any) -> Any:
    """A NIfTI-1 header of float32 on the same grid."""
    own = nib.Nifti1Header(endianness="<")
    own.set_data_dtype(np.float32)
    own.set_data_shape(header.get_data_shape())
    for field in _GEOMETRY:
        own[field] = header[field]
    return own


def _check_affine(affine: Float64[np.ndarray, "4 4"], name: str) -> None:
    lengths = np.sqrt((affine[:3, :3] ** 2).sum(0))
    sound = bool(np.isfinite(affine).all() and (lengths > 1e-6).all() and (np.abs(affine) < 1e6).all())
    if not sound or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise ImageError(
            f"{name} does not say where its voxels lie (its affine is {np.round(affine[:3], 3).tolist()}); give a "
            "file whose three axes point in three directions, in mm."
        )


def _voxels(
    stream: io.BufferedIOBase,
    header: Any,
    shape: tuple[int, int, int],
    orientation: Float64[np.ndarray, "3 2"],
) -> tuple[Float32[np.ndarray, "x y z"], str]:
    """The voxels in RAS+ order and the type that they are stored in, read slice by slice."""
    kind = header.get_data_dtype()
    slope, inter = header.get_slope_inter()
    scaled = slope is not None and (slope, inter) != (1.0, 0.0)
    offset = max(int(header["vox_offset"]), header.sizeof_hdr)
    stream.read(offset - stream.tell())
    turned = [0, 0, 0]
    for axis, (target, _) in enumerate(orientation):
        turned[int(target)] = shape[axis]
    data = np.empty(turned, np.float32)
    own = _as_own(data, orientation)
    for index in range(shape[2]):
        block = stream.read(shape[0] * shape[1] * kind.itemsize)
        values = np.frombuffer(block, kind).reshape(shape[:2], order="F")
        own[:, :, index] = values * np.float64(slope) + inter if scaled else values
    return data, f"{kind.name}, scaled" if scaled else kind.name


def _mended(data: Float32[np.ndarray, "x y z"]) -> list[str]:
    """Replace, in place, what is not finite; the sentence that says so."""
    finite = np.isfinite(data)
    count = data.size - int(np.count_nonzero(finite))
    if count == 0:
        return []
    known = data[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    value = 0.0 if low <= 0 <= high else low
    data[~finite] = value
    return [f"{count} voxels that held no finite number were set to {value:g}."]
