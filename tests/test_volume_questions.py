"""Questions about whole volumes: what makes two of them equal, what they say, and files put in place by their mm."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import resample_from_to
from volume_making import SAMPLES

import models
from dashboard import numbers
from dashboard.scans import Scan
from dashboard.volume_questions import FileQuestion, VolumeQuestion
from vislib.attribution import METHODS, Target, attribute_volume
from vislib.preparation import STORED, Preparation
from vislib.volumes import read_volume, write_map


def scan(name: str = "brain_tumour") -> Scan:
    return Scan(name, read_volume(SAMPLES[name].path))


def question(network: str = "brain2d", method: str = "Grad-CAM") -> VolumeQuestion:
    chosen = METHODS[method]
    return VolumeQuestion(
        models.load(network), Target(1), chosen, None, chosen.defaults(), scan(), "axial", STORED
    )


def test_equal_questions_have_equal_keys_and_every_part_counts() -> None:
    one = question()
    assert question().key == one.key
    others = {
        "plane": "coronal",
        "preparation": Preparation("percentiles"),
        "target": Target(2),
        "method": METHODS["Saliency"],
        "layer": "conv4",
        "values": {"anything": 3},
        "scan": scan("brain_dark"),
        "network": models.load("brain2d-robust"),
    }
    assert len({one.key, *(replace(one, **{name: value}).key for name, value in others.items())}) == 9
    whole = question("brain3d")
    assert replace(whole, plane="coronal").key == whole.key  # it sees all planes at once


def test_what_a_question_says_is_true() -> None:
    one, whole = question(), question("brain3d", "Occlusion")
    assert (one.by_slices, one.quick, one.long) == (True, True, True)
    assert (whole.by_slices, whole.quick, whole.long) == (False, False, True)
    assert not question("brain3d").long
    assert one.caption == "Grad-CAM for tumour-like, every axial slice"
    assert json.loads(json.dumps(one.spec))["preparation"] == STORED.to_dict()
    assert one.spec["fingerprint"] == one.network.fingerprint
    assert one.facts[0] == "network brain2d"
    *_, last = one.steps()
    wanted = attribute_volume(one.network, one.scan.volume, 1, "Grad-CAM")
    np.testing.assert_array_equal(last.values, wanted.values)
    best = int(np.nanargmax(wanted.scores))
    assert one.said(last)[0] == "conv6"
    assert f"highest score {numbers.words(float(wanted.scores[best]))} at axial" in one.said(last)[1]


def test_another_file_is_put_in_place_by_its_millimetres(tmp_path) -> None:
    """Against nibabel's own resampling, on another grid with axes flipped and exchanged."""
    here = scan()
    values = np.random.default_rng(0).normal(size=(30, 20, 25)).astype(np.float32)
    affine = np.array([[0, 4.0, 0, -40], [-4.5, 0, 0, 60], [0, 0, 5.0, -50], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "other.nii")
    other = Scan("other.nii", read_volume(tmp_path / "other.nii"))
    asked = FileQuestion(here, other)
    (found,) = asked.steps()
    assert found.done
    assert found.signed
    assert found.values.shape == here.volume.data.shape
    grid = here.volume.data.shape, here.volume.affine
    wanted = resample_from_to(nib.Nifti1Image(values, affine), grid, order=1, mode="constant").get_fdata()
    inside = resample_from_to(nib.Nifti1Image(np.ones_like(values), affine), grid, order=0).get_fdata() > 0
    middle = inside.copy()
    for axis in range(3):  # nibabel fades out over the last half voxel, where ours goes on
        middle &= np.roll(inside, 3, axis) & np.roll(inside, -3, axis)
    assert middle.sum() > 10_000
    np.testing.assert_allclose(found.values[middle], wanted[middle], atol=1e-4)
    assert asked.key != FileQuestion(other, here).key


def test_a_map_that_was_saved_comes_back_as_it_was(tmp_path) -> None:
    here = scan()
    values = np.random.default_rng(1).uniform(0, 1, here.volume.data.shape).astype(np.float32)
    path = tmp_path / "map.nii.gz"
    path.write_bytes(write_map(here.volume, values))
    (found,) = FileQuestion(here, Scan("map.nii.gz", read_volume(path))).steps()
    np.testing.assert_allclose(found.values, values, atol=1e-6)
    assert not found.signed


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ({"affine": None}, "eft and right are a guess"),
        ({"flipped": True}, "which side is left"),
        ({"factor": 1e-33}, "divided by 1e-"),
        ({"empty": True}, "no finite number"),
    ],
)
def test_what_was_said_of_a_volume_is_said_where_it_is_laid_over_another(tmp_path, file, said) -> None:
    here = scan()
    values = np.random.default_rng(1).uniform(1, 2, (20, 24, 22)) * file.get("factor", 1.0)
    if file.get("empty"):
        values[:3] = np.nan
    affine = np.diag([-4.0, 4, 4, 1])
    image = nib.Nifti1Image(values, file.get("affine", affine), dtype=np.float64)
    if file.get("flipped"):
        image.set_sform(affine, 2)
        image.set_qform(np.diag([4.0, 4, 4, 1]), 1)
    if "affine" in file:
        image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, tmp_path / "other.nii")
    other = Scan("other.nii", read_volume(tmp_path / "other.nii"))
    (found,) = FileQuestion(here, other).steps()
    for words in (found.words, FileQuestion(here, other).facts):
        assert any(one.startswith("other.nii: ") and said in one for one in words), words
