"""The formats of volumes: what each file's header promises, checked before any voxel is read, by nibabel's headers."""

import io
import logging
import math
import re
from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float64, Shaped
from nibabel.arrayproxy import ArrayProxy
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.parrec import PARRECError, PARRECHeader
from nibabel.spatialimages import HeaderDataError
from nibabel.spm2analyze import Spm2AnalyzeHeader

from vislib.errors import ImageError
from vislib.label_tables import labels_of_extension
from vislib.labels import Label
from vislib.nifti_space import place
from vislib.placement import Placement, converted, in_mm, length_unit
from vislib.spm_mat import affine_of_mat
from vislib.volume_minc import read_minc
from vislib.volume_opened import Opened
from vislib.volume_source import GUESS, WANTED, Block, Source, check_affine, check_promise, own_grid

EXTENSIONS = 4_000_000  # bytes of a header's extensions that are read
PAR_BYTES, PAR_LINES = 16_000_000, 50_000  # of the text of a PAR file

_QUIET = logging.Logger("nibabel's complaints about headers, which it mends")
_QUIET.addHandler(logging.NullHandler())
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"),
)
_PAR = b"# === DATA DESCRIPTION FILE"
_PACKED = ((b"BZh", "bzip2"), (b"\x28\xb5\x2f\xfd", "Zstandard"), (b"\xfd7zXZ", "xz"))


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
        return read_minc(opened, netcdf=head.startswith(b"CDF"))
    if head.startswith(b"\0\0\0\1") and len(head) >= 90:
        return _mgh(opened, head, stream, room)
    if head.startswith(_PAR):
        return _par(opened)
    raise ImageError(f"{opened.name} is no volume that can be read here; {WANTED}.")


def _alone(opened: Opened, what: str, other: str) -> ImageError:
    return ImageError(
        f"{opened.name} is {what} of a pair without {other}; put both files, of one name, into one .zip."
    )


def _nifti(opened: Opened, head: bytes, stream: io.BufferedIOBase, room: int) -> Source:
    two, pair = head[4:7] in (b"n+2", b"ni2"), head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0"
    kinds = (nib.Nifti1Header, nib.nifti1.Nifti1PairHeader), (nib.Nifti2Header, nib.nifti2.Nifti2PairHeader)
    header = kinds[two][pair](head[: 540 if two else 348], check=False)
    pixdim = header["pixdim"][1:4].astype(np.float32)
    offset = int(header["vox_offset"])
    if not pair and 0 < offset < header.single_vox_offset:
        header["vox_offset"] = 0  # nibabel refuses what is said in a note here
    header.check_fix(_QUIET, 40)
    if pair:
        stream, room = _voxels_of(opened)
    first = offset if pair else _first_voxel(header, offset, room)
    shape, times = check_promise(header.get_data_shape(), header.get_data_dtype(), first, room, opened.name)
    own = nib.Nifti1Header(endianness="<")
    own.set_data_dtype(np.float32)
    own.set_data_shape(shape if times > 1 else header.get_data_shape())
    for field in _GEOMETRY:
        own[field] = header[field]
    placement, notes = place(own, pixdim)
    if first != offset:
        notes = (
            *notes,
            f"Its header says that voxels begin at byte {offset}; they were read from byte {first}.",
        )
    affine = np.asarray(own.get_best_affine(), np.float64)
    check_affine(affine, opened.name, placement.mm)
    notes = (*notes, *_other_place(opened, in_mm(affine, placement.mm)))
    labels = {} if pair else _labels(stream, header.sizeof_hdr, first)
    return replace(
        _source(header, first, stream, shape, times, own, notes), placement=placement, labels=labels
    )


def _other_place(opened: Opened, affine: Float64[np.ndarray, "4 4"]) -> tuple[str, ...]:
    """That a .mat file lies beside a NIfTI file, such as SPM writes, and places it elsewhere."""
    beside = opened.partner(".mat")
    stored = None if beside is None else affine_of_mat(beside)
    if stored is None or np.allclose(stored, affine, atol=0.01):
        return ()
    return ("The .mat file beside it places it elsewhere; its own header was taken, as is right for NIfTI.",)


