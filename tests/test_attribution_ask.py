"""Targets, queries and what cannot be asked: the sentences that a person reads."""

import numpy as np
import pytest
import torch
from ascent_nets import small
from torch import nn

from vislib.attribution import (
    FAMILIES,
    METHODS,
    Target,
    attribute,
    attribution_steps,
    default_layer,
    find_method,
)
from vislib.attribution.method import method as register
from vislib.attribution.query import Query
from vislib.errors import AttributionError, NetworkError
from vislib.network import Network

NETWORK = small()
IMAGES = torch.rand(2, *NETWORK.input_shape, generator=torch.Generator().manual_seed(0))
NAN = torch.full((1, *NETWORK.input_shape), float("nan"))


@pytest.mark.parametrize(
    ("target", "error", "said"),
    [
        (4, NetworkError, "layer 'logits' has no unit 4; its units are 0 to 3"),
        (-1, NetworkError, "has no unit -1"),
        (Target(10, layer="5"), NetworkError, "layer '5' has no unit 10"),
        (Target(0, against=9), NetworkError, "has no unit 9"),
        (Target(0, layer="conv9"), NetworkError, "no layer 'conv9'; its layers are 0, 2, 5, logits"),
        (Target((0, 1, 2)), AttributionError, "3 units of logits were given for 2 images; give one unit for all"),
        (Target(1, against=1), AttributionError, "logits was set against itself"),
        (Target((1, 2), against=(0, 2)), AttributionError, "set against itself"),
        (Target(1, layer="5", position=(1,)), AttributionError, r"5 was given position \(1,\); it has 2 spatial axes"),
        (Target(1, position=(0, 0)), AttributionError, "it has 0 spatial axes"),
    ],
)  # fmt: skip
def test_targets_that_are_not_there(target: Target | int, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        attribution_steps(NETWORK, IMAGES, target, "Saliency")


@pytest.mark.parametrize(
    ("images", "method", "options", "error", "said"),
    [
        (IMAGES, "Gradcam", {}, AttributionError, "no method 'Gradcam'; the methods are "),
        (IMAGES, "Saliency", {"steps": 3}, AttributionError, "Saliency has no parameter 'steps'; it has none"),
        (IMAGES, "SmoothGrad", {"step": 3}, AttributionError, "no parameter 'step'; it has samples, noise, of"),
        (IMAGES, "SmoothGrad", {"samples": 0}, AttributionError, "samples cannot be 0; give a whole number from 1 to"),
        (IMAGES, "SmoothGrad", {"noise": float("nan")}, AttributionError, "noise cannot be nan"),
        (IMAGES, "SmoothGrad", {"of": "CAM"}, AttributionError, "of cannot be 'CAM'; choose one of gradient, guided"),
        (IMAGES, "Integrated gradients", {"steps": 2.5}, AttributionError, "steps cannot be 2.5; give a whole number"),
        (IMAGES, "Integrated gradients", {"baseline": "grey"}, AttributionError, "choose one of zero, mean, blur"),
        (IMAGES, "Score-CAM", {"channels": -1}, AttributionError, "channels cannot be -1"),
        (IMAGES, "Grad-CAM", {"layer": "nine"}, NetworkError, "no layer 'nine'"),
        (IMAGES, "Grad-CAM", {"layer": "logits"}, AttributionError, "'logits' has no spatial extent"),
        (IMAGES[:0], "Saliency", {}, AttributionError, "was given no image"),
        (NAN, "Saliency", {}, AttributionError, "an image with NaN or infinite values"),
        (IMAGES[:, :, 0], "Saliency", {}, NetworkError, r"of shape \(2, 1, 40\); it takes \(n, 1, 40, 40\)"),
        (IMAGES.repeat(1, 3, 1, 1), "Saliency", {}, NetworkError, r"of shape \(2, 3, 40, 40\)"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_asked(
    images: torch.Tensor, method: str, options: dict[str, object], error: type[Exception], said: str
) -> None:
    """All of them before the first step, so that a menu may ask at once."""
    with pytest.raises(error, match=said):
        attribution_steps(NETWORK, images, 1, method, **options)  # type: ignore[arg-type]


def test_a_position_outside_the_layer_is_refused() -> None:
    with pytest.raises(AttributionError, match=r"position \(10, 0\), but it has \(10, 10\) positions"):
        attribute(NETWORK, IMAGES, Target(1, layer="5", position=(10, 0)), "Saliency")


def test_a_target_is_the_mean_over_positions_one_position_or_a_difference() -> None:
    output = NETWORK.activations(IMAGES, ["5"])["5"]
    for target, expected in (
        (Target(3, layer="5"), output[:, 3].mean((1, 2))),
        (Target(3, layer="5", position=(2, 4)), output[:, 3, 2, 4]),
        (Target(3, layer="5", against=1), (output[:, 3] - output[:, 1]).mean((1, 2))),
        (
            Target((3, 0), layer="5", against=(1, 2)),
            (output[[0, 1], [3, 0]] - output[[0, 1], [1, 2]]).mean((1, 2)),
        ),
    ):
        got = attribute(NETWORK, IMAGES, target, "Saliency")
        np.testing.assert_allclose(got.scores, expected.numpy(), atol=1e-6)
    rows = Target((3, 0)).checked(NETWORK, 2).of(NETWORK.logits(IMAGES)[[1, 0, 1]], [1, 0, 1])
    logits = NETWORK.logits(IMAGES)
    torch.testing.assert_close(rows, torch.stack([logits[1, 0], logits[0, 3], logits[1, 0]]))


def test_words_name_what_is_explained() -> None:
    named = Network.from_module(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)),
        (1, 4, 4),
        labels=("cat", "dog"),
        device="cpu",
    )
    assert Target(1).words(named) == "dog"
    assert Target(1, against=0).words(named) == "dog rather than cat"
    assert Target((0, 1), layer="0").words(named) == "unit 0 of 0"
    assert Target(2).words(NETWORK) == "class 2"


def test_images_of_another_size_are_taken_where_the_network_can() -> None:
    images = torch.rand(1, 1, 48, 32)
    for name in ("Saliency", "Grad-CAM", "CAM", "Score-CAM", "SmoothGrad", "Deconvolution"):
        assert attribute(NETWORK, images, 1, name).values.shape == (1, 48, 32)


def test_each_method_describes_itself() -> None:
    assert find_method("CAM").name == "CAM"
    for name, one in METHODS.items():
        assert one.name == name
        assert one.family in FAMILIES
        assert len(one.description) > 20
        assert not one.description.endswith(".")
        assert any(word in one.source for word in ("arXiv", "doi"))
        assert one.values({}) == one.defaults()
        assert set(one.needs) <= {"layer", "GAP head", "ReLUs", "max pooling"}
        assert one.check(NETWORK) == ""
        for parameter in one.parameters:
            assert parameter.check(parameter.default) == parameter.default
            assert parameter.description
    wanted = {
        *(
            "Saliency",
            "Guided backprop",
            "Deconvnet",
            "Input x gradient",
            "SmoothGrad",
            "Integrated gradients",
        ),
        *("CAM", "Grad-CAM", "Grad-CAM++", "LayerCAM", "Score-CAM", "Guided Grad-CAM", "Deconvolution"),
    }
    assert wanted <= set(METHODS)


def test_a_method_is_registered_once() -> None:
    for name, family in (("CAM", FAMILIES[0]), ("New", "no family")):
        with pytest.raises(ValueError, match="registered twice, or its family"):
            register(name, family=family, description="", source="")(lambda _query: iter(()))
    assert "New" not in METHODS


def test_batches_fit_the_input() -> None:
    """Twice the side, a quarter of the batch; and never none."""

    def query(images: torch.Tensor) -> Query:
        return Query("", True, NETWORK, images, Target(0), "", {}, 0)

    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr("vislib.attribution.query._LARGEST_BATCH", 10**9)
        # By memory alone: what a row takes in time hangs on the machine (test_pace.py).
        patched.setattr(
            "vislib.attribution.query.rows_at_once", lambda _network, _spatial, most, **_more: most
        )
        small_batch, large_batch = (query(torch.zeros(1, 1, s, s)).batch_size() for s in (40, 80))
        assert 3.5 < small_batch / large_batch < 4.5
        assert query(torch.zeros(1, 1, 40, 40)).batch_size(gradients=True) < small_batch
        patched.setattr("vislib.attribution.query._BUDGET", 1)
        assert query(torch.zeros(1, 1, 40, 40)).batch_size() == 1
    ranges = list(query(torch.zeros(1, 1, 40, 40)).batches(70))
    assert [pair for one in ranges for pair in one] == list(range(70))


def test_the_default_layer_needs_positions() -> None:
    dense = Network.from_module(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), (1, 4, 4), name="dense", device="cpu"
    )
    with pytest.raises(
        AttributionError, match="dense has no layer with spatial positions, and a class activation"
    ):
        default_layer(dense)
    assert default_layer(NETWORK) == "5"
    assert default_layer(NETWORK, Target(0, layer="5")) == "2"


@pytest.mark.parametrize("unit", [np.int64(1), torch.tensor(1), np.argmax([0, 3, 1])], ids=repr)
def test_a_class_may_be_any_whole_number(unit):
    expected = attribute(NETWORK, IMAGES, 1, "Saliency").values
    assert np.array_equal(attribute(NETWORK, IMAGES, unit, "Saliency").values, expected)
