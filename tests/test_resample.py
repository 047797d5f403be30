"""Grids: as nibabel resamples real images, by slow loops, and positions in mm that survive any affine and back."""

import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.processing import resample_from_to
from nibabel.testing import data_path
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from volume_making import SAMPLES, affines, assert_sentence, box

from vislib.errors import ImageError
from vislib.volumes import (
    Preparation,
    Volume,
    back_to_own,
    read_volume,
    resample,
    slice_image,
    straight_grid,
    to_network,
    write_map,
)

REAL = ("anatomical.nii", "example4d.nii.gz", "test.mgz", "tiny.mnc", "phantom_varscale.PAR")


def turned(degrees: float, step: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (
        Rotation.from_euler("xyz", [degrees, -degrees, 2 * degrees], degrees=True).as_matrix() * step
    )
    return affine


def volume_of(data: np.ndarray, affine: np.ndarray, folder: Path) -> Volume:
    path = folder / "one.nii"
    path.write_bytes(nib.Nifti1Image(data.astype(np.float32), affine).to_bytes())
    return read_volume(path)


def centre_of_mass(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    where = np.argwhere(values > 0)
    mass = values[values > 0].astype(np.float64)
    return nib.affines.apply_affine(affine, (where * mass[:, None]).sum(0) / mass.sum())


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("name", REAL)
def test_real_images_are_resampled_as_nibabel_does(name, order):
    volume = read_volume(Path(data_path) / name)
    # A grid of other steps and directions, in the middle of the image.
    middle = volume.affine @ [*(np.array(volume.data.shape) - 1) / 2, 1]
    affine = turned(9, 0.7 * min(volume.voxel))
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ [8.03, 9.02, 7.01]  # no voxel half way between two
    seen = resample(volume.data, volume.affine, (17, 19, 15), affine, order, antialias=False)
    image = nib.Nifti1Image(volume.data, volume.affine)
    wanted = resample_from_to(image, ((17, 19, 15), affine), order, mode="nearest").get_fdata()
    ones = np.ones(volume.data.shape, np.uint8)
    inside = resample(ones, volume.affine, (17, 19, 15), affine, 0) > 0
    assert inside.sum() > 10
    scale = np.abs(volume.data).max()
    np.testing.assert_allclose(seen[inside], wanted[inside], atol=1e-5 * scale)
    assert (seen[~inside] == 0).all()


def test_one_real_image_goes_onto_another_ones_grid():
    one, other = (read_volume(Path(data_path) / name) for name in ("anatomical.nii", "functional.nii"))
    x, y, z = other.data.shape
    seen = resample(one.data, one.affine, (x, y, z), other.affine, 1, antialias=False)
    wanted = resample_from_to(nib.Nifti1Image(one.data, one.affine), ((x, y, z), other.affine), 1).get_fdata()
    inside = wanted != 0  # nibabel's border is half a voxel narrower
    assert inside.mean() > 0.5
    np.testing.assert_allclose(seen[inside], wanted[inside], rtol=1e-4, atol=1e-2)


def test_linear_by_a_slow_loop_with_voxels_as_boxes():
    generator = np.random.default_rng(0)
    data = generator.normal(size=(4, 5, 3)).astype(np.float32)
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    new = turned(11, 0.9)
    new[:3, 3] = -1.2, -0.7, -1.9
    seen = resample(data, affine, (9, 7, 11), new, outside=-5.0)
    assert (seen == -5).any()
    for voxel in np.ndindex(9, 7, 11):
        at = (np.linalg.inv(affine) @ new @ [*voxel, 1])[:3]
        if ((at < -0.5) | (at > np.array(data.shape) - 0.5)).any():
            assert seen[voxel] == -5
            continue
        at = np.clip(at, 0, np.array(data.shape) - 1)
        low = np.minimum(at.astype(int), np.array(data.shape) - 1)
        wanted = 0.0
        for corner in itertools.product((0, 1), repeat=3):
            weight = np.prod([part if up else 1 - part for up, part in zip(corner, at - low, strict=True)])
            if weight > 0:
                wanted += weight * data[tuple(low + corner)]
        assert seen[voxel] == pytest.approx(wanted, abs=1e-5)


def test_masks_and_whole_numbers_keep_their_type():
    mask = np.random.default_rng(1).random((6, 6, 6)) > 0.5
    new = turned(20, 0.7)
    for kind in (bool, np.uint8, np.int16, np.float32):
        seen = resample(mask.astype(kind), np.eye(4), (8, 8, 8), new, 0)
        assert seen.dtype == kind
        assert np.array_equal(seen > 0, resample(mask.astype(np.float32), np.eye(4), (8, 8, 8), new, 0) > 0.5)
        assert resample(mask.astype(kind), np.eye(4), (8, 8, 8), new, 1).dtype == np.float32


def test_shrinking_does_not_alias_and_keeps_what_is_even():
    stripes = np.indices((48, 48, 48)).sum(0) % 2 * np.ones(1, np.float32)
    new = np.diag([3.2, 3.2, 3.2, 1])
    new[:3, 3] = 1.1
    seen = resample(stripes.astype(np.float32), np.eye(4), (14, 14, 14), new)
    aliased = resample(stripes.astype(np.float32), np.eye(4), (14, 14, 14), new, antialias=False)
    assert np.abs(seen - 0.5).max() < 0.01 < np.abs(aliased - 0.5).max()
    even = resample(np.full((20, 20, 20), 7, np.float32), np.eye(4), (5, 5, 5), np.diag([4.0, 4, 4, 1]))
    np.testing.assert_allclose(even, 7, rtol=1e-5)


def test_the_filter_is_as_wide_along_each_axis_as_that_axis_shrinks():
    data = np.random.default_rng(2).normal(size=(24, 24, 24)).astype(np.float32)
    new = np.diag([3.0, 1.0, 2.0, 1.0])
    widths = np.sqrt(np.array([3.0, 1, 2]) ** 2 - 1) / 2.3548
    wanted = gaussian_filter(data.astype(np.float64), widths, mode="nearest", truncate=3)[::3, :, ::2]
    np.testing.assert_allclose(resample(data, np.eye(4), (8, 24, 12), new), wanted, atol=1e-4)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    affine=affines(),
    shape=st.tuples(*[st.integers(9, 16)] * 3),
    marked=st.tuples(*[st.floats(0, 0.999)] * 3),
    spacing=st.sampled_from([(2.0, 2.0, 2.0), (1.5, 2.5, 3.0), (4.0, 4.0, 5.0), ()]),
)
def test_a_marked_voxel_keeps_its_place_to_a_network_and_back(tmp_path, affine, shape, marked, spacing):
    voxel = tuple(2 + int(share * (size - 4)) for share, size in zip(marked, shape, strict=True))
    data = np.zeros(shape, np.float32)
    data[voxel] = 5
    volume = volume_of(data, affine, tmp_path)
    mm = nib.affines.apply_affine(volume.own_affine, voxel)
    image, grid = to_network(volume, (1, 44, 44, 44), spacing, Preparation("window", 0, 5))
    assert image.shape == (1, 1, 44, 44, 44)
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    step = np.linalg.norm(grid[:3, :3], axis=0)
    found = nib.affines.apply_affine(grid, np.unravel_index(image[0, 0].argmax(), image.shape[2:]))
    halves = np.abs(np.linalg.inv(grid[:3, :3]) @ (found - mm))
    assert halves.max() <= 0.5 + 1e-3  # the nearest of the network's voxels shines most
    back = back_to_own(image[0, 0], grid, volume)
    assert back.shape == volume.data.shape
    away = np.linalg.norm(centre_of_mass(back, volume.affine) - mm)
    assert away <= max(*step, *volume.voxel) / 2
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, back)))
    assert written.shape == shape
    assert np.array_equal(written.affine, volume.own_affine)
    away = np.linalg.norm(centre_of_mass(np.asarray(written.dataobj), written.affine) - mm)
    assert away <= max(*step, *volume.voxel) / 2


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines(), new=affines(), marked=st.tuples(*[st.integers(3, 8)] * 3))
def test_a_marked_voxel_keeps_its_place_on_any_grid(affine, new, marked):
    data = np.zeros((12, 12, 12), np.float32)
    data[marked] = 1
    mm = nib.affines.apply_affine(affine, marked)
    grid = new.copy()
    grid[:3, 3] += mm - nib.affines.apply_affine(new, [10, 11, 9.0])
    seen = resample(data, affine, (22, 22, 22), grid)
    coarse = max(np.linalg.norm(one[:3, :3], axis=0).max() for one in (affine, grid))
    assert np.linalg.norm(centre_of_mass(seen, grid) - mm) <= coarse / 2


