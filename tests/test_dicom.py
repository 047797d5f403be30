"""DICOM series that pydicom writes: in place whatever their files' order, and refused where a slice is missing."""

import gzip
import sys
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.testing import data_path
from scipy.spatial.transform import Rotation
from volume_making import assert_sentence, assert_straightened, values

from vislib.errors import ImageError
from vislib.volumes import Volume, read_dicom, read_volume, write_map

pydicom = pytest.importorskip("pydicom", reason="DICOM series need the extra vislib[dicom]")
from pydicom.dataset import FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import (  # noqa: E402  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

LPS = np.diag([-1.0, -1, 1, 1])


def placed(
    angles=(0.0, 0.0, 0.0), spacing=(1.0, 1.0, 1.0), place=(0.0, 0.0, 0.0), tilt: float = 0.0
) -> np.ndarray:
    """Voxel (column, row, slice) to mm in RAS+: turned from a plain axial stack, rows to the back."""
    affine = np.eye(4)
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag([-1.0, -1, 1])
    affine[:3, :3] = axes * spacing
    affine[:3, 2] += tilt * affine[:3, 1]
    affine[:3, 3] = place
    return affine


def write_series(
    folder: Path, data: np.ndarray, affine: np.ndarray, syntax=ExplicitVRLittleEndian, **fields: Any
):
    """Write integers by column, row, slice (and time) as a series in shuffled files; callables get the slice."""
    folder.mkdir(exist_ok=True)
    lps, series = LPS @ affine, generate_uid()
    flat = data.reshape(*data.shape[:3], -1)
    count = flat.shape[2] * flat.shape[3]
    names = np.random.default_rng(0).permutation(count)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    for number in range(count):
        time, k = divmod(number, flat.shape[2])
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = coding = ExplicitVRLittleEndian if syntax == RLELossless else syntax
        one = FileDataset(
            None,
            {},
            file_meta=meta,
            preamble=bytes(128),
            is_implicit_VR=coding.is_implicit_VR,
            is_little_endian=coding.is_little_endian,
        )
        one.SOPClassUID, one.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        one.Modality, one.SeriesInstanceUID, one.InstanceNumber = "MR", series, number + 1
        one.ImagePositionPatient = [float(f"{mm:.10g}") for mm in (lps @ [0, 0, k, 1])[:3]]
        one.ImageOrientationPatient = [float(f"{c:.10g}") for c in (lps[:3, :2] / spacing[:2]).T.ravel()]
        one.PixelSpacing = [float(f"{spacing[1]:.10g}"), float(f"{spacing[0]:.10g}")]
        one.SliceThickness = float(f"{spacing[2]:.10g}")
        one.Columns, one.Rows = flat.shape[:2]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = flat.dtype.itemsize * 8
        one.HighBit, one.PixelRepresentation = one.BitsStored - 1, int(flat.dtype.kind == "i")
        little = flat.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")
        one.PixelData = flat[:, :, k, time].T.astype(little).tobytes()
        for name, value in fields.items():
            setattr(one, name, value(k) if callable(value) else value)
        if syntax == RLELossless:
            one.compress(RLELossless)
        one.save_as(folder / f"IM{names[number]:04}", enforce_file_format=True)


def assert_lies(volume: Volume, data: np.ndarray, affine: np.ndarray) -> None:
    """Every voxel has its value at its mm."""
    canonical = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    np.testing.assert_allclose(volume.affine, canonical.affine, atol=1e-4)
    np.testing.assert_allclose(volume.data, canonical.get_fdata(), rtol=1e-5)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.sampled_from([0.0, 90.0, -90.0, 180.0, 12.0, -20.0])] * 3),
    spacing=st.tuples(*[st.sampled_from([0.5, 1.0, 1.25, 4.0])] * 3),
    place=st.tuples(*[st.floats(-99, 99)] * 3),
    shape=st.tuples(*[st.integers(2, 7)] * 3),
    tilt=st.sampled_from([0.0, 0.2]),
    backwards=st.booleans(),
)
def test_a_series_lies_where_it_was_scanned(tmp_path_factory, angles, spacing, place, shape, tilt, backwards):
    folder = tmp_path_factory.mktemp("series")
    data = values(shape).astype(np.int16)
    affine = placed(angles, spacing, place, tilt)
    affine[:3, 2] *= -1 if backwards else 1  # against the pictures' own normal
    write_series(folder, data, affine)
    volume = read_dicom(folder)
    assert volume.times == 1
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, volume.data)))
    np.testing.assert_allclose(written.affine, volume.own_affine)
    assert volume.straightened == bool(tilt)
    if tilt:
        assert "Its axes are sheared" in " ".join(volume.notes)
        assert_straightened(volume, data, affine)
        return
    assert_lies(volume, data, affine)
    np.testing.assert_allclose(nib.as_closest_canonical(written).get_fdata(), volume.data)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless],
    ids=lambda s: s.name,
)
@pytest.mark.parametrize("code", ["u1", "u2", "i2"])
def test_every_plain_coding_is_read(tmp_path, syntax, code):
    data = values((6, 5, 4)).clip(0, 255).astype(code)
    write_series(tmp_path, data, placed(), syntax)
    volume = read_volume(tmp_path)
    assert_lies(volume, data, placed())
    assert volume.stored == np.dtype(code).name


