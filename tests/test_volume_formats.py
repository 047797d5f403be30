"""Formats of volumes: each read as nibabel reads it, one time point at a time, in little memory."""

import gzip
import itertools
import sys
import tracemalloc
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.testing import data_path
from volume_kinds import AFFINE, WRITERS, minc, par
from volume_making import SAMPLES, assert_sentence, nifti, values

from vislib.errors import ImageError
from vislib.volume import as_own
from vislib.volumes import Volume, read_volume, write_map

# What nibabel's own tests read, and whether time is its last axis there.
REAL = {
    "anatomical.nii": True,
    "functional.nii": True,
    "example4d.nii.gz": True,
    "example_nifti2.nii.gz": True,
    "reoriented_anat_moved.nii": True,
    "standard.nii.gz": True,
    "test.mgz": True,
    "tiny.mnc": False,
    "minc1_1_scale.mnc": False,
    "minc1_4d.mnc": False,
    "minc1-no-att.mnc": False,
    "phantom_EPI_asc_CLEAR_2_1.PAR": True,
    "phantom_varscale.REC": True,
}
MINC2 = ("small.mnc", "minc2_1_scale.mnc", "minc2_4d.mnc", "minc2-4d-d.mnc", "minc2_baddim.mnc")


nibabel_leaves_rec_files_open = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def as_in_file(volume: Volume) -> np.ndarray:
    return as_own(volume.data, volume.orientation)


def assert_is_nibabels(path: Path, time_last: bool) -> None:
    image = nib.load(path)
    wanted = np.asarray(image.dataobj, np.float64)
    times = 1 if wanted.ndim == 3 else wanted.shape[-1 if time_last else 0]
    for time in {0, times // 2, times - 1}:
        volume = read_volume(path, time=time)
        one = wanted if wanted.ndim == 3 else wanted.take(time, -1 if time_last else 0)
        np.testing.assert_allclose(volume.own_affine, image.affine, rtol=1e-6, atol=1e-5)
        if volume.straightened:  # see test_volume_sheared
            assert any("sheared" in note for note in volume.notes)
            continue
        np.testing.assert_allclose(as_in_file(volume), one, rtol=1e-6)
        canonical = nib.as_closest_canonical(nib.Nifti1Image(one, image.affine))
        np.testing.assert_allclose(volume.data, canonical.get_fdata(), rtol=1e-6)
        np.testing.assert_allclose(volume.affine, canonical.affine, rtol=1e-6, atol=1e-4)
        assert (volume.times, volume.time) == (times, time)
        assert volume.data.dtype == np.dtype("=f4")
        assert volume.data.flags.c_contiguous
        written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, volume.data)))
        assert written.shape == one.shape
        assert np.array_equal(written.affine, volume.own_affine)
        np.testing.assert_allclose(np.asarray(written.dataobj), one, rtol=1e-6)


@nibabel_leaves_rec_files_open
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_as_nibabel_reads_them(name):
    assert_is_nibabels(Path(data_path) / name, REAL[name])


@pytest.mark.parametrize("name", MINC2)
@pytest.mark.filterwarnings("ignore:Invalid spacing declaration")
def test_minc_2_is_read_where_h5py_is_there(name):
    pytest.importorskip("h5py", reason="MINC 2 files need h5py, which vislib does not ask for")
    assert_is_nibabels(Path(data_path) / name, time_last=False)


def test_minc_2_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        ImageError, match=r"^small\.mnc is a MINC 2 file, which needs the package h5py"
    ) as caught:
        read_volume(Path(data_path) / "small.mnc")
    assert_sentence(caught.value)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("code", ["u1", "i2", "f4"])
@pytest.mark.parametrize("kind", WRITERS)
def test_what_nibabel_writes_comes_back(tmp_path, kind, code, times):
    data = values((5, 6, 7, times)[: 3 if times == 1 else 4]).clip(0, 255).astype(code)
    path = WRITERS[kind](tmp_path, data)
    for time in range(times):
        volume = read_volume(path, time=time)
        one = data if times == 1 else data[..., time]
        minc1 = kind.startswith("minc")  # its axes are z, y, x
        np.testing.assert_allclose(as_in_file(volume), one.T if minc1 else one, rtol=1e-5)
        if not minc1:  # an Analyze pair keeps it in the .mat file that nibabel, as SPM, writes beside it
            np.testing.assert_allclose(volume.own_affine, AFFINE, atol=1e-5)
        assert volume.times == times
    if times > 1:
        assert volume.notes[-1] == f"It holds {times} time points; this is number {times - 1}."


