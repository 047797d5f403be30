"""Where a file says that it lies: forms that disagree or are broken, other units of length, SPM's .mat files."""

import gzip
import io
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.spm2analyze import Spm2AnalyzeImage
from scipy.io import savemat
from scipy.spatial.transform import Rotation
from volume_kinds import minc
from volume_making import affines, assert_sentence, values

from vislib.clusters import clusters
from vislib.errors import ImageError
from vislib.volumes import Volume, lay_over, network_grid, read_volume, write_map

SHAPE = (6, 5, 4)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 0, 3.0, -40], [0, 1.5, 0, 7], [0, 0, 0, 1]])


def image(sform=AFFINE, scode=1, qform=AFFINE, qcode=1, unit="mm") -> nib.Nifti1Image:
    one = nib.Nifti1Image(values(SHAPE), AFFINE)
    one.set_qform(qform, qcode)
    one.set_sform(sform, scode)
    one.header.set_xyzt_units(unit)
    return one


def read(folder: Path, one: nib.Nifti1Image, **header) -> Volume:
    """As it reads once fields of its header were overwritten."""
    whole = io.BytesIO()
    one.to_stream(whole)
    head = one.header.copy()
    head["vox_offset"] = head.single_vox_offset
    for field, value in header.items():
        head[field] = value
    path = folder / "one.nii"
    path.write_bytes(head.binaryblock + whole.getvalue()[len(head.binaryblock) :])
    return read_volume(path)


def moved(mm: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] += mm
    return affine


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (AFFINE @ np.diag([-1.0, 1, 1, 1]), "disagree by up to 20 mm and about which side is left"),
        (moved(4.0), "disagree by up to 4 mm: the sform was taken"),
        (np.diag([1.1, 1.1, 1.1, 1]) @ AFFINE, "disagree by up to"),
    ],
)
def test_forms_that_disagree_are_said(tmp_path, other, words):
    volume = read(tmp_path, image(sform=AFFINE, scode=4, qform=other))
    np.testing.assert_allclose(volume.own_affine, AFFINE, atol=1e-5)
    assert "Its sform, code 4 (MNI), and its qform, code 1 (scanner)," in volume.notes[0]
    assert words in volume.notes[0]
    place = volume.placement
    assert (place.source, place.sform, place.qform, place.unit) == ("sform", 4, 1, "mm")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines(), half=st.booleans())
def test_what_differs_by_rounding_alone_is_not_said(tmp_path, affine, half):
    if half:  # half a turn: the fourth number of the quaternion is next to 0, and badly rounded
        affine = np.diag([-1.0, -1, 1, 1]) @ affine
    one = nib.Nifti1Image(np.zeros((180, 210, 160), np.uint8), affine)
    one.set_qform(affine, 1)
    one.set_sform(affine, 2)
    one.header.set_xyzt_units("mm")
    notes = read(tmp_path, one).notes
    assert not any("sform" in note or "sheared" in note for note in notes), notes


def test_one_form_alone_has_nothing_to_disagree_with(tmp_path):
    for codes, source in (((1, 0), "sform"), ((0, 2), "qform")):
        volume = read(tmp_path, image(scode=codes[0], qcode=codes[1]))
        assert volume.notes == ()
        assert volume.placement.source == source
        np.testing.assert_allclose(volume.own_affine, AFFINE, atol=1e-4)


BROKEN = (
    {"srow_x": [0, 0, 0, 0], "srow_y": [0, 0, 0, 0], "srow_z": [0, 0, 0, 0]},
    {"srow_x": [np.nan, 0, 0, 1]},
    {"srow_y": [np.inf, 0, 0, 1]},
    {"srow_z": [0, 0, 0, 5]},
    {"srow_x": [0, 0, 3, -40]},
)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_usable_qform_stands_in_for_a_broken_sform(tmp_path, broken):
    volume = read(tmp_path, image(qcode=3), **broken)
    np.testing.assert_allclose(volume.own_affine, AFFINE, atol=1e-4)
    assert "Its sform, code 1 (scanner), is flat or no affine: the qform was taken." in volume.notes
    assert volume.placement.source == "qform"
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, volume.data)))
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-4)  # sound in every viewer


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("quaternion", [None, {"quatern_b": np.nan}, {"quatern_b": 9.0}])
def test_without_a_qform_the_voxel_sizes_are_taken_and_said(tmp_path, broken, quaternion):
    volume = read(tmp_path, image(qcode=0 if quaternion is None else 1), **broken, **(quaternion or {}))
    np.testing.assert_allclose(sorted(volume.voxel), sorted((2, 1.5, 3)), rtol=1e-5)
    assert any("only the voxel sizes in pixdim were taken" in note for note in volume.notes)
    assert any("left and right are a guess" in note for note in volume.notes)
    assert volume.placement.source == "pixdim"


