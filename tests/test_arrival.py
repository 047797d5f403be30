import numpy as np
import pytest
import torch
from torch import nn

import models
from vislib.arrival import arrival, promise
from vislib.errors import NetworkError
from vislib.network import Network

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CAFFE = {"mean": (103.939, 116.779, 123.68), "channels": "BGR", "range": (0, 255)}


class Step(nn.Module):
    """Any function as a module, which a network may begin with."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Functional(nn.Module):
    """Prepares its input in its own forward, by no module of its own."""

    def __init__(self, function, channels=3) -> None:
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(channels, 4, 3)

    def forward(self, x):
        return self.conv(self.function(x)).mean((2, 3))


def normalise(x):
    mean, std = (torch.tensor(IMAGENET[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (x - mean) / std


def each_by_itself(x):
    return (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)


def made(function=None, *, functional=False, count=3, **card):
    torch.manual_seed(0)
    if functional:
        module = Functional(function, count)
    else:
        first = [] if function is None else [Step(function)]
        module = nn.Sequential(
            *first, nn.Conv2d(count, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
    return Network.from_module(module, (count, 24, 32), **card, device="cpu")


def picture(channels=3, low=0.0, high=1.0):
    """Each channel runs evenly from low to high along another axis: mean and sd are known in closed form."""
    rows, columns = np.mgrid[:24, :32].astype(np.float32)
    ramps = np.stack([rows / 23, columns / 31, 1 - rows / 23])[:channels]
    return torch.from_numpy(low + (high - low) * ramps)[None]


def ramp_sd(count):
    return np.sqrt((count + 1) / (12 * (count - 1)))  # of `count` values evenly from 0 to 1


@pytest.mark.parametrize("card", [{}, IMAGENET, CAFFE, {"range": (-1, 1)}, {"mean": (0.3,), "std": (0.2,)}])
def test_numbers_are_those_of_the_definition_and_a_right_card_agrees(card):
    found = arrival(made(**card), picture())
    mean, std = (
        np.broadcast_to(card.get(key, default), 3) for key, default in (("mean", (0.0,)), ("std", (1.0,)))
    )
    low, high = card.get("range", (0, 1))
    order = card.get("channels", "RGB")
    sds = {"R": ramp_sd(24), "G": ramp_sd(32), "B": ramp_sd(24)}
    words = {"R": "red", "G": "green", "B": "blue"}
    assert [channel.name for channel in found.channels] == [words[colour] for colour in order]
    for place, channel in enumerate(found.channels):
        at = (low - mean[place]) / std[place], (high - mean[place]) / std[place]
        np.testing.assert_allclose(channel.promised, at, rtol=1e-6)
        np.testing.assert_allclose((channel.low, channel.high), at, rtol=1e-4, atol=1e-4)
        assert channel.mean == pytest.approx(sum(at) / 2, abs=1e-4 * (high - low))
        assert channel.sd == pytest.approx((high - low) / std[place] * sds[order[place]], rel=1e-4)
        assert sum(channel.counts) == 24 * 32
    assert found.agrees, found.differs
    assert (found.own, found.cause, found.layer) == ("", "", "0")


def test_a_histogram_counts_what_arrives_between_its_edges():
    found = arrival(made(**IMAGENET), picture())
    for channel, colour in zip(found.channels, normalise(picture())[0], strict=True):
        counts, _ = np.histogram(colour.numpy(), found.edges)
        assert (
            np.abs(np.subtract(channel.counts, counts)).sum() <= 32
        )  # a row may fall on an edge, up to rounding
    assert found.edges[0] == pytest.approx(min(c.promised[0] for c in found.channels), rel=1e-5)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({}, "values from 0 to 1"),
        ({"range": (0, 255)}, "values from 0 to 255"),
        (IMAGENET, "mean about 0 and sd about 1 over its kind of images, values from -2.12 to 2.64"),
        (CAFFE, "mean about 0 over its kind of images, values from -124 to 151, blue first"),
    ],
)
def test_what_a_card_promises_is_said(card, words):
    assert promise(made(**card)) == words


# What is wrong, the card, what the network does itself, the picture; then words of what differs and of the cause.
WRONG = {
    "0-255 given": (IMAGENET, None, picture(high=255.0), "0 to 255", "divide them by 255"),
    "standardised given": (IMAGENET, None, normalise(picture()), "-2.1", "standardised twice"),
    "mean of 0-255 in a card of 0-1": (
        {"mean": (123.7, 116.8, 103.9), "std": (58.4, 57.1, 57.4)}, None, picture(), "[0, 1]", "range = [0, 255]",
    ),
    "mean of 0-1 in a card of 0-255": ({**IMAGENET, "range": (0, 255)}, None, picture(), "[0, 255]", "leave range out"),
    "network times 255": (IMAGENET, lambda x: x * 255, picture(), "-540 to 673", "values of 0 to 255"),
    "network times 255, plain card": ({}, lambda x: x * 255, picture(), "0 to 255", "values of 0 to 255"),
    "0-255 twice": ({"range": (0, 255)}, lambda x: x * 255, picture(), "6.5e+04", "twice"),
    "network expects 0-255": ({}, lambda x: x / 255, picture(), "0 to 0.00392", "range = [0, 255]"),
    "standardised twice": (IMAGENET, normalise, picture(), "-11.4 to 9.93", "standardised twice"),
    "to -1 … 1 after the card": (IMAGENET, lambda x: x * 2 - 1, picture(), "-5.24 to 4.28", "standardised twice"),
    "BGR mean": ({"mean": (0.406, 0.456, 0.485)}, None, picture(), "blue first", 'channels = "BGR"'),
    "Caffe's mean without BGR": ({**CAFFE, "channels": "RGB"}, None, picture(), "blue first", 'channels = "BGR"'),
    "RGB mean with BGR": ({**IMAGENET, "channels": "BGR"}, None, picture(), "red first", "blue first"),
    "BGR twice": ({"channels": "BGR"}, lambda x: x.flip(1), picture(), "once more", "BGR twice"),
    "not z-scored": ({"mean": (0.2,), "std": (0.1,)}, None, picture(low=0.6, high=1.0), "mean 6", "not z-scored"),
    "flat": (IMAGENET, None, torch.full((1, 3, 24, 32), 0.5), "one value", "flat"),
}  # fmt: skip


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("wrong", WRONG)
def test_every_known_way_to_be_wrong_is_named(wrong, functional):
    card, function, images, differs, why = WRONG[wrong]
    if functional and function is None:
        function = torch.Tensor.contiguous
    found = arrival(made(function, functional=functional, **card), images)
    assert differs in found.differs
    assert why in found.cause
    assert not found.agrees


# What the network does itself that the card does not speak against: it is said, and nothing differs.
OWN = {
    "standardises": ({}, normalise, "takes off (0.485, 0.456, 0.406) and divides by (0.229, 0.224, 0.225)"),
    "to -1 … 1": ({}, lambda x: x * 2 - 1, "takes off 0.5 and divides by 0.5"),
    "BGR": ({}, lambda x: x[:, [2, 1, 0]], "exchanges red and blue"),
    "Caffe's": (CAFFE, lambda x: x.clone(), ""),
    "GoogLeNet's": (IMAGENET, lambda x: 0.458 * x - 0.03, "takes off"),
    "each image": ({}, each_by_itself, "standardises each image by its own mean and sd"),
    "a square root": ({}, torch.sqrt, "changes the values"),
    "patches": ({}, lambda x: nn.functional.pixel_unshuffle(x, 2)[:, :3], "makes 3 channels of 12 x 16"),
}


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("own", OWN)
def test_what_the_network_does_itself_is_said(own, functional):
    card, function, words = OWN[own]
    network = made(function, functional=functional, **card)
    found = arrival(network, picture())
    layer = "conv" if functional else "1"
    assert found.layer == layer
    assert found.agrees, found.differs
    assert words in found.own
    assert found.own.startswith(f"Before {layer} the network itself ") if words else found.own == ""
    assert ("in 0 (Step)" in found.own) == (bool(words) and not functional)
    arrived = function(normalise(picture()) if card is IMAGENET else network.standardisation(picture()))
    np.testing.assert_allclose(found.channels[0].mean, arrived[:, 0].mean(), atol=1e-3)
    np.testing.assert_allclose(found.channels[0].sd, arrived[:, 0].std(correction=0), rtol=1e-3)


def with_norm(scale, shift, *, own=False, **card):
    """A network that was trained on `scale * image + shift`, as the running numbers of its batch norm tell."""
    torch.manual_seed(1)
    conv, norm = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6)
    training = torch.rand(200, 1, 24, 32) * torch.rand(200, 1, 1, 1)
    with torch.no_grad():
        output = conv(scale * training + shift)
        norm.running_mean.copy_(output.mean((0, 2, 3)))
        norm.running_var.copy_(output.var((0, 2, 3)))
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    first = [Step(lambda x: scale * x + shift)] if own else []
    module = nn.Sequential(*first, conv, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network.from_module(module, (1, 24, 32), **card, device="cpu"), training[:1]


@pytest.mark.parametrize(
    ("trained", "card", "why"),
    [
        ((255, 0), {}, "range = [0, 255]"),
        ((1, 0), {"mean": (0.2,), "std": (0.02,)}, "leave mean and std out"),
        ((40, -10), {}, "not z-scored"),
    ],
)
def test_a_batch_norm_tells_what_the_network_was_trained_on(trained, card, why):
    network, _ = with_norm(*trained, **card)
    found = arrival(network, picture(1))
    assert "What the first batch norm, 1, sees" in found.differs
    if why != "not z-scored":  # what is named must be what helps; a z-score of unknown size may or may not
        assert why in found.cause


@pytest.mark.parametrize("own", [False, True])
def test_a_batch_norm_that_sees_what_it_was_trained_on_agrees(own):
    card = {} if own else {"mean": (0.25,), "std": (0.25,)}
    network, _ = with_norm(4, -1, own=own, **card)
    found = arrival(network, picture(1))
    assert found.agrees, found.differs


def test_a_batch_norm_on_the_input_is_said_and_judged_by_what_leaves_it():
    norm = nn.BatchNorm2d(1)
    norm.running_mean.fill_(0.2)
    norm.running_var.fill_(0.0625 - norm.eps)
    for card, agrees in (({}, True), ({"mean": (0.2,), "std": (0.25,)}, False)):
        module = nn.Sequential(norm, nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        found = arrival(Network.from_module(module, (1, 24, 32), **card, device="cpu"), picture(1))
        assert (
            found.own == "Before 1 the network itself takes off 0.2 and divides by 0.25, in 0 (BatchNorm2d)."
        )
        assert found.agrees == agrees
        assert ("standardised twice" in found.cause) == (not agrees)


def test_nothing_is_left_behind_in_the_network():
    network = made(normalise, **IMAGENET)
    arrival(network, picture())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.module.modules())
    assert network.standardisation.mean == IMAGENET["mean"]


def test_a_network_without_a_layer_that_can_be_watched_shows_what_it_is_given():
    weight = torch.rand(2, 3, 3, 3)
    module = Step(lambda x: nn.functional.conv2d(x, weight).mean((2, 3)))
    network = Network.from_module(module, (3, 24, 32), **IMAGENET, device="cpu")
    found = arrival(network, picture())
    assert (found.layer, found.own, found.agrees) == ("", "", True)
    np.testing.assert_allclose(found.channels[1].mean, normalise(picture())[0, 1].mean(), atol=1e-5)


def test_values_that_are_not_finite_are_counted():
    found = arrival(made(lambda x: torch.where(x > 0.99, torch.nan, x)), picture())
    assert found.differs == f"{int((picture() > 0.99).sum())} of the values that arrive are not finite."
    assert np.isfinite(found.channels[0].mean)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(NetworkError, match="was given images of shape"):
        arrival(made(), torch.rand(1, 1, 24, 32))


def test_a_volume_arrives_too():
    module = nn.Sequential(nn.Conv3d(1, 3, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    network = Network.from_module(module, (1, 8, 9, 10), mean=(0.5,), std=(0.25,), device="cpu")
    values = torch.rand(1, 1, 8, 9, 10)
    found = arrival(network, values)
    assert found.shape == (1, 1, 8, 9, 10)
    assert found.channels[0].name == "grey"
    np.testing.assert_allclose(found.channels[0].mean, (values.mean() - 0.5) / 0.25, atol=1e-5)


def test_the_shipped_networks_agree_with_their_domain():
    network = models.load("brain2d", device="cpu")
    for image in network.domain()[:40]:
        found = arrival(network, image[None])
        assert found.agrees, found.differs


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize(
    "function",
    [lambda x: x / 255, lambda x: x / 127.5 - 1, lambda x: (x / 255 - 0.45) / 0.225],
    ids=["to 1", "to -1 and 1", "standardised"],
)
def test_a_card_that_gives_the_range_that_the_network_divides_by_is_right(function, functional):
    found = arrival(made(function, functional=functional, range=(0, 255)), picture())
    assert found.agrees, (found.differs, found.cause)
    assert not arrival(made(function, functional=functional), picture()).agrees
