"""Volumes that tests make: NIfTI bytes with any header, boxes of numbers, affines of any kind."""

import io
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from nibabel.orientations import io_orientation
from scipy.spatial.transform import Rotation

import models
from vislib.errors import ImageError
from vislib.volumes import Volume, read_volume

SHAPE = (9, 8, 7)
SAMPLES = {sample.name: sample for sample in models.samples() if sample.kind == "volume"}


def nifti(data: np.ndarray, affine: np.ndarray | None = None, kind=nib.Nifti1Image, **header) -> bytes:
    """A NIfTI file's bytes; `header` overwrites fields after nibabel has filled them."""
    image = kind(data, np.eye(4) if affine is None else affine)
    image.header["descrip"] = b"a test"
    image.header.set_xyzt_units("mm")
    block = io.BytesIO()
    image.to_stream(block)
    head = image.header.copy()
    head["vox_offset"] = head.single_vox_offset
    for field, value in header.items():
        head[field] = value
    return head.binaryblock + block.getvalue()[len(head.binaryblock) :]


def assert_sentence(error: ImageError) -> None:
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 320
    assert not isinstance(error.__cause__, TypeCheckError), error.__cause__


def values(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


def scan() -> np.ndarray:
    """Values above 0 of SHAPE."""
    return np.abs(values(SHAPE)).astype(np.float64)


def read_written(folder: Path, data: np.ndarray, **header) -> Volume:
    """The volume that is read of these numbers, written as NIfTI; `header` as `nifti` takes it."""
    path = folder / "one.nii"
    wide = data.dtype == np.int64  # nibabel wants to be told that it is meant
    kind = partial(nib.Nifti1Image, dtype="int64") if wide else nib.Nifti1Image
    path.write_bytes(nifti(data, kind=kind, **header))
    return read_volume(path)


def affines() -> st.SearchStrategy[np.ndarray]:
    """Flips, permutations, anisotropic voxels of 1.5 to 4 mm, up to some 15 degrees of obliqueness, any place."""

    def build(axes, signs, sizes, angles, place):
        affine = np.eye(4)
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        affine[:3, :3] = turn @ ((np.eye(3)[list(axes)] * signs).T * sizes)
        affine[:3, 3] = place
        return affine.astype(np.float32).astype(np.float64)

    three = lambda inside: st.tuples(inside, inside, inside)  # noqa: E731
    degrees = st.one_of(st.just(0.0), st.floats(-8, 8))
    return st.builds(
        build,
        st.permutations(range(3)),
        three(st.sampled_from([1, -1])),
        three(st.floats(1.5, 4)),
        three(degrees),
        three(st.floats(-90, 90)),
    )


def box(shape: tuple[int, int, int], voxel: tuple[float, float, float], seed: int = 0) -> Volume:
    data = np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)
    affine = np.diag([*voxel, 1.0])
    return Volume(
        data, affine, "a box", nib.Nifti1Image(data, affine).header, io_orientation(affine), "uint8"
    )


def assert_straightened(volume: Volume, data: np.ndarray, affine: np.ndarray) -> None:
    """Right angles, and at every voxel's mm the file's values there, linear: summed over the eight voxels around."""
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    assert volume.straightened
    voxels = np.indices(volume.data.shape).reshape(3, -1)
    way = np.linalg.inv(affine) @ volume.affine
    at = np.round(way[:3, :3] @ voxels + way[:3, 3:], 5)
    most = np.array(data.shape)[:, None] - 1
    inside = ((at >= 0) & (at <= most)).all(0)  # of the outermost centres
    at, total = at[:, inside], 0.0
    low = np.floor(at).astype(int)
    for corner in np.ndindex(2, 2, 2):
        up = np.array(corner)[:, None]
        weights = np.where(up == 1, at - low, 1 - (at - low)).prod(0)
        total = total + weights * data[tuple(np.minimum(low + up, most))]
    assert inside.any()
    np.testing.assert_allclose(volume.data.reshape(-1)[inside], total, atol=2e-3 * np.abs(data).max())
