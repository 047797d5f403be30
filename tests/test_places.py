"""Places: a voxel as its file counts it, told and typed, on every way that a file's axes can run."""

import io
import itertools
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volume_making import assert_sentence, nifti

from dashboard.inputs import Choice, Inputs
from dashboard.place_input import PlaceInput
from dashboard.places import OwnAxes, own_voxel, reach, three_numbers, typed_mm, typed_voxel
from dashboard.volume_view import VolumeView
from vislib.errors import ImageError
from vislib.volumes import Volume, read_volume

SHAPE = (4, 5, 6)
WAYS = [*itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))]


def read(folder: Path, axes=(0, 1, 2), signs=(1, 1, 1), turn: float = 0.0) -> tuple[Volume, np.ndarray]:
    """A volume of distinct values whose file's axes run any way, and the file's own array."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[list(axes)] * signs).T * [2.0, 3.0, 4.0]
    c, s = np.cos(turn), np.sin(turn)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ affine[:3, :3]
    affine[:3, 3] = 7, -8, 9
    data = np.arange(120, dtype=np.float32).reshape(SHAPE)
    path = folder / "one.nii"
    path.write_bytes(nifti(data, affine))
    return read_volume(path), np.asarray(nib.load(path).get_fdata())


@pytest.mark.parametrize(("axes", "signs"), WAYS)
def test_a_voxel_is_told_as_get_fdata_takes_it(tmp_path: Path, axes, signs) -> None:
    volume, data = read(tmp_path, axes, signs)
    for ijk in [(0, 0, 0), (1, 2, 3), tuple(size - 1 for size in volume.data.shape)]:
        counted = OwnAxes.of(volume)
        told = dict(counted.place(volume.data.shape, axis, at) for axis, at in enumerate(ijk))
        own = tuple(told[letter] for letter in "ijk")
        assert data[own] == volume.data[ijk]
        assert own == volume.file_index(ijk)
        # What the browser is given says the same.
        ways, back = counted.axes, counted.back
        said = [0, 0, 0]
        for axis, at in enumerate(ijk):
            said[ways[axis]] = volume.data.shape[axis] - 1 - at if back[axis] else at
        assert tuple(said) == own
        for text in (
            f"{own[0]}, {own[1]}, {own[2]}",
            f" ({own[0]} {own[1]} {own[2]})",
            f"[{own[0]};{own[1]};{own[2]}]",
        ):
            assert typed_voxel(text, volume) == ijk
        mm = volume.mm(ijk)
        assert typed_mm("{:.2f} {:.2f} {:.2f} mm".format(*mm), volume) == ijk


def test_without_an_orientation_the_array_counts_itself() -> None:
    assert [OwnAxes().place(SHAPE, axis, 3) for axis in range(3)] == [("i", 3), ("j", 3), ("k", 3)]


@pytest.mark.parametrize(
    "text",
    ["", "1, 2", "1, 2, 3, 4", "a, b, c", "1e9, 2, 3", "nan 1 2", "1, 2, 3; DROP", "--1 2 3", "9" * 500],
)
def test_what_is_no_place_is_refused_with_a_sentence(tmp_path: Path, text: str) -> None:
    volume, _ = read(tmp_path)
    for typed in (typed_voxel, typed_mm):
        with pytest.raises(ImageError) as caught:
            typed(text, volume)
        assert_sentence(caught.value)


def test_a_minus_of_any_kind_counts() -> None:
    assert three_numbers("−1.5, -2, +3.25", "") == (-1.5, -2.0, 3.25)


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_out_of_range_says_what_is_in_range(tmp_path: Path, turn: float) -> None:
    volume, _ = read(tmp_path, (2, 0, 1), (-1, 1, -1), turn)
    with pytest.raises(ImageError, match=r"0 to 3, 0 to 4, 0 to 5"):
        typed_voxel("4, 0, 0", volume)
    with pytest.raises(ImageError, match="whole numbers"):
        typed_voxel("1.5, 0, 0", volume)
    with pytest.raises(ImageError, match="lies outside") as caught:
        typed_mm("500, 0, 0", volume)
    assert_sentence(caught.value)
    spans = re.findall(r"from (-?\d+\.\d) to (-?\d+\.\d)", str(caught.value))
    low, high = reach(volume.affine, volume.data.shape)
    np.testing.assert_allclose(np.array(spans, float).T, [low, high], atol=0.06)
    # The span is what the voxels' boxes reach, found slowly.
    ends = [
        volume.affine[:3, :3] @ (np.array(corner) * volume.data.shape - 0.5) + volume.affine[:3, 3]
        for corner in itertools.product((0, 1), repeat=3)
    ]
    np.testing.assert_allclose([np.min(ends, 0), np.max(ends, 0)], [low, high])


def test_the_fields_move_the_crosshair_and_go_back_where_they_cannot(tmp_path: Path) -> None:
    volume, data = read(tmp_path, (1, 2, 0), (-1, 1, 1))
    went: list[tuple[int, int, int]] = []
    said: list[str] = []
    place = PlaceInput(went.append, said.append)
    place.voxel.value = "1, 1, 1"
    assert not went  # there is no volume yet
    place.show(volume, (2, 1, 3))
    own = volume.file_index((2, 1, 3))
    assert place.voxel.value == ", ".join(map(str, own))
    assert place.mm.value == ", ".join(f"{one:.1f}" for one in volume.mm((2, 1, 3)))
    assert volume.axis_codes in place.voxel.title
    assert not went
    place.voxel.value = "3, 4, 5"
    assert volume.data[went[-1]] == data[3, 4, 5]
    assert place.mm.value == ", ".join(f"{one:.1f}" for one in volume.mm(went[-1]))
    place.voxel.value = "4, 4, 5"
    assert len(went) == 1
    assert "0 to 3" in said[-1]
    assert place.voxel.value == "3, 4, 5"
    place.mm.value = "{:.1f} {:.1f} {:.1f}".format(*volume.mm((0, 0, 0)))
    assert went[-1] == (0, 0, 0)


def test_a_sheared_file_has_no_slices_of_its_own_but_voxels(tmp_path: Path) -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[0, 2] = 1.0
    data = np.arange(1, 1 + 20 * 18 * 16, dtype=np.float32).reshape(20, 18, 16)
    path = tmp_path / "sheared.nii"
    path.write_bytes(nifti(data, affine))
    volume = read_volume(path)
    assert OwnAxes.of(volume) is None
    ijk = typed_voxel("10, 9, 8", volume)
    np.testing.assert_allclose(volume.mm(ijk), (affine @ [10, 9, 8, 1])[:3], atol=2.0)
    assert own_voxel(volume, ijk) == (10, 9, 8)
    corners = [*itertools.product(*((0, size - 1) for size in volume.data.shape))]
    assert None in [own_voxel(volume, corner) for corner in corners]
    place = PlaceInput(lambda _: None, lambda _: None)
    for corner in corners:
        place.show(volume, corner)
        own = own_voxel(volume, corner)
        assert place.voxel.value == ("beside the file's" if own is None else ", ".join(map(str, own)))
    view = VolumeView()
    view.show(volume.data, volume.affine, (0.0, 100.0), own=OwnAxes.of(volume))
    assert (view.own_axes, view.own_back) == ([], [])


def test_files_of_a_slice_are_named_as_the_file_counts(tmp_path: Path) -> None:
    from test_inputs import flat

    inputs = Inputs()
    try:
        data = np.random.default_rng(0).uniform(0, 9, (20, 26, 22)).astype(np.float32)
        affine = np.array([[0, 0, -2.0, 20], [2.0, 0, 0, -20], [0, 2.0, 0, -20], [0, 0, 0, 1]])  # A, S, L
        name = inputs.add("asl.nii", io.BytesIO(nifti(data, affine)))
        choice = Choice(name, "sagittal", 3)
        assert inputs.prepare(choice, flat(), inputs.scan(choice)).stem == "asl-sagittal-k18"
    finally:
        inputs.close()
