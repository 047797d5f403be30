"""Values of heads: whatever reads them agrees with the probability, or the value, that is known in closed form."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from known_heads import SIZE, EndsWith, Known, by_hand, images, known, open_
from torch import Tensor, nn

from vislib.attribution import Target, attribute, outcomes
from vislib.errors import NetworkError
from vislib.evaluation import Asked, check, verdict
from vislib.evaluation.faithfulness import deletion, insertion
from vislib.evaluation.road import road
from vislib.evaluation.table import Effort, measure
from vislib.head import NOT_FINITE, percent, plain

# module, options, kind, what its probabilities are in closed form
CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], str, Callable[[Tensor], Tensor]]] = {
    "logits": (known, {}, "softmax", lambda y: y.softmax(1)),
    "said softmax": (known, {"head": "softmax"}, "softmax", lambda y: y.softmax(1)),
    "multi-label": (known, {"head": "sigmoid"}, "sigmoid", Tensor.sigmoid),
    "one logit": (lambda: known(1), {"labels": ("ill",)}, "sigmoid", Tensor.sigmoid),
    "softmax module": (lambda: EndsWith(nn.Softmax(1)), {}, "probabilities", lambda y: y.softmax(1)),
    "softmax function": (
        lambda: known(end=lambda y: F.softmax(y, -1)),
        {},
        "probabilities",
        lambda y: y.softmax(1),
    ),
    "softmax method": (
        lambda: known(end=lambda y: y.softmax(1)),
        {},
        "probabilities",
        lambda y: y.softmax(1),
    ),
    "softmax said softmax": (
        lambda: EndsWith(nn.Softmax(1)),
        {"head": "softmax"},
        "softmax",
        lambda y: y.softmax(1),
    ),
    "softmax by hand": (lambda: known(end=by_hand), {}, "probabilities", lambda y: y.softmax(1)),
    "log softmax": (lambda: EndsWith(nn.LogSoftmax(1)), {}, "probabilities", lambda y: y.softmax(1)),
    "softmax, then dropout": (
        lambda: EndsWith(nn.Sequential(nn.Softmax(1), nn.Dropout())),
        {},
        "probabilities",
        lambda y: y.softmax(1),
    ),
    "sigmoids": (lambda: EndsWith(nn.Sigmoid()), {}, "probabilities", Tensor.sigmoid),
    "one sigmoid": (lambda: EndsWith(nn.Sigmoid(), 1), {"labels": ("ill",)}, "probabilities", Tensor.sigmoid),
    "one sigmoid, squeezed": (
        lambda: known(1, lambda y: torch.sigmoid(y[:, 0])),
        {"labels": ("ill",)},
        "probabilities",
        Tensor.sigmoid,
    ),
    "sigmoids by hand": (
        lambda: known(end=lambda y: 1 / (1 + torch.exp(-y))),
        {"head": "probabilities"},
        "probabilities",
        Tensor.sigmoid,
    ),
    "log sigmoids": (lambda: EndsWith(nn.LogSigmoid()), {}, "probabilities", Tensor.sigmoid),
}


@pytest.mark.parametrize("case", CASES)
def test_probabilities_are_the_known_ones_wherever_they_are_read(case: str) -> None:
    make, options, kind, truth = CASES[case]
    module = make()
    network, pictures = open_(module, **options), images()
    assert network.head.kind == kind
    want = truth(module.logits(pictures)).detach()
    got = network.probabilities(pictures)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    maps = np.zeros((2, SIZE, SIZE), np.float32)
    for outcome in outcomes(network):
        target = outcome.target
        p = want[:, target.unit].numpy()
        p = 1 - p if target.opposite else p
        curve = deletion(network, pictures, target, maps, steps=2)
        np.testing.assert_allclose(curve.probabilities[:, 0], p, atol=1e-5)
        np.testing.assert_allclose(road(network, pictures, target, maps).clean, p, atol=1e-5)
        removed = truth(module.logits(torch.zeros(1, 1, SIZE, SIZE)))[0, target.unit].item()
        np.testing.assert_allclose(
            curve.probabilities[:, -1], 1 - removed if target.opposite else removed, atol=1e-5
        )
        # All of them are logits up to what all classes share, so that a difference's gradient is known.
        saliency = attribute(network, pictures, target, "Input x gradient")
        against = (int(target.unit) + 1) % network.layers["logits"].channels
        if against != target.unit:
            saliency = attribute(network, pictures, Target(target.unit, against=against), "Input x gradient")
        gain = network.module.get_parameter("gain" if isinstance(module, Known) else "body.gain")
        slope = gain[target.unit] - (gain[against] if against != target.unit else 0.0)
        slope = -slope if target.opposite else slope
        np.testing.assert_allclose(
            saliency.values, slope.item() * pictures[:, 0].numpy() / SIZE**2, rtol=1e-3, atol=1e-6
        )


@pytest.mark.parametrize("case", ["softmax module", "softmax function", "sigmoids", "log softmax"])
def test_scores_are_read_before_the_last_softmax(case: str) -> None:
    module = CASES[case][0]()
    network, pictures = open_(module), images()
    torch.testing.assert_close(network.logits(pictures), module.logits(pictures).detach())
    assert network.head.of_scores == ""
    if case == "softmax module":
        assert list(network.layers) == ["body.conv", "logits"]
        assert network.layer("body").name == "logits"


def test_probabilities_of_another_make_are_explained_by_their_logarithm_and_it_is_said() -> None:
    network = open_(known(end=by_hand))
    answer = attribute(network, images(), 0, "Saliency")
    assert any("logarithm" in note for note in answer.notes)
    torch.testing.assert_close(network.logits(images()), network.probabilities(images()).log())
    hidden = attribute(network, images(), Target(0, "conv"), "Saliency")
    assert not any("logarithm" in note for note in hidden.notes)


def test_a_saturated_probability_keeps_its_logits() -> None:
    module = known(end=lambda y: (y * 40).softmax(1))
    network = open_(module)
    torch.testing.assert_close(network.logits(images()), 40 * module.logits(images()).detach())
    assert float(np.abs(attribute(network, images(), 1, "Saliency").values).max()) > 1


def test_a_value_is_a_value() -> None:
    module = known(1, lambda y: y[:, 0], bias=50.0)
    network = open_(module, labels=("age",), head="score", unit="years")
    assert network.layers["logits"].channels == 1
    pictures = images()
    torch.testing.assert_close(network.logits(pictures)[:, 0], module(pictures).detach())
    with pytest.raises(NetworkError, match="a value and no probability"):
        network.probabilities(pictures)
    assert [outcome.words for outcome in outcomes(network)] == ["what raises age", "what lowers age"]
    assert network.head.text(50.23) == "50.23 years"
    up, down = (attribute(network, pictures, one.target, "Input x gradient") for one in outcomes(network))
    np.testing.assert_array_equal(up.values, -down.values)
    np.testing.assert_allclose(up.values, 3 * pictures[:, 0].numpy() / SIZE**2, rtol=1e-4)


def test_removal_of_a_value_is_on_its_own_scale() -> None:
    module = known(1, bias=50.0)
    network = open_(module, head="score")
    picture = images(1)
    order = picture.numpy()[:, 0]
    curve = deletion(network, picture, 0, order, steps=4)
    assert curve.values is not None
    flat = np.sort(order.ravel())[::-1]
    left = [flat[round(SIZE * SIZE * share) :].sum() / flat.sum() for share in curve.fractions]
    np.testing.assert_allclose(curve.probabilities[0], left, atol=1e-3)
    np.testing.assert_allclose(
        curve.values[0], module(picture).item() - 3 * (1 - np.array(left)) * picture.mean().item(), atol=1e-3
    )
    inserted = insertion(network, picture, 0, order, steps=4)
    assert inserted.probabilities[0, -1] == pytest.approx(1)
    # What lowers it starts at the clean value too, and rises by the way when what raised it is gone.
    lowers = deletion(network, picture, Target(0, opposite=True), order, steps=4)
    np.testing.assert_allclose(lowers.probabilities[0], 2 - np.array(left), atol=1e-3)
    found = road(network, picture, 0, order)
    assert found.clean[0] == 1
    assert found.score[0] > 0


def test_prediction_difference_of_a_value_is_in_its_unit() -> None:
    network = open_(
        known(1, bias=50.0), head="score", unit="years", domain=lambda: torch.zeros(64, 1, SIZE, SIZE)
    )
    picture = images(1)
    ask = {"window": 2, "stride": 2, "samples": 2, "sampler": "marginal"}
    found = attribute(network, picture, 0, "Prediction difference", **ask)
    # Windows of zeros stand in its place: each window's difference is what it added to the value.
    want = 3 * F.avg_pool2d(picture, 2)[:, 0].numpy() * 4 / SIZE**2
    np.testing.assert_allclose(found.raw, want, atol=2e-5)
    assert any("in years" in note for note in found.notes)


def test_prediction_difference_of_one_logit_is_in_bits_of_its_own_odds() -> None:
    network = open_(known(1), labels=("ill",), domain=lambda: torch.zeros(64, 1, SIZE, SIZE))
    picture = images(1)
    ask = {"window": 2, "stride": 2, "samples": 2, "sampler": "marginal"}
    found = attribute(network, picture, 0, "Prediction difference", **ask)
    want = 3 * F.avg_pool2d(picture, 2)[:, 0].numpy() * 4 / SIZE**2 / math.log(2)
    np.testing.assert_allclose(found.raw, want, atol=1e-4)
    against = attribute(network, picture, Target(0, opposite=True), "Prediction difference", **ask)
    np.testing.assert_allclose(against.raw, -found.raw)


class Flat(nn.Module):
    """One logit that no picture moves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return 5 + 0 * self.conv(x).mean((1, 2, 3))[:, None]


