"""Volumes: read right side up or refused, slices in place and upright, maps back on the file's own grid."""

import gzip
import io
import itertools
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from nibabel.orientations import io_orientation
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

import models
from models.brain import heads
from vislib import volumes
from vislib.errors import ImageError
from vislib.volumes import (
    PLANES,
    Volume,
    best_slice,
    caption,
    position,
    read_volume,
    slice_image,
    slices,
    write_map,
)

SAMPLES = {sample.name: sample for sample in models.samples() if sample.kind == "volume"}
INPUT = (1, 128, 128)


@pytest.fixture(autouse=True)
def _no_warning_leaks():
    with warnings.catch_warnings(action="error"):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("volumes")


def nifti(data: np.ndarray, affine: np.ndarray | None = None, kind=nib.Nifti1Image, **header) -> bytes:
    """A NIfTI file's bytes; `header` overwrites fields after nibabel has filled them."""
    image = kind(data, np.eye(4) if affine is None else affine)
    image.header["descrip"] = b"a test"
    block = io.BytesIO()
    image.to_stream(block)
    head = image.header.copy()
    head["vox_offset"] = head.single_vox_offset
    for field, value in header.items():
        head[field] = value
    return head.binaryblock + block.getvalue()[len(head.binaryblock) :]


def read(folder: Path, data: bytes, name: str = "one.nii") -> Volume:
    path = folder / name
    path.write_bytes(data)
    return read_volume(path)


def refused(folder: Path, data: bytes, name: str = "one.nii") -> str:
    with pytest.raises(ImageError) as caught:
        read(folder, data, name)
    assert_sentence(caught.value)
    assert str(caught.value).startswith(name)
    return str(caught.value)


def assert_sentence(error: ImageError) -> None:
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 320
    assert not isinstance(error.__cause__, TypeCheckError), error.__cause__


def values(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


# Reading


def test_a_sample_comes_in_as_nibabel_has_it():
    volume = read_volume(SAMPLES["brain_tumour"].path)
    image = nib.load(SAMPLES["brain_tumour"].path)
    assert np.array_equal(volume.data, image.get_fdata().astype(np.float32))
    assert volume.data.dtype == np.float32
    assert np.array_equal(volume.affine, image.affine)
    assert (volume.name, volume.stored, volume.notes) == ("brain_tumour.nii.gz", "uint8", ())
    assert volume.own_shape == image.shape
    assert np.array_equal(volume.own_affine, image.affine)
    assert np.array_equal(volume.unit(), volume.data / np.float32(255))
    assert volume.scaling == "Values of 0 to 255 are divided by 255."


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", ["i2", "u2", "f4", "f8", "i4"])
def test_every_type_and_byte_order_is_read(folder, kind, order, code):
    data = values((3, 4, 5)).astype(code)
    image = kind(data, np.eye(4), kind.header_class(endianness=order), dtype=np.dtype(order + code))
    block = io.BytesIO()
    image.to_stream(block)
    volume = read(folder, block.getvalue())
    assert volume.data.dtype == np.dtype("=f4")
    np.testing.assert_allclose(volume.data, data, rtol=1e-6)


def test_slope_and_intercept_are_applied(folder):
    data = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    volume = read(folder, nifti(data, scl_slope=0.5, scl_inter=-3))
    np.testing.assert_allclose(volume.data, data * 0.5 - 3)
    assert volume.stored == "uint8, scaled"
    assert volume.window == (-3, pytest.approx(np.percentile(data * 0.5 - 3, 99.8)))


@pytest.mark.parametrize("axes", [*itertools.permutations(range(3))])
@pytest.mark.parametrize("signs", [*itertools.product((1, -1), repeat=3)])
def test_any_order_and_direction_of_axes_becomes_ras(folder, axes, signs):
    data = values((4, 5, 6))
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[list(axes)] * signs).T * [1.0, 2.0, 3.0]
    affine[:3, 3] = 7, -8, 9
    volume = read(folder, nifti(data, affine))
    wanted = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    assert np.array_equal(volume.data, wanted.get_fdata())
    assert volume.data.flags.c_contiguous
    np.testing.assert_allclose(volume.affine, wanted.affine)
    assert (np.diag(volume.affine) > 0).all()
    assert volume.notes == ()