def test_voxel_sizes_that_are_none_and_those_of_another_form_are_said(tmp_path):
    volume = read(tmp_path, image(scode=0, qcode=0), pixdim=[1, 0, -2, 3, 1, 1, 1, 1])
    assert volume.voxel == (1, 2, 3)
    assert any("0 x -2 x 3, cannot be" in note for note in volume.notes)
    volume = read(tmp_path, image(qcode=0), pixdim=[1, 1, 1, 1, 1, 1, 1, 1])
    assert (
        "Its pixdim says voxels of 1 x 1 x 1, its sform of 2 x 1.5 x 3: the sform was taken." in volume.notes
    )


UNITS = {"micron": 1000.0, "meter": 1e-3, "mm": 1.0}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    affine=affines(),
    unit=st.sampled_from(["micron", "meter"]),
    codes=st.sampled_from([(1, 0), (0, 1), (1, 1)]),
)
def test_another_unit_is_the_same_volume_in_mm(tmp_path, affine, unit, codes):
    data = values((5, 6, 7))
    found = {}
    for name in ("mm", unit):
        scaled = np.diag([UNITS[name]] * 3 + [1.0]) @ affine
        one = nib.Nifti1Image(data, scaled)
        one.set_qform(scaled, codes[1])
        one.set_sform(scaled, codes[0])
        one.header.set_xyzt_units(name)
        found[name] = read(tmp_path, one)
    mm, other = found["mm"], found[unit]
    np.testing.assert_array_equal(mm.data, other.data)
    np.testing.assert_allclose(mm.affine, other.affine, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(mm.own_affine, other.own_affine, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(mm.voxel, other.voxel, rtol=1e-5)
    for grid in ((), (1.5, 1.5, 2.0)):
        wanted = network_grid(mm, (4, 4, 4), grid)
        np.testing.assert_allclose(wanted, network_grid(other, (4, 4, 4), grid), rtol=1e-4, atol=1e-3)
    for one, two in zip(
        clusters(mm.data, mm.affine, 130.0), clusters(other.data, other.affine, 130.0), strict=True
    ):
        assert one.mm3 == pytest.approx(two.mm3, rel=1e-4)
        np.testing.assert_allclose(one.peak_mm, two.peak_mm, atol=1e-3)
    assert any("were converted to" in note for note in other.notes)
    assert (other.placement.unit, other.placement.mm) == (unit, 1 / UNITS[unit])
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(other, other.data)))
    assert written.header.get_xyzt_units()[0] == unit  # on the file's own affine ...
    (tmp_path / "map.nii.gz").write_bytes(write_map(other, other.data))
    again = read_volume(tmp_path / "map.nii.gz")  # ... and back here in place
    np.testing.assert_allclose(again.affine, other.affine, rtol=1e-6)
    np.testing.assert_array_equal(again.data, other.data)
    np.testing.assert_allclose(lay_over(again, mm), mm.data, rtol=2e-2)


def test_a_file_without_a_unit_says_that_mm_were_assumed(tmp_path):
    for code in (0, 4, 7):
        volume = read(tmp_path, image(), xyzt_units=code)
        assert volume.notes == ("Its header names no unit of length: mm were assumed.",)
        assert volume.placement.unit == "unknown"
        np.testing.assert_allclose(volume.own_affine, AFFINE, atol=1e-4)


def analyze(folder: Path, **mat) -> Path:
    one = Spm2AnalyzeImage(values(SHAPE), np.diag([-2.0, 3, 4, 1]))
    nib.save(one, folder / "one.img")
    (folder / "one.mat").unlink()
    if mat:
        savemat(folder / "one.mat", mat)
    return folder / "one.hdr"


def test_spms_mat_beside_a_pair_says_where_it_lies(tmp_path):
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("xyz", (5, 10, -20), degrees=True).as_matrix() * [2, 3, 4]
    turned[:3, 3] = 7, -8, 9
    one = np.eye(4)
    one[:3, 3] = -1  # MATLAB counts from 1
    flip = np.diag([-1.0, 1, 1, 1])
    for mat in (
        {"mat": turned @ one, "M": np.eye(4)},
        {"M": flip @ turned @ one},
        {"mat": (turned @ one)[..., None]},
    ):
        volume = read_volume(analyze(tmp_path, **mat))
        np.testing.assert_allclose(volume.own_affine, turned, atol=1e-5)
        assert "the .mat file beside it says" in volume.notes[0]
        assert volume.placement.source == "SPM's .mat file"
        assert not any("a guess" in note for note in volume.notes)
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        for suffix in (".hdr", ".img", ".mat"):
            archive.write(tmp_path / f"one{suffix}", f"scan{suffix}")
    np.testing.assert_allclose(read_volume(tmp_path / "one.zip").own_affine, turned, atol=1e-5)


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti1Image, nib.Nifti2Image])
def test_a_mat_beside_nifti_is_left_out_and_said_where_it_differs(tmp_path, kind):
    affine = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -40], [0, 0, 3, -50], [0, 0, 0, 1]])
    one = np.eye(4)
    one[:3, 3] = -1  # MATLAB counts from 1
    name = tmp_path / ("one.hdr" if kind is nib.Nifti1Pair else "one.nii")
    nib.save(kind(np.random.default_rng(0).random((5, 6, 7)), affine), name)
    elsewhere = affine + np.outer([0, 0, 1, 0], [0, 0, 0, 9.0])
    for mat, said in ((affine, False), (elsewhere, True)):
        savemat(tmp_path / "one.mat", {"mat": mat @ one, "M": mat @ one})
        volume = read_volume(name)
        np.testing.assert_allclose(volume.own_affine, affine, atol=1e-5)
        assert any("its own header was taken" in note for note in volume.notes) == said