def test_a_grid_of_its_own_shows_a_volume_as_it_is():
    volume = read_volume(SAMPLES["brain_tumour"].path)
    image, grid = to_network(volume, (3, *volume.data.shape), volume.voxel)
    np.testing.assert_allclose(grid, volume.affine, atol=1e-9)
    np.testing.assert_allclose(image[0, 1], volume.unit(), atol=1e-6)
    np.testing.assert_allclose(back_to_own(image[0, 0], grid, volume), volume.unit(), atol=1e-6)
    prepared, _ = to_network(
        volume, (1, *volume.data.shape), volume.voxel, Preparation("z-score", brain_only=True)
    )
    assert (prepared[0, 0][~volume.brain] == 0).all()


def test_a_network_sees_slices_and_volumes_at_one_place():
    volume = read_volume(SAMPLES["brain_tumour"].path)
    image, grid = to_network(volume, (1, 60, 60, 60), (2.5, 2.5, 2.5))
    index = 40
    one = slice_image(volume, "axial", index, (1, 60, 60), (2.5, 2.5))
    depth = (np.linalg.inv(grid) @ one.affine @ [30, 30, 0, 1])[2]
    near = image[0, 0, :, ::-1, round(depth)].T  # rows of the picture run down
    assert np.corrcoef(near.ravel(), one.image[0, 0].ravel())[0, 1] > 0.95