def test_what_is_not_finite_is_replaced_and_said(folder):
    data = values((3, 3, 3))
    data[0, 0] = np.nan, np.inf, -np.inf
    volume = read(folder, nifti(data))
    assert (volume.data[0, 0] == data[1:].min()).all()
    assert volume.notes[0].startswith("3 voxels that held no finite number were set to ")
    data[1, 1, 1] = -1
    assert (read(folder, nifti(data)).data[0, 0] == 0).all()
    data[:] = np.nan
    assert (read(folder, nifti(data)).unit() == 0).all()
    np.testing.assert_allclose(
        read(folder, nifti(np.array([[[-3e38, 0, 3e38]]], np.float32))).unit()[0, 0, :2], [0, 0.5], atol=0.01
    )


def test_an_oblique_volume_and_a_silent_header_say_so(folder):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", 12, degrees=True).as_matrix()
    assert "12 degrees oblique" in read(folder, nifti(values((3, 4, 5)), affine)).notes[0]
    assert "a guess" in read(folder, nifti(values((3, 4, 5)), sform_code=0, qform_code=0)).notes[0]


def test_values_become_0_to_1_by_percentiles(folder):
    data = values((30, 30, 30))
    data[0, 0, 0] = 1e6  # an outlier that must not make all else black
    volume = read(folder, nifti(data))
    low, high = np.percentile(data, (0, 99.8))
    np.testing.assert_allclose(volume.unit(), ((data - low) / (high - low)).clip(0, 1), atol=1e-5)
    assert volume.scaling.startswith(
        f"Values from {low:g}, the least, to {high:g}, which 99.8 % do not exceed,"
    )
    sparse = np.zeros((20, 20, 20), np.float32)
    sparse[3, 3, 3] = 7
    assert read(folder, nifti(sparse)).unit()[3, 3, 3] == 1
    assert (read(folder, nifti(np.full((4, 4, 4), 0.5, np.float32))).unit() == 0.5).all()


def test_percentiles_of_many_voxels_are_taken_of_some(folder, monkeypatch):
    volume = read(folder, nifti(values((40, 40, 40))))
    monkeypatch.setattr(volumes, "SEEN", 5000)
    assert volume.window[0] == volume.data.min()
    assert 170 < volume.window[1] < 200  # 100 + 2.88 * 30 of a normal distribution


def test_a_fourth_axis_of_one_entry_is_kept_for_the_way_back(folder):
    volume = read(folder, nifti(values((3, 4, 5, 1))))
    assert volume.data.shape == (3, 4, 5)
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, volume.data)))
    assert written.shape == volume.own_shape == (3, 4, 5, 1)


GOOD = nifti(values((5, 6, 7)).astype(np.int16))
PACKED = gzip.compress(GOOD)


def test_what_is_no_volume_is_refused_in_a_sentence(folder):
    assert "is no NIfTI file; give a 3-D NIfTI volume" in refused(folder, b"")
    assert "is no NIfTI file" in refused(folder, b"Dear all, please find attached")
    assert "is no NIfTI file" in refused(folder, gzip.compress(b"hello"), "one.nii.gz")
    assert "damaged or cut off" in refused(folder, b"\x1f\x8b garbage", "one.nii.gz")
    assert "damaged or cut off" in refused(folder, PACKED[:-300], "one.nii.gz")
    wrong = bytearray(PACKED)
    wrong[-8] ^= 1  # the checksum
    assert "damaged or cut off" in refused(folder, bytes(wrong), "one.nii.gz")
    assert "promises 5 x 6 x 7 voxels, more than the file can hold" in refused(folder, GOOD[:-1])
    assert "pair (.hdr and .img)" in refused(folder, nifti(values((2, 2, 2)), magic=b"ni1"))


