import hashlib
import re

import numpy as np
import pytest
import torch
from torch import nn

import models
from models.kernels import first_kernels
from vislib.ascent import PRESETS, ascend
from vislib.attribution import attribute
from vislib.attribution import incremental as incremental_inference
from vislib.errors import CardError, NetworkError
from vislib.evaluation.baselines import intensity
from vislib.evaluation.faithfulness import deletion_steps
from vislib.evaluation.sanity import random_network
from vislib.images import Picture, prepare
from vislib.network import Network

CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red
KINDS = {
    "usual": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "Caffe": {"mean": CAFFE_MEAN, "channels": "BGR", "range": (0, 255)},
    "Keras, tf": {"range": (-1, 1)},
    "BGR": {"channels": "BGR"},
    "BGR, one number": {"channels": "BGR", "mean": (0.4,), "std": (0.5,)},
    "all": {"mean": (90, 110, 130), "std": (50, 60, 70), "channels": "BGR", "range": (-10, 245)},
}


class Linear(nn.Module):
    """Its logits are the means of its three input channels; what arrived is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, x):
        self.seen = x.detach().clone()
        return self.conv(x).mean((2, 3))


def literally(images, mean=(0.0,), std=(1.0,), channels="RGB", range=(0, 1)):  # noqa: A002
    """The definition, channel by channel, in float64."""
    out = torch.empty(images.shape, dtype=torch.float64)
    for place, colour in enumerate(channels):
        m, s = mean[place % len(mean)], std[place % len(std)]
        values = range[0] + (range[1] - range[0]) * images[:, "RGB".index(colour)].double()
        out[:, place] = (values - m) / s
    return out


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def network(kind):
    return Network.from_module(Linear(), (3, 8, 9), **kind, device="cpu")


@pytest.fixture
def images():
    return torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(1))


def test_the_module_gets_what_the_card_says(network, kind, images):
    logits = network.logits(images)
    wanted = literally(images, **kind)
    torch.testing.assert_close(network.module.seen.double(), wanted, rtol=1e-5, atol=2e-4)
    torch.testing.assert_close(logits.double(), wanted.mean((2, 3)), rtol=1e-5, atol=2e-4)


def test_the_mean_colour_is_what_becomes_zero_and_one_std_further_becomes_one(network, kind):
    mean, std = (torch.tensor(v).expand(3).view(1, 3, 1, 1) for v in (network.mean, network.std))
    colour = mean.expand(1, 3, 4, 4)
    torch.testing.assert_close(literally(colour, **kind), torch.zeros(1, 3, 4, 4).double(), atol=1e-4, rtol=0)
    further = literally(colour + std, **kind)
    torch.testing.assert_close(further, torch.ones(1, 3, 4, 4).double(), atol=1e-4, rtol=0)


def test_gradients_are_of_rgb_images_in_0_to_1(network, kind, images):
    low, high = kind.get("range", (0, 1))
    std, order = kind.get("std", (1.0,)), kind.get("channels", "RGB")
    for unit, colour in enumerate(order):
        slope = (high - low) / std[unit % len(std)] / 72
        raw = attribute(network, images, unit, "Input x gradient").values
        wanted = slope * images[:, "RGB".index(colour)].numpy()
        np.testing.assert_allclose(raw, wanted, rtol=1e-5)


@pytest.mark.parametrize("preset", ["Fourier, robust", "smooth steps", "L2"])
def test_ascent_finds_the_colour_in_rgb(network, kind, preset):
    order = kind.get("channels", "RGB")
    *_, frame = ascend(network, "conv", [0, 1, 2], preset=preset, steps=8)
    assert 0 <= frame.images.min() < frame.images.max() <= 1
    light = frame.images.mean((2, 3))  # of each unit's picture in red, green and blue
    for row, colour in enumerate(order):
        assert light[:, "RGB".index(colour)].argmax() == row


@pytest.mark.parametrize("parametrisation", ["pixels", "fourier"])
def test_ascent_starts_at_the_mean_colour(network, parametrisation):
    wanted = np.clip(np.broadcast_to(network.mean, 3), 0, 1)
    preset = next(p for p in PRESETS.values() if p.parametrisation == parametrisation)
    first = next(iter(ascend(network, "conv", [0], preset=preset, steps=1)))
    np.testing.assert_allclose(first.images[0].mean((1, 2)), wanted, atol=0.04)


def test_what_is_deleted_becomes_zero_in_the_networks_own_units(network, images):
    whole = np.ones((2, 8, 9), np.float32)
    list(deletion_steps(network, images, 0, whole, steps=1))
    last = network.module.seen[-1]  # the second image, all of it deleted
    assert last.abs().max() < 1e-3


def test_integrated_gradients_start_at_what_the_network_sees_as_zero(network, kind, images):
    found = attribute(network, images, 1, "Integrated gradients", baseline="mean", steps=4)
    wanted = literally(images, **kind)[:, 1].mean(
        (1, 2)
    )  # linear: the sum is the score, since it is 0 at the start
    np.testing.assert_allclose(found.values.sum((1, 2)), wanted, rtol=1e-3, atol=2e-3)


def test_intensity_is_the_distance_from_the_mean_colour(network, images):
    mean = np.broadcast_to(network.mean, 3).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(intensity(network, images), np.abs(images.numpy() - mean).sum(1), rtol=1e-5)


def test_borders_of_a_whole_picture_have_the_mean_colour(network):
    picture = Picture(np.full((3, 2, 20), 0.5, np.float32), "strip", (20, 2), ())
    border = prepare(picture, network, "whole")[0, :, 0, 0]
    np.testing.assert_allclose(border, np.clip(np.broadcast_to(network.mean, 3), 0, 1), atol=1e-6)


def test_occlusion_is_computed_on_windows_also_where_channels_are_reordered(kind):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    network = Network.from_module(module, (3, 24, 24), **kind, device="cpu")
    image = torch.rand(1, 3, 24, 24)
    rerun = incremental_inference.reruns(network, "logits", image, (4, 4))(0)
    assert type(rerun).__name__ == "_Incremental"
    patches, starts = torch.rand(2, 3, 4, 4), torch.tensor([[0, 0], [11, 20]])
    changed = incremental_inference.pasted(image, patches, starts)
    with torch.no_grad():
        wanted = module(literally(changed, **kind).float())
    torch.testing.assert_close(rerun(patches, starts), wanted, rtol=1e-3, atol=2e-3)


def test_random_weights_keep_the_standardisation(network, images):
    one = random_network(network)
    assert one.standardisation == network.standardisation
    one.logits(images), network.logits(images)
    torch.testing.assert_close(one.module.seen, network.module.seen)


def test_first_kernels_are_shown_in_rgb():
    module = Linear()
    with torch.no_grad():
        module.conv.weight.copy_(torch.arange(9.0).view(3, 3, 1, 1))
    plain, turned = (
        first_kernels(Network.from_module(module, (3, 8, 8), channels=order, device="cpu"))
        for order in ("RGB", "BGR")
    )
    assert torch.equal(turned, plain.flip(1))


def old_fingerprint(network, mean, std):
    """As it was made before channels and range could be said: run stores are keyed by it."""
    digest = hashlib.sha256()
    architecture = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(network.module))
    digest.update(repr((architecture, network.input_shape, mean, std)).encode())
    for key, tensor in sorted(
        (dict(network.module.named_parameters()) | dict(network.module.named_buffers())).items()
    ):
        digest.update(repr((key, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def test_fingerprints_differ_with_the_keys_and_are_the_old_ones_without():
    def made(**kind):
        return Network.from_module(Linear(), (3, 8, 9), **kind, device="cpu")

    for kind in ({}, KINDS["usual"], {"channels": "RGB", "range": [0, 1]}):
        mean, std = kind.get("mean", (0.0,)), kind.get("std", (1.0,))
        assert made(**kind).fingerprint == old_fingerprint(made(**kind), mean, std)
    kinds = (
        {},
        *({key: KINDS["all"][key]} for key in ("channels", "range")),
        KINDS["all"],
        {"range": (0, 2)},
    )
    assert len({made(**kind).fingerprint for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"channels": "GBR"}, ["'GBR'", "RGB, BGR"]),
        ({"channels": ""}, ["''", "RGB, BGR"]),
        ({"range": (255, 0)}, ["(255, 0)", "smaller one first"]),
        ({"range": (0, 1, 2)}, ["(0, 1, 2)", "two finite numbers"]),
        ({"range": (0, float("inf"))}, ["inf", "two finite numbers"]),
        ({"mean": (1, 2)}, ["mean (1, 2)", "(of 3)"]),
        ({"std": (1, 0, 1)}, ["std (1, 0, 1)", "above 0"]),
    ],
)
def test_values_that_cannot_be_are_refused_in_a_sentence(kind, words):
    with pytest.raises(NetworkError) as caught:
        Network.from_module(Linear(), (3, 8, 9), **kind)
    assert all(word in str(caught.value) for word in words)


def test_one_channel_has_no_order():
    with pytest.raises(NetworkError, match="only three colours have an order"):
        Network.from_module(nn.Conv2d(1, 2, 1), (1, 8, 9), channels="BGR")
    Network.from_module(nn.Sequential(nn.Conv2d(1, 2, 1)), (1, 8, 9), channels="RGB")


CARD = """
factory = "models.brain2d:BrainNet2D"
input = [1, 32, 32]
"""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('channels = "bgr"', ["'bgr'", '"RGB" or "BGR"']),
        ('channels = ["B", "G", "R"]', ['"RGB" or "BGR"']),
        ("range = 255", ["range = 255", "two numbers"]),
        ("range = [255, 0]", ["[255, 0]", "two numbers"]),
        ("range = [0, true]", ["two numbers"]),
        ("range = [0, inf]", ["two finite numbers"]),
        ('channels = "BGR"', ["its images have 1"]),
    ],
)
def test_cards_that_cannot_be_are_refused_in_a_sentence(tmp_path, line, words):
    path = tmp_path / "mine.toml"
    path.write_text(CARD + line)
    with pytest.raises(CardError) as caught:
        models.load(path, device="cpu")
    assert all(word in str(caught.value) for word in words)


def test_a_card_may_say_range_and_channels(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'factory = "torchvision:squeezenet1_1"\ninput = [3, 64, 64]\n'
        f'mean = {list(CAFFE_MEAN)}\nchannels = "BGR"\nrange = [0, 255]\n'
    )
    network = models.load(path, device="cpu")
    assert network.standardisation.channels == "BGR"
    assert network.standardisation.range == (0.0, 255.0)
    np.testing.assert_allclose(network.mean, np.array(CAFFE_MEAN[::-1]) / 255)
