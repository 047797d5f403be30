"""Volumes: NIfTI files read right side up or refused, and maps written back on the file's own grid."""

import gzip
import io
import itertools
import json
import warnings
from importlib import metadata
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from volume_making import SAMPLES, affines, assert_sentence, nifti, values

from vislib import volume, volume_formats
from vislib.errors import ImageError
from vislib.volumes import PLANES, Volume, best_slice, read_volume, slice_image, write_map

INPUT = (1, 128, 128)


@pytest.fixture(autouse=True)
def _no_warning_leaks():
    with warnings.catch_warnings(action="error"):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("volumes")


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
    assert volume.window.low == -3
    assert volume.window.high == pytest.approx(np.percentile(data * 0.5 - 3, 99.8))


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
    assert (volume.data[0, 0] == 0).all()
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
    one = read(folder, nifti(values((40, 40, 40))))
    monkeypatch.setattr(volume, "SEEN", 5000)
    assert one.window.low == one.data.min()
    assert 170 < one.window.high < 200  # 100 + 2.88 * 30 of a normal distribution


def test_a_single_slice_is_a_volume(folder):
    for shape in ((6, 5), (6, 5, 1), (6, 1, 5)):
        volume = read(folder, nifti(values(shape)))
        assert volume.data.shape == (*shape, 1)[:3]
        written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, volume.data)))
        assert np.array_equal(np.asarray(written.dataobj), values(shape))


def test_a_fourth_axis_of_one_entry_is_kept_for_the_way_back(folder):
    volume = read(folder, nifti(values((3, 4, 5, 1))))
    assert volume.data.shape == (3, 4, 5)
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, volume.data)))
    assert written.shape == volume.own_shape == (3, 4, 5, 1)


GOOD = nifti(values((5, 6, 7)).astype(np.int16))
PACKED = gzip.compress(GOOD)


def test_what_is_no_volume_is_refused_in_a_sentence(folder):
    assert "is no volume that can be read here; give a volume as NIfTI" in refused(folder, b"")
    assert "is no volume that can be read here" in refused(folder, b"Dear all, please find attached")
    assert "is no volume that can be read here" in refused(folder, gzip.compress(b"hello"), "one.nii.gz")
    assert "damaged or cut off" in refused(folder, b"\x1f\x8b garbage", "one.nii.gz")
    assert "damaged or cut off" in refused(folder, PACKED[:-300], "one.nii.gz")
    wrong = bytearray(PACKED)
    wrong[-8] ^= 1  # the checksum
    assert "damaged or cut off" in refused(folder, bytes(wrong), "one.nii.gz")
    assert "promises 5 x 6 x 7 voxels, more than the file can hold" in refused(folder, GOOD[:-1])
    assert "a pair without its voxels (.img); put both" in refused(
        folder, nifti(values((2, 2, 2)), magic=b"ni1")
    )


