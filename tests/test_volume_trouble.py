"""Files that are no volume, or that lie: one sentence each, nothing read before, and memory back where it was."""

import gc
import gzip
import io
import sys
import tempfile
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volume_kinds import WRITERS, minc, par
from volume_making import assert_sentence, nifti, values

from vislib import volume_archive, volume_formats, volume_opened, volume_source
from vislib.errors import ImageError
from vislib.volumes import read_volume


@pytest.fixture(autouse=True)
def _no_warning_leaks():
    with warnings.catch_warnings(action="error"):
        yield


@pytest.fixture(autouse=True)
def _nothing_is_left_open_or_lying_about(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = open_files()
    yield
    gc.collect()
    assert open_files() <= before
    assert list(folder.iterdir()) == []


def open_files() -> int:
    where = Path("/proc/self/fd")
    return len(list(where.iterdir())) if where.is_dir() else 0


def refused(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_volume(path)
    assert_sentence(caught.value)
    assert str(caught.value).startswith(path.name)
    return str(caught.value)


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", [*WRITERS, "par"])
def test_a_file_that_is_cut_off_is_refused_in_every_format(tmp_path, kind):
    data = np.random.default_rng(0).integers(0, 30000, (9, 8, 7)).astype(np.int16)
    path = par(tmp_path, (8, 8)) if kind == "par" else WRITERS[kind](tmp_path, data)
    voxels = {".hdr": ".img", ".PAR": ".REC"}.get(path.suffix, path.suffix)
    cut = path.with_suffix(voxels)
    whole = cut.read_bytes()
    for share in (0.9, 0.5, 0.1):
        cut.write_bytes(whole[: int(len(whole) * share)])
        words = refused(path)
        assert "damaged or cut off" in words or "more than the file can hold" in words or "no volume" in words


def test_what_a_header_promises_must_fit_the_file(tmp_path):
    huge = {"dims": [30_000, 30_000, 2, 1]}
    block = io.BytesIO()
    image = nib.MGHImage(values((2, 2, 2)), np.eye(4))
    image.to_file_map({"image": nib.fileholders.FileHolder(fileobj=block)})
    head = image.header.copy()
    head["dims"] = huge["dims"]
    data = head.binaryblock[:90] + block.getvalue()[90:]
    assert "volumes may have 512 million" in refused(saved(tmp_path / "one.mgh", data))
    head["dims"] = [500, 500, 500, 1]
    data = head.binaryblock[:90] + block.getvalue()[90:]
    assert "more than the file can hold" in refused(saved(tmp_path / "one.mgh", data))
    assert "more than the file can hold" in refused(saved(tmp_path / "one.mgz", gzip.compress(data)))
    path = par(tmp_path, (8, 8))
    path.write_text(path.read_text().replace(" 8 8 ", " 3000 3000 "))
    assert "more than the file can hold" in refused(path)


def test_more_than_the_machine_has_memory_for_is_refused(tmp_path, monkeypatch):
    path = saved(tmp_path / "one.nii", nifti(values((40, 40, 40))))
    assert read_volume(path).data.shape == (40, 40, 40)
    monkeypatch.setattr(volume_source, "free_memory", lambda: 40**3 * 8 - 1)
    assert "more than this machine has memory for" in refused(path)
    monkeypatch.undo()
    assert volume_source.free_memory() > 1e6
    monkeypatch.setattr(volume_formats, "ArrayProxy", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    assert "needs more memory" in refused(path)


def test_gzip_bombs_burst_in_little_memory(tmp_path, monkeypatch):
    zeros = bytes(1 << 20)
    small = nifti(np.zeros((4, 4, 4), np.float32))
    lying = nifti(np.zeros((4, 4, 4), np.float32), dim=[3, 400, 400, 400, 1, 1, 1, 1])
    far = nifti(np.zeros((4, 4, 4), np.float32), vox_offset=6e7)
    bombs = {}
    for name, head in (("small", small), ("lying", lying), ("far", far)):
        with gzip.open(tmp_path / f"{name}.nii.gz", "wb", 9) as out:
            out.write(head)
            for _ in range(100):
                out.write(zeros)
        bombs[name] = tmp_path / f"{name}.nii.gz"
        assert bombs[name].stat().st_size < 200_000
    minc(tmp_path / "one.mnc", values((4, 5, 6)), np.eye(4))
    with gzip.open(tmp_path / "one.mnc.gz", "wb", 9) as out:
        out.write((tmp_path / "one.mnc").read_bytes())
        for _ in range(30):
            out.write(zeros)
    with zipfile.ZipFile(tmp_path / "one.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.img", zeros * 30)
        archive.writestr("one.hdr", b"x")
    monkeypatch.setattr(volume_opened, "UNPACKED", 20_000_000)
    monkeypatch.setattr(volume_archive, "UNPACKED", 20_000_000)
    tracemalloc.start()
    try:
        assert read_volume(bombs["small"]).data.shape == (4, 4, 4)  # what comes after it is nobody's business
        assert "more than the file can hold" in refused(bombs["lying"])
        assert read_volume(bombs["far"]).data.max() == 0
        assert "unpacks to more than 20 MB" in refused(tmp_path / "one.mnc.gz")
        assert "unpacks to more than 20 MB" in refused(tmp_path / "one.zip")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_memory_is_back_after_a_file_that_breaks_off(tmp_path):
    data = np.random.default_rng(0).integers(0, 999, (96, 96, 96)).astype(np.int16)
    whole = gzip.compress(nifti(data), 1)
    path = saved(tmp_path / "one.nii.gz", whole[: int(len(whole) * 0.95)])
    assert "damaged or cut off" in refused(path)
    gc.collect()
    tracemalloc.start()
    try:
        assert "damaged or cut off" in refused(path)
        gc.collect()
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak > data.size * 4  # it was on its way
    assert now < 200_000


@pytest.mark.parametrize("size", [0, -1, -32768])
def test_sizes_that_cannot_be_are_refused(tmp_path, size):
    for dim in ([3, size, 4, 4, 1, 1, 1, 1], [3, 4, 4, size, 1, 1, 1, 1], [4, 4, 4, 4, size, 1, 1, 1]):
        words = refused(saved(tmp_path / "one.nii", nifti(values((4, 4, 4)), dim=dim)))
        assert "not one volume" in words or "damaged" in words
    image = WRITERS["mgh"](tmp_path, values((4, 4, 4)))
    whole = bytearray(image.read_bytes())
    whole[4:8] = int(size).to_bytes(4, "big", signed=True)
    assert "not one volume" in refused(saved(image, bytes(whole)))


def test_offsets_and_scales_that_are_no_numbers_are_refused(tmp_path):
    for field in ("vox_offset", "scl_slope", "scl_inter"):
        for value in (np.nan, np.inf, -1e30):
            data = nifti(values((4, 4, 4)), **{"scl_slope": 1.0, "scl_inter": 0.0, field: value})
            try:
                volume = read_volume(saved(tmp_path / "one.nii", data))
            except ImageError as error:
                assert_sentence(error)
            else:
                assert np.isfinite(volume.data).all()


def test_axes_without_a_direction_are_refused_in_every_format(tmp_path):
    path = WRITERS["mgh"](tmp_path, values((4, 4, 4)))
    whole = bytearray(path.read_bytes())
    whole[30:34] = bytes(4)  # the first axis' size of a voxel
    assert "does not say where its voxels lie" in refused(saved(path, bytes(whole)))
    minc(tmp_path / "one.mnc", values((4, 5, 6)), np.diag([1.0, 0.0, 2.0, 1.0]))
    assert "does not say where its voxels lie" in refused(tmp_path / "one.mnc")
    minc(tmp_path / "one.mnc", values((4, 5, 6)), np.diag([1.0, np.nan, 2.0, 1.0]))
    assert "does not say where its voxels lie" in refused(tmp_path / "one.mnc")


def test_what_is_something_else_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for data, words in (
        (b"", "no volume that can be read here"),
        (b"Dear all, please find attached my brain.\n" * 40, "no volume that can be read here"),
        (b"%PDF-1.7\n" + bytes(600), "no volume that can be read here"),
        (b"BZh91AY&SY" + bytes(600), "packed by bzip2"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "packed by Zstandard"),
        (b"PK\3\4" + bytes(600), "damaged or cut off"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "needs the package h5py"),
        (b"\0\0\0\1" + bytes(600), "not one volume"),
        (b"CDF\1" + bytes(600), "damaged or cut off"),
        (b"# === DATA DESCRIPTION FILE ===\n#\n", "damaged or cut off"),
    ):
        assert words in refused(saved(tmp_path / "letter.nii", data))
    assert "without its .hdr file" in refused(saved(tmp_path / "voxels.img", bytes(100)))
    assert "without its .par file" in refused(saved(tmp_path / "voxels.rec", bytes(100)))


def test_text_made_to_keep_a_par_reader_busy_is_refused_at_once(tmp_path):
    path = par(tmp_path, (8, 8))
    good = path.read_text()
    start = time.monotonic()
    spaces = good.replace(
        ".    Max. number of dynamics", "." + " " * 20_000 + "x\n.    Max. number of dynamics"
    )
    assert "damaged or cut off" in refused(saved(path, spaces.encode()))
    hidden = good.replace(
        ".    Max. number of dynamics", ". a:\x0b" + " " * 20_000 + "x\n.    Max. number of dynamics"
    )
    assert "damaged or cut off" in refused(saved(path, hidden.encode()))
    assert "too long for a PAR file" in refused(saved(path, (good + "# \n" * 60_000).encode()))
    assert "lists other slices than it promises" in refused(
        saved(path, good.replace("slices/locations    :   9", "slices/locations    :   999999999").encode())
    )
    assert time.monotonic() - start < 10


def test_a_volume_of_one_value_is_read_and_says_that_there_is_nothing_to_see(tmp_path):
    for value in (0.0, 7.0, -3.5):
        volume = read_volume(saved(tmp_path / "one.nii", nifti(np.full((9, 9, 9), value, np.float32))))
        assert volume.scaling == f"Every voxel holds {value:g}: there is nothing to see."
        assert volume.window.width == 0
        assert np.isfinite(volume.unit()).all()
        assert volume.notes == (volume.scaling,)
