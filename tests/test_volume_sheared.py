"""Sheared volumes are seen at right angles, and their maps lie on the file's own grid."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_making import affines, assert_sentence, assert_straightened, nifti, values

from vislib.errors import ImageError
from vislib.straight import degrees_sheared
from vislib.volumes import read_volume, write_map


def sheared(affine: np.ndarray, slopes: tuple[float, float, float]) -> np.ndarray:
    shear = np.eye(4)
    shear[0, 1], shear[0, 2], shear[1, 2] = slopes
    return affine @ shear


def read(folder, data, affine):
    path = folder / "one.nii"
    path.write_bytes(nifti(data, affine))
    return read_volume(path)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines(), slopes=st.tuples(*[st.sampled_from([0.0, 0.2, -0.3])] * 3))
def test_any_shear_is_taken_out(tmp_path, affine, slopes):
    data = values((5, 4, 6))
    own = sheared(affine, slopes)
    volume = read(tmp_path, data, own)
    np.testing.assert_allclose(volume.own_affine, own, rtol=1e-5, atol=1e-4)
    assert volume.straightened == (degrees_sheared(own) >= 0.5)
    if volume.straightened:
        assert_straightened(volume, data, own)
        assert abs(np.linalg.det(volume.affine)) == pytest.approx(abs(np.linalg.det(own)), rel=1e-4)
        assert any("sheared" in note for note in volume.notes)


def test_a_ball_is_round(tmp_path):
    """In mm, along every axis of the picture: a stretched one would be an ellipse."""
    own = np.array([[2.0, 0, 1.2, -40], [0, 2, 0, -40], [0, 0, 2, -40], [0, 0, 0, 1]])
    grid = np.stack(np.meshgrid(*[np.arange(44)] * 3, indexing="ij")).reshape(3, -1)
    mm = own[:3, :3] @ grid + own[:3, 3:]
    ball = (np.linalg.norm(mm - [[15.0], [0], [0]], axis=0) < 18).reshape(44, 44, 44)
    volume = read(tmp_path, ball.astype(np.uint8), own)
    places = np.argwhere(volume.data > 0.5) * volume.voxel
    assert np.ptp(places, 0) + np.array(volume.voxel) == pytest.approx([36, 36, 36], abs=2.1)
    assert set(np.unique(volume.data)) == {0, 1}  # a mask keeps its values


def test_a_tilted_stack_keeps_its_slices(tmp_path):
    own = np.diag([1.0, 1, 3, 1])
    own[1, 2] = 1.0  # each slice lies one voxel further to the front
    data = values((6, 7, 5))
    volume = read(tmp_path, data, own)
    assert volume.data.shape == (6, 11, 5)
    for k in range(5):
        np.testing.assert_array_equal(volume.data[:, k : k + 7, k], data[:, :, k])
    for index in np.ndindex(6, 7, 5):
        voxel = volume.canonical_index(index)
        assert volume.file_index(voxel) == index
        np.testing.assert_allclose(volume.mm(voxel), (own @ [*index, 1])[:3])
    with pytest.raises(ImageError, match="has no voxel") as caught:
        volume.file_index((0, 10, 0))
    assert_sentence(caught.value)
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_map(volume, volume.data)))
    np.testing.assert_allclose(written.affine, own)
    np.testing.assert_allclose(np.asarray(written.dataobj), data, rtol=1e-6)


def test_what_no_scanner_makes_is_refused_and_rounding_is_no_shear(tmp_path):
    steep = np.eye(4)
    steep[0, 1] = 2.0
    with pytest.raises(ImageError, match="63 degrees off a right angle") as caught:
        read(tmp_path, values((4, 4, 4)), steep)
    assert_sentence(caught.value)
    slight = np.eye(4)
    slight[0, 1] = 0.005
    volume = read(tmp_path, values((4, 4, 4)), slight)
    assert not volume.straightened
    assert volume.notes == ()
