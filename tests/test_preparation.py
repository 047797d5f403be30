"""Preparation: windows, standardisation inside the brain and the brain mask, by slow formulas and on the samples."""

import dataclasses
import gc
import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import io_orientation
from nibabel.testing import data_path
from scipy import ndimage
from volume_making import SAMPLES, assert_sentence, values

from vislib import preparation
from vislib.brain_mask import BRIDGE, brain_mask, largest, looks_inverted, otsu
from vislib.errors import ImageError
from vislib.volumes import SCALINGS, STORED, Preparation, Volume, Window, read_volume, slice_image


def volume_of(data: np.ndarray, voxel=(2.0, 2.0, 2.0), stored: str = "float32") -> Volume:
    affine = np.diag([*voxel, 1.0])
    own = nib.Nifti1Image(data, affine).header
    return Volume(data.astype(np.float32), affine, "one", own, io_orientation(affine), stored)


def head(seed: int = 0) -> np.ndarray:
    """A bright, uneven ball with a dark hole in a dim, noisy background, and a bright line and speck outside."""
    generator = np.random.default_rng(seed)
    away = np.sqrt(((np.indices((40, 40, 40)) - 20) ** 2).sum(0))
    data = generator.normal(8, 2, (40, 40, 40)) + (away < 13) * generator.normal(100, 10, (40, 40, 40))
    data[away < 3] = 5
    data[20, 20, 33:] = 120
    data[2:4, 2:4, 2:4] = 150
    return data.astype(np.float32)


# Windows


def test_a_window_is_linear_between_its_ends():
    window = Window(-10, 30)
    assert (window.level, window.width) == (10, 40)
    data = np.array([[[-20, -10, 0, 10, 30, 99]]], np.float32)
    np.testing.assert_allclose(window.unit(data), [[[0, 0, 0.25, 0.5, 1, 1]]])
    np.testing.assert_allclose(window.unit(data[0, 0]), [0, 0, 0.25, 0.5, 1, 1])


def test_percentiles_are_those_of_the_values():
    data = values((20, 30, 10))
    window = Window.from_percentiles(data, 1, 99)
    ordered = np.sort(data, axis=None)
    for end, share in ((window.low, 0.01), (window.high, 0.99)):
        assert ordered[int(share * (data.size - 1))] <= end <= ordered[int(share * (data.size - 1)) + 1]
    assert Window.from_percentiles(np.zeros(0, np.float32), 1, 99) == Window(0, 0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Window(3, 2), "the darker first"),
        (lambda: Window(0, np.inf), "two finite numbers"),
        (lambda: Window(np.nan, 1), "two finite numbers"),
        (lambda: Window.from_percentiles(np.ones(3, np.float32), 5, 5), "two from 0 to 100"),
        (lambda: Window.from_percentiles(np.ones(3, np.float32), -1, 5), "two from 0 to 100"),
        (lambda: Preparation("gamma"), "no scaling 'gamma'; choose one of stored, percentiles"),
        (lambda: Preparation("window"), "from nothing to nothing"),
        (lambda: Preparation("window", 5, 5), "the smaller first"),
        (lambda: Preparation("window", 0, np.nan), "give two numbers"),
        (lambda: Preparation("window", -1.7e308, 1.7e308), "give two numbers"),
        (lambda: Preparation("percentiles", 1, 101), "from 0 to 100"),
        (lambda: Preparation("stored", 0, 1), "takes no limits"),
        (lambda: Preparation.from_dict({"scale": 1}), "has no scale; its fields are scaling"),
        (lambda: Preparation.from_dict({"scaling": ["window"]}), "scaling is a word"),
        (lambda: Preparation.from_dict({"brain_only": 1}), "true or false"),
        (lambda: Preparation.from_dict({"low": "1"}), "low is a number"),
        (lambda: Preparation.from_dict({"high": True}), "high is a number"),
    ],
)
def test_what_cannot_be_is_said(call, words):
    with pytest.raises(ImageError, match=words) as caught:
        call()
    assert_sentence(caught.value)


# Preparations

EACH = (
    STORED,
    Preparation("percentiles"),
    Preparation("percentiles", 5, 95, brain_only=True),
    Preparation("window", 20, 110.5),
    Preparation("z-score"),
    Preparation("z-score", -2, 2, brain_only=True),
    Preparation(brain_only=True),
)


def slow(one: Preparation, volume: Volume) -> np.ndarray:
    data, brain = volume.data.astype(np.float64), volume.brain
    if one.scaling == "stored":
        low, high = data.min(), np.percentile(data, 99.8)
    elif one.scaling == "percentiles":
        low, high = np.percentile(data[brain] if one.brain_only else data, (one.low, one.high))
    elif one.scaling == "window":
        low, high = one.low, one.high
    else:
        scores = (data - data[brain].mean()) / data[brain].std()
        data, low, high = scores, one.low, one.high
    units = ((data - low) / (high - low)).clip(0, 1)
    return np.where(brain, units, 0) if one.brain_only else units


@pytest.mark.parametrize("one", EACH, ids=lambda one: f"{one.scaling}, {one.brain_only}")
def test_each_preparation_by_its_formula(one):
    volume = volume_of(head())
    np.testing.assert_allclose(one.unit(volume), slow(one, volume), atol=1e-5)
    seen = slice_image(volume, "axial", 20, (1, 40, 40), (2.0, 2.0), one)
    np.testing.assert_allclose(seen.image[0, 0], one.unit(volume)[:, ::-1, 20].T, atol=1e-6)


