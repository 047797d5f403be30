"""What arrives at the first layer, on the page: only on demand, of the present input, with what differs and why."""

import re
import time

import numpy as np
import pytest
import torch
from torch import nn

from dashboard.answers import Answers
from dashboard.arrival_view import ArrivalView, described
from dashboard.inputs import Choice, Inputs
from dashboard.workspace import Workspace
from vislib.arrival import arrival
from vislib.jobs import Runner
from vislib.network import Network

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def network_of(first=None, **card):
    torch.manual_seed(0)
    module = nn.Sequential(
        *([] if first is None else [first]),
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return Network.from_module(module, (3, 24, 24), **card, device="cpu")


class Times255(nn.Module):
    def forward(self, x):
        return x * 255


@pytest.fixture
def runner():
    one = Runner("test")
    yield one
    one.shutdown(timeout=5)


@pytest.fixture
def inputs():
    one = Inputs()
    yield one
    one.close()


def settled(view):
    deadline = time.monotonic() + 60
    while True:
        view.tick()
        if view.shown.text:
            return re.sub("<[^>]*>", " ", view.shown.text)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_asked_on_demand_of_the_present_input_alone(runner, inputs):
    workspace, network = Workspace(), network_of(**IMAGENET)
    view = ArrivalView(Answers(runner), workspace)
    china, flower = (inputs.prepare(Choice(name), network, None) for name in ("china", "flower"))
    workspace.change(network=network, choice=china.choice, input=china)
    view.tick()
    assert (view.shown.text, view.shown.visible, view._job) == ("", False, None)
    view.toggle.active = True
    first = settled(view)
    assert view.shown.visible
    workspace.change(choice=flower.choice, input=flower)
    view.tick()
    second = settled(view)
    for said, one in ((first, china), (second, flower)):
        for place, colour in enumerate(("red", "green", "blue")):
            values = (one.image[0, place] - IMAGENET["mean"][place]) / IMAGENET["std"][place]
            mean, sd = (
                float(x) for x in re.search(rf"{colour} +(\S+) +(\S+)", said.replace("−", "-")).groups()
            )
            assert mean == pytest.approx(values.mean(), abs=0.006)
            assert sd == pytest.approx(values.std(), abs=0.006)
        assert "Nothing speaks against it." in said
    view.toggle.active = False
    assert not view.shown.visible
    view.close()


def test_another_network_is_another_question_and_what_differs_is_said(runner, inputs):
    workspace, right, wrong = Workspace(), network_of(**IMAGENET), network_of(Times255(), **IMAGENET)
    view = ArrivalView(Answers(runner), workspace)
    one = inputs.prepare(Choice("china"), right, None)
    workspace.change(network=right, choice=one.choice, input=one)
    view.toggle.active = True
    assert "Likely" not in settled(view)
    workspace.change(network=wrong)
    view.tick()
    said = settled(view)
    assert "Before 1 the network itself multiplies by 255, in 0 (Times255)." in said
    assert "Likely values of 0 to 255" in said
    assert "class='warm'" in view.shown.text
    view.close()


def test_the_histogram_shades_what_was_promised_and_escapes_names():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("<b>conv", nn.Conv2d(3, 2, 3))

        def forward(self, x):
            return self._modules["<b>conv"](x).mean((2, 3))

    network = Network.from_module(Odd(), (3, 24, 24), range=(-1, 1), device="cpu")
    text = described(arrival(network, torch.full((1, 3, 24, 24), 0.5) + 0.2 * torch.rand(1, 3, 24, 24)))
    assert "<b>&lt;b&gt;conv</b>" in text
    start, width = (
        float(x) for x in re.search(r"rect class='promised' x='(\S+)' y='0' width='(\S+)'", text).groups()
    )
    assert (start, width) == (0, 214)
    assert len(re.findall("<polyline", text)) == 3
    points = re.search(r"polyline points='([^']+)'", text)[1].split()
    places = [float(point.split(",")[0]) for point in points if float(point.split(",")[1]) < 53]
    assert min(places) >= 0.5 * 214 - 5  # 0.5 is 0, the middle of what was promised, 0.7 is 0.4
    assert max(places) <= 0.7 * 214 + 5


def test_a_failure_is_a_sentence(runner, inputs):
    class Fails(nn.Module):
        calls = 0

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            if float(x.max()) > 0.9999:
                raise RuntimeError("no light, please")
            return self.conv(x).mean((2, 3))

    workspace = Workspace()
    network = Network.from_module(Fails(), (3, 24, 24), device="cpu")
    one = inputs.prepare(Choice("china"), network, None)
    one.image[...] = np.float32(1)
    workspace.change(network=network, choice=one.choice, input=one)
    view = ArrivalView(Answers(runner), workspace)
    view.toggle.active = True
    assert "no light, please" in settled(view)
    view.close()
