"""Heads: for every kind a network whose true probability is known in closed form, and everything agrees with it."""

import dataclasses
import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vislib.attribution import Target, attribute, outcomes
from vislib.errors import AttributionError, NetworkError
from vislib.evaluation import Asked, check, verdict
from vislib.evaluation.faithfulness import deletion, insertion
from vislib.evaluation.road import road
from vislib.evaluation.table import Effort, measure
from vislib.head import NOT_FINITE, Head, percent, plain
from vislib.network import Network

SIZE = 8
LOGITS = torch.tensor([[2.0, -1.0, 0.5]])


class Known(nn.Module):
    """Logits `bias + gain * mean(x)`, whatever else is done to them by `end`."""

    def __init__(self, bias: Tensor, gain: Tensor, end: Callable[[Tensor], Any] = lambda y: y) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)
        self.bias, self.gain = nn.Parameter(bias), nn.Parameter(gain)
        self.end = end

    def logits(self, x: Tensor) -> Tensor:
        return self.bias + self.gain * self.conv(x).mean((1, 2, 3))[:, None]

    def forward(self, x: Tensor) -> Any:
        return self.end(self.logits(x))


def known(units: int = 3, end: Callable[[Tensor], Any] = lambda y: y, bias: float = 0.0) -> Known:
    gain = torch.tensor([3.0, -2.0, 1.0])[:units]
    return Known(bias + torch.tensor([0.3, 0.1, -0.2])[:units], gain, end)


