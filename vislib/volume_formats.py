"""The formats of volumes: what each file's header promises, checked before any voxel is read, by nibabel's headers."""

import gzip
import io
import logging
import math
import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float64, Shaped
from nibabel.arrayproxy import ArrayProxy
from nibabel.externals.netcdf import netcdf_file
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.minc1 import Minc1File, MincImageArrayProxy
from nibabel.minc2 import Minc2File
from nibabel.parrec import PARRECError, PARRECHeader
from nibabel.spm2analyze import Spm2AnalyzeHeader

from vislib.errors import ImageError

VOXELS = 512_000_000  # of one time point, as the header says before anything is read
SHRINKS = 1032  # times that gzip makes a file smaller at most
LONGEST = 32_767  # voxels along an axis: NIfTI-1 counts no further
BEFORE = 64_000_000  # bytes of header and extensions before the voxels
UNPACKED = 1_000_000_000  # bytes that a gzipped MINC file may have once it is unpacked
PAR_BYTES, PAR_LINES = 16_000_000, 50_000  # of the text of a PAR file
WANTED = "give a volume as NIfTI, Analyze, MGH, MINC or PAR/REC, or a DICOM series; several files in one .zip"

Block = tuple[slice, slice, slice]  # of voxels, as the file's axes run

_QUIET = logging.Logger("nibabel's complaints about headers, which it mends")
_QUIET.addHandler(logging.NullHandler())
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"),
)
_PAR = b"# === DATA DESCRIPTION FILE"
_PACKED = ((b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "Zstandard"), (b"\xfd7zXZ", "xz"))
_GUESS = "Its header does not say how it lies in space: left and right are a guess."


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


