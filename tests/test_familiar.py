"""Inputs that are unlike their network's own: found in the background, said on the page and in what is saved."""

import gzip
import io
import json
import time

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dashboard.answers import Question
from dashboard.familiar import Familiar
from dashboard.input_warning import InputWarning
from dashboard.inputs import Choice, Inputs
from dashboard.map_files import build, look_of
from dashboard.overlay import Lens
from dashboard.workspace import Workspace
from vislib.attribution import METHODS, Target, attribute
from vislib.network import Network

WARNING = "This picture is unlike what the network was made for"


def spots(count):
    """One soft bright spot each, of which a network is made."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :24]
    middle = random.uniform(7, 17, (count, 2, 1, 1))
    images = np.exp(-((rows - middle[:, 0]) ** 2 + (columns - middle[:, 1]) ** 2) / 30)
    return torch.from_numpy(images[:, None] + random.normal(0, 0.02, (count, 1, 24, 24))).float().clamp(0, 1)


def network_of(domain, channels=1):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    return Network.from_module(module, (channels, 24, 24), domain=domain, device="cpu")


@pytest.fixture
def familiar():
    one = Familiar()
    yield one
    one.close()


@pytest.fixture
def inputs():
    one = Inputs()
    yield one
    one.close()


def uploaded(inputs, pixels, network):
    """An upload of these pixels, (h, w) or (h, w, 3) in [0, 1], as the network gets it."""
    file = io.BytesIO()
    Image.fromarray(np.rint(np.asarray(pixels) * 255).astype(np.uint8)).save(file, "PNG")
    file.seek(0)
    choice = Choice(inputs.add("mine.png", file))
    return inputs.prepare(choice, network, None)


def settled(familiar, network, one):
    familiar.ask(network, one)
    deadline = time.monotonic() + 60
    while not familiar.known(network, one):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return familiar.says(network, one)


def test_its_own_kind_is_not_spoken_of_and_another_kind_is(familiar, inputs):
    network = network_of(lambda: spots(80))
    assert settled(familiar, network, uploaded(inputs, spots(1)[0, 0], network)) == ""
    noise = np.random.default_rng(1).random((24, 24))
    said = settled(familiar, network, uploaded(inputs, noise, network))
    assert said.startswith(WARNING)
    assert "times as far off" in said
    assert said.endswith("what it says of it may mean nothing.")


def test_what_was_done_to_a_picture_is_said_at_once(familiar, inputs):
    network = network_of(lambda: spots(80))
    colour = np.repeat(spots(1)[0, 0, ..., None].numpy(), 3, 2) * (1, 0.5, 0.2)
    assert "its colours were turned to grey" in familiar.says(network, uploaded(inputs, colour, network))
    small = uploaded(inputs, spots(1)[0, 0, ::3, ::3], network)
    assert familiar.says(network, small) == (
        f"{WARNING} (it was enlarged 3.0 times): what it says of it may mean nothing."
    )


def test_a_network_without_a_domain_is_never_warned_of(familiar, inputs):
    network = network_of(None)
    one = uploaded(inputs, np.random.default_rng(1).random((4, 4, 3)), network)
    familiar.ask(network, one)
    assert familiar.known(network, one)
    assert familiar.says(network, one) == ""


def test_a_domain_is_made_once_a_network_and_never_again_where_it_fails(familiar, inputs, caplog):
    made = []

    def fails():
        made.append(1)
        raise OSError("no such disk")

    network = network_of(fails)
    for value in (0.2, 0.4, 0.6):
        picture = np.full((24, 24), value)
        picture[3, 3] = 1
        assert settled(familiar, network, uploaded(inputs, picture, network)) == ""
    assert len(made) == 1
    assert "no such disk" in caplog.text


def test_asking_never_waits_and_one_question_is_asked_once(familiar, inputs):
    made = []

    def slow():
        made.append(1)
        time.sleep(0.5)
        return spots(80)

    network = network_of(slow)
    one = uploaded(inputs, np.random.default_rng(1).random((24, 24)), network)
    begun = time.monotonic()
    for _ in range(50):
        familiar.ask(network, one)
        assert familiar.says(network, one) == ""
    assert time.monotonic() - begun < 0.4
    assert settled(familiar, network, one)
    assert len(made) == 1


def test_the_line_is_shown_only_where_there_is_something_to_say(familiar, inputs):
    network, workspace = network_of(lambda: spots(80)), Workspace()
    line = InputWarning("input-warning", familiar, workspace)
    line.tick()
    assert not line.root.visible
    noise = uploaded(inputs, np.random.default_rng(1).random((24, 24)), network)
    own = uploaded(inputs, spots(1)[0, 0], network)
    for one, shown in ((noise, True), (own, False), (noise, True)):
        workspace.change(network=network, choice=one.choice, input=one)
        settled(familiar, network, one)
        line.tick()
        assert line.root.visible == shown
        assert line.root.text.startswith(WARNING) == shown


@pytest.fixture
def asked(inputs):
    network = network_of(lambda: spots(80))
    one = uploaded(inputs, np.random.default_rng(1).random((24, 24)), network)
    question = Question(network, Target(0), METHODS["Saliency"], None, {}, one)
    return question, attribute(network, torch.from_numpy(one.image), 0, "Saliency")


@pytest.mark.parametrize("what", ["overlay.png", "map.png"])
def test_pictures_that_are_saved_carry_the_line(asked, what):
    look = look_of(Lens()) | {"radiological": True}
    sentence = f"{WARNING} (its features lie 9.9 times as far off): what it says of it may mean nothing."
    plain, told = (
        np.asarray(Image.open(io.BytesIO(build(what, *asked, look, warning)[1])))
        for warning in ("", sentence)
    )
    assert told.shape[1] == plain.shape[1]
    assert told.shape[0] > plain.shape[0]
    assert np.array_equal(told[: len(plain)], plain)
    red, _, blue = (told[len(plain) :, :, band].astype(int) for band in (0, 1, 2))
    assert (red - blue > 100).sum() > 200  # amber letters


def test_the_header_of_a_saved_map_carries_the_line(inputs, familiar):
    network, choice = network_of(lambda: spots(80)), Choice("brain_healthy")
    one = inputs.prepare(choice, network, inputs.scan(choice))
    found = attribute(network, torch.from_numpy(one.image), 0, "Saliency")
    question = Question(network, Target(0), METHODS["Saliency"], None, {}, one)
    look = look_of(Lens()) | {"radiological": True}
    for warning in ("", "This slice is unlike."):
        _, data = build("map.nii.gz", question, found, look, warning)
        image = nib.Nifti1Image.from_bytes(gzip.decompress(data))
        assert json.loads(image.header.extensions[0].get_content()).get("warning", "") == warning