def images(n: int = 2) -> Tensor:
    return torch.rand(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def open_(module: nn.Module, **more: Any) -> Network:
    return Network.from_module(module, (1, SIZE, SIZE), device="cpu", **more)


def by_hand(y: Tensor) -> Tensor:
    """A softmax that no torch function of that name computes."""
    e = y.exp()
    return e / e.sum(1, keepdim=True)


class EndsWith(nn.Module):
    """`Known` and then a module of its own."""

    def __init__(self, end: nn.Module, units: int = 3) -> None:
        super().__init__()
        self.body, self.end = known(units), end

    def logits(self, x: Tensor) -> Tensor:
        return self.body.logits(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.body(x))


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


@pytest.mark.parametrize(
    ("make", "options", "kind", "word"),
    [
        (known, {}, "softmax", "Softmax assumed"),
        (lambda: known(1), {"labels": ("ill",)}, "sigmoid", "logit"),
        (lambda: known(1), {}, "score", "value"),
        (lambda: known(1, bias=50.0), {"labels": ("age",)}, "score", "value"),
        # Small for noise, large for other pictures.
        (lambda: Known(torch.tensor([-30.0]), torch.tensor([60.0])), {"labels": ("age",)}, "score", "value"),
        (lambda: known(1), {"unit": "years"}, "score", ""),
        (lambda: EndsWith(nn.Softmax(1), 1), {"labels": ("ill",)}, "score", "always 1"),
        (lambda: known(end=by_hand), {}, "probabilities", "add up to 1"),
        (lambda: EndsWith(nn.Sigmoid()), {}, "probabilities", "sigmoid"),
        (lambda: known(end=lambda y: 1 / (1 + torch.exp(-y))), {}, "softmax", "between 0 and 1"),
    ],
)
def test_what_is_inferred_is_said(
    make: Callable[[], nn.Module], options: dict[str, Any], kind: str, word: str
) -> None:
    network = open_(make(), **options)
    assert network.head.kind == kind
    assert network.head.said == (word == "")
    assert word in network.head.note
    assert network.head.note == "" or "head =" in network.head.note or word == "always 1"


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (lambda: known(1), {"head": "softmax"}, "always 100 %"),
        (known, {"head": "logits"}, "must be one of softmax, sigmoid, probabilities, score"),
        (known, {"head": "probabilities"}, "puts out values from .* to"),
        (known, {"head": "softmax", "unit": "years"}, "only a head of kind 'score' has a unit"),
        (lambda: EndsWith(nn.Softmax(1)), {"head": "sigmoid"}, "add up to 1"),
        (lambda: EndsWith(nn.Sigmoid()), {"head": "softmax"}, "a sigmoid for each unit"),
        (
            lambda: known(end=lambda y: (y, y[:, :2])),
            {},
            r"several tensors .* 0 \(2, 3\), 1 \(2, 2\).* output",
        ),
        (lambda: known(end=lambda y: {"a": y}), {"output": "b"}, r"output 'b', .* a \(2, 3\)"),
        (lambda: known(end=lambda y: (y,)), {"output": 4}, "output 4"),
    ],
)
def test_a_head_that_cannot_be_is_refused(
    make: Callable[[], nn.Module], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(NetworkError, match=sentence):
        open_(make(), **options)


@dataclasses.dataclass
class Answer:
    maps: Tensor
    scores: Tensor


Pair = namedtuple("Pair", "maps scores")


@pytest.mark.parametrize(
    ("pack", "key"),
    [
        (lambda y: (y.flip(1), y), 1),
        (lambda y: [y.flip(1), {"inner": y}], 1),
        (lambda y: [y.flip(1), {"inner": y}], "1.inner"),
        (lambda y: {"maps": y.flip(1), "scores": y}, "scores"),
        (lambda y: {"maps": y.flip(1), "logits": y}, None),
        (lambda y: {"logits": y, "loss": y.mean()}, None),
        (lambda y: (y, y, y.argmax(1)), None),
        (lambda y: (None, y, 3), None),
        (lambda y: Answer(y.flip(1), y), "scores"),
        (lambda y: Pair(y.flip(1), y), "scores"),
        (lambda y: Pair(y.flip(1), y), 1),
    ],
)
def test_the_item_that_is_named_is_the_score(pack: Callable[[Tensor], Any], key: int | str | None) -> None:
    module = known(end=pack)
    network = open_(module, output=key)
    torch.testing.assert_close(network.logits(images()), module.logits(images()).detach())
    found = attribute(network, images(), Target(0, against=1), "Occlusion", window=4, stride=4, fill="zero")
    want = 5 * F.avg_pool2d(images(), 4)[:, 0].numpy() / 4
    np.testing.assert_allclose(found.raw, want, atol=1e-5)


def test_a_network_can_be_taken_for_another_head_without_loading_it_again() -> None:
    network = open_(known(1), labels=("age",))
    value = network.with_head("score", "years")
    assert value.head == Head("score", unit="years")
    assert value is network.with_head("score", "years")
    assert value.fingerprint == network.fingerprint
    assert value.module is network.module
    assert network.head.kind == "sigmoid"
    torch.testing.assert_close(value.logits(images()), network.logits(images()))
    with pytest.raises(NetworkError, match="always 100 %"):
        network.with_head("softmax")
    with pytest.raises(NetworkError, match="probabilities itself"):
        open_(EndsWith(nn.Softmax(1))).with_head("sigmoid")


def test_a_fingerprint_of_plain_logits_stays_what_it_was() -> None:
    module = known()
    assert open_(module).fingerprint == open_(module, head="sigmoid").fingerprint
    assert open_(known(end=lambda y: (y, y)), output=0).fingerprint != open_(known()).fingerprint


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


def test_words_of_outcomes() -> None:
    def words(**more: Any) -> list[str]:
        return [one.words for one in outcomes(open_(known(len(more.get("labels", "abc"))), **more))]

    assert words() == ["class 0", "class 1", "class 2"]
    assert words(head="sigmoid") == ["output 0", "output 1", "output 2"]
    assert words(labels=("ill",)) == ["ill", "not ill"]
    assert words(labels=("a", "b", "c")) == ["a", "b", "c"]
    assert words(head="score", labels=("x", "y"))[1:3] == ["what lowers x", "what raises y"]
    network = open_(known())
    assert Target((1,), against=(2,), opposite=True).words(network) == "not class 1 rather than class 2"
    with pytest.raises(AttributionError, match="against itself"):
        Target(1, against=1).checked(network, 1)


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


# endings that are taken apart, put together or rounded

REMADE: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "squeeze": (1, lambda y: y.sigmoid().squeeze(1)),
    "every axis squeezed": (1, lambda y: y.sigmoid().squeeze()),
    "view": (1, lambda y: torch.sigmoid(y).view(-1)),
    "places of one pixel": (1, lambda y: torch.sigmoid(y)[:, :, None, None]),
    "in place": (1, lambda y: (y * 1.0).sigmoid_()),
    "clamp": (1, lambda y: y.sigmoid().clamp(1e-6, 1 - 1e-6)),
    "one of two classes": (2, lambda y: y.softmax(1)[:, 1]),
    "clone": (3, lambda y: y.sigmoid().clone()),
    "stack": (3, lambda y: torch.stack([y[:, k].sigmoid() for k in range(3)], 1)),
    "cat": (3, lambda y: torch.cat([y[:, k : k + 1].sigmoid() for k in range(3)], 1)),
    "mean of two": (3, lambda y: (y.sigmoid() + (2 * y).sigmoid()) / 2),
    "part of a softmax": (3, lambda y: y.softmax(1)[:, 1:]),
    "two softmaxes": (3, lambda y: torch.cat([y[:, :2].softmax(1), y[:, 1:].softmax(1)], 1)),
    "ordinal": (3, lambda y: y.sigmoid().cumprod(1)),
    "softmax in bfloat16": (3, lambda y: y.bfloat16().softmax(1)),
    "and back": (3, lambda y: y.bfloat16().softmax(1).float()),
    "rounded softmax": (3, lambda y: y.softmax(1).round(decimals=3)),
}