def test_other_than_one_real_number_a_voxel_in_three_axes_is_refused(folder):
    assert "2 x 3 x 4 x 5 numbers, which is not one 3-D volume" in refused(
        folder, nifti(values((2, 3, 4, 5)))
    )
    assert "not one 3-D volume" in refused(folder, nifti(values((4, 5))))
    assert "holds complex64" in refused(folder, nifti(values((2, 3, 4)).astype(np.complex64)))
    colours = np.zeros((2, 3, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    assert "holds colours" in refused(folder, nifti(colours))


def test_promises_are_checked_before_anything_is_read(folder, monkeypatch):
    monkeypatch.setattr(volumes, "_voxels", lambda *_: pytest.fail("read"))
    huge = nifti(values((1, 1, 1)), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    assert "volumes may have 512 million in all" in refused(folder, huge)
    assert "volumes may have 512 million" in refused(folder, gzip.compress(huge), "one.nii.gz")
    large = nifti(values((1, 1, 1)), dim=[3, 800, 800, 800, 1, 1, 1, 1])
    assert "more than the file can hold" in refused(folder, large)
    assert "more than the file can hold" in refused(folder, gzip.compress(large), "one.nii.gz")
    assert "more than the file can hold" in refused(folder, nifti(values((2, 2, 2)), vox_offset=1e9))
    assert "not one 3-D volume" in refused(folder, nifti(values((1, 1, 1)), dim=[3, -5, 2, 2, 1, 1, 1, 1]))


def test_an_affine_that_is_none_is_refused(folder):
    for row in ([0, 0, 0, 0], [1, 0, 0, np.nan], [1e9, 0, 0, 0], [0, 1, 0, 0]):
        flat = nifti(values((2, 2, 2)), sform_code=1, srow_x=row)
        assert "does not say where its voxels lie" in refused(folder, flat)


def test_a_file_that_is_not_there_is_refused(folder):
    for path in (folder / "missing.nii", folder):
        with pytest.raises(ImageError, match="cannot be opened") as caught:
            read_volume(path)
        assert_sentence(caught.value)
    with pytest.raises(ImageError, match=r"^upload\?1 cannot be opened"):
        read_volume(folder / "missing.nii", "upload\n1")


MIXED = (
    GOOD,
    PACKED,
    nifti(values((3, 4, 5)), np.diag([-2.0, 1, 3, 1]), nib.Nifti2Image),
    nifti(values((4, 3, 2)).astype(np.uint8), scl_slope=2.0, sform_code=0, qform_code=1),
)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_files_are_read_or_refused(folder, data):
    damaged = bytearray(data.draw(st.sampled_from(MIXED)))
    for _ in range(data.draw(st.integers(1, 4))):
        end = len(damaged) if data.draw(st.booleans()) else min(len(damaged), 348)
        at = data.draw(st.integers(0, max(0, end - 1)))
        what = data.draw(st.sampled_from(["flip", "flip", "flip", "cut", "insert"]))
        if what == "cut":
            del damaged[at:]
        elif what == "insert":
            damaged[at:at] = data.draw(st.binary(min_size=1, max_size=16))
        elif damaged:
            damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        volume = read(folder, bytes(damaged))
    except ImageError as error:
        assert_sentence(error)
        return
    assert np.isfinite(volume.data).all()
    unit = volume.unit()
    assert unit.min() >= 0
    assert unit.max() <= 1
    for plane in PLANES:
        one = slice_image(volume, plane, 0, (1, 8, 8), data.draw(st.sampled_from([(), (1.5, 1.5)])))
        assert one.image.min() >= 0  # NaN would fail
        assert one.image.max() <= 1
        assert np.isfinite(one.back(one.image[0, 0])).all()
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, volume.data)))
    assert np.array_equal(written.affine, volume.own_affine)