class Opened:
    """The files of one volume, closed together; `name` stands for them in sentences."""

    def __init__(self, path: Path, name: str, stack: ExitStack) -> None:
        self.path, self.name, self._stack = path, name, stack

    def stream(self, path: Path) -> tuple[io.BufferedIOBase, int]:
        """A file, unpacked while it is read where gzip packed it, and the bytes that it can hold at most."""
        raw = self._stack.enter_context(path.open("rb"))
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        size = path.stat().st_size
        if not packed:
            return raw, size
        return self._stack.enter_context(gzip.GzipFile(fileobj=raw)), size * SHRINKS

    def plain(self, path: Path) -> Path:
        """A file that is not packed: itself, or a temporary one."""
        stream, _ = self.stream(path)
        if not isinstance(stream, gzip.GzipFile):
            return path
        whole = (
            Path(self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            / "unpacked"
        )
        with whole.open("wb") as out:
            while part := stream.read(1 << 16):
                out.write(part)
                if out.tell() > UNPACKED:
                    raise ImageError(
                        f"{self.name} unpacks to more than {UNPACKED // 1_000_000} MB; unpack it yourself first."
                    )
        return whole

    def partner(self, *suffixes: str) -> Path | None:
        """The file beside it of the same name with one of these suffixes, whatever their case and packed or not."""
        stem = _stem(self.path)
        wanted = {f"{stem}{suffix}{packed}".lower() for suffix in suffixes for packed in ("", ".gz")}
        return next((one for one in sorted(self.path.parent.iterdir()) if one.name.lower() in wanted), None)

    def closing(self, one: Any) -> Any:
        """Have something closed with the files."""
        return self._stack.enter_context(one)


def find(opened: Opened) -> Source:
    """Find out what a file is and check what its header promises; raises ImageError, or whatever damage leads to."""
    suffix = opened.path.name.lower().removesuffix(".gz")[-4:]
    if suffix in (".img", ".rec"):
        header = opened.partner(".hdr" if suffix == ".img" else ".par")
        if header is None:
            raise _alone(opened, "the voxels", f"its .{'hdr' if suffix == '.img' else 'par'} file")
        opened.path = header
    stream, room = opened.stream(opened.path)
    head = stream.read(540)
    stream.seek(0)
    for magic, packer in _PACKED:
        if head.startswith(magic):
            raise ImageError(f"{opened.name} is packed by {packer}; unpack it, or pack it by gzip.")
    if head[128:132] == b"DICM":
        raise ImageError(
            f"{opened.name} is one picture of a DICOM series; give the folder of the whole series, or it as one .zip."
        )
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return _nifti(opened, head, stream, room)
    if b"\x5c\x01\0\0" in (head[:4], head[3::-1]):
        return _analyze(opened, head)
    if head.startswith((b"CDF\1", b"CDF\2", b"\x89HDF")):
        return _minc(opened, netcdf=head.startswith(b"CDF"))
    if head.startswith(b"\0\0\0\1") and len(head) >= 90:
        return _mgh(opened, head, stream, room)
    if head.startswith(_PAR):
        return _par(opened)
    raise ImageError(f"{opened.name} is no volume that can be read here; {WANTED}.")


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


def check_affine(affine: Float64[np.ndarray, "4 4"], name: str) -> None:
    """Raise ImageError where an affine is not finite, flat or absurd."""
    lengths = np.sqrt((affine[:3, :3] ** 2).sum(0))
    sound = bool(np.isfinite(affine).all() and (lengths > 1e-6).all() and (np.abs(affine) < 1e6).all())
    if not sound or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
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


def _stem(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).stem


def _alone(opened: Opened, what: str, other: str) -> ImageError:
    return ImageError(
        f"{opened.name} is {what} of a pair without {other}; put both files, of one name, into one .zip."
    )


def _nifti(opened: Opened, head: bytes, stream: io.BufferedIOBase, room: int) -> Source:
    two, pair = head[4:7] in (b"n+2", b"ni2"), head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0"
    kinds = (nib.Nifti1Header, nib.nifti1.Nifti1PairHeader), (nib.Nifti2Header, nib.nifti2.Nifti2PairHeader)
    header = kinds[two][pair](head[: 540 if two else 348], check=False)
    header.check_fix(_QUIET, 40)
    offset = int(header["vox_offset"])
    if pair:
        stream, room = _voxels_of(opened)
    elif offset >= 0:
        offset = max(offset, header.sizeof_hdr)
    shape, times = check_promise(header.get_data_shape(), header.get_data_dtype(), offset, room, opened.name)
    own = nib.Nifti1Header(endianness="<")
    own.set_data_dtype(np.float32)
    own.set_data_shape(shape if times > 1 else header.get_data_shape())
    for field in _GEOMETRY:
        own[field] = header[field]
    check_affine(np.asarray(own.get_best_affine(), np.float64), opened.name)
    notes = (_GUESS,) if own["sform_code"] == 0 and own["qform_code"] == 0 else ()
    return _source(header, offset, stream, shape, times, own, notes)


def _analyze(opened: Opened, head: bytes) -> Source:
    header = Spm2AnalyzeHeader(head[:348], check=False)
    header.check_fix(_QUIET, 40)
    stream, room = _voxels_of(opened)
    offset = int(header["vox_offset"])
    shape, times = check_promise(header.get_data_shape(), header.get_data_dtype(), offset, room, opened.name)
    own = own_grid(shape, np.asarray(header.get_best_affine(), np.float64), opened.name)
    return _source(header, offset, stream, shape, times, own, (_GUESS,))


def _mgh(opened: Opened, head: bytes, stream: io.BufferedIOBase, room: int) -> Source:
    if int.from_bytes(head[20:24], "big") not in (0, 1, 3, 4, 10):
        raise ImageError(f"{opened.name} is no volume that can be read here; {WANTED}.")
    header = MGHHeader(head[:90], check=False)
    guess = () if int.from_bytes(head[28:30], "big") else (_GUESS,)
    offset = header.get_data_offset()
    shape, times = check_promise(
        tuple(header["dims"].tolist()), header.get_data_dtype(), offset, room, opened.name
    )
    own = own_grid(shape, np.asarray(header.get_affine(), np.float64), opened.name)
    return _source(header, offset, stream, shape, times, own, guess)


def _voxels_of(opened: Opened) -> tuple[io.BufferedIOBase, int]:
    image = opened.partner(".img")
    if image is None:
        raise _alone(opened, "the header", "its voxels (.img)")
    return opened.stream(image)


def _source(
    header: Any,
    offset: int,
    stream: io.BufferedIOBase,
    shape: tuple[int, int, int],
    times: int,
    own: Any,
    notes: tuple[str, ...],
) -> Source:
    """Voxels that lie one after the other, the first axis fastest, with one slope and intercept."""
    slope, inter = header.get_slope_inter()
    slope, inter = 1.0 if slope is None else float(slope), 0.0 if inter is None else float(inter)
    kind = header.get_data_dtype()
    proxy = ArrayProxy(stream, ((*shape, times), kind, offset, slope, inter), mmap=False)
    stored = kind.name if (slope, inter) == (1.0, 0.0) else f"{kind.name}, scaled"
    return Source(
        shape, times, own, stored, lambda block, time: proxy[(*block, time)], 2, notes, ending=stream
    )


def _par(opened: Opened) -> Source:
    stream, room = opened.stream(opened.path)
    text = stream.read(min(PAR_BYTES + 1, room)).decode("latin-1")
    lines = re.split("\r\n|\r|\n", text)
    general = [line.strip() for line in lines if line.strip().startswith(".")]
    # The slow ways of nibabel's pattern and of its search for complete volumes stay short.
    if len(text) > PAR_BYTES or len(lines) > PAR_LINES or len(general) > 200:
        raise ImageError(f"{opened.name} is too long for a PAR file; export the series in parts.")
    if any(":" not in line or len(line) > 400 for line in general):
        raise ImageError(f"{opened.name} is damaged or cut off; save or send it again.")
    try:
        header = PARRECHeader.from_fileobj(io.StringIO(text, newline=None))
    except PARRECError as error:
        raise ImageError(
            f"{opened.name} lists other slices than it promises, as after a scan that was stopped; export it again."
        ) from error
    image = opened.partner(".rec")
    if image is None:
        raise _alone(opened, "the header", "its voxels (.rec)")
    voxels, room = opened.stream(image)
    kind = header.get_data_dtype()
    shape, times = check_promise(header.get_data_shape(), kind, 0, room, opened.name)
    order = np.reshape(header.get_sorted_slice_indices(), (shape[2], times), order="F")
    slopes, inters = (np.reshape(one, (shape[2], times), order="F") for one in header.get_data_scaling())
    proxy = ArrayProxy(voxels, ((*shape[:2], order.size), kind), mmap=False)

    def block(where: Block, time: int) -> Shaped[np.ndarray, "i j k"]:
        planes = range(*where[2].indices(shape[2]))
        return np.stack(
            [
                proxy[where[0], where[1], int(order[k, time])] * slopes[k, time] + inters[k, time]
                for k in planes
            ],
            axis=-1,
        )

    own = own_grid(shape, np.asarray(header.get_affine(), np.float64), opened.name)
    plain = bool((slopes == 1).all() and (inters == 0).all())
    return Source(shape, times, own, kind.name if plain else f"{kind.name}, scaled", block, 2)


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


def _minc(opened: Opened, netcdf: bool) -> Source:
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
    own = own_grid(shape, np.asarray(minc.get_affine(), np.float64), opened.name)
    proxy = MincImageArrayProxy(minc)

    def block(where: Block, time: int) -> Shaped[np.ndarray, "i j k"]:
        whole: list[slice | int] = list(where)
        for axis in others:
            whole.insert(axis, time)
        return np.asarray(proxy[tuple(whole)])

    stored = kind.name if kind.kind == "f" else f"{kind.name}, scaled"
    return Source(shape, times, own, stored, block, 0)


def _hdf5(path: Path, name: str) -> Any:
    try:
        import h5py
    except ImportError:
        raise ImageError(
            f"{name} is a MINC 2 file, which needs the package h5py to be read: install it (pip install h5py), or "
            "convert the file to NIfTI."
        ) from None
    return h5py.File(path, "r")
