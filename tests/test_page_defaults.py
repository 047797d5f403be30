"""What the page climbs with where nobody chose: a preset and an image size a layer, said and kept out of the way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboards import Dashboard, Visit, serve, visit
from playwright.sync_api import Browser
from torch import nn

import models
from dashboard.controls import Controls
from dashboard.workspace import Workspace
from vislib.ascent import PRESETS
from vislib.network import Network


def wide() -> Network:
    """A network of large colour pictures whose first layer sees little."""
    parts = (
        nn.Conv2d(3, 4, 7, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 5, 4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return Network.from_module(nn.Sequential(*parts, nn.Linear(4, 2)), (3, 224, 224), name="wide")


def opened(network: Network, layer: str) -> tuple[Workspace, Controls]:
    workspace = Workspace()
    controls = Controls(workspace, lambda: None, lambda _draws: None)
    workspace.change(network=network, layer=layer)
    return workspace, controls


def test_every_layer_has_a_preset_and_a_size_of_its_own_until_one_is_chosen() -> None:
    workspace, controls = opened(wide(), "2")
    assert (controls.preset.value, controls.size.value) == ("Fourier, quick", "128")
    assert "128 px, smaller than the network's 224 px so that pictures come sooner" in controls.about.text
    workspace.change(layer="0")
    assert (controls.preset.value, controls.size.value) == ("centre neuron", "own")
    assert "receptive field is 7 x 7 px" in controls.about.text
    controls.preset.value = "L2"
    workspace.change(layer="2")
    assert controls.preset.value == "L2"
    controls.preset.value = "Fourier, quick"  # the layer's default is no choice ...
    workspace.change(layer="0")
    assert controls.preset.value == "centre neuron"  # ... so that other layers keep theirs


def test_a_size_that_was_chosen_stays_and_the_default_is_no_choice() -> None:
    workspace, controls = opened(wide(), "2")
    assert ("own", "224 (own)") in controls.size.options
    controls.size.value = "own"
    assert workspace.now.size == (224, 224)
    assert "smaller" not in controls.about.text
    controls.size.value = "299"
    assert "299 px; the network's own size is 224 px" in controls.about.text
    controls.size.value = "128"
    assert workspace.now.size is None
    controls.size.value = "a browser may say anything"
    assert workspace.now.size is None
    controls.size.value = "64"
    workspace.change(layer="0")
    assert controls.size.value == "own"  # a neuron's field is the same whatever size other layers have
    workspace.change(network=models.load("brain3d"), layer="conv4", size=None)
    assert controls.size.value == "own"


def test_a_stored_preset_with_other_values_is_told_from_the_one_in_use_now() -> None:
    workspace, controls = opened(wide(), "2")
    old = PRESETS["Fourier, robust"].changed(spectrum_divisor=1.0).to_dict() | {"name": "Fourier, robust"}
    workspace.change(preset=type(PRESETS["none"]).from_dict(old))
    assert controls.preset.value == "Fourier, robust (as stored)"
    controls.preset.value = "Fourier, robust"
    assert workspace.preset == PRESETS["Fourier, robust"]


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder: Path = tmp_path_factory.mktemp("defaults")
    with serve(folder, "--store", str(folder / "runs.sqlite")) as running:
        yield running


def test_the_first_layer_says_that_it_shows_a_neuron_and_what_it_sees(
    browser: Browser, dashboard: Dashboard
) -> None:
    with visit(browser, dashboard.url("?network=brain2d&layer=conv1")) as page:
        page.state("done")
        page.until("m('unit-title').text.includes('centre neuron, its receptive field of 9 x 9 pixels')")
        page.until("/ % saturated · sharpness /.test(m('unit-title').text)")
        assert page.get("preset-select", "value") == "centre neuron"
        choose_layer(page, "conv5")
        page.until("m('preset-select').value == 'smooth steps'")
        page.until("!m('unit-title').text.includes('neuron')")
        page.until("location.search.includes('preset=smooth')")


def choose_layer(page: Visit, name: str) -> None:
    at = next(place for place, label in enumerate(page.get("layer-list", "labels")) if label.startswith(name))
    page.set("layer-list", "active", at)