def test_without_a_spacing_a_whole_volume_just_fits():
    volume = box((20, 50, 30), (2.0, 1.0, 3.0))
    volume.data[:] = 255
    image, grid = to_network(volume, (1, 32, 32, 32))
    step = 90 / 32  # mm: the 30 slices of 3 mm are the longest side
    np.testing.assert_allclose(np.linalg.norm(grid[:3, :3], axis=0), step)
    for axis, length in enumerate((40, 50, 90)):
        along = tuple({0, 1, 2} - {axis})
        assert abs((image[0, 0] > 0.5).any(along).sum() - length / step) <= 1


def test_a_straight_grid_holds_an_oblique_volume(tmp_path):
    affine = turned(9, 1.0) @ np.diag([1.5, 2.0, 3.0, 1.0])
    data = np.zeros((12, 10, 8), np.float32)
    data[4, 5, 3] = 1
    volume = volume_of(data, affine, tmp_path)
    assert volume.oblique == pytest.approx(np.degrees(nib.affines.obliquity(affine)).max(), abs=0.05)
    shape, grid = straight_grid(volume)
    assert np.array_equal(grid[:3, :3], np.eye(3) * min(volume.voxel))
    ones = resample(np.ones_like(volume.data), volume.affine, shape, grid)
    size = abs(np.linalg.det(affine[:3, :3])) * data.size
    assert ones.sum() * min(volume.voxel) ** 3 == pytest.approx(size, rel=0.03)
    for axis in range(3):
        faces = ones.any(tuple({0, 1, 2} - {axis}))
        assert faces[1:-1].all()  # no wider than it must be
    seen = resample(volume.data, volume.affine, shape, grid)
    mm = nib.affines.apply_affine(volume.affine, np.argwhere(volume.data)[0])
    assert np.linalg.norm(centre_of_mass(seen, grid) - mm) < 0.4


def test_what_cannot_be_a_grid_is_said():
    volume = box((8, 8, 8), (1.0, 1.0, 1.0))
    flat = np.diag([1.0, 0.0, 1.0, 1.0])
    for call, words in (
        (lambda: resample(volume.data, np.eye(4), (4, 4, 4), np.eye(4), 7), "no interpolation of order 7"),
        (lambda: resample(volume.data, np.eye(4), (4, 0, 4), np.eye(4)), "A grid of 4 x 0 x 4 voxels"),
        (lambda: resample(volume.data, np.eye(4), (9999, 9999, 9999), np.eye(4)), "1 to 512 million"),
        (lambda: resample(volume.data, flat, (4, 4, 4), np.eye(4)), "places no voxels"),
        (lambda: back_to_own(volume.data, np.full((4, 4), np.nan), volume), "places no voxels"),
        (lambda: to_network(volume, (1, 8, 8)), "1 or 3 channels and 3 spatial axes"),
        (lambda: to_network(volume, (2, 8, 8, 8)), "1 or 3 channels and 3 spatial axes"),
        (lambda: to_network(volume, (1, 8, 8, 8), (1.0, 1.0)), "three numbers above 0"),
        (lambda: to_network(volume, (1, 8, 8, 8), (1.0, 0.0, 1.0)), "three numbers above 0"),
    ):
        with pytest.raises(ImageError, match=words) as caught:
            call()
        assert_sentence(caught.value)
