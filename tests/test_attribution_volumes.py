"""Attribution over volumes: slices as if each were asked alone, 3-D maps in place, coarse first."""

import itertools
import re

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import io_orientation
from scipy.spatial.transform import Rotation
from small_networks import not_a_number, working
from test_attribution_every import CHEAP, any_shape, untouched
from torch import nn
from volume_making import SAMPLES, assert_sentence, box

import models
from vislib.attribution import (
    METHODS,
    Target,
    VolumeAttribution,
    attribute,
    attribute_volume,
    volume_attribution_steps,
)
from vislib.attribution.query import Query
from vislib.attribution.volumes import SLICES, coarse_to_fine
from vislib.errors import AttributionError, NetworkError, VislibError
from vislib.network import Network
from vislib.volumes import (
    PLANES,
    VIEWS,
    Preparation,
    Volume,
    back_to_own,
    read_volume,
    slice_image,
    slices,
    to_network,
)

SMALL = {"window": 8, "stride": 8}


def network(spacing: tuple[float, ...] = (), channels: int = 1) -> Network:
    module = working()
    if channels == 3:
        module[0] = nn.Conv2d(3, 8, 3, padding=1)
    return Network.from_module(module, (channels, 24, 24), name="small", spacing=spacing, device="cpu")


def cheap(name: str) -> dict:
    return CHEAP.get(name, {}) | (SMALL if "window" in CHEAP.get(name, {}) else {})


def asked_alone(net: Network, volume: Volume, plane: str, preparation: Preparation, target, name, **options):
    """Every slice by itself, and `Slice.back` of each map, one volume a slice."""
    whole, scores, notes = np.full(volume.data.shape, np.nan, np.float32), [], []
    for index in range(slices(volume, plane)):
        cut = slice_image(volume, plane, index, net.input_shape, net.spacing, preparation)
        answer = attribute(net, torch.from_numpy(cut.image), target, name, **options)
        place = tuple(index if axis == VIEWS[plane].across else slice(None) for axis in range(3))
        whole[place] = cut.back(answer.values[0])[place]
        scores.append(answer.scores[0])
        notes.append(answer.notes)
    return whole, np.array(scores), notes