COARSE = ("softmax in bfloat16", "and back", "rounded softmax")


@pytest.mark.parametrize("kind", REMADE)
@pytest.mark.parametrize("said", [None, "probabilities"])
def test_probabilities_that_are_remade_are_not_normalised_again(kind: str, said: str | None) -> None:
    units, end = REMADE[kind]
    module = known(units, end)
    network = open_(module, head=said)
    assert network.head.kind == "probabilities"
    expected = module(images(2)).detach().double().reshape(2, -1)
    got = network.probabilities(images(2))
    tolerance = 0.01 if kind in COARSE else 1e-5  # their sum is not 1 itself
    torch.testing.assert_close(got.double(), expected, rtol=tolerance, atol=tolerance)
    if kind != "rounded softmax":  # which has no gradient
        assert attribute(network, images(1), 0, "Saliency").values.any()


@pytest.mark.parametrize(
    "end", [lambda y: y * y.sigmoid(), lambda y: 5 * y.sigmoid() - 2, lambda y: y.softmax(1) @ y.T @ y]
)
def test_a_sigmoid_on_the_way_makes_no_probabilities(end: Callable[[Tensor], Tensor]) -> None:
    assert open_(known(3, end)).head.kind == "softmax"


def test_one_output_between_0_and_1_is_told_how_to_be_a_probability() -> None:
    network = open_(known(1, lambda y: 1 / (1 + torch.exp(-y))), labels=("ill",))
    assert 'where it is a probability already, say head = "probabilities"' in network.head.note
    assert "is a probability already" not in open_(known(1, bias=4.0), labels=("ill",)).head.note


def test_a_log_softmax_over_one_unit_says_nothing_of_an_image() -> None:
    head = open_(known(1, lambda y: y.log_softmax(1))).head
    assert (head.kind, "says nothing of an image" in head.note) == ("score", True)


def test_a_logit_whose_axes_are_all_squeezed_away_opens() -> None:
    network = open_(known(1, lambda y: y.squeeze()), labels=("ill",))
    assert network.head.kind == "sigmoid"
    expected = known(1).logits(images(1)).sigmoid().double().detach()
    torch.testing.assert_close(network.probabilities(images(1)).double(), expected)
