"""Slices: in place and upright as networks learned them, and maps over them back where they were seen."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import io_orientation
from scipy.ndimage import map_coordinates
from volume_making import SAMPLES, assert_sentence, box

import models
from models.brain import heads
from vislib.errors import ImageError
from vislib.volumes import (
    PLANES,
    VIEWS,
    Volume,
    best_slice,
    caption,
    position,
    read_volume,
    slice_grid,
    slice_image,
    slices,
    write_map,
)

INPUT = (1, 128, 128)


@pytest.mark.parametrize("plane", range(3))
def test_a_slice_looks_as_the_training_pictures_do(plane):
    """A gradient along each direction of space grows in the picture where heads.VIEWS says."""
    (rows, columns), across, _ = heads.VIEWS[plane]
    grid = np.indices((20, 24, 28)).astype(np.float32)
    own = nib.Nifti1Image(grid[0], np.diag([2.0, 2, 2, 1])).header
    for axis in range(3):
        volume = Volume(
            grid[axis] / grid[axis].max() * 255,
            np.diag([2.0, 2, 2, 1]),
            "a ramp",
            own,
            io_orientation(np.eye(4)),
            "uint8",
        )
        one = slice_image(volume, PLANES[plane], 7, (1, 10, 10), (2.0, 2.0))
        down, right = (np.diff(one.image[0, 0], axis=k).mean() * grid[axis].max() for k in (0, 1))
        np.testing.assert_allclose([down, right], [rows[axis], columns[axis]], atol=1e-4)
        np.testing.assert_allclose(one.affine[axis, :2] / 2, [rows[axis], columns[axis]], atol=1e-9)
    assert heads.PLANES[plane] == PLANES[plane]
    assert one.affine[across, 3] == 14


@pytest.mark.parametrize("plane", PLANES)
def test_the_sample_is_seen_as_the_generator_draws_it(plane):
    """The same head, drawn by the generator's own resampling at 1.5 mm in that plane, is the slice."""
    volume = read_volume(SAMPLES["brain_tumour"].path)
    (rows, columns), across, _ = heads.VIEWS[PLANES.index(plane)]
    index = best_slice(read_volume(SAMPLES["brain_tumour"].mask).data, plane)
    one = slice_image(volume, plane, index, INPUT, (1.5, 1.5))
    centre = np.array(heads.CENTRE)
    centre[across] = position(volume, plane, index)
    offset = (np.arange(128) - 63.5) * 1.5
    mm = (
        centre[:, None, None]
        + np.array(rows)[:, None, None] * offset[:, None]
        + np.array(columns)[:, None, None] * offset
    )
    voxel = (mm - volume.affine[:3, 3][:, None, None]) / 2
    wanted = map_coordinates(volume.data / 255, voxel, order=1, cval=0)
    inside = ((voxel >= 0) & (voxel <= np.array(volume.data.shape)[:, None, None] - 1)).all(0)
    np.testing.assert_allclose(one.image[0, 0][inside], wanted[inside], atol=1e-4)
    assert inside.mean() > 0.5


