"""Source: a volume's file whose header holds, its voxels block by block, and the checks of what headers promise."""

import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float64, Shaped

from vislib.errors import ImageError
from vislib.labels import Label
from vislib.placement import Placement

VOXELS = 512_000_000  # of one time point, as the header says before anything is read
LONGEST = 32_767  # voxels along an axis: NIfTI-1 counts no further
BEFORE = 64_000_000  # bytes of header and extensions before the voxels
WANTED = "give a volume as NIfTI, Analyze, MGH, MINC or PAR/REC, or a DICOM series; several files in one .zip"
GUESS = "Its header does not say how it lies in space: left and right are a guess."

Block = tuple[slice, slice, slice]  # of voxels, as the file's axes run


@dataclass(frozen=True)
class Source:
    """A file whose header holds: its grid, and its voxels, block by block."""

    shape: tuple[int, int, int]  # as the file's axes run
    times: int
    own: Any  # nibabel.Nifti1Header of the grid at one time
    stored: str  # the type of the file's numbers
    block: Callable[[Block, int], Shaped[np.ndarray, "i j k"]]  # at a time
    slowest: int  # the axis along which blocks lie one after the other in the file
    notes: tuple[str, ...] = ()
    ending: io.BufferedIOBase | None = None  # to be read to its end, for the sake of gzip's checksum
    length: int = 0  # bytes of it up to the end of the voxels, of all times
    placement: Placement = field(default_factory=Placement)
    labels: Mapping[int, Label] = field(default_factory=dict)


def own_grid(shape: tuple[int, ...], affine: Float64[np.ndarray, "4 4"], name: str) -> Any:
    """A NIfTI-1 header of float32 on a grid that an affine places; raises ImageError where it cannot."""
    check_affine(affine, name)
    own = nib.Nifti1Header(endianness="<")
    own.set_data_dtype(np.float32)
    own.set_data_shape(shape)
    own.set_zooms(np.sqrt((affine[:3, :3] ** 2).sum(0)))
    own.set_sform(affine, code=1)
    own.set_xyzt_units("mm")
    return own


def is_sound(affine: Float64[np.ndarray, "4 4"], mm: float = 1.0) -> bool:
    """Whether an affine, to a unit of so many mm, places voxels: finite, not flat, and not absurd."""
    lengths = np.sqrt((affine[:3, :3] ** 2).sum(0))
    if (
        not np.isfinite(affine).all()
        or not (lengths * mm > 1e-6).all()
        or not (np.abs(affine) * mm < 1e6).all()
    ):
        return False
    return abs(float(np.linalg.det(affine[:3, :3] / lengths))) >= 1e-3


def check_affine(affine: Float64[np.ndarray, "4 4"], name: str, mm: float = 1.0) -> None:
    """Raise ImageError where an affine, to a unit of so many mm, is not finite, flat or absurd."""
    if not is_sound(affine, mm):
        raise ImageError(
            f"{name} does not say where its voxels lie (its affine is {np.round(affine[:3], 3).tolist()}); give a "
            "file whose three axes point in three directions, in mm."
        )


def check_promise(
    sizes: tuple[int, ...], kind: np.dtype[Any], offset: int, room: int, name: str
) -> tuple[tuple[int, int, int], int]:
    """The grid and the number of times that a header promises; raises ImageError.

    Refused are too many voxels, other than one real number a voxel, and more than `room` bytes can hold.
    """
    sizes = tuple(int(n) for n in sizes)
    if len(sizes) == 2:
        sizes = (*sizes, 1)
    words = " x ".join(map(str, sizes))
    if len(sizes) < 3 or min(sizes) < 1 or any(n > 1 for n in sizes[4:]):
        raise ImageError(
            f"{name} holds {words or 'no'} numbers, which is not one volume or volumes over time; {WANTED}."
        )
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise ImageError(
            f"{name} holds {'colours' if kind.kind == 'V' else kind.name}; give a volume of one real number a voxel."
        )
    count = math.prod(sizes[:3])
    if count > VOXELS or max(sizes) > LONGEST:
        raise ImageError(
            f"{name} promises {words} voxels; volumes may have {VOXELS // 1_000_000} million in all and {LONGEST} "
            "along an axis: make it smaller first."
        )
    if offset < 0 or offset > BEFORE or offset + math.prod(sizes) * kind.itemsize > room:
        raise ImageError(f"{name} promises {words} voxels, more than the file can hold; send it again.")
    if count * 8 > free_memory():
        raise ImageError(
            f"{name} promises {words} voxels, more than this machine has memory for at present: make it smaller first."
        )
    return (sizes[0], sizes[1], sizes[2]), sizes[3] if len(sizes) > 3 else 1


def free_memory() -> float:
    """Bytes that the machine can still give away, as Linux says; no limit elsewhere."""
    try:
        words = Path("/proc/meminfo").read_text()
    except OSError:
        return math.inf
    found = re.search(r"MemAvailable:\s*(\d+) kB", words)
    return int(found[1]) * 1024 if found else math.inf