def agree(got: VolumeAttribution, whole: np.ndarray, scores: np.ndarray) -> None:
    assert got.done
    assert got.maps.dtype == got.values.dtype == got.scores.dtype == np.float32
    scale = max(1e-12, float(np.abs(whole).max()))
    np.testing.assert_allclose(got.maps / scale, whole / scale, atol=2e-5)
    np.testing.assert_allclose(got.scores, scores, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_maps_each_slice_as_if_it_were_asked_alone(name, monkeypatch):
    net, volume = network((1.5, 2.0)), box((9, 11, 10), (2.0, 3.0, 4.0))
    domain = torch.rand(12, 1, 24, 24, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(net, "domain", lambda: domain)
    with untouched(net):
        got = attribute_volume(net, volume, 1, name, plane="coronal", **cheap(name))
        whole, scores, _ = asked_alone(net, volume, "coronal", Preparation(), 1, name, **cheap(name))
    agree(got, whole, scores)
    assert (got.method, got.signed, got.plane) == (name, METHODS[name].signed, "coronal")
    assert got.step == got.steps == 11
    assert np.abs(whole).max() > 0


def turned_box(kind: str) -> Volume:
    """A box whose file has flipped and exchanged axes, or whose voxels lie oblique; anisotropic both."""
    data = np.random.default_rng(4).integers(0, 256, (10, 9, 12)).astype(np.float32)
    affine = np.diag([1.0, 3.0, 2.0, 1.0])
    affine[:3, 3] = -4, 10, 3
    own = affine
    if kind == "oblique":
        affine[:3, :3] = Rotation.from_euler("xyz", (12, -7, 20), degrees=True).as_matrix() @ affine[:3, :3]
    else:  # the file's axes run down, to the left and to the front
        own = affine @ np.array([[0, -1, 0, 9], [0, 0, 1, 0], [-1, 0, 0, 11], [0, 0, 0, 1.0]])
    shape = (12, 10, 9) if kind == "flipped" else data.shape
    header = nib.Nifti1Image(np.zeros(shape, np.float32), own).header
    return Volume(data, affine, kind, header, io_orientation(own), "uint8")


@pytest.mark.parametrize("kind", ["oblique", "flipped"])
@pytest.mark.parametrize("plane", PLANES)
def test_any_grid_and_plane_and_preparation(kind, plane):
    net, volume = network(), turned_box(kind)
    preparation = Preparation("percentiles", 10, 90)
    target = Target(2, against=0)
    got = attribute_volume(net, volume, target, "Input x gradient", plane=plane, preparation=preparation)
    whole, scores, _ = asked_alone(net, volume, plane, preparation, target, "Input x gradient")
    agree(got, whole, scores)
    assert got.values.shape == volume.data.shape
    assert got.scores.shape == (slices(volume, plane),)
    other = attribute_volume(net, volume, target, "Input x gradient", plane=plane)
    assert not np.allclose(other.values, got.values)


def test_a_network_of_three_channels_and_a_layer_of_choice():
    net, volume = network(channels=3), box((6, 5, 7), (1.0, 1.0, 1.0))
    for layer in ("2", "5"):
        got = attribute_volume(net, volume, 0, METHODS["LayerCAM"], layer=layer, plane="sagittal")
        agree(got, *asked_alone(net, volume, "sagittal", Preparation(), 0, "LayerCAM", layer=layer)[:2])


def test_coarse_slices_come_first_and_what_is_not_known_is_nan():
    net, volume = network(), box((6, 7, 37), (1.0, 1.0, 1.0))
    order = coarse_to_fine(37)
    assert order[:5] == [0, 8, 16, 24, 32]
    assert order[5:10] == [4, 12, 20, 28, 36]
    assert sorted(order[10:19]) == list(range(2, 37, 4))
    assert sorted(order) == list(range(37))
    assert [coarse_to_fine(count) for count in (1, 2, 3)] == [[0], [0, 1], [0, 2, 1]]
    answers = list(volume_attribution_steps(net, volume, 1))
    assert [one.step for one in answers] == [*range(SLICES, 37, SLICES), 37]
    assert {one.steps for one in answers} == {37}
    assert [one.done for one in answers] == [False] * 4 + [True]
    for one in answers:
        known = np.isin(np.arange(37), order[: one.step])
        assert (np.isfinite(one.values) == known).all()
        assert (np.isfinite(one.scores) == known).all()
        assert np.array_equal(one.values[:, :, known], answers[-1].values[:, :, known])


def test_a_slow_method_can_be_stopped_within_a_slice_and_leaves_nothing_behind():
    net, volume = network(), box((6, 7, 9), (1.0, 1.0, 1.0))
    with untouched(net):
        steps = volume_attribution_steps(net, volume, 1, "Occlusion", window=4, stride=2)
        answers = [next(steps) for _ in range(20)]
        steps.close()
    assert len({id(one) for one in answers}) < len(answers) / 2  # the same again where nothing is new
    assert (answers[0].step, answers[0].limit, answers[0].done) == (0, 0.0, False)
    assert np.isnan(answers[0].values).all()
    assert np.isnan(answers[0].scores).all()
    assert 0 < answers[-1].step < 9
    assert np.isfinite(answers[-1].values).any(axis=(0, 1)).sum() == answers[-1].step
    assert net._lock.acquire(blocking=False)
    net._lock.release()


def test_the_strongest_colour_of_a_map_of_pixels_is_its_quantile():
    net, volume = network(), box((12, 13, 14), (1.0, 1.0, 1.0))
    *partial, whole = volume_attribution_steps(net, volume, 1, "Guided backprop")
    for one in (*partial, whole):
        known = one.values[np.isfinite(one.values)]
        assert one.limit == pytest.approx(np.quantile(np.abs(known), 0.995), rel=1e-5)
    assert attribute_volume(net, volume, 1, "Grad-CAM").limit == 0
    occluded = attribute_volume(net, volume, 1, "Occlusion", window=8, stride=8)
    assert occluded.limit == 0
    three, seen = any_shape(3, 1), box((8, 9, 7), (1.0, 1.0, 1.0))
    for name, is_pixels in (("Saliency", True), ("Grad-CAM", False)):
        got = attribute_volume(three, seen, 1, name)
        wanted = np.quantile(np.abs(got.values), 0.995) if is_pixels else 0
        assert got.limit == pytest.approx(wanted, rel=1e-5)


def test_notes_of_single_slices_become_notes_of_the_volume():
    net, volume = network(), box((6, 7, 19), (1.0, 1.0, 1.0))
    volume.data[:] *= np.linspace(0, 1, 19, dtype=np.float32)  # dark slices speak less
    got = attribute_volume(net, volume, 2, layer="2")
    _, _, notes = asked_alone(net, volume, "axial", Preparation(), 2, "Grad-CAM", layer="2")
    empty = sum(bool(one) for one in notes)
    assert 0 < empty < 19
    assert got.notes == (f"{empty} of 19 slices: {max(notes)[0]}",)
    of_all = {one.notes for one in volume_attribution_steps(net, volume, 0, layer="0")}
    assert of_all == {max(notes)}
    every = attribute_volume(net, volume, 1, "Integrated gradients", steps=2)
    _, _, notes = asked_alone(net, volume, "axial", Preparation(), 1, "Integrated gradients", steps=2)
    worst = max(float(re.search(r"([\d.]+) %", one[0])[1]) for one in notes)
    assert len(every.notes) == 1  # one sentence whatever the numbers
    assert float(re.search(r"([\d.]+) %", every.notes[0])[1]) == pytest.approx(worst, abs=0.11)
    assert "the worst of the images" not in " ".join(every.notes)
    cut = attribute_volume(net, volume, 1, "Occlusion", window=30, stride=30)
    assert cut.notes == ("The window of 30 pixels is larger than the image of 24 x 24 and was cut to it.",)


@pytest.mark.parametrize(("spacing", "is_small"), [((1.0, 1.0), True), ((2.0, 2.0), False), ((), False)])
def test_a_picture_that_does_not_reach_all_of_a_slice_is_said(spacing, is_small):
    volume = box((40, 30, 3), (1.0, 1.0, 1.0))
    got = attribute_volume(network(spacing), volume, 1, "Saliency")
    said = "small sees the middle 24 x 24 mm of each axial slice; around it the map is 0."
    assert got.notes == ((said,) if is_small else ())
    reached = np.zeros((40, 30), bool)
    reached[(slice(8, 32), slice(3, 27)) if is_small else ...] = True
    assert (got.values[~reached] == 0).all()
    assert np.count_nonzero(got.values[reached]) > 0.9 * 3 * reached.sum()


@pytest.mark.parametrize("kind", ["oblique", "flipped"])
@pytest.mark.parametrize("name", ["Grad-CAM", "Saliency", "SmoothGrad", "Occlusion"])
def test_a_3d_network_is_asked_once_and_its_map_put_in_place(kind, name):
    net, volume = any_shape(3, 1), turned_box(kind)
    preparation = Preparation("window", 20, 200)
    options = {"window": 4, "stride": 4} if name == "Occlusion" else cheap(name)
    answers = list(volume_attribution_steps(net, volume, 1, name, preparation=preparation, **options))
    image, affine = to_network(volume, net.input_shape, net.spacing, preparation)
    wanted = attribute(net, torch.from_numpy(image), 1, name, **options)
    agree(answers[-1], back_to_own(wanted.values[0], affine, volume), wanted.scores)
    assert answers[-1].notes == wanted.notes
    assert answers[-1].plane == ""
    assert [one.step for one in answers] == sorted({one.step for one in answers})
    assert [one.done for one in answers] == [False] * (len(answers) - 1) + [True]
    assert all(np.isfinite(one.values).all() for one in answers)


def test_a_3d_map_is_put_in_place_anew_only_when_much_more_is_known(monkeypatch):
    monkeypatch.setattr(Query, "batch_size", lambda _self, *, gradients=False: 1)
    net, volume = any_shape(3, 1), box((16, 15, 14), (1.0, 1.0, 1.0))
    with untouched(net):
        answers = list(volume_attribution_steps(net, volume, 1, "SmoothGrad", samples=40))
        steps = volume_attribution_steps(net, volume, 1, "SmoothGrad", samples=40)
        next(steps)
        steps.close()
    assert [one.step for one in answers] == list(range(1, 41))
    fresh = [0] + [n for n in range(1, len(answers)) if answers[n].values is not answers[n - 1].values]
    assert fresh[-1] == len(answers) - 1
    at = [answers[n].step for n in fresh[:-1]]
    assert len(at) > 5
    assert all(later >= 1.5 * one for one, later in itertools.pairwise(at))


def test_a_3d_network_that_sees_a_part_says_so():
    net = any_shape(3, 1)
    net.spacing = (1.0, 1.0, 1.0)
    got = attribute_volume(net, box((12, 8, 8), (1.0, 1.0, 1.0)), 1, "Saliency")
    assert got.notes == ("any sees the middle 8 x 8 x 8 mm of the volume; around it the map is 0.",)
    assert not got.values[:2].any()
    assert not got.values[10:].any()
    assert got.values[2:10].any()


@pytest.mark.parametrize("name", ["brain_tumour", "brain_white_matter", "brain_dark"])
def test_grad_cam_of_brain2d_finds_the_lesion_of_a_sample(name):
    sample, net = SAMPLES[name], models.load("brain2d", device="cpu")
    volume, mask = read_volume(sample.path), read_volume(sample.mask).data > 0
    got = attribute_volume(net, volume, net.labels.index(sample.label))
    size = np.abs(got.values)
    assert size[mask].sum() / size.sum() > 5 * mask.sum() / volume.brain.sum()
    assert np.isfinite(got.scores).all()


def test_what_cannot_be_asked_is_said_before_anything_is_computed(monkeypatch):
    net, volume = network(), box((5, 6, 7), (1.0, 1.0, 1.0))
    flat, colours, three = any_shape(1, 2), any_shape(2, 4), any_shape(3, 1)
    three.spacing = (1.0, 0.0, 1.0)
    monkeypatch.setattr(Network, "activations", lambda *_args, **_kwargs: pytest.fail("it computed"))
    for asked, target, method, options, words in (
        (flat, 0, "Grad-CAM", {}, "choose a network over 1 or 3 channels and 2 or 3 spatial axes"),
        (colours, 0, "Grad-CAM", {}, "which a volume cannot be made into"),
        (net, 3, "Grad-CAM", {}, "no unit 3"),
        (net, Target((0, 1)), "Grad-CAM", {}, "one unit for all"),
        (net, Target(0, layer="nine"), "Grad-CAM", {}, "no layer 'nine'"),
        (net, 0, "Grad-CAN", {}, "no method 'Grad-CAN'"),
        (net, 0, "Grad-CAM", {"plane": "oblique"}, "no plane 'oblique'"),
        (net, 0, "Grad-CAM", {"layer": "nine"}, "no layer 'nine'"),
        (net, 0, "Occlusion", {"stride": 30}, "stride of at most 24"),
        (net, 0, "Saliency", {"samples": 2}, "no parameter 'samples'"),
        (three, 0, "Saliency", {}, "three numbers above 0"),
    ):
        with pytest.raises(VislibError, match=words) as caught:
            volume_attribution_steps(asked, volume, target, method, **options)
        assert_sentence(caught.value)


def test_a_network_that_goes_wrong_on_the_way_says_so():
    net = Network.from_module(not_a_number(), (1, 16, 16), name="odd", device="cpu")
    volume = box((16, 16, 5), (1.0, 1.0, 1.0))
    with untouched(net), pytest.raises((AttributionError, NetworkError), match="not finite"):
        attribute_volume(net, volume, 1, "Saliency", preparation=Preparation("window", 0, 1))