def test_left_is_left(tmp_path: Path):
    """The sample's lesion has x < 0: the left half of the axial picture, whatever the order of the file's axes."""
    mask = nib.load(SAMPLES["brain_tumour"].mask)
    where = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0)).mean(0)
    assert where[0] < -5
    flipped = nib.Nifti1Image(
        np.asarray(mask.dataobj)[::-1],
        mask.affine @ np.array([[-1, 0, 0, mask.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    )
    path = tmp_path / "flipped.nii"
    path.write_bytes(flipped.to_bytes())
    for volume in (read_volume(SAMPLES["brain_tumour"].mask), read_volume(path)):
        one = slice_image(volume, "axial", best_slice(volume.data, "axial"), INPUT, (1.5, 1.5))
        seen = one.sample(volume.data)
        assert seen[:, :64].sum() > 20 * max(1, seen[:, 64:].sum())


def test_shrinking_is_a_triangle_filter_by_a_slow_loop():
    volume = box((31, 41, 5), (0.7, 0.4, 1.0))
    one = slice_image(volume, "axial", 2, (1, 12, 14), (1.5, 2.0))
    wanted = np.zeros((12, 14))
    for row, column in np.ndindex(12, 14):
        y, x = 20 - (row - 5.5) * 1.5 / 0.4, 15 + (column - 6.5) * 2.0 / 0.7
        if -0.5 <= y <= 40.5 and -0.5 <= x <= 30.5:
            high = np.clip(1 - np.abs(np.arange(41) - y) / (1.5 / 0.4), 0, None)
            wide = np.clip(1 - np.abs(np.arange(31) - x) / (2.0 / 0.7), 0, None)
            weight = wide[:, None] * high
            wanted[row, column] = (volume.data[:, :, 2] / 255 * weight).sum() / weight.sum()
    np.testing.assert_allclose(one.image[0, 0], wanted, atol=1e-5)
    assert (wanted == 0).any()


def test_without_a_spacing_the_whole_slice_just_fits():
    volume = box((20, 50, 30), (2.0, 1.0, 3.0))
    volume.data[:] = 255
    for plane, (height, width) in {"axial": (50, 40), "coronal": (90, 40), "sagittal": (90, 50)}.items():
        one = slice_image(volume, plane, 3, (1, 64, 64))
        pixel = max(height, width) / 64
        np.testing.assert_allclose(np.linalg.norm(one.affine[:3, :2], axis=0), pixel)
        seen = one.image[0, 0] > 0.5
        assert abs(seen.any(1).sum() - height / pixel) <= 1
        assert abs(seen.any(0).sum() - width / pixel) <= 1
        assert seen.any(1).all() or seen.any(0).all()


def test_three_channels_repeat_grey():
    volume = box((20, 20, 20), (1.0, 1.0, 1.0))
    grey = slice_image(volume, "coronal", 4, (1, 24, 30)).image
    assert np.array_equal(slice_image(volume, "coronal", 4, (3, 24, 30)).image, grey.repeat(3, 1))


@pytest.mark.parametrize("plane", PLANES)
def test_a_sample_of_another_array_lies_where_the_image_does(plane):
    volume = box((20, 24, 28), (2.0, 1.0, 1.5))
    one = slice_image(volume, plane, 9, (1, 40, 36), (1.5, 1.5))
    np.testing.assert_allclose(one.sample(volume.data / 255, 1), one.image[0, 0], atol=1e-5)
    mask = volume.data > 200
    seen = one.sample(mask)
    assert seen.dtype == bool
    for row, column in np.ndindex(40, 36):
        mm = one.affine @ [row, column, 0, 1]
        near = np.floor(mm[:3] / [2.0, 1.0, 1.5] + 0.5).astype(int)
        inside = (near >= 0).all() and (near < volume.data.shape).all()
        assert seen[row, column] == (bool(mask[tuple(near)]) if inside else False)


@pytest.mark.parametrize("plane", PLANES)
def test_back_reads_the_map_at_every_voxel_of_the_slice(plane):
    volume = box((20, 24, 28), (2.0, 1.0, 1.5))
    one = slice_image(volume, plane, 9, (1, 20, 16), (1.5, 1.25))
    across = VIEWS[plane].across
    rows, columns = np.mgrid[:20, :16].astype(np.float32)
    back_rows, back_columns, back_ones = (
        one.back(values) for values in (rows, columns, np.ones((20, 16), np.float32))
    )
    inverse = np.linalg.inv(one.affine)
    for voxel in np.ndindex(volume.data.shape):
        row, column, depth, _ = inverse @ volume.affine @ [*voxel, 1]
        inside = abs(depth) < 1e-6 and -0.5 <= row <= 19.5 and -0.5 <= column <= 15.5
        assert back_ones[voxel] == pytest.approx(1.0 if inside else 0.0, abs=1e-6)
        if inside:
            assert back_rows[voxel] == pytest.approx(np.clip(row, 0, 19), abs=1e-4)
            assert back_columns[voxel] == pytest.approx(np.clip(column, 0, 15), abs=1e-4)
    assert np.count_nonzero(back_ones.any(axis=tuple({0, 1, 2} - {across}))) == 1


@pytest.mark.parametrize("plane", PLANES)
def test_put_writes_one_slice_and_leaves_the_others(plane):
    volume = box((20, 24, 28), (2.0, 1.0, 1.5))
    one = slice_image(volume, plane, 9, (1, 20, 16), (1.5, 1.25))
    values = np.random.default_rng(1).normal(size=(20, 16)).astype(np.float32)
    whole = np.full(volume.data.shape, np.nan, np.float32)
    one.put(values, whole)
    others = np.arange(volume.data.shape[VIEWS[plane].across]) != 9
    mine, back = (np.moveaxis(array, VIEWS[plane].across, 0) for array in (whole, one.back(values)))
    assert np.array_equal(mine[9], back[9])
    assert np.isnan(mine[others]).all()
    assert not back[others].any()


@pytest.mark.parametrize("plane", PLANES)
def test_the_grid_of_slices_is_known_without_cutting_one(plane):
    volume = box((20, 24, 28), (2.0, 1.0, 1.5))
    for spacing in ((), (1.5, 1.25)):
        one = slice_image(volume, plane, 3, (1, 20, 16), spacing)
        assert slice_grid(volume, plane, (1, 20, 16), spacing) == (one.start, one.step)
    with pytest.raises(ImageError, match="two numbers above 0"):
        slice_grid(volume, plane, (1, 20, 16), (1.5,))


def test_slices_are_counted_chosen_and_named():
    volume = read_volume(SAMPLES["brain_tumour"].path)
    assert [slices(volume, plane) for plane in PLANES] == [80, 96, 76]
    assert position(volume, "axial", 42) == 11
    assert caption(volume, "axial", 42) == "axial, z = 11 mm"
    assert caption(volume, "coronal", 56) == "coronal, y = 0 mm"
    assert caption(volume, "sagittal", 0) == "sagittal, x = -75 mm"
    mask = np.zeros((4, 5, 6), bool)
    assert [best_slice(mask, plane) for plane in PLANES] == [3, 2, 2]
    mask[1, 2, 3] = mask[1, 4, 3] = mask[2, 2, 5] = True
    assert [best_slice(mask, plane) for plane in PLANES] == [3, 2, 1]


def test_what_does_not_fit_a_volume_is_said():
    volume = box((4, 5, 6), (1.0, 1.0, 1.0))
    one = slice_image(volume, "axial", 0, (1, 8, 8))
    for call, words in (
        (
            lambda: slice_image(volume, "oblique", 0, INPUT),
            "no plane 'oblique'; choose one of axial, coronal",
        ),
        (lambda: slice_image(volume, "axial", 6, INPUT), "no axial slice 6; its slices are 0 to 5"),
        (lambda: slice_image(volume, "axial", -1, INPUT), "no axial slice -1"),
        (lambda: slice_image(volume, "axial", 0, (1, 8, 8, 8)), "1 or 3 channels and 2 spatial axes"),
        (lambda: slice_image(volume, "axial", 0, (4, 8, 8)), "1 or 3 channels and 2 spatial axes"),
        (lambda: slice_image(volume, "axial", 0, INPUT, (1.5,)), "two numbers above 0"),
        (lambda: slice_image(volume, "axial", 0, INPUT, (1.5, 0.0)), "two numbers above 0"),
        (lambda: one.sample(np.zeros((4, 5, 7))), "own grid"),
        (lambda: one.sample(volume.data, 3), "no interpolation of order 3"),
        (lambda: one.back(np.zeros((8, 9), np.float32)), "computed for this slice"),
        (lambda: one.put(np.zeros((8, 8), np.float32), np.zeros((4, 5, 7), np.float32)), "own grid"),
        (lambda: write_map(volume, np.zeros((5, 4, 6), np.float32)), "own grid"),
    ):
        with pytest.raises(ImageError, match=words) as caught:
            call()
        assert_sentence(caught.value)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("name", SAMPLES)
def test_brain2d_names_the_best_slice_of_every_sample(name, plane):
    network, sample = models.load("brain2d", device="cpu"), SAMPLES[name]
    index = best_slice(read_volume(sample.mask).data, plane)
    one = slice_image(read_volume(sample.path), plane, index, network.input_shape, network.spacing)
    assert network.labels[int(network.logits(torch.from_numpy(one.image)).argmax())] == sample.label


def test_a_slice_of_an_oblique_volume_is_named_by_its_middle(tmp_path):
    data = np.random.default_rng(0).random((20, 24, 16)).astype(np.float32)
    tilt = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = 2 * turn
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "oblique.nii")
    oblique = read_volume(tmp_path / "oblique.nii")
    z = (affine @ [9.5, 11.5, 5, 1])[2]
    assert caption(oblique, "axial", 5) == f"axial, z = {round(z, 1):g} mm at its middle"
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1])), tmp_path / "straight.nii")
    straight = read_volume(tmp_path / "straight.nii")
    assert caption(straight, "axial", 5) == "axial, z = 10 mm"
    # Across the axis about which it is turned, its slices lie at one height each.
    assert caption(oblique, "sagittal", 5) == "sagittal, x = 10 mm"
