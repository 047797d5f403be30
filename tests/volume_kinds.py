"""One volume in every format, as files: what tests read, cut off and damage."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.externals.netcdf import netcdf_file
from nibabel.spm2analyze import Spm2AnalyzeImage
from nibabel.testing import data_path

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 0, 3.0, -40], [0, 1.5, 0, 7], [0, 0, 0, 1]])


def minc(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write a MINC 1 file: nibabel only reads them. `data` has the axes (time,) z, y, x; the affine is straight."""
    kinds = {
        "u1": ("b", b"unsigned"),
        "i2": ("h", b"signed__"),
        "f4": ("f", b"signed__"),
        "f8": ("d", b"signed__"),
    }
    names = ("time", "zspace", "yspace", "xspace")[-data.ndim :]
    with netcdf_file(path, "w") as out:
        for name, size in zip(names, data.shape, strict=True):
            out.createDimension(name, size)
            axis = out.createVariable(name, "d", ())
            axis.spacing = b"regular__"
            if name != "time":
                k = "xyz".index(name[0])
                axis.step, axis.start = affine[k, k], affine[k, 3]
        letter, sign = kinds[data.dtype.str[1:]]
        image = out.createVariable("image", letter, names)
        image.signtype = sign
        image[:] = data.astype(data.dtype.newbyteorder(">"))
        for end in ("image-max", "image-min"):
            bound = out.createVariable(end, "d", ())
            bound.data[...] = data.max() if end == "image-max" else data.min()
        if data.dtype.kind != "f":
            image.valid_range = np.array([data.min(), data.max()], np.float64)


def _saved(kind: Callable[..., nib.spatialimages.SpatialImage], suffix: str) -> Callable[..., Path]:
    def save(folder: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
        path = folder / f"one{suffix}"
        nib.save(kind(data, affine), path)
        return path

    return save


def _minc(folder: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    del affine  # a straight one, as it is written by hand
    path = folder / "one.mnc"
    minc(path, np.ascontiguousarray(data.T), np.diag([2.0, 2, 3, 1]))
    return path


def _minc_packed(folder: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path = folder / "one.mnc.gz"
    path.write_bytes(gzip.compress(_minc(folder, data, affine).read_bytes(), 1))
    return path


# How to write (x, y, z) or (x, y, z, t) data; the file to be read.
WRITERS: dict[str, Callable[..., Path]] = {
    "nifti1": _saved(nib.Nifti1Image, ".nii"),
    "nifti1.gz": _saved(nib.Nifti1Image, ".nii.gz"),
    "nifti2": _saved(nib.Nifti2Image, ".nii"),
    "nifti1 pair": _saved(nib.Nifti1Pair, ".hdr"),
    "nifti2 pair": _saved(nib.Nifti2Pair, ".img"),
    "analyze": _saved(Spm2AnalyzeImage, ".hdr"),
    "mgh": _saved(nib.MGHImage, ".mgh"),
    "mgz": _saved(nib.MGHImage, ".mgz"),
    "minc1": _minc,
    "minc1.gz": _minc_packed,
}


def par(folder: Path, size: tuple[int, int], order: list[int] | None = None) -> Path:
    """A PAR/REC pair of 9 slices at 3 times, its lines in another order; voxel values tell their place in the REC."""
    text = (Path(data_path) / "phantom_varscale.PAR").read_text().splitlines()
    lines = [k for k, line in enumerate(text) if line[:1] == " " and len(line.split()) > 30]
    fresh = []
    for k, line in enumerate(lines):
        items = text[line].split()
        items[9:11] = [str(n) for n in size]
        fresh.append(" ".join(items))
        assert len(lines) == 27, k
    for place, k in zip(lines, order or range(27), strict=True):
        text[place] = " " + fresh[k]
    path = folder / "one.PAR"
    path.write_text("\n".join(text) + "\n")
    voxels = (
        np.arange(27, dtype="<u2")[:, None, None] * 1000 + np.arange(size[0] * size[1]).reshape(size) % 997
    )
    path.with_suffix(".REC").write_bytes(voxels.astype("<u2").tobytes())
    return path