@pytest.mark.parametrize(
    "mat", [{"other": np.eye(4)}, {"mat": np.zeros((4, 4))}, {"mat": np.eye(3)}, {"mat": "text"}]
)
def test_a_mat_file_without_an_affine_is_left_out_and_said(tmp_path, mat):
    volume = read_volume(analyze(tmp_path, **mat))
    assert "Its header does not say how it lies in space: left and right are a guess." in volume.notes
    assert "The .mat file beside it holds no affine and was left out." in volume.notes
    (tmp_path / "one.mat").write_bytes(b"no such thing" * 9)
    assert (
        "The .mat file beside it holds no affine and was left out." in read_volume(tmp_path / "one.hdr").notes
    )


@pytest.mark.parametrize(("said", "mm"), [(b"um", 1e-3), (b"cm", 10.0), (b"mm", 1.0), (b"", 1.0)])
def test_analyze_files_of_another_unit(tmp_path, said, mm):
    path = analyze(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[56:60] = said.ljust(4, b"\0")  # vox_units
    path.write_bytes(whole)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.voxel, np.array([2.0, 3, 4]) * mm, rtol=1e-5)
    assert any("were converted" in note for note in volume.notes) == (mm != 1)


def test_minc_files_of_another_unit(tmp_path, monkeypatch):
    from vislib import volume_minc

    minc(tmp_path / "one.mnc", values((3, 4, 5)), np.diag([1000.0, 2000, 3000, 1]))
    monkeypatch.setattr(volume_minc, "_unit", lambda *_: ("micron", 1e-3))
    volume = read_volume(tmp_path / "one.mnc")
    np.testing.assert_allclose(volume.voxel, (1, 2, 3), rtol=1e-6)
    assert "were converted to" in volume.notes[0]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_geometry_is_read_or_refused(tmp_path, data):
    """Headers whose fields of space hold anything: one sentence, or a volume whose affine places its voxels."""
    number = st.sampled_from([0.0, 1.0, -1.0, 2.5, 0.3, 1e-9, 1e9, 1e30, np.nan, np.inf, -np.inf])
    fields = {}
    for row in ("srow_x", "srow_y", "srow_z"):
        if data.draw(st.booleans()):
            fields[row] = [data.draw(number) for _ in range(4)]
    for one in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x"):
        if data.draw(st.booleans()):
            fields[one] = data.draw(number)
    if data.draw(st.booleans()):
        fields["pixdim"] = [data.draw(number) for _ in range(8)]
    for one in ("sform_code", "qform_code"):
        fields[one] = data.draw(st.sampled_from([0, 1, 4, 9, -1]))
    fields["xyzt_units"] = data.draw(st.sampled_from([0, 1, 2, 3, 10, 255]))
    try:
        volume = read(tmp_path, image(), **fields)
    except ImageError as error:
        assert_sentence(error)
        return
    assert np.isfinite(volume.affine).all()
    assert abs(np.linalg.det(volume.affine[:3, :3])) > 0
    for note in volume.notes:
        assert note.endswith(".")
        assert len(note) < 320
    if not volume.straightened:
        for voxel in ((0, 0, 0), tuple(n - 1 for n in volume.data.shape)):
            assert volume.canonical_index(volume.file_index(voxel)) == voxel
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, volume.data)))
    assert np.isfinite(written.affine).all()
    assert written.shape == volume.own_shape
    path = tmp_path / "map.nii"
    path.write_bytes(gzip.decompress(write_map(volume, volume.data)))
    np.testing.assert_allclose(read_volume(path).own_affine, volume.own_affine, rtol=1e-6)


def test_names_in_a_header_extension_make_an_atlas(tmp_path):
    one = nib.Nifti1Image(values(SHAPE), AFFINE)
    text = b'<CaretExtension><LabelTable><Label Key="3" Red="1" Green="0" Blue="0">Left</Label></LabelTable>'
    one.header.extensions.append(nib.nifti1.Nifti1Extension(30, text))
    path = tmp_path / "one.nii.gz"
    nib.save(one, path)
    volume = read_volume(path)
    assert volume.labels[3].name == "Left"
    assert volume.labelled
    assert read(tmp_path, image()).labels == {}