def test_big_endian_volumes_become_native(tmp_path):
    for kind in (nib.Nifti1Image, nib.Nifti2Image, nib.AnalyzeImage):
        data = values((4, 5, 6)).astype(">i2")
        image = kind(data, np.diag([-1.0, 1, 1, 1]), kind.header_class(endianness=">"))
        image.set_data_dtype(">i2")
        path = tmp_path / ("one.hdr" if kind is nib.AnalyzeImage else "one.nii")
        nib.save(image, path)
        volume = read_volume(path)
        assert volume.data.dtype == np.dtype("=f4")
        assert np.array_equal(as_in_file(volume), data)


@nibabel_leaves_rec_files_open
@pytest.mark.parametrize(
    "order", [None, [*range(26, -1, -1)], [*range(0, 27, 3), *range(1, 27, 3), *range(2, 27, 3)]]
)
def test_slices_of_a_par_file_come_in_any_order(tmp_path, order):
    path = par(tmp_path, (8, 8), order)
    image = nib.load(path)
    wanted = np.asarray(image.dataobj)
    for time in range(3):
        np.testing.assert_allclose(as_in_file(read_volume(path, time=time)), wanted[..., time], rtol=1e-6)


def test_a_pair_is_found_by_either_file_and_in_a_zip(tmp_path):
    data = values((4, 5, 6))
    nib.save(nib.Nifti1Pair(data, AFFINE), tmp_path / "Head.hdr")
    for name in ("Head.hdr", "Head.img"):
        assert np.array_equal(as_in_file(read_volume(tmp_path / name)), data)
    with zipfile.ZipFile(tmp_path / "pair.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("Head.hdr", "Head.img"):
            archive.write(tmp_path / name, f"folder/{name.upper()}")
        archive.writestr("__MACOSX/folder/._Head.hdr", b"x")
        archive.writestr("notes.txt", b"x")
    volume = read_volume(tmp_path / "pair.zip", "sent.zip")
    assert np.array_equal(as_in_file(volume), data)
    assert volume.name == "sent.zip"
    for name, other in (("Head.hdr", "voxels (.img)"), ("Head.img", "the voxels")):
        alone = tmp_path / "alone" / name
        alone.parent.mkdir(exist_ok=True)
        alone.write_bytes((tmp_path / name).read_bytes())
        with pytest.raises(ImageError, match=r"put both files, of one name, into one \.zip") as caught:
            read_volume(alone)
        assert other in str(caught.value)
        assert_sentence(caught.value)
        alone.unlink()


def test_a_zip_of_one_volume_is_read_and_of_others_not(tmp_path):
    path = tmp_path / "some.zip"
    sample = SAMPLES["brain_tumour"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(sample.path, "a/brain.nii.gz")
    assert np.array_equal(read_volume(path).data, read_volume(sample.path).data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(sample.mask, "a/mask.nii.gz")
    with pytest.raises(ImageError, match="holds 2 volumes") as caught:
        read_volume(path)
    assert_sentence(caught.value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", b"x")
    with pytest.raises(ImageError, match="holds no volume") as caught:
        read_volume(path)
    assert_sentence(caught.value)


def test_a_time_that_is_not_there_is_said(tmp_path):
    path = WRITERS["nifti1"](tmp_path, values((4, 4, 4, 3)))
    for time, words in ((3, "its time points are 0 to 2"), (-1, "its time points are 0 to 2")):
        with pytest.raises(ImageError, match=words) as caught:
            read_volume(path, time=time)
        assert_sentence(caught.value)
    with pytest.raises(ImageError, match="it holds one volume, number 0") as caught:
        read_volume(WRITERS["mgz"](tmp_path, values((4, 4, 4))), time=1)
    assert_sentence(caught.value)


def test_a_map_over_one_time_is_a_volume_with_the_files_codes(tmp_path):
    image = nib.Nifti1Image(values((4, 5, 6, 3)), AFFINE)
    image.set_sform(AFFINE, 4)
    image.set_qform(AFFINE, 2)
    path = tmp_path / "one.nii"
    nib.save(image, path)
    volume = read_volume(path, time=2)
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, volume.data)))
    assert written.shape == (4, 5, 6)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (4, 2)
    assert np.array_equal(written.affine, nib.load(path).affine)
    assert np.array_equal(np.asarray(written.dataobj), image.get_fdata(dtype=np.float32)[..., 2])


@pytest.mark.parametrize("kind", [*WRITERS, "par"])
@pytest.mark.parametrize("times", [1, 6])
def test_reading_takes_less_than_twice_the_volumes_memory(tmp_path, kind, times):
    side = 96 if times == 1 else 48
    if kind == "par":
        path, size = par(tmp_path, (128, 128), [*range(26, -1, -1)]), 128 * 128 * 9 * 4
    else:
        shape = (side, side, side, times)[: 3 if times == 1 else 4]
        path = WRITERS[kind](tmp_path, (np.arange(np.prod(shape)) % 251).astype(np.int16).reshape(shape))
        size = side**3 * 4
    read_volume(path)  # what is imported or built once
    tracemalloc.start()
    try:
        volume = read_volume(path, time=0 if times == 1 else 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert volume.data.nbytes == size
    assert peak < 2 * size


def test_a_single_huge_slice_takes_no_more_either(tmp_path):
    data = np.zeros((1000, 900, 1), np.int16)
    (tmp_path / "one.nii").write_bytes(nifti(data, scl_slope=2.0, scl_inter=1.0))
    tracemalloc.start()
    try:
        volume = read_volume(tmp_path / "one.nii")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * volume.data.nbytes


def test_minc_with_axes_of_no_space_is_refused(tmp_path):
    minc(tmp_path / "one.mnc", values((3, 4, 5, 6)[1:]), np.eye(4))
    data = bytearray((tmp_path / "one.mnc").read_bytes())
    (tmp_path / "one.mnc").write_bytes(bytes(data).replace(b"xspace", b"xspare"))
    with pytest.raises(ImageError, match="give three of space and one of time") as caught:
        read_volume(tmp_path / "one.mnc")
    assert_sentence(caught.value)


def test_blocks_cover_a_grid_once():
    from vislib import volume_values

    for shape, slowest, most in itertools.product(
        [(5, 6, 7), (1, 9, 1), (8, 1, 3)], (0, 2), (1, 7, 40, 10**6)
    ):
        seen = np.zeros(shape, int)
        before = volume_values.AT_ONCE
        volume_values.AT_ONCE = most
        try:
            for where in volume_values.blocks(shape, slowest):
                seen[where] += 1
        finally:
            volume_values.AT_ONCE = before
        assert (seen == 1).all()


@pytest.mark.parametrize("bare", [False, True], ids=["as the standard says", "nothing behind the header"])
@pytest.mark.parametrize("offset", [0, 100, 348, 351])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_voxels_that_begin_inside_the_header_are_found_and_that_is_said(tmp_path, kind, offset, bare):
    data = values((4, 5, 6), seed=3).astype(np.int16)
    whole = nifti(data, kind=kind, vox_offset=offset)
    length = kind.header_class.sizeof_hdr
    if bare:
        whole = whole[:length] + whole[length + 4 :]
    elif offset == length:  # the header is right about a file that goes on behind it
        data = np.frombuffer(whole[length : length + data.nbytes], np.int16).reshape(data.shape, order="F")
    path = tmp_path / "one.nii"
    path.write_bytes(whole)
    volume = read_volume(path)
    assert np.array_equal(np.asarray(volume.data), data)
    start = length if bare or offset == length else length + 4
    words = f"Its header says that voxels begin at byte {offset}; they were read from byte {start}."
    assert (words in volume.notes) == (start != offset)
