"""The check of one image and its verdict: order, words, and numbers that are those of the metrics alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import models
from models.brain import generate
from vislib.attribution import METHODS, Target, attribute
from vislib.errors import AttributionError
from vislib.evaluation import BASELINES, check, deletion, insertion, mass_accuracy, road, summary, verdict
from vislib.evaluation.asked import DIRECTIONS, Asked, evidence
from vislib.evaluation.check import Check
from vislib.evaluation.faithfulness import Curve
from vislib.evaluation.road import Road
from vislib.evaluation.sanity import Stage
from vislib.evaluation.verdict import DISTRUST, DOUBT, TRUST
from vislib.network import Network


@pytest.fixture(scope="module")
def brain():
    return models.load("brain2d"), generate(2, 0, "held-out", labels=[1, 2])


@pytest.fixture(scope="module")
def reports(brain):
    network, batch = brain
    asked = [("Saliency", None, {}), ("Saliency", None, {})]
    return list(check(network, batch.images[:1], 1, asked, batch.lesions[0, 0].numpy(), steps=8))


def test_progress_only_grows_and_ends_whole(reports):
    assert [r.step for r in reports] == sorted(r.step for r in reports)
    assert [r.share for r in reports] == sorted(r.share for r in reports)
    assert [r.done for r in reports] == [False] * (len(reports) - 1) + [True]
    assert reports[-1].step == reports[-1].steps
    assert reports[-1].share == 1
    assert reports[-1].stages == ("classifier", *(f"conv{n}" for n in range(6, 0, -1)))
    assert all(r.doing for r in reports)


def test_maps_come_first_and_the_cascade_last(reports):
    first_curve = next(n for n, r in enumerate(reports) if r.checks[0].deletion is not None)
    assert all(one.map is not None and one.mass is not None for one in reports[first_curve].checks)
    first_stage = next(n for n, r in enumerate(reports) if r.checks[0].stages)
    assert all(one.road is not None for one in reports[first_stage].checks)
    stages = [len(r.checks[0].stages) for r in reports[first_stage:]]
    assert stages == sorted(stages)
    assert reports[first_stage].checks[0].similarity is None
    assert [one.name for one in reports[-1].checks] == ["Saliency", "Saliency, 2", *BASELINES]


def test_the_numbers_are_those_of_the_metrics(reports, brain):
    network, batch = brain
    one, mask = reports[-1].checks[0], batch.lesions[:1, 0].numpy()
    maps = attribute(network, batch.images[:1], 1, "Saliency").values
    assert np.array_equal(one.map, maps[0])
    assert one.mass == mass_accuracy(maps, mask)[0]
    assert np.allclose(
        one.deletion.probabilities, deletion(network, batch.images[:1], 1, maps, steps=8).probabilities
    )
    assert np.allclose(one.insertion.auc, insertion(network, batch.images[:1], 1, maps, steps=8).auc)
    assert np.allclose(one.road.score, road(network, batch.images[:1], 1, maps).score)
    assert one.similarity == pytest.approx(np.mean([s.ssim for s in one.stages[:4]]))
    assert one.random_mass == mass_accuracy(one.stages[-1].maps, mask)[0]
    assert reports[-1].object_share == mask.mean()


def test_twins_get_the_same_numbers_and_names_of_their_own(reports):
    one, two = reports[-1].checks[:2]
    assert np.array_equal(one.map, two.map)
    assert np.array_equal(one.road.morf, two.road.morf)


def test_without_a_mask_and_for_a_hidden_unit_less_is_measured(brain):
    network, batch = brain
    *_, last = check(network, batch.images[:1], Target(3, layer="conv4"), [("Saliency", None, {})], stages=2)
    one = last.checks[0]
    assert (one.mass, one.deletion, one.road, one.random_mass) == (None,) * 4
    assert [stage.layer for stage in one.stages] == ["conv4", "conv1"]
    (said,) = verdict(last.checks)
    assert said.level == DOUBT
    assert "no class, so removing pixels was not measured" in said.sentence
    assert "no mask" in said.sentence


def test_a_check_that_cannot_start_says_so_at_once(brain):
    network, batch = brain
    with pytest.raises(AttributionError, match="No method"):
        check(network, batch.images[:1], 1, [])
    with pytest.raises(AttributionError, match="no method 'Divination'"):
        check(network, batch.images[:1], 1, [("Divination", None, {})])


def test_a_check_can_be_left(brain):
    network, batch = brain
    before = network.fingerprint
    under_way = check(network, batch.images[:1], 1, [("Saliency", None, {})])
    next(under_way)
    under_way.close()
    network.__dict__.pop("fingerprint")
    assert network.fingerprint == before
    assert not any(part._forward_hooks for part in network.module.modules())


def measured(
    name,
    *,
    similarity=None,
    deleted=None,
    inserted=0.9,
    score=0.3,
    mass=None,
    random=None,
    p=0.97,
    known=True,
):
    """A finished check with these numbers."""

    def curve(auc):
        middle = 2 * auc - (p + auc) / 2
        return Curve(np.array([0, 0.5, 1.0]), np.array([[p, middle, auc]]))

    stages = ()
    if similarity is not None:
        flat = np.zeros((1, 2, 2), np.float32)
        stages = (Stage("conv1", 1, 1, flat, np.array([0.0]), np.array([similarity])),)
    points = np.full((1, 2), 0.5)
    return Check(
        name=name,
        asked=Asked(name) if known else None,
        deletion=None if deleted is None else curve(deleted),
        insertion=None if deleted is None else curve(inserted),
        road=None if deleted is None else Road((20, 40), points - score, points + score, np.ones(1)),
        stages=stages,
        mass=mass,
        random_mass=random,
    )


def baselines(mass=True):
    chosen = {"Sobel edges": (0.44, 0.6, 0.1, 0.08), "uniform noise": (0.6, 0.4, 0.0, 0.02)}
    return [
        measured(name, deleted=d, inserted=i, score=s, mass=m if mass else None, known=False)
        for name, (d, i, s, m) in chosen.items()
    ]


def judged(one, **keywords):
    return verdict([one, *baselines(**keywords)])[0]


GOOD = {"similarity": 0.12, "deleted": 0.21, "mass": 0.61, "random": 0.03}


def test_curves_of_the_constructed_numbers_have_the_area_asked_for():
    one = measured("A", **GOOD)
    assert one.deletion.auc[0] == pytest.approx(0.21)
    assert one.road.score[0] == pytest.approx(0.3)
    assert one.similarity == pytest.approx(0.12)


def test_a_good_map_passes_with_its_grounds():
    said = judged(measured("Grad-CAM", **GOOD))
    assert said.level == TRUST
    assert said.sentence == (
        "Grad-CAM passes: it changes when the weights do (similarity 0.12), removing what it marks lowers the score "
        "sooner than removing edges (deletion 0.21 against 0.44) and 61% of it lies inside the mask (8% of edges)."
    )


def test_a_map_that_outlives_the_weights_is_not_to_be_trusted():
    said = judged(measured("Guided backprop", **{**GOOD, "similarity": 0.83}))
    assert said.level == DISTRUST
    assert said.sentence.startswith(
        "Guided backprop is not to be trusted: its map hardly changes when the layers are made random (similarity "
        "0.83), so it shows the image more than the network. In its favour: removing"
    )


def test_a_map_that_changes_in_part_is_open_to_doubt():
    said = judged(measured("A", **{**GOOD, "similarity": 0.55}))
    assert said.level == DOUBT
    assert "changes only in part" in said.sentence


def test_removal_no_better_than_edges_is_doubt_and_no_better_than_chance_is_distrust():
    doubt = judged(measured("A", **{**GOOD, "deleted": 0.5}, inserted=0.5, score=0.05))
    assert doubt.level == DOUBT
    assert (
        "removing what it marks lowers the score later than removing edges (deletion 0.50 against 0.44)"
        in (doubt.sentence)
    )
    chance = judged(measured("A", **{**GOOD, "deleted": 0.6}, inserted=0.4, score=0.05))
    assert chance.level == DISTRUST


def test_equal_numbers_are_called_equal():
    said = judged(measured("A", **{**GOOD, "deleted": 0.45}))
    assert said.level == TRUST
    assert "as soon as removing edges (deletion 0.45 against 0.44)" in said.sentence


@pytest.mark.parametrize(
    ("mass", "random", "rival"), [(0.05, 0.01, "edges 8%"), (0.2, 0.3, "random weights 30%")]
)
def test_a_map_that_lies_elsewhere_is_open_to_doubt(mass, random, rival):
    said = judged(measured("A", **{**GOOD, "mass": mass, "random": random}))
    assert said.level == DOUBT
    assert f"only {mass:.0%} of it lies inside the mask" in said.sentence
    assert rival in said.sentence


def test_a_class_that_the_network_does_not_see_cannot_be_removed():
    said = judged(measured("A", **GOOD, p=0.04))
    assert said.level == DOUBT
    assert "gives this class only 4.0 % here" in said.sentence


def test_what_was_not_measured_is_said():
    good = replace(measured("A", **GOOD), mass=None, random_mass=None)
    said = judged(good, mass=False)
    assert said.level == TRUST
    assert said.sentence.endswith("There is no mask, so whether it lies on the object was not measured.")
    said = judged(replace(good, stages=()))
    assert said.level == DOUBT
    assert "Whether it depends on the weights was not measured." in said.sentence


def test_the_summary_names_all():
    several = [measured("A", **GOOD), measured("B", **GOOD), measured("C", **{**GOOD, "similarity": 0.9})]
    said = summary(verdict([*several, *baselines()]))
    assert said == "A and B can be trusted here; C should not be trusted."
    assert summary(()) == "Nothing was checked."


def test_images_may_be_volumes():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool3d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    )
    network = Network.from_module(module, (1, 8, 9, 10))
    mask = np.zeros((8, 9, 10), bool)
    mask[2:4, 3:5, 4:6] = True
    *_, last = check(network, torch.rand(1, 1, 8, 9, 10), 1, [("Saliency", None, {})], mask, steps=4)
    assert last.checks[0].map.shape == (8, 9, 10)
    assert len(verdict(last.checks)) == 1


def test_maps_whose_sign_is_a_direction_are_read_by_their_size():
    maps = np.array([[[-3.0, 1.0]]], np.float32)
    for name in METHODS:
        read = evidence(Asked(name), maps)
        assert np.array_equal(read, np.abs(maps) if name.lower() in DIRECTIONS else maps)
    assert {name.lower() for name in METHODS} >= DIRECTIONS
    assert np.array_equal(evidence(Asked("SmoothGrad", None, {"of": "guided backprop"}), maps), np.abs(maps))
    assert np.array_equal(evidence(None, maps), maps)


def test_a_dark_spot_of_a_directed_map_is_what_it_marks(brain):
    network, batch = brain
    *_, last = check(network, batch.images[:1], 1, [("Guided backprop", None, {})], steps=4, stages=1)
    one = last.checks[0]
    assert one.map.min() < 0
    expected = deletion(network, batch.images[:1], 1, np.abs(one.map[None]), steps=4)
    assert np.allclose(one.deletion.probabilities, expected.probabilities)