def test_other_than_one_real_number_a_voxel_in_three_axes_is_refused(folder):
    assert "2 x 3 x 4 x 5 x 2 numbers, which is not one volume or volumes over time" in refused(
        folder, nifti(values((2, 3, 4, 5, 2)))
    )
    assert "not one volume" in refused(folder, nifti(values((4,))))
    assert "holds complex64" in refused(folder, nifti(values((2, 3, 4)).astype(np.complex64)))
    colours = np.zeros((2, 3, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    assert "holds colours" in refused(folder, nifti(colours))


def test_promises_are_checked_before_anything_is_read(folder, monkeypatch):
    monkeypatch.setattr(volume_formats, "ArrayProxy", lambda *_, **__: pytest.fail("read"))
    huge = nifti(values((1, 1, 1)), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    assert "volumes may have 512 million in all" in refused(folder, huge)
    assert "volumes may have 512 million" in refused(folder, gzip.compress(huge), "one.nii.gz")
    large = nifti(values((1, 1, 1)), dim=[3, 800, 800, 800, 1, 1, 1, 1])
    assert "more than the file can hold" in refused(folder, large)
    assert "more than the file can hold" in refused(folder, gzip.compress(large), "one.nii.gz")
    assert "more than the file can hold" in refused(folder, nifti(values((2, 2, 2)), vox_offset=1e9))
    assert "not one volume" in refused(folder, nifti(values((1, 1, 1)), dim=[3, -5, 2, 2, 1, 1, 1, 1]))


def test_an_affine_that_is_none_is_refused_where_nothing_else_can_be_taken(folder):
    for row in ([0, 0, 0, 0], [1, 0, 0, np.nan], [1e9, 0, 0, 0], [0, 1, 0, 0]):
        pixdim = [1, np.nan, 1, 1, 1, 1, 1, 1]
        flat = nifti(values((2, 2, 2)), sform_code=1, srow_x=row, pixdim=pixdim)
        assert "does not say where its voxels lie" in refused(folder, flat)


def test_a_file_that_is_not_there_is_refused(folder):
    with pytest.raises(ImageError, match=r"^missing.nii cannot be opened \(No such file") as caught:
        read_volume(folder / "missing.nii")
    assert_sentence(caught.value)
    with pytest.raises(ImageError, match=r"^upload\?1 cannot be opened"):
        read_volume(folder / "missing.nii", "upload\n1")


MIXED = (
    GOOD,
    PACKED,
    nifti(values((3, 4, 5)), np.diag([-2.0, 1, 3, 1]), nib.Nifti2Image),
    nifti(values((4, 3, 2)).astype(np.uint8), scl_slope=2.0, sform_code=0, qform_code=1),
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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
    assert np.array_equal(written.affine, volume.own.get_best_affine())  # in the file's own unit


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


SPEC = {
    "network": "brain2d",
    "target": "größer als „gesund“",
    "layer": None,
    "parameters": {"steps": 50, "noise": 0.15, "fills": ["mean", "zero"], "smooth": True},
}


@pytest.mark.parametrize("spec", [{}, SPEC, {"long": "x" * 5000}, {"a": "b" * 3}, {"a": "b" * 4}])
def test_a_written_map_holds_how_it_was_made(tmp_path, spec):
    own = np.diag([-2.0, 3, 4, 1])[[0, 2, 1, 3]]  # to the left, up, to the front
    image = nib.Nifti1Image(values((4, 5, 6)), own)
    image.set_sform(own, 4)
    source = tmp_path / "own.nii"
    nib.save(image, source)
    volume = read_volume(source)
    data = values(volume.data.shape, 7)
    path = tmp_path / "map.nii.gz"
    path.write_bytes(write_map(volume, data, "Grad-CAM", spec))
    assert path.read_bytes() == write_map(volume, data.copy(), "Grad-CAM", dict(reversed(spec.items())))
    written = nib.load(path)
    (extension,) = written.header.extensions
    assert extension.get_code() == 6
    assert json.loads(extension.text) == spec | {"vislib": metadata.version("vislib")}
    assert extension.content.isascii()
    block = gzip.decompress(path.read_bytes())
    head = nib.Nifti1Header(block[:348])
    assert head["vox_offset"] % 16 == 0
    assert head["vox_offset"] + data.nbytes == len(block)
    assert block[348:352] == b"\1\0\0\0"
    assert np.array_equal(written.affine, own)
    assert written.header["sform_code"] == 4
    seen = nib.as_closest_canonical(written)
    assert np.array_equal(np.asarray(seen.dataobj), data)
    assert np.array_equal(seen.affine, volume.affine)
    plain = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, data)))
    assert list(plain.header.extensions) == []
    assert np.array_equal(np.asarray(plain.dataobj), np.asarray(written.dataobj))


def test_a_written_map_is_read_again_as_a_volume(tmp_path):
    volume = read_volume(SAMPLES["brain_tumour"].path)
    path = tmp_path / "map.nii.gz"
    path.write_bytes(write_map(volume, volume.data / 7, "again", SPEC))
    again = read_volume(path)
    assert np.array_equal(again.data, volume.data / 7)
    assert np.array_equal(again.affine, volume.affine)


def test_what_is_not_known_of_a_map_is_written_as_0(folder):
    volume = read(folder, nifti(values((3, 4, 5))))
    data = values((3, 4, 5), 3)
    data[0], data[1, 1, 1], data[2, 2, 2] = np.nan, np.inf, -np.inf
    kept = data.copy()
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, data)))
    assert np.array_equal(np.asarray(written.dataobj), np.where(np.isfinite(data), data, 0))
    finite = np.append(data[np.isfinite(data)], 0)
    assert (written.header["cal_min"], written.header["cal_max"]) == (finite.min(), finite.max())
    assert np.array_equal(data, kept, equal_nan=True)


@pytest.mark.parametrize("spec", [{"a": object()}, {"a": float("nan")}, {"a": {1, 2}}])
def test_a_description_that_json_cannot_hold_is_refused(folder, spec):
    volume = read(folder, nifti(values((3, 4, 5))))
    with pytest.raises(ImageError, match="cannot be written as JSON") as caught:
        write_map(volume, volume.data, "map", spec)
    assert_sentence(caught.value)
