"""The brain data set: a pure function of its seed, with masks that tell the truth and classes that match."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.interpolate import BSpline

from models.brain import CLASSES, fields, generate
from models.brain.fields import box_blur, pixel_grid, smooth_field, spline_basis, stream
from models.brain.heads import CENTRE, VIEWS, anatomy
from models.brain.lesions import DARK, DOTS, SPLITS, TUMOUR, WHITE, pick, superellipse, threshold
from models.brain.template import SPACING, template


@pytest.fixture(scope="module", params=["train", "held-out"])
def pair(request):
    """The same 80 heads with and without their lesions."""
    return generate(80, 7, request.param), generate(80, 7, request.param, paint=False)


def dilate(mask, pixels):
    return torch.from_numpy(ndimage.binary_dilation(mask.numpy(), np.ones((1, 1, 3, 3), bool), pixels))


def test_a_batch_is_a_pure_function_of_its_arguments():
    first = generate(8, 3)
    torch.manual_seed(99)
    again = generate(8, 3)
    for name in ("images", "labels", "lesions", "decoys", "tissue", "planes"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    for other in (generate(8, 4), generate(8, 3, "held-out")):
        assert not torch.equal(first.images, other.images)


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    generate(4, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_classes_are_balanced_or_as_asked():
    assert generate(20, 1).labels.bincount().tolist() == [5] * 4
    assert sorted(generate(6, 1).labels.bincount(minlength=4).tolist()) == [1, 1, 2, 2]
    assert generate(3, 1, labels=[2, 2, 0]).labels.tolist() == [2, 2, 0]


def test_images_are_finite_and_in_range(pair):
    images = pair[0].images
    assert images.shape == (80, 1, 128, 128)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_masks_lie_where_the_lesion_changed_the_image(pair):
    painted, plain = pair
    change = (painted.images - plain.images).abs()
    healthy = painted.labels == 0
    assert not painted.lesions[healthy].any()
    assert torch.equal(painted.images[healthy], plain.images[healthy])
    far = ~dilate(painted.lesions, 4)
    assert (change[far] > 0.02).float().mean() < 2e-4  # an edge is soft where the boundary's noise is flat
    for row in (~healthy).nonzero()[:, 0]:
        inside = change[row][painted.lesions[row]].mean()
        assert inside > 0.06, (int(row), CLASSES[painted.labels[row]])
        assert inside > 20 * change[row][far[row]].mean()


def test_every_lesion_is_brighter_or_darker_as_its_class_says(pair):
    painted, plain = pair
    change = painted.images - plain.images
    for row in range(len(change)):
        inside = change[row][painted.lesions[row]]
        label = int(painted.labels[row])
        if label == WHITE:
            assert inside.mean() > 0.06
        elif label == DARK:
            assert inside.mean() < -0.06
        elif label == TUMOUR:  # a bright rim around a dark centre
            depth = torch.from_numpy(ndimage.distance_transform_edt(painted.lesions[row, 0].numpy()))
            inner = change[row, 0][depth > 0.8 * depth.max()].mean()
            assert inner < -0.02
            assert inside.max() > 0.1


def test_size_and_contrast_do_not_tell_the_class():
    painted, plain = generate(120, 11), generate(120, 11, paint=False)
    change = (painted.images - plain.images).abs()
    areas, contrasts = [], []
    for label in (TUMOUR, WHITE, DARK):
        rows = painted.labels == label
        areas.append(float(painted.lesions[rows].flatten(1).sum(1).float().mean()))
        contrasts.append(float(change[rows][painted.lesions[rows]].mean()))
    assert max(areas) < 1.4 * min(areas)
    assert max(contrasts) < 1.6 * min(contrasts)


def test_lesions_show_at_least_a_minimum_of_solid_tissue(pair):
    batch = pair[0]
    solid = batch.tissue.sum(1, keepdim=True) > 0.5
    visible = (batch.lesions & solid).flatten(1).sum(1)
    smallest = (
        math.pi * (9 / SPACING) ** 2
    )  # the disc of the smallest radius, or 30 % of a small slice's white matter
    room = 0.3 * (batch.tissue[:, 1] > 0.5).flatten(1).sum(1)
    wanted = torch.minimum(torch.tensor(smallest), room).floor()
    assert (visible >= wanted)[batch.labels > 0].all()


def test_white_matter_lesions_keep_to_white_matter_and_are_many(pair):
    batch = pair[0]
    for row in (batch.labels == WHITE).nonzero()[:, 0]:
        assert (batch.tissue[row, 1][batch.lesions[row, 0]] > 0.35).all()
        assert ndimage.label(batch.lesions[row, 0].numpy())[1] >= 3  # some of the dots touch each other


def test_a_decoy_lies_in_every_picture(pair):
    painted, plain = pair
    assert (painted.decoys.flatten(1).sum(1) > 5).all()
    assert torch.equal(painted.decoys, plain.decoys)
    near = painted.decoys & ~dilate(painted.lesions, 3)
    halo = (
        dilate(painted.decoys, 3) & ~dilate(painted.decoys, 1) & (painted.tissue.sum(1, keepdim=True) > 0.5)
    )
    brighter = painted.images[near].mean() - painted.images[halo].mean()
    assert brighter > 0.1


def test_no_shape_of_one_split_can_occur_in_another():
    train, ragged, held_out = SPLITS["train"], SPLITS["ragged"], SPLITS["held-out"]
    for name in ("exponent", "aspect", "ripple"):
        assert getattr(train, name)[1] < getattr(held_out, name)[0]
        assert getattr(held_out, name)[1] < getattr(ragged, name)[0]
    assert len({shapes.warp_knot for shapes in SPLITS.values()}) == 3
    assert len({shapes.ripple_knot for shapes in SPLITS.values()}) == 3


def test_held_out_lesions_are_longer_than_round_ones_and_shorter_than_ragged_ones():
    ratios = {}
    for split, shapes in SPLITS.items():
        field = superellipse(stream("test", 0), torch.full((24, 1, 2), 64.0), (128, 128), shapes)
        ratios[split] = []
        for shape in field[:, 0] < 25:
            spread = torch.linalg.eigvalsh(torch.cov(shape.nonzero().float().T))
            ratios[split].append(float((spread[1] / spread[0]).sqrt()))
    assert max(ratios["train"]) < min(ratios["held-out"])
    assert max(ratios["held-out"]) < min(ratios["ragged"])


def test_volumes_come_from_the_same_code():
    batch = generate(4, 2, labels=range(4), spatial=(28, 34, 30), spacing=5.0)
    assert batch.images.shape == (4, 1, 28, 34, 30)
    sizes = batch.lesions.flatten(1).sum(1)
    assert sizes[0] == 0
    assert (sizes[1:] > 10).all()
    middle = batch.affine @ torch.tensor([13.5, 16.5, 14.5, 1])
    assert torch.allclose(middle[:3], torch.tensor(CENTRE))


@pytest.mark.parametrize("spatial", [(40, 36), (18, 20, 16)])
def test_anatomy_without_jitter_is_the_template(monkeypatch, spatial):
    """Against scipy, pixel coordinates written out by hand."""
    from models.brain import heads as module

    monkeypatch.setattr(module, "affine_jitter", lambda random, n: torch.eye(3).repeat(n, 1, 1))
    monkeypatch.setattr(module, "uniform", lambda random, shape, low, high: torch.zeros(tuple(shape)))
    monkeypatch.setattr(module, "smooth_field", lambda random, n, c, size, knot: torch.zeros(n, c, *size))
    spacing = 4.0
    maps, planes = anatomy(stream("test", 1), 5, spatial, spacing, 40.0)
    depth = stream("test", 1)
    torch.randint(3, (5,), generator=depth)
    share = torch.rand(5, generator=depth)
    source = template()
    for row in range(5):
        offset = (pixel_grid(spatial).numpy().T - (np.array(spatial) - 1) / 2) * spacing
        if len(spatial) == 3:
            place = np.array(CENTRE) + offset
        else:
            (down, right), axis, (low, high) = VIEWS[planes[row]]
            place = np.array(CENTRE) + offset[:, :1] * np.array(down) + offset[:, 1:] * np.array(right)
            place[:, axis] += low + (high - low) * float(share[row])
        voxel = (place - source.affine[:3, 3].numpy()) / SPACING
        for channel in range(3):
            wanted = ndimage.map_coordinates(
                source.maps[channel].numpy(), voxel.T, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(maps[row, channel].numpy().ravel(), wanted, atol=2e-4)


def test_spline_basis_against_scipy():
    basis = spline_basis(50, 9).double().numpy()
    place = np.linspace(1, 7, 50)
    slow = np.stack(
        [BSpline.basis_element(np.arange(j - 2, j + 3), extrapolate=False)(place) for j in range(9)], 1
    )
    slow = np.nan_to_num(slow)
    np.testing.assert_allclose(basis, slow / np.linalg.norm(slow, axis=1, keepdims=True), atol=1e-5)


def test_smooth_fields_have_unit_variance_everywhere():
    field = smooth_field(stream("test", 3), 4000, 1, (12, 10), 4.0)[:, 0]
    np.testing.assert_allclose(field.var(0).numpy(), 1, atol=0.12)
    assert field.mean(0).abs().max() < 0.08


@pytest.mark.parametrize("shape", [(9, 8), (5, 6, 7)])
def test_box_blur_is_the_mean_of_the_window(shape):
    image = torch.rand((1, 1, *shape), generator=stream("test", 4))
    slow = ndimage.uniform_filter(image[0, 0].numpy(), 3, mode="constant")
    np.testing.assert_allclose(box_blur(image, 3)[0, 0].numpy(), slow, atol=1e-6)


def test_pick_draws_in_proportion_to_the_weight():
    weight = torch.zeros(1, 1, 3, 4)
    weight[0, 0, 1, 2], weight[0, 0, 2, 0] = 3.0, 1.0
    drawn = pick(stream("test", 5), weight, 8000)[0]
    first = (drawn == torch.tensor([1.0, 2.0])).all(1)
    second = (drawn == torch.tensor([2.0, 0.0])).all(1)
    assert (first | second).all()
    assert float(first.float().mean()) == pytest.approx(0.75, abs=0.02)


def test_threshold_covers_the_wanted_number_of_pixels():
    random = stream("test", 6)
    field, solid = (
        torch.rand((3, 1, 20, 20), generator=random),
        torch.rand((3, 1, 20, 20), generator=random) > 0.4,
    )
    count = torch.tensor([1.0, 17.0, 60.0])
    level = threshold(field, solid, count).view(3, 1, 1, 1)
    assert ((field <= level) & solid).flatten(1).sum(1).tolist() == [1, 17, 60]


def test_streams_of_other_names_differ():
    draws = {float(torch.rand(1, generator=stream(*key))) for key in (("a", 1), ("a", 2), ("b", 1))}
    assert len(draws) == 3
    assert fields.POOL.keys() == {2, 3}
    assert DOTS[0] >= 3
