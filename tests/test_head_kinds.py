"""Kinds of heads: what is inferred, said or refused, however the end of a network is written."""

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from known_heads import EndsWith, Known, by_hand, images, known, open_
from torch import Tensor, nn

from vislib.attribution import Target, attribute, outcomes
from vislib.errors import AttributionError, NetworkError
from vislib.head import Head


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
        (lambda y: {"a.b": y, "a": {"b": y.flip(1)}}, "a.b"),
        (lambda y: {"a": {"b": y.flip(1)}, "a.b": y}, "a.b"),
        (lambda y: {"0": y.flip(1), 0: y}, 0),
        (lambda y: {0: y.flip(1), "0": y}, "0"),
    ],
)
def test_the_item_that_is_named_is_the_score(pack: Callable[[Tensor], Any], key: int | str | None) -> None:
    module = known(end=pack)
    network = open_(module, output=key)
    torch.testing.assert_close(network.logits(images()), module.logits(images()).detach())
    found = attribute(network, images(), Target(0, against=1), "Occlusion", window=4, stride=4, fill="zero")
    want = 5 * F.avg_pool2d(images(), 4)[:, 0].numpy() / 4
    np.testing.assert_allclose(found.raw, want, atol=1e-5)


@pytest.mark.parametrize("answer", [{"a.b": 1, "a": {"b": 2}}, {"0": 1, 0: 2}])
def test_two_items_of_one_name_are_two_candidates(answer: dict[Any, Any]) -> None:
    def pack(y: Tensor) -> Any:
        return {
            key: {"b": y.flip(1)} if isinstance(value, dict) else value * y for key, value in answer.items()
        }

    with pytest.raises(NetworkError, match="several tensors that may be its class scores"):
        open_(known(end=pack))


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
    "chunks": (4, lambda y: torch.cat(y.softmax(1).chunk(2, 1)[::-1], 1)[:, 1:]),
    "unbound": (3, lambda y: torch.stack(y.sigmoid().unbind(1), 1)),
}
# the share of what comes out that is a probability
SCALED: dict[str, tuple[int, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "percentages": (3, lambda y: 100 * y.softmax(1), lambda out: out / 100),
    "percentages by hand": (3, lambda y: 100 * by_hand(y), lambda out: out / 100),
    "a softmax of another sum": (3, lambda y: y.softmax(1) / 7, lambda out: out * 7),
    "logarithms of pairs": (3, lambda y: torch.stack([y, 1 - y], 2).log_softmax(2)[..., 0], Tensor.exp),
    "a column of a log-softmax": (2, lambda y: y.log_softmax(1)[:, 1], Tensor.exp),
    "log-softmaxes together": (
        4,
        lambda y: torch.cat([y[:, :2].log_softmax(1), y[:, 2:].log_softmax(1)], 1),
        Tensor.exp,
    ),
    "a log-softmax turned": (3, lambda y: y.log_softmax(1).flip(1).T.contiguous().T, Tensor.exp),
    "logarithms of sigmoids": (
        3,
        lambda y: torch.stack([F.logsigmoid(one) for one in y.unbind(1)], 1),
        Tensor.exp,
    ),
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


@pytest.mark.parametrize("kind", SCALED)
def test_percentages_and_logarithms_are_probabilities(kind: str) -> None:
    units, end, share = SCALED[kind]
    module = known(units, end)
    network = open_(module)
    expected = share(module(images(2)).detach().double()).reshape(2, -1)
    torch.testing.assert_close(network.probabilities(images(2)).double(), expected, rtol=1e-5, atol=1e-6)
    assert attribute(network, images(1), 0, "Saliency").values.any()
    assert network.head.note


@pytest.mark.parametrize("times", [5.0, -1.0])
def test_what_was_made_of_a_log_softmax_is_no_probability(times: float) -> None:
    network = open_(known(3, lambda y: times * torch.stack([y, 1 - y], 2).log_softmax(2)[..., 0]))
    assert "Softmax assumed" in network.head.note


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
