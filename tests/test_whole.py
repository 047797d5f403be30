"""Units, positions, sizes and seeds that are no whole numbers are refused in a sentence, wherever they are given."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from network_making import brain, wrap

from vislib.ascent import ascend, random_search
from vislib.attribution import Target, attribute
from vislib.errors import AscentError, VislibError
from vislib.evaluation.faithfulness import places
from vislib.evaluation.sanity import cascade
from vislib.network import Network
from vislib.whole import MOST_SEED, checked_seed, whole, wholes

WHOLE = [0, 3, np.int64(3), np.uint8(3), torch.tensor(3), torch.tensor([3]), np.array(3)]
NOT_WHOLE = [
    0.5,
    1.0,
    "1",
    "a",
    None,
    1j,
    [1],
    (),
    Fraction(1),
    np.float32(1),
    torch.tensor(1.0),
    np.zeros(2),
]
NOT_A_SEED = [*NOT_WHOLE, -1, MOST_SEED + 1, 2**70]


@pytest.fixture(autouse=True)
def unchecked() -> Iterator[None]:
    """Without the tests' checker of signatures, which users do not have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def network() -> Network:
    return wrap(brain(), name="toy")


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_whole_numbers_of_every_library(value: Any) -> None:
    assert whole(value) == int(value)
    assert wholes([value, value]) == (int(value),) * 2
    assert checked_seed(value, AscentError) == int(value)


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
def test_what_is_no_whole_number(value: Any) -> None:
    assert whole(value) is None
    assert wholes([0, value]) is None


def test_lists_of_whole_numbers() -> None:
    assert (
        wholes(np.arange(3))
        == wholes(range(3))
        == wholes(iter((0, 1, 2)))
        == wholes(torch.arange(3))
        == (0, 1, 2)
    )
    assert wholes(()) == ()
    for other in (3, None, "012", b"012", np.array(3), torch.tensor(3), np.zeros((2, 2))):
        assert wholes(other) is None, other


def _calls(network: Network, images: torch.Tensor) -> Iterator[tuple[str, list[Any], Callable[[Any], Any]]]:
    yield "units", [*NOT_WHOLE, 5.0], lambda value: ascend(network, "conv2", [value], steps=1)
    yield "units", [5, None, "01", 0.5], lambda value: ascend(network, "conv2", value, steps=1)
    yield (
        "presets",
        [3, [3], [None], "nan"],
        lambda value: ascend(network, "conv2", [0], value, steps=1),
    )
    yield (
        "sizes",
        [0.5, "9", [1.5, 2], [9], -1],
        lambda v: ascend(network, "conv2", [0], steps=1, size=v),
    )
    yield (
        "targets",
        [v for v in NOT_WHOLE if v is not None],
        lambda value: attribute(network, images, value, "Saliency"),
    )
    yield (
        "units",
        [0.5, "a", None, ["a"], [0.5]],
        lambda value: attribute(network, images, Target(value), "Saliency"),
    )
    yield (
        "against",
        [0.5, "a", ["a"]],
        lambda value: attribute(network, images, Target(0, against=value), "Saliency"),
    )
    yield (
        "positions",
        [("a", 0), 3, "01", (0.5, 0)],
        (lambda value: attribute(network, images, Target(0, "conv2", position=value), "Saliency")),
    )
    yield "fields", [("a", 0), 3, "01", (0.5, 0), (99, 0)], lambda v: network.receptive_field("conv2", v)
    yield "methods", [3, None, ["CAM"]], lambda value: attribute(network, images, 0, value)
    yield "random searches", [0, "a", None, 0.5], random_search
    for seeded in (
        lambda seed: ascend(network, "conv2", [0], steps=1, seed=seed),
        lambda seed: attribute(network, images, 0, "SmoothGrad", seed=seed),
        lambda seed: random_search(2, seed=seed),
        lambda seed: next(cascade(network, seed=seed)),
        lambda seed: places(np.zeros((1, 3, 3), np.float32), seed),
    ):
        yield "seeds", NOT_A_SEED, seeded


def test_each_is_refused_in_a_sentence(network: Network) -> None:
    images = torch.rand(1, 1, 16, 16)
    for what, values, call in _calls(network, images):
        for value in values:
            with pytest.raises(VislibError) as caught:
                call(value)
            said = str(caught.value)
            assert said.endswith((".", ")")), (what, value, said)
            assert len(said) < 400, (what, value, said)


def test_the_largest_seed_serves_everywhere(network: Network) -> None:
    images = torch.rand(1, 1, 16, 16)
    assert len(list(ascend(network, "conv2", [0], steps=1, seed=MOST_SEED))) == 2
    assert np.isfinite(attribute(network, images, 0, "SmoothGrad", seed=MOST_SEED, samples=2).values).all()
    assert len(random_search(2, seed=MOST_SEED)) == 2
    assert next(cascade(network, seed=MOST_SEED))[0]
    assert places(np.zeros((1, 3, 3), np.float32), MOST_SEED).shape == (1, 9)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((1, 1, 16, 16), np.float32), "must be a torch tensor, not ndarray"),
        ([[0.5]], "must be a torch tensor, not list"),
        (torch.zeros(1, 1, 16, 16, dtype=torch.uint8), r"given as uint8; give real numbers in \[0, 1\]"),
        (torch.zeros(1, 16, 16), r"given images of shape \(1, 16, 16\)"),
    ],
)
def test_what_is_no_batch_of_images_is_refused_alike(network: Network, images: Any, said: str) -> None:
    asks = [
        lambda: attribute(network, images, 0, "Saliency"),
        lambda: network.logits(images),
        lambda: network.probabilities(images),
        lambda: network.activations(images, "conv1"),
    ]
    for ask in asks:
        with pytest.raises(VislibError, match=said):
            ask()


def test_one_layer_need_not_be_put_in_a_list(network: Network) -> None:
    images = torch.rand(1, 1, 16, 16)
    expected = network.activations(images, ["conv1"])["conv1"]
    assert torch.equal(network.activations(images, "conv1")["conv1"], expected)
