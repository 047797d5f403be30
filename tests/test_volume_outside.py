"""What lies outside of a scan: NaN, padding, values that float32 does not hold; it never changes the rest."""

import math
import struct

import nibabel as nib
import numpy as np
import pytest
from volume_making import read_written as read
from volume_making import scan, values

from vislib import clusters
from vislib.brain_mask import brain_mask
from vislib.errors import ImageError
from vislib.straight import straightened
from vislib.volumes import Volume, read_volume


def head_of(values: np.ndarray, outside: float) -> np.ndarray:
    """Values inside of a ball, and one value, such as NaN, outside of it."""
    away = ((np.indices((20, 22, 18)).T - [9.5, 10.5, 8.5]) ** 2).sum(-1).T
    return np.where(away < 64, values, outside)


CT = np.where(np.random.default_rng(2).random((20, 22, 18)) < 0.5, -1000.0, 40.0) + np.random.default_rng(
    3
).normal(size=(20, 22, 18), scale=5)
EFFECTS = np.random.default_rng(1).normal(size=(20, 22, 18), scale=3)
PARCELS = np.indices((20, 22, 18))[0] // 3 + 1.0


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(PARCELS, id="atlas"),
        pytest.param(np.ones((20, 22, 18)), id="mask"),
        pytest.param(np.where(PARCELS > 3, 2.0, -1.0), id="mask of both signs"),
        pytest.param(3.1 + np.abs(EFFECTS), id="map above a threshold"),
        pytest.param(-3.1 - np.abs(EFFECTS), id="map below one"),
        pytest.param(EFFECTS, id="map of both signs"),
        pytest.param(200.5 + np.abs(EFFECTS), id="scan"),
    ],
)
def test_outside_of_what_is_known_there_is_nothing(tmp_path, inside):
    """As SPM writes its masks and maps: NaN outside."""
    data = head_of(inside, np.nan)
    volume = read(tmp_path, data)
    missing = np.isnan(data)
    assert (volume.data[missing] == 0).all()
    np.testing.assert_array_equal(volume.data[~missing], data[~missing].astype(np.float32))
    assert volume.notes[0] == f"{int(missing.sum())} voxels that held no finite number were set to 0."
    if (inside == np.rint(inside)).all():
        sizes = {one.label: one.voxels for one in clusters.regions(volume.data, volume.affine)}
        wanted, counts = np.unique(data[~missing], return_counts=True)
        assert sizes == dict(zip(wanted.tolist(), counts.tolist(), strict=True))


def test_a_ct_of_which_the_outside_is_not_known_lies_in_air(tmp_path):
    shell = head_of(CT, np.nan)
    away = ((np.indices(shell.shape).T - [9.5, 10.5, 8.5]) ** 2).sum(-1).T
    shell[(away >= 49) & (away < 64)] = -1000.0  # air around the head, as in every CT
    volume = read(tmp_path, shell)
    missing = np.isnan(shell)
    assert (volume.data[missing] == np.float32(np.nanmin(shell))).all()
    assert volume.notes[0].startswith(
        f"{int(missing.sum())} voxels that held no finite number were set to -10"
    )


def test_holes_in_a_scan_do_not_change_its_window(tmp_path):
    data = 500 + 20 * np.random.default_rng(0).random((30, 30, 30))
    plain = read(tmp_path, data).unit()
    data[3, 4, 5:9] = np.nan
    volume = read(tmp_path, data)
    assert (volume.data[3, 4, 5:9] == np.float32(np.nanmin(data))).all()
    np.testing.assert_allclose(np.delete(volume.unit(), 3, 0), np.delete(plain, 3, 0), atol=1e-3)


def test_a_float64_value_that_float32_does_not_hold_is_a_hole(tmp_path):
    for far in (3.5e38, 1e39, -1e39, 1e300):
        data = scan().astype(np.float64)
        data[1, 2, 3] = far
        volume = read(tmp_path, data)
        said = (
            f"1 voxel that held no finite number, or one beyond float32 (up to {abs(far):.3g}), was set to "
        )
        assert said in " ".join(volume.notes)
        np.testing.assert_allclose(np.delete(volume.data, 1, 0), np.delete(scan(), 1, 0), rtol=1e-6)