# Slices: geometry


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


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    affine=affines(),
    shape=st.tuples(*[st.integers(8, 20)] * 3),
    marked=st.tuples(*[st.floats(0, 0.999)] * 3),
    plane=st.sampled_from(PLANES),
    codes=st.sampled_from([(2, 0), (1, 1), (4, 1), (0, 1)]),
    spacing=st.sampled_from([(1.5, 1.5), (1.0, 1.4), ()]),
)
def test_a_marked_voxel_goes_to_its_place_and_back(folder, affine, shape, marked, plane, codes, spacing):
    voxel = tuple(int(share * size) for share, size in zip(marked, shape, strict=True))
    data = np.zeros(shape, np.float32)
    data[voxel] = 5
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.header.set_xyzt_units("mm")
    original = nib.Nifti1Image.from_bytes(image.to_bytes())
    volume = read(folder, image.to_bytes())
    mm = original.affine @ [*voxel, 1]

    index = best_slice(volume.data > 0, plane)
    one = slice_image(volume, plane, index, INPUT, spacing)
    row, column = np.unravel_index(one.image[0, 0].argmax(), INPUT[1:])
    found = one.affine @ [row, column, 0, 1]
    pixel = np.linalg.norm(one.affine[:3, :2], axis=0)
    # At the volume's border half a voxel more shows the same value.
    border = [k in (0, n - 1) for k, n in zip(voxel, shape, strict=True)]
    more = np.linalg.norm(np.linalg.norm(original.affine[:3, :3], axis=0) * border) / 2
    assert np.linalg.norm(found - mm) <= np.linalg.norm(pixel) / 2 + more + 1e-3

    written_bytes = write_map(volume, one.back(one.image[0, 0]))
    assert written_bytes == write_map(volume, one.back(one.image[0, 0]))
    written = nib.Nifti1Image.from_bytes(gzip.decompress(written_bytes))
    result = np.asarray(written.dataobj)
    assert result.dtype == np.float32
    assert result.shape == shape
    assert np.unravel_index(result.argmax(), shape) == voxel
    assert np.array_equal(written.affine, original.affine)
    for field in ("sform_code", "qform_code", "pixdim", "quatern_b", "srow_x", "xyzt_units"):
        assert np.array_equal(written.header[field], original.header[field]), field


def test_a_written_map_says_what_it_is(tmp_path):
    volume = read_volume(SAMPLES["brain_tumour"].path)
    path = tmp_path / "map.nii.gz"
    path.write_bytes(write_map(volume, volume.data / 100, "Grad-CAM of “tumour-like”" + "x" * 99))
    image = nib.load(path)
    assert image.header["descrip"].item().startswith(b"vislib: Grad-CAM of ?tumour-like?xxx")
    assert image.header.get_intent()[0::2] == ("estimate", "vislib map")
    assert (image.header["cal_min"], image.header["cal_max"]) == (0, np.float32(volume.data.max() / 100))
    assert np.array_equal(np.asarray(image.dataobj), volume.data / 100)
    assert path.read_bytes()[4:8] == bytes(4)  # gzip's time


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


def test_left_is_left(folder):
    """The sample's lesion has x < 0: the left half of the axial picture, whatever the order of the file's axes."""
    mask = nib.load(SAMPLES["brain_tumour"].mask)
    where = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0)).mean(0)
    assert where[0] < -5
    flipped = nib.Nifti1Image(
        np.asarray(mask.dataobj)[::-1],
        mask.affine @ np.array([[-1, 0, 0, mask.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    )
    for volume in (read_volume(SAMPLES["brain_tumour"].mask), read(folder, flipped.to_bytes())):
        one = slice_image(volume, "axial", best_slice(volume.data, "axial"), INPUT, (1.5, 1.5))
        seen = one.sample(volume.data)
        assert seen[:, :64].sum() > 20 * max(1, seen[:, 64:].sum())


# Slices: values


def box(shape: tuple[int, int, int], voxel: tuple[float, float, float], seed: int = 0) -> Volume:
    data = np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)
    affine = np.diag([*voxel, 1.0])
    return Volume(
        data, affine, "a box", nib.Nifti1Image(data, affine).header, io_orientation(affine), "uint8"
    )


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
    across = volumes.VIEWS[plane].across
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
