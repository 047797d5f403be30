"""The MNI152 template (T1, grey and white matter at 1.5 mm): how its one file is made, and how it is read."""

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

PATH = Path(__file__).with_name("template.nii.gz")
SPACING = 1.5  # mm a voxel, along every axis
LEVELS = 64  # grey levels kept: finer ones are drowned by the generator's noise, and cost bytes
NOTICE = "MNI152 ICBM 2009a nonlinear symmetric, (C) 1993-2009 L. Collins, MNI, McGill"  # <= 79 bytes


@dataclass(frozen=True)
class Template:
    """T1, grey and white matter in [0, 1], shape (3, x, y, z) in RAS order, and the affine from voxel to mm."""

    maps: Tensor
    affine: Tensor


@cache
def template() -> Template:
    """Read the shipped template file."""
    image = nib.load(PATH)
    data = np.asarray(image.dataobj, dtype=np.float32) / 255
    maps = torch.from_numpy(np.ascontiguousarray(np.moveaxis(data, -1, 0)))
    return Template(maps, torch.from_numpy(np.asarray(image.affine, dtype=np.float32)))


def downsample(volume: np.ndarray, step: float) -> np.ndarray:
    """`volume` read every `step` voxels, after a Gaussian that removes what the coarser grid cannot hold."""
    smooth = ndimage.gaussian_filter(volume.astype(np.float32), 0.35 * step)
    shape = [int(size / step) for size in volume.shape]
    places = np.meshgrid(*[np.arange(size) * step for size in shape], indexing="ij")
    return ndimage.map_coordinates(smooth, places, order=1, mode="nearest")


def quantise(volume: np.ndarray) -> np.ndarray:
    """`volume` in [0, 1] as uint8 that takes LEVELS values, of which 0 and 255 are two."""
    steps = np.round(np.clip(volume, 0, 1) * (LEVELS - 1)) / (LEVELS - 1)
    return np.round(255 * steps).astype(np.uint8)


def build(path: Path = PATH) -> Path:
    """Write the template file from the 1 mm maps that nilearn carries; the same input gives the same bytes."""
    from nilearn import datasets  # an extra: only who rebuilds the file needs it

    loaders = (
        datasets.load_mni152_template,
        datasets.load_mni152_gm_template,
        datasets.load_mni152_wm_template,
    )
    images = [load(resolution=1) for load in loaders]
    maps = [quantise(downsample(np.asarray(image.dataobj, dtype=np.float32), SPACING)) for image in images]
    affine = images[0].affine @ np.diag([SPACING, SPACING, SPACING, 1.0])
    whole = nib.Nifti1Image(np.stack(maps, axis=-1), affine)
    whole.header.set_xyzt_units("mm")
    whole.header["descrip"] = NOTICE.encode()
    path.write_bytes(gzip.compress(whole.to_bytes(), 9, mtime=0))
    return path


if __name__ == "__main__":
    build()
