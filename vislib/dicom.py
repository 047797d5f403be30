"""A folder of DICOM pictures as one volume: which belong together, in what order, and where they lie."""

import functools
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from vislib.errors import ImageError
from vislib.placement import Placement
from vislib.volume_opened import SHRINKS
from vislib.volume_source import Block, Source, check_promise, own_grid

FILES = 20_000
UNEVEN = 0.1  # of the distance between slices: what a slice may lie off its place
_TO_RAS = np.diag([-1.0, -1.0, 1.0])  # DICOM counts to the left, to the back, up
_DEFLATED = "1.2.840.10008.1.2.1.99"
_CONVERT = "convert it to NIfTI first, for example by dcm2niix"
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_TAGS = (
    *_PLACE,
    *("SeriesInstanceUID", "InstanceNumber", "ImageType", "SliceThickness", "SpacingBetweenSlices"),
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "PhotometricInterpretation"),
)


@dataclass(frozen=True, eq=False)
class _Picture:
    """One slice, as its header has it; positions in DICOM's own mm."""

    path: Path
    series: str
    number: int
    position: Float64[np.ndarray, "3"]
    axes: Float64[np.ndarray, "3 2"]  # along the columns' and the rows' count, of length 1
    spacing: tuple[float, float]  # of neighbouring columns, and of rows
    thickness: float
    shape: tuple[int, int]  # columns, rows
    kind: np.dtype[Any]
    slope: float
    inter: float
    dark: bool  # white is the least value
    plain: bool  # its pixels are not compressed


def find_series(folder: Path, name: str) -> Source:
    """The largest DICOM series of a folder and its subfolders; raises ImageError where it makes no volume.

    Slices are sorted by their positions, whatever their names; where positions repeat, as InstanceNumber says,
    they are time points. Tilted stacks keep their tilt. Values are scaled by each slice's own RescaleSlope.
    """
    pictures, series = _largest_series(folder, name)
    first = pictures[0]
    for one in pictures:
        if one.shape != first.shape or np.abs(one.axes - first.axes).max() > 1e-3 or one.kind != first.kind:
            raise ImageError(
                f"{name} holds slices of different sizes or directions, as a localiser does; give one volume's series."
            )
    stacks = _stacked(pictures, name)
    kind, room = first.kind, sum(one.path.stat().st_size * (1 if one.plain else SHRINKS) for one in pictures)
    shape, times = check_promise((*first.shape, len(stacks), len(stacks[0])), kind, 0, room, name)
    own = own_grid(shape, _affine([stack[0] for stack in stacks], name), name)
    scaled = any((one.slope, one.inter) != (1.0, 0.0) for one in pictures)
    notes = []
    if series > 1:
        notes.append(f"It holds {series} DICOM series; this is the one with most slices.")
    if first.dark:
        notes.append("Its least value was meant to be white (MONOCHROME1): the values' signs were changed.")

    @functools.lru_cache(maxsize=1)
    def plane(k: int, time: int) -> Shaped[np.ndarray, "i j"]:
        return _values(stacks[k][time])

    def block(where: Block, time: int) -> Shaped[np.ndarray, "i j k"]:
        planes = range(*where[2].indices(shape[2]))
        return np.stack([plane(k, time)[where[0], where[1]] for k in planes], axis=-1)

    return Source(
        shape,
        times,
        own,
        f"{kind.name}, scaled" if scaled else kind.name,
        block,
        2,
        tuple(notes),
        placement=Placement("position and orientation"),
    )


def _largest_series(folder: Path, name: str) -> tuple[list[_Picture], int]:
    paths = [path for path in itertools.islice(folder.rglob("*"), FILES + 1) if path.is_file()]
    if len(paths) >= FILES:
        raise ImageError(f"{name} holds {FILES} files and more; give the folder of one DICOM series.")
    found = [one for path in sorted(paths) if (one := _picture(path, name)) is not None]
    if not found:
        raise ImageError(
            f"{name} holds no DICOM slices that say where they lie; give the folder of one series."
        )
    series = Counter(one.series for one in found)
    most = series.most_common(1)[0][0]
    return [one for one in found if one.series == most], len(series)