def test_each_slice_has_its_own_scale(tmp_path):
    data = values((6, 5, 4)).astype(np.uint16)
    write_series(tmp_path, data, placed(), RescaleSlope=lambda k: 0.5 + k, RescaleIntercept=lambda k: -7 * k)
    k = np.arange(4)
    volume = read_volume(tmp_path)
    assert_lies(volume, data * (0.5 + k) - 7 * k, placed())
    assert volume.stored == "uint16, scaled"


def test_slices_at_one_place_are_time_points(tmp_path):
    data = values((6, 5, 4, 3)).astype(np.int16)
    write_series(tmp_path, data, placed())
    for time in range(3):
        volume = read_dicom(tmp_path, time=time)
        assert_lies(volume, data[..., time], placed())
        assert (volume.times, volume.time) == (3, time)


def test_inverted_pictures_are_turned_and_the_largest_series_is_taken(tmp_path):
    data = values((6, 5, 4)).astype(np.int16)
    write_series(tmp_path / "one", data, placed(), PhotometricInterpretation="MONOCHROME1")
    write_series(tmp_path / "scout", data[:, :, :1], placed())
    (tmp_path / "one" / "README.txt").write_text("exported")
    volume = read_dicom(tmp_path)
    assert_lies(volume, -data, placed())
    assert "2 DICOM series" in volume.notes[0]
    assert "MONOCHROME1" in volume.notes[1]


def test_a_series_comes_in_a_zip(tmp_path):
    data = values((6, 5, 4)).astype(np.int16)
    write_series(tmp_path / "s", data, placed())
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (tmp_path / "s").iterdir():
            archive.write(path, f"export/series/{path.name}")
    assert_lies(read_volume(tmp_path / "s.zip"), data, placed())


def test_a_real_series_lies_where_each_slice_says():
    series = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests/98892001/CT5N"
    volume = read_dicom(series)
    assert (volume.data.shape, volume.notes) == ((16, 16, 5), ())
    for path in series.iterdir():
        one = pydicom.dcmread(path)
        pixels = one.pixel_array * one.RescaleSlope + one.RescaleIntercept
        across, down = np.reshape(one.ImageOrientationPatient, (2, 3))
        for row, column in ((0, 0), (3, 11), (15, 2)):
            away = down * (row * one.PixelSpacing[0]) + across * (column * one.PixelSpacing[1])
            mm = LPS @ [*(one.ImagePositionPatient + away), 1]
            voxel = np.linalg.inv(volume.affine) @ mm
            at = tuple(np.rint(voxel[:3]).astype(int))
            np.testing.assert_allclose(voxel[:3], at, atol=1e-3)
            assert volume.data[at] == pixels[row, column]


def test_one_picture_is_no_series_and_mosaics_are_none(tmp_path):
    one = Path(data_path) / "0.dcm"  # a Siemens mosaic
    with pytest.raises(ImageError, match="one picture of a DICOM series; give the folder") as caught:
        read_volume(one)
    assert_sentence(caught.value)
    (tmp_path / one.name).write_bytes(one.read_bytes())
    assert "mosaics, all slices of a time in one picture" in refused(tmp_path)


def refused(folder: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_dicom(folder, "the folder")
    assert_sentence(caught.value)
    assert str(caught.value).startswith("the folder ")
    return str(caught.value)


def test_a_series_that_makes_no_volume_is_refused(tmp_path):
    data = values((6, 5, 6)).astype(np.int16)
    assert "no folder" in refused(tmp_path / "nowhere")
    (tmp_path / "letter.txt").write_text("Dear all")
    assert "holds no DICOM slices" in refused(tmp_path)
    for name, fields, words in (
        ("gap", {"ImagePositionPatient": lambda k: [0, 0, k + 3 * (k > 2)]}, "at least one is missing"),
        ("twice", {"ImagePositionPatient": lambda k: [0, 0, max(1, k)]}, "not complete"),
        (
            "turned",
            {"ImageOrientationPatient": lambda k: [1, 0, 0, 0, float(k > 0), float(k < 1)]},
            "localiser",
        ),
        ("frames", {"NumberOfFrames": 2}, "several frames"),
        ("colours", {"SamplesPerPixel": 3}, "holds colours"),
        ("nowhere", {"ImagePositionPatient": None}, "holds no DICOM slices"),
        ("flat", {"PixelSpacing": [0, 1]}, "does not say where its voxels lie"),
        ("large", {"Rows": 30_000, "Columns": 30_000}, "volumes may have 512 million"),
        ("promise", {"Rows": 3_000, "Columns": 3_000}, "more than the file can hold"),
        ("short", {"PixelData": bytes(20)}, "damaged or cut off"),
    ):
        write_series(tmp_path / name, data, placed(), **fields)
        assert words in refused(tmp_path / name), name
    write_series(tmp_path / "deflated", data, placed(), DeflatedExplicitVRLittleEndian)
    assert "dcm2niix" in refused(tmp_path / "deflated")


def test_without_pydicom_it_says_what_it_needs(tmp_path, monkeypatch):
    write_series(tmp_path, values((4, 4, 4)).astype(np.int16), placed())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert "needs the package pydicom" in refused(tmp_path)


def test_damaged_slices_are_read_or_refused(tmp_path):
    write_series(tmp_path, values((6, 5, 3)).astype(np.int16), placed())
    path = sorted(tmp_path.iterdir())[0]
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for at in generator.integers(128, len(whole), 3):
            damaged[at] = generator.integers(256)
        path.write_bytes(bytes(damaged[: generator.integers(200, len(whole) + 400)]))
        try:
            volume = read_dicom(tmp_path)
        except ImageError as error:
            assert_sentence(error)
        else:
            assert np.isfinite(volume.data).all()
