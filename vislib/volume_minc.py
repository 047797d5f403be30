"""MINC files: version 1 (netCDF) and, with h5py, 2 (HDF5), their voxels and where these lie."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from nibabel.externals.netcdf import netcdf_file
from nibabel.minc1 import Minc1File, MincImageArrayProxy
from nibabel.minc2 import Minc2File

from vislib.errors import ImageError
from vislib.placement import Placement, converted, in_mm, length_unit
from vislib.volume_opened import SHRINKS, Opened
from vislib.volume_source import BEFORE, Block, Source, check_promise, own_grid


class _Mapped(netcdf_file):
    """A netCDF file whose map in memory lives as long as an array that shows a part of it."""

    def close(self) -> None:
        """Let go of the map; who opened the file closes it."""
        self.variables = {}
        self.__dict__.update(_mm=None, _mm_buf=None)

    __del__ = close


class _Clipped(io.BufferedReader):
    """A file that never gives more than it is worth in one go, whatever a header asks for."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(max(size or 0, 0), BEFORE))


def read_minc(opened: Opened, netcdf: bool) -> Source:
    """A MINC file, of version 1 where it is `netcdf`; raises ImageError, or whatever damage leads to."""
    path = opened.plain(opened.path)
    if netcdf:
        raw = opened.closing(_Clipped(opened.closing(io.FileIO(path))))
        minc = Minc1File(_Mapped(raw, mmap=True))
    else:
        minc = Minc2File(opened.closing(_hdf5(path, opened.name)))
    names, sizes = list(minc._dim_names), tuple(int(n) for n in minc.get_data_shape())
    space = [axis for axis, name in enumerate(names) if name.endswith("space")]
    others = [axis for axis in range(len(names)) if axis not in space]
    if len(space) != 3 or len(others) > 1 or len(names) != len(sizes):
        raise ImageError(
            f"{opened.name} has the axes {', '.join(names)[:80]}; give three of space and one of time."
        )
    kind = np.dtype(minc.get_data_dtype())
    room = path.stat().st_size * (1 if netcdf else SHRINKS)
    shape, times = check_promise(tuple(sizes[axis] for axis in (*space, *others)), kind, 0, room, opened.name)
    affine = np.asarray(minc.get_affine(), np.float64)
    unit, mm = _unit(minc, space, opened.name)
    own = own_grid(shape, in_mm(affine, mm), opened.name)
    proxy = MincImageArrayProxy(minc)

    def block(where: Block, time: int) -> Shaped[np.ndarray, "i j k"]:
        whole: list[slice | int] = list(where)
        for axis in others:
            whole.insert(axis, time)
        return np.asarray(proxy[tuple(whole)])

    stored = kind.name if kind.kind == "f" else f"{kind.name}, scaled"
    placement = Placement("start, step and direction cosines", unit=unit, mm=mm)
    return Source(
        shape, times, own, stored, block, 0, notes=tuple(converted(affine, unit, mm)), placement=placement
    )


def _unit(minc: Any, space: list[int], name: str) -> tuple[str, float]:
    """The one unit of length of the axes of space, and how many mm it is; mm where they name none."""
    said = {length_unit(_text(getattr(minc._dims[axis], "units", b"mm"))) for axis in space}
    if len(said) > 1:
        raise ImageError(f"{name} has axes of several units of length; give one whose axes are all in mm.")
    return said.pop()


def _text(said: Any) -> bytes:
    return said if isinstance(said, bytes) else str(said).encode("utf-8", "replace")


def _hdf5(path: Path, name: str) -> Any:
    try:
        import h5py
    except ImportError:
        raise ImageError(
            f"{name} is a MINC 2 file, which needs the package h5py to be read: install it (pip install "
            "'vislib[minc]'), or convert the file to NIfTI."
        ) from None
    return h5py.File(path, "r")