@pytest.mark.parametrize("head", ["sigmoid", "score"])
def test_a_curve_that_does_not_move_is_not_measured(head: str) -> None:
    network = open_(Flat(), head=head)
    *_, done = check(network, images(1), 0, [("Saliency", None, {})], stages=1)
    one = done.checks[0]
    assert one.deletion is not None
    assert one.insertion is not None
    assert one.road is not None
    for number in (one.deletion.auc[0], one.insertion.auc[0], one.road.score[0]):
        assert math.isnan(number)
    (said,) = verdict(done.checks)
    assert said.level != "trust"
    assert "not measured" in " ".join(said.unknown)
    assert not any("removing" in clause for clause in said.for_it)


def test_scores_that_are_not_finite_are_not_measured() -> None:
    network = open_(known(end=lambda y: y * float("nan")), head="softmax")
    curve = deletion(network, images(), 0, np.zeros((2, SIZE, SIZE), np.float32), steps=2)
    assert np.isnan(curve.auc).all()
    assert percent(float(network.probabilities(images())[0, 0])) == NOT_FINITE


def test_averaged_positions_are_said() -> None:
    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x).relu())

    network = open_(Segments())
    assert any("8 x 8 positions" in note for note in attribute(network, images(), 0, "Saliency").notes)
    at = attribute(network, images(), Target(0, position=(1, 1)), "Saliency")
    assert not any("positions" in note for note in at.notes)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("softmax", "Accuracy on them: {right:.1%}"),
        ("sigmoid", "above 50 %, in: {right:.1%}"),
        ("score", "output is a value"),
    ],
)
def test_a_table_measures_what_the_head_means(head: str, said: str) -> None:
    module, pictures = known(), images(6)
    network = open_(module, head=head)
    classes, masks = [0, 1, 2, 0, 1, 2], np.zeros((6, SIZE, SIZE), bool)
    masks[:, :3, :3] = True
    with torch.no_grad():
        values = network.head.values(module.logits(pictures))
        removed = network.head.values(module.logits(torch.zeros(1, 1, SIZE, SIZE)))[0].numpy()
    own = values.numpy()[np.arange(6), classes]
    right = (values.numpy().argmax(1) == classes if head == "softmax" else own > 0.5).mean()
    steps = measure(
        network, pictures, classes, masks, [Asked("Saliency")], effort=Effort(6, steps=1, sanity=1)
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            table = end.value
            break
    assert said.format(right=right) in " ".join(table.facts)
    # In one step: the mean of what is said of the whole image and of the empty one.
    ends = own + removed[classes] if head != "score" else 1 + np.where(own > removed[classes], 0, 2)
    np.testing.assert_allclose(table.rows[0].values["deletion"], ends / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "< 0.1 %"), (1.0, "> 99.9 %"), (0.018, "1.8 %"), (0.9994, "99.9 %"), (math.nan, NOT_FINITE)],
)
def test_percentages(value: float, said: str) -> None:
    assert percent(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (50.234, "50.23"),
        (-3.0, "-3.00"),
        (1234.5, "1 234"),
        (0.01234, "0.01234"),
        (0.0, "0.0"),
        (2.5e-9, "2.5e-09"),
        (12345678.0, "1.23e+07"),
    ],
)
def test_real_numbers(value: float, said: str) -> None:
    assert plain(value) == said
