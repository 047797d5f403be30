"""The layer that menus, captions and files name is the one whose maps were taken, for every method and target."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
import small_networks
import torch
from volume_making import SAMPLES

import models
from dashboard.answers import Question, spec_of
from dashboard.inputs import Choice, Input
from dashboard.method_chooser import MethodChooser
from dashboard.scans import Scan
from dashboard.volume_questions import VolumeQuestion
from dashboard.workspace import Workspace
from vislib.attribution import METHODS, Target, attribute, default_layer, map_layers
from vislib.errors import VislibError
from vislib.network import Network
from vislib.preparation import STORED
from vislib.probe import LOGITS
from vislib.volumes import read_volume

OF_LAYERS = [name for name, one in METHODS.items() if "layer" in one.needs]


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.from_module(small_networks.working(), (1, 24, 24))


def targets(network: Network) -> Iterator[Target]:
    yield from (Target(1), Target(1, against=0))
    for layer in network.layers.values():
        if layer.name != LOGITS and map_layers(network, Target(0, layer=layer.name)):
            yield Target(0, layer=layer.name)


def small(network: Network) -> torch.Tensor:
    return torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", OF_LAYERS)
def test_the_menu_names_the_layer_that_the_answer_took(network: Network, method: str) -> None:
    """Of each target, for the method's own choice and for every layer that is offered."""
    workspace = Workspace()
    chooser = MethodChooser("a", method, workspace, lambda: None)
    workspace.now.network = network
    images = small(network)
    for target in targets(network):
        chooser.offer(network, target)
        offered = dict(chooser.layer.options)
        assert tuple(offered)[1:] == map_layers(network, target)
        chooser.layer.value = ""
        taken = attribute(network, images, target, method, layer=chooser.chosen_layer).layer
        assert offered[""] == f"{taken} (last)"
        last = tuple(offered)[-1]
        chooser.layer.value = last
        assert attribute(network, images, target, method, layer=chooser.chosen_layer).layer == last


def test_layers_that_cannot_explain_a_target_are_not_offered_and_not_kept(network: Network) -> None:
    workspace = Workspace()
    told: list[str] = []
    chooser = MethodChooser("a", "Grad-CAM", workspace, lambda: told.append(str(chooser.layer.value)))
    workspace.now.network = network
    chooser.offer(network, Target(1))
    chooser.layer.value = "5"
    assert told == ["5"]
    chooser.offer(network, Target(0, layer="5"))
    assert [name for name, _ in chooser.layer.options[1:]] == ["0", "2"]
    assert chooser.chosen_layer is None
    assert told == ["5"]  # whoever changed the target asks anew
    chooser.offer(network, Target(0, layer="0"))
    assert chooser.layer.options == [("", "no layer")]


def test_no_map_is_said_to_be_of_a_layer_that_was_not_taken(network: Network) -> None:
    """The layer is the one whose own maps give the answer: named outright, it gives the same map."""
    images = small(network)
    for target in targets(network):
        found = attribute(network, images, target, "LayerCAM")
        again = attribute(network, images, target, "LayerCAM", layer=found.layer)
        np.testing.assert_array_equal(found.values, again.values)
        assert found.layer == default_layer(network, target)
    assert attribute(network, images, 1, "Saliency").layer == ""
    assert attribute(network, images, 1, "CAM").layer == "5"


def test_files_say_the_layer_that_was_taken(network: Network) -> None:
    images = small(network)
    one = Input(Choice("noise"), "key", "noise", images.numpy(), b"")
    method = METHODS["Grad-CAM"]
    for target in targets(network):
        question = Question(network, target, method, None, method.defaults(), one)
        *_, found = question.steps()
        assert json.loads(json.dumps(spec_of(question, found)))["layer"] == default_layer(network, target)
    scan = Scan("brain_tumour", read_volume(SAMPLES["brain_tumour"].path))
    whole = models.load("brain3d")
    for target in (Target(1), Target(3, layer="conv4")):
        volume = VolumeQuestion(whole, target, method, None, method.defaults(), scan, "axial", STORED)
        *_, over = volume.steps()
        assert spec_of(volume, over)["layer"] == volume.said(over)[0] == default_layer(whole, target)
    with pytest.raises(VislibError, match="no layer"):
        attribute(network, images, Target(0, layer="0"), "Grad-CAM")