@pytest.mark.parametrize("one", EACH, ids=lambda one: f"{one.scaling}, {one.brain_only}")
def test_each_comes_back_from_json_and_says_what_it_does(one):
    again = Preparation.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert hash(again) == hash(one)
    volume = volume_of(head())
    for words in (one.words(), one.words(volume)):
        assert words.endswith(".")
        assert "\n" not in words
        assert ("outside the brain" in words) == one.brain_only
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.scaling = "window"
    assert set(SCALINGS) == {each.scaling for each in EACH}


def test_words_tell_the_values():
    volume = volume_of(head())
    assert (
        Preparation("window", 20, 110.5).words(volume) == "Values from 20 to 110.5 are stretched from 0 to 1."
    )
    low, high = np.percentile(volume.data, (1, 99))
    assert f"{low:g} to {high:g} (percentile 1 to 99)" in Preparation("percentiles").words(volume)
    assert "-3 to 3 standard deviations" in Preparation("z-score").words(volume)
    assert STORED.words(volume_of(head(), stored="uint8")) == "Values of 0 to 255 are divided by 255."
    for one in EACH:
        if one.scaling != "window":
            assert "nothing to see" in one.words(volume_of(np.full((9, 9, 9), 4.5)))
            assert np.isfinite(one.unit(volume_of(np.full((9, 9, 9), 4.5)))).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 99), slope=st.floats(0.01, 100), inter=st.floats(-1e4, 1e4))
def test_a_scanners_own_scale_does_not_matter(seed, slope, inter):
    data = head(seed)
    one, other = volume_of(data), volume_of((data * slope + inter).astype(np.float32))
    for each in (Preparation("percentiles"), Preparation("z-score")):
        np.testing.assert_allclose(each.unit(one), each.unit(other), atol=0.02)


def test_a_window_is_found_once_and_forgotten_with_its_volume():
    gc.collect()
    before = len(preparation._WINDOWS)
    volume = volume_of(head())
    one = Preparation("z-score")
    assert one.window(volume) is Preparation("z-score").window(volume)
    assert len(preparation._WINDOWS) == before + 1
    del volume
    gc.collect()
    assert len(preparation._WINDOWS) == before


# The brain


def test_otsu_by_trying_every_threshold():
    data = head()
    ends = np.percentile(data, (0, 99.8))
    clipped = data.clip(*ends).astype(np.float64)
    best = max(
        np.linspace(*ends, 257)[1:-1],
        key=lambda t: (
            (clipped <= t).mean()
            * (clipped > t).mean()
            * (clipped[clipped <= t].mean() - clipped[clipped > t].mean()) ** 2
        ),
    )
    assert otsu(data) == pytest.approx(best, abs=2 * (ends[1] - ends[0]) / 256)


def test_a_mask_has_no_holes_no_threads_and_one_piece():
    mask = brain_mask(head(), (2.0, 2.0, 2.0))
    away = np.sqrt(((np.indices((40, 40, 40)) - 20) ** 2).sum(0))
    assert mask[away < 12].all()
    assert not mask[away > 15].any()
    assert ndimage.label(mask)[1] == 1


def test_thick_voxels_are_not_opened_along_their_thickness():
    data = np.zeros((30, 30, 9), np.float32)
    data[8:22, 8:22, 4] = 100  # one slice of 6 mm
    assert brain_mask(data, (1.0, 1.0, 6.0))[10:20, 10:20, 4].all()
    assert BRIDGE < 6


def test_nothing_and_everything_have_masks():
    assert brain_mask(np.full((5, 5, 5), 3, np.float32)).all()
    assert not largest(np.zeros((3, 3, 3), bool)).any()
    speck = np.zeros((9, 9, 9), np.float32)
    speck[4, 4, 4] = 1
    assert brain_mask(speck).sum() == 1


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_brains_are_found(name):
    volume = read_volume(SAMPLES[name].path)
    smooth = ndimage.gaussian_filter(volume.data, 1.0)
    clearly = ndimage.binary_fill_holes(largest(smooth > 0.35 * np.percentile(volume.data, 99)))
    both = np.count_nonzero(volume.brain & clearly)
    assert 2 * both / (np.count_nonzero(volume.brain) + np.count_nonzero(clearly)) > 0.97
    assert 900 < np.count_nonzero(volume.brain) * 0.008 < 2300  # ml, of 2 mm voxels
    if SAMPLES[name].label != "healthy":
        lesion = read_volume(SAMPLES[name].mask).data > 0
        assert (volume.brain & lesion).sum() > 0.9 * lesion.sum()  # dark ones are holes, filled


@pytest.mark.parametrize("name", SAMPLES)
def test_an_inverted_sample_is_noticed_and_an_upright_one_is_not(name, tmp_path):
    volume = read_volume(SAMPLES[name].path)
    assert not any("inverted" in note for note in volume.notes)
    image = nib.load(SAMPLES[name].path)
    path = tmp_path / "one.nii"
    nib.save(nib.Nifti1Image(250 - np.asarray(image.dataobj), image.affine), path)
    assert any("inverted" in note for note in read_volume(path).notes)


def test_other_real_images_masks_and_noise_are_not_taken_for_inverted():
    for name in ("anatomical.nii", "example4d.nii.gz", "reoriented_anat_moved.nii"):
        assert not looks_inverted(read_volume(data_path / name).data)
    for sample in SAMPLES.values():
        assert not looks_inverted(read_volume(sample.mask).data)
    assert not looks_inverted(values((20, 20, 20)))
    assert not looks_inverted(np.full((20, 20, 20), 5, np.float32))
    assert not looks_inverted(values((20, 20, 5)))
