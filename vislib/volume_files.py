"""The door through which volumes come in, from files that a stranger sent, and maps go out on the file's own grid."""

import contextlib
import gzip
import io
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from vislib.brain_mask import looks_inverted
from vislib.dicom import find_series
from vislib.errors import ImageError
from vislib.images import printable
from vislib.nifti_space import unit_mm
from vislib.placement import in_mm
from vislib.straight import on_own_grid, straightened
from vislib.volume import Volume, as_own, check_grid, degrees_oblique, nothing_to_see, turned
from vislib.volume_archive import unzipped
from vislib.volume_formats import find
from vislib.volume_opened import Opened
from vislib.volume_source import WANTED, Source
from vislib.volume_values import read_values

_READ_ON = 300_000_000  # bytes that are unpacked in about a second ...
_PART = 1 << 16  # ... so many at once
_COMMENT = 6  # NIfTI-1's code of a header extension that is a text


def read_volume(path: Path, name: str | None = None, time: int = 0) -> Volume:
    """Read one time point of a volume as float32 in RAS+ order; `name` stands for the file's own in sentences.

    NIfTI-1 and -2, Analyze, MGH, MINC-1 and (with h5py) MINC-2, PAR/REC, each also gzipped; a pair by either of its
    files; a folder with a DICOM series (with pydicom); or one .zip of such. What a file is, its content says. Only
    the voxels of that time enter memory. What is not finite becomes 0, or the least value in a scan below 0 or where
    it is a hole in a scan; what float32 cannot compute with is scaled by a power of ten; other units of length become
    mm; sheared axes are put at right angles; `notes` say all of it.

    Raises ImageError, and nothing else, for anything that is no such file; a header that promises more
    than VOXELS voxels, than the file can hold, or than the machine has memory for, is refused before any is read.
    """
    called = printable(path.name if name is None else name)
    try:
        with ExitStack() as stack, np.errstate(all="ignore"):
            if path.is_file():
                path = unzipped(path, called, stack)
            if path.is_dir():
                return _read(find_series(path, called), called, time)
            opened = Opened(path, called, stack)
            return _read(find(opened), called, time, opened)
    except ImageError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise ImageError(f"{called} cannot be opened ({error.strerror}); {WANTED}.") from error
    except MemoryError as error:
        raise ImageError(
            f"{called} needs more memory than there is at present: make it smaller first."
        ) from error
    except Exception as error:  # nibabel, gzip and numpy raise whatever a damaged file leads them to
        raise ImageError(f"{called} is damaged or cut off; save or send it again.") from error


def read_dicom(folder: Path, name: str | None = None, time: int = 0) -> Volume:
    """Read a folder with one DICOM series as `read_volume` does; needs pydicom. Raises ImageError."""
    if not folder.is_dir():
        called = printable(folder.name if name is None else name)
        raise ImageError(f"{called} is no folder; give the one that holds a DICOM series.")
    return read_volume(folder, name, time)


def write_map(
    volume: Volume,
    data: Float32[np.ndarray, "x y z"],
    describes: str = "map",
    spec: Mapping[str, Any] | None = None,
) -> bytes:
    """Write a map over the volume as .nii.gz (NIfTI-1, float32) on the file's own grid, with its affines and codes.

    The same map gives the same bytes. `describes` goes into the header's free text, 79 bytes at most; `spec`, all
    that the map depends on, and vislib's version, as JSON into a header extension of code 6 (comment). What is not
    finite is written as 0,
    as outside a mask: viewers take statistics and colour ranges of all voxels, and not every one knows NaN. Raises
    ImageError for a map on another grid and for a `spec` that JSON cannot hold.
    """
    check_grid(data, volume.data.shape)
    extension = b"" if spec is None else _comment(spec)
    if volume.straightened:
        data = on_own_grid(volume, data)
    header = volume.own.copy()
    header["vox_offset"] = header.single_vox_offset + len(extension)
    header["descrip"] = f"vislib: {describes}".encode("ascii", "replace")[:79]
    header.set_intent("estimate", name="vislib map")
    values = (data if volume.straightened else as_own(data, volume.orientation)).astype("<f4")
    values[~np.isfinite(values)] = 0
    header["cal_min"], header["cal_max"] = values.min(), values.max()
    announced = bytes((bool(extension), 0, 0, 0))
    parts = (header.binaryblock, announced, extension, values.tobytes(order="F"))
    return gzip.compress(b"".join(parts), 6, mtime=0)