@pytest.mark.parametrize("low", [-32768.0, -1e6])
@pytest.mark.parametrize("where", ["a voxel", "two slices"])
def test_what_lies_far_below_a_scan_does_not_make_the_rest_white(tmp_path, low, where):
    data = np.where(np.random.default_rng(2).random((20, 22, 30)) < 0.5, -1000.0, 60.0)
    data += np.random.default_rng(3).normal(size=data.shape, scale=5)
    plain = read(tmp_path, data).unit()
    place = (3, 4, 5) if where == "a voxel" else np.s_[:, :, :2]
    data[place] = low
    volume = read(tmp_path, data)
    np.testing.assert_allclose(volume.unit()[:, :, 6:], plain[:, :, 6:], atol=0.02)
    assert (volume.unit()[place] == 0).all()
    assert f"down to {low:g}, lie" in volume.scaling
    assert "far below" in volume.scaling


def test_background_and_few_values_are_no_padding(tmp_path):
    for data in (
        PARCELS - 1,
        head_of(800 + np.abs(EFFECTS), 0.0),
        np.r_[np.zeros(50), np.ones(10)].reshape(3, 4, 5),
    ):
        assert read(tmp_path, data.astype(np.float32)).window.low == 0


def test_a_rare_label_is_no_padding(tmp_path):
    data = np.where(PARCELS > 3, 7.0, 6.0)
    data[0, 0, :3] = 0.0
    assert read(tmp_path, data.astype(np.float32)).window.low == 0


def test_a_narrow_window_is_stretched_however_small_its_values(tmp_path):
    for scale in (1e-33, 1e-36):
        large = np.abs(values((24, 22, 20)))
        data = large * scale
        data[0, 0, 0] = 1.0  # so that nothing is divided by a power of ten
        volume = read(tmp_path, data)
        assert volume.power == 0
        expected = read(tmp_path, large).unit()
        np.testing.assert_allclose(volume.unit()[1:], expected[1:], atol=0.02)


def test_a_header_whose_scale_is_no_number_is_refused_with_that_reason(tmp_path):
    image = nib.Nifti1Image(np.round(scan()).astype(np.int16), np.eye(4))
    content = bytearray(image.to_bytes())
    content[112:120] = struct.pack("<ff", 2.0, math.nan)
    (tmp_path / "one.nii").write_bytes(bytes(content))
    with pytest.raises(ImageError, match="scales its values by what is no number"):
        read_volume(tmp_path / "one.nii")


def test_around_a_sheared_ct_lies_air_and_around_other_scans_0():
    tilt = np.eye(4)
    tilt[1, 2] = 0.4
    order = np.array([[0.0, 1], [1, 1], [2, 1]])
    few = np.where(CT > -500, 40.0, -1000.0)
    for data, around in (
        (CT, -1000.0),
        (few, -1000.0),
        (np.abs(EFFECTS), 0.0),
        (EFFECTS, 0.0),
        (PARCELS, 0.0),
    ):
        padded = np.pad(np.maximum(data, around) if around else data, 3, constant_values=around)
        stored = padded.astype(np.float32)
        header = nib.Nifti1Image(stored, tilt).header
        straight, (note,) = straightened(Volume(stored, tilt, "tilted", header, order, "float32"))
        assert straight.data[:, 0, -1].max() == straight.data[:, -1, 0].max() == around
        assert f"with {around:g} around it" in note


@pytest.mark.parametrize("scale", [1.0, 1e-33])
@pytest.mark.parametrize("padded", [False, True])
def test_the_brain_is_found_beside_padding_and_among_tiny_values(tmp_path, padded, scale):
    data = head_of(100 + np.abs(EFFECTS), 0.0)
    stored = data.copy()
    if padded:
        stored[:, :, 0] = -1e6
    found = brain_mask((stored * scale).astype(np.float32), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(
        found[:, :, 1:], brain_mask(data.astype(np.float32), (1.0, 1.0, 1.0))[:, :, 1:]
    )
    assert 0 < found.mean() < 0.5
