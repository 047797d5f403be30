"""Places: the file's own index of a voxel, the voxel of an index, and millimetres, on every grid that can be."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_making import affines, assert_sentence, nifti, values

from vislib.errors import ImageError
from vislib.volumes import Volume, read_volume

SHAPE = (4, 5, 6)


def read(folder: Path, data: np.ndarray, affine: np.ndarray, **header) -> Volume:
    path = folder / "one.nii"
    path.write_bytes(nifti(data, affine, **header))
    return read_volume(path)


def check_places(volume: Volume, data: np.ndarray, affine: np.ndarray) -> None:
    """Every voxel: its value is the file's at its index, both ways, and both lie at the same mm."""
    seen = set()
    for voxel in np.ndindex(volume.data.shape):
        own = volume.file_index(voxel)
        assert volume.data[voxel] == data[own]
        assert volume.canonical_index(own) == voxel
        mm = volume.mm(voxel)
        np.testing.assert_allclose(mm, (affine @ [*own, 1])[:3], atol=1e-4)
        assert volume.nearest(mm) == voxel
        seen.add(own)
    assert len(seen) == data.size


@pytest.mark.parametrize("axes", [*itertools.permutations(range(3))])
@pytest.mark.parametrize("signs", [*itertools.product((1, -1), repeat=3)])
def test_every_orientation_has_its_own_indices(tmp_path, axes, signs):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[list(axes)] * signs).T * [1.0, 2.0, 3.0]
    affine[:3, 3] = 7, -8, 9
    data = np.arange(120, dtype=np.float32).reshape(SHAPE)
    volume = read(tmp_path, data, affine)
    assert volume.axis_codes == "".join(nib.aff2axcodes(affine))
    assert (volume.codes, volume.file_shape) == ("RAS", SHAPE)
    check_places(volume, data, affine)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines(), shape=st.tuples(*[st.integers(1, 5)] * 3))
def test_oblique_grids_have_their_own_indices(tmp_path, affine, shape):
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    check_places(read(tmp_path, data, affine), data, affine)


def test_a_place_anywhere_in_a_voxels_box_is_in_that_voxel(tmp_path):
    volume = read(tmp_path, values(SHAPE), np.diag([-2.0, 3, 4, 1]))
    generator = np.random.default_rng(0)
    for _ in range(50):
        voxel = tuple(int(generator.integers(n)) for n in volume.data.shape)
        off = generator.uniform(-0.49, 0.49, 3)
        assert volume.nearest(volume.mm(np.add(voxel, off))) == voxel


def test_the_shape_of_a_file_with_times_and_with_axes_of_one_entry(tmp_path):
    assert read(tmp_path, values((4, 5, 6, 3)), np.eye(4)).file_shape == (4, 5, 6, 3)
    volume = read(tmp_path, values((4, 5, 6, 1)), np.eye(4))
    assert volume.file_shape == (4, 5, 6, 1)
    assert volume.canonical_index((3, 4, 5)) == (3, 4, 5)
    assert read(tmp_path, values((4, 5)), np.eye(4)).canonical_index((3, 4, 0)) == (3, 4, 0)


def test_what_lies_outside_is_said(tmp_path):
    volume = read(tmp_path, values(SHAPE), np.diag([-2.0, 3, 4, 1])[[0, 2, 1, 3]])
    assert volume.axis_codes == "LSA"
    for ask, given_, words in (
        (volume.canonical_index, (4, 0, 0), r"\(LSA\) are 0 to 3, 0 to 4, 0 to 5"),
        (volume.file_index, (0, 0, 5), r"\(RAS\+\) are 0 to 3, 0 to 5, 0 to 4"),
        (volume.file_index, (0, -1, 0), "no voxel"),
        (volume.file_index, (0, 0), "no voxel"),
        (volume.nearest, (500, 0, 0), "lies outside of one.nii"),
        (volume.nearest, (float("nan"), 0, 0), "three finite numbers"),
        (volume.nearest, (0, 0), "three finite numbers"),
    ):
        with pytest.raises(ImageError, match=words) as caught:
            ask(given_)
        assert_sentence(caught.value)