def _picture(path: Path, name: str) -> _Picture | None:
    """A slice's header; None for what is no DICOM file, or no slice with a place."""
    with path.open("rb") as raw:
        if raw.read(132)[128:] != b"DICM":
            return None
    pydicom = _pydicom(name)
    meta = pydicom.filereader.read_file_meta_info(path)
    syntax = meta.get("TransferSyntaxUID")
    if syntax == _DEFLATED:
        raise ImageError(f"{name} is DICOM in a rare, deflated form; {_CONVERT}.")
    one = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), defer_size=4096)
    if int(one.get("NumberOfFrames") or 1) > 1:
        raise ImageError(f"{name} holds DICOM files of several frames each; {_CONVERT}.")
    if "MOSAIC" in (one.get("ImageType") or ()):
        raise ImageError(f"{name} holds mosaics, all slices of a time in one picture; {_CONVERT}.")
    if any(one.get(tag) is None for tag in _PLACE):
        return None
    if int(one.get("SamplesPerPixel") or 1) != 1:
        raise ImageError(f"{name} holds colours; give a volume of one real number a voxel.")
    down, right = (float(mm) for mm in one.PixelSpacing)
    directions = np.array(one.ImageOrientationPatient, np.float64).reshape(2, 3).T
    return _Picture(
        path=path,
        series=str(one.get("SeriesInstanceUID")),
        number=int(one.get("InstanceNumber") or 0),
        position=np.array(one.ImagePositionPatient, np.float64).reshape(3),
        axes=directions / np.sqrt((directions**2).sum(0)),
        spacing=(right, down),
        thickness=float(one.get("SpacingBetweenSlices") or one.get("SliceThickness") or 1),
        shape=(int(one.Columns), int(one.Rows)),
        kind=np.dtype(
            f"{'i' if one.get('PixelRepresentation') else 'u'}{max(8, int(one.BitsAllocated)) // 8}"
        ),
        slope=float(1 if one.get("RescaleSlope") is None else one.RescaleSlope),
        inter=float(one.get("RescaleIntercept") or 0),
        dark=one.get("PhotometricInterpretation") == "MONOCHROME1",
        plain=syntax is None or not pydicom.uid.UID(syntax).is_compressed,
    )


def _stacked(pictures: list[_Picture], name: str) -> list[list[_Picture]]:
    """The pictures of each place, places in order along the stack, times in each by number."""
    across = np.cross(pictures[0].axes[:, 0], pictures[0].axes[:, 1])
    ordered = sorted(pictures, key=lambda one: (float(across @ one.position), one.number))
    stacks: list[list[_Picture]] = []
    for one in ordered:
        if stacks and abs(float(across @ (one.position - stacks[-1][0].position))) < 1e-3:
            stacks[-1].append(one)
        else:
            stacks.append([one])
    if len({len(stack) for stack in stacks}) > 1:
        raise ImageError(
            f"{name} is not complete: {len(pictures)} slices lie at {len(stacks)} places, at some more often than at "
            "others; send the whole series again."
        )
    for stack in stacks:
        stack.sort(key=lambda one: one.number)
    return stacks


def _affine(stack: Sequence[_Picture], name: str) -> Float64[np.ndarray, "4 4"]:
    """Voxel (column, row, slice) to mm to the right, front and top; raises ImageError where a slice is missing."""
    first, places = stack[0], np.array([one.position for one in stack])
    step = np.cross(first.axes[:, 0], first.axes[:, 1]) * first.thickness
    if len(stack) > 1:
        step = (places[-1] - places[0]) / (len(stack) - 1)
    off = places - (places[0] + np.arange(len(stack))[:, None] * step)
    if np.sqrt((off**2).sum(1)).max() > UNEVEN * np.sqrt((step**2).sum()):
        raise ImageError(
            f"{name} holds slices at uneven distances, so at least one is missing; send the whole series again."
        )
    affine = np.eye(4)
    affine[:3, :3] = _TO_RAS @ np.column_stack((first.axes * first.spacing, step))
    affine[:3, 3] = _TO_RAS @ first.position
    return affine


def _values(one: _Picture) -> Shaped[np.ndarray, "i j"]:
    """A slice's scaled values by column and row."""
    import pydicom

    whole = pydicom.dcmread(one.path, defer_size=None)
    try:
        pixels = whole.pixel_array
    except RuntimeError as error:
        raise ImageError(
            f"{one.path.name} is compressed in a way that cannot be read here; {_CONVERT}."
        ) from error
    values = pixels.T
    if (one.slope, one.inter) != (1.0, 0.0):
        values = values * one.slope + one.inter
    return -values.astype(np.float64) if one.dark else values


def _pydicom(name: str) -> Any:
    try:
        import pydicom
    except ImportError:
        raise ImageError(
            f"{name} is DICOM, which needs the package pydicom to be read: install it (pip install pydicom), or "
            "convert the series to NIfTI."
        ) from None
    return pydicom