def _version() -> str:
    try:
        return metadata.version("vislib")
    except metadata.PackageNotFoundError:  # run from its folder, without being installed
        return "not installed"


def _comment(spec: Mapping[str, Any]) -> bytes:
    """A header extension with `spec` as JSON; its length is a multiple of 16, as NIfTI-1 wants it."""
    try:
        text = json.dumps({"vislib": _version()} | dict(spec), sort_keys=True, allow_nan=False).encode(
            "ascii"
        )
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"A map's description cannot be written as JSON ({error}): give texts, finite numbers, lists and "
            "dictionaries of them."
        ) from error
    size = 8 + len(text)
    size += -size % 16
    return struct.pack("<ii", size, _COMMENT) + text.ljust(size - 8, b"\0")


def _read_on(stream: io.BufferedIOBase) -> None:
    """Read to the end, unless that takes longer than about a second."""
    for _ in range(_READ_ON // _PART):
        if not stream.read(_PART):
            return


def _read(source: Source, name: str, time: int, opened: Opened | None = None) -> Volume:
    if not 0 <= time < source.times:
        raise ImageError(
            f"{name} has no time point {time}; its time points are 0 to {source.times - 1}."
            if source.times > 1
            else f"{name} has no time point {time}: it holds one volume, number 0."
        )
    own_affine = in_mm(np.asarray(source.own.get_best_affine(), np.float64), unit_mm(source.own))
    orientation, affine, shape = turned(own_affine, source.shape)
    data = np.empty(shape, np.float32)
    read = read_values(source, time, as_own(data, orientation))
    if source.ending is not None and time == source.times - 1:
        source.ending.read(_PART)  # at its end the checksum is compared
    elif source.ending is not None and opened is not None and opened.may_go_on(source.length):
        # Of an earlier time only what follows the end is of interest, and not whether all that is between is sound.
        with contextlib.suppress(EOFError, OSError, zlib.error):
            _read_on(source.ending)
    notes = [*source.notes, *read.notes]
    if opened is not None and opened.trailing:
        notes.append("Its gzip file goes on after its end: what follows there was left out.")
    one = Volume(
        data=data,
        affine=affine,
        name=name,
        own=source.own,
        orientation=orientation,
        stored=source.stored,
        times=source.times,
        time=time,
        placement=source.placement,
        power=read.power,
        numbers=read.numbers,
    )
    one = replace(one, labels=one.named(source.labels))
    one, sheared = straightened(one)
    return replace(one, notes=(*notes, *sheared, *_seen(one)))


def _seen(volume: Volume) -> Iterator[str]:
    """Sentences about a volume as a whole."""
    if (degrees := degrees_oblique(volume.affine)) >= 1:
        yield f"Its voxel axes lie up to {degrees:.0f} degrees oblique: slices follow the voxels."
    if volume.stored == "uint8" and volume.window.high != 255:
        yield f"Of its 8-bit values only those to {volume.data.max():g} are used. {volume.scaling}"
    elif (low := float(volume.data.min())) == float(volume.data.max()):
        yield nothing_to_see(low)
    if looks_inverted(volume.data):
        yield "Its background is brighter than what it shows: if it is inverted, networks will not know it."
    if volume.times > 1:
        yield f"It holds {volume.times} time points; this is number {volume.time}."