def _first_voxel(header: nib.Nifti1Header, offset: int, room: int) -> int:
    """Where the voxels of a single file begin, also where its header names a byte of the header or none.

    The standard has four bytes behind the header before them, which some writers leave out.
    """
    if not 0 <= offset < header.single_vox_offset:
        return offset
    size = math.prod(int(n) for n in header.get_data_shape()) * header.get_data_dtype().itemsize
    bare = header.sizeof_hdr + size == room
    return int(header.sizeof_hdr if bare or offset == header.sizeof_hdr else header.single_vox_offset)


def _labels(stream: io.BufferedIOBase, start: int, end: int) -> dict[int, Label]:
    """The names of regions in the header's extensions, which lie before the voxels."""
    stream.seek(start)
    if stream.read(4)[:1] in (b"", b"\0"):
        return {}
    block = stream.read(min(max(0, end - start - 4), EXTENSIONS))
    found: dict[int, Label] = {}
    while len(block) >= 16 and not found:
        sizes = [int.from_bytes(block[:4], order) for order in ("little", "big")]
        size = min(sizes)
        if size < 16 or size % 16 or size > len(block):
            break
        found = labels_of_extension(block[8:size].decode("utf-8", "replace"))
        block = block[size:]
    return found


def _analyze(opened: Opened, head: bytes) -> Source:
    header = Spm2AnalyzeHeader(head[:348], check=False)
    header.check_fix(_QUIET, 40)
    stream, room = _voxels_of(opened)
    offset = int(header["vox_offset"])
    shape, times = check_promise(header.get_data_shape(), header.get_data_dtype(), offset, room, opened.name)
    unit, mm = length_unit(bytes(header["vox_units"].item()))
    affine, notes = np.asarray(header.get_best_affine(), np.float64), [GUESS]
    placement = Placement(
        "pixdim", "The voxel sizes and the origin were taken: Analyze has no affine.", unit=unit, mm=mm
    )
    beside = opened.partner(".mat")
    if beside is not None:
        stored = affine_of_mat(beside)
        if stored is None:
            notes.append("The .mat file beside it holds no affine and was left out.")
        else:
            affine, notes = stored, ["Where it lies is what the .mat file beside it says, as SPM writes it."]
            why = "SPM's .mat file beside it was taken: it goes before the header."
            placement, mm = Placement("SPM's .mat file", why, unit="mm"), 1.0
    own = own_grid(shape, in_mm(affine, mm), opened.name)
    notes += converted(affine, unit, mm)
    return replace(_source(header, offset, stream, shape, times, own, tuple(notes)), placement=placement)


def _mgh(opened: Opened, head: bytes, stream: io.BufferedIOBase, room: int) -> Source:
    if int.from_bytes(head[20:24], "big") not in (0, 1, 3, 4, 10):
        raise ImageError(f"{opened.name} is no volume that can be read here; {WANTED}.")
    header = MGHHeader(head[:90], check=False)
    guess = () if int.from_bytes(head[28:30], "big") else (GUESS,)
    offset = header.get_data_offset()
    shape, times = check_promise(
        tuple(header["dims"].tolist()), header.get_data_dtype(), offset, room, opened.name
    )
    own = own_grid(shape, np.asarray(header.get_affine(), np.float64), opened.name)
    return replace(_source(header, offset, stream, shape, times, own, guess), placement=Placement("vox2ras"))


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
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise ImageError(
            f"Its header scales its values by what is no number ({str(error).rstrip('.')}); write it again with a "
            "finite slope and intercept, or none."
        ) from None
    slope, inter = 1.0 if slope is None else float(slope), 0.0 if inter is None else float(inter)
    kind = header.get_data_dtype()
    proxy = ArrayProxy(stream, ((*shape, times), kind, offset, slope, inter), mmap=False)
    stored = kind.name if (slope, inter) == (1.0, 0.0) else f"{kind.name}, scaled"
    return Source(
        shape,
        times,
        own,
        stored,
        lambda block, time: proxy[(*block, time)],
        2,
        notes,
        ending=stream,
        length=offset + math.prod(shape) * times * kind.itemsize,
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
    stored = kind.name if plain else f"{kind.name}, scaled"
    return Source(shape, times, own, stored, block, 2, placement=Placement("angulation and offcentre"))
