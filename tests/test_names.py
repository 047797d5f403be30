"""Names that a person gives: a layer, label or card may be called whatever this code calls something else."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dashboard import header
from dashboard.options import Options
from dashboard.services import Services
from vislib.ascent import ascend
from vislib.ascent.objectives import IMAGE, Objective, channel
from vislib.attribution import Target, attribute
from vislib.errors import CardError
from vislib.network import Network
from vislib.words import told_apart


class Named(nn.Module):
    """A convolution and a dense layer of these names before the output."""

    def __init__(self, conv: str, dense: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.names = conv, dense
        self.add_module(conv, nn.Conv2d(1, 6, 3, padding=1))
        self.add_module(dense, nn.Linear(6, 5))
        self.last = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        conv, dense = (getattr(self, name) for name in self.names)
        return self.last(F.relu(dense(F.relu(conv(images)).mean((2, 3)))))


def opened(module: nn.Module, **options: object) -> Network:
    return Network.from_module(module, (1, 10, 10), device="cpu", **options)


# Words that mean something else here or there.
WORDS = (
    "image",
    "IMAGE",
    "images",
    "logits",
    "out",
    "output",
    "nothing",
    "custom",
    "none",
    "scores",
    "unit",
    "head",
    "layers",
)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("preset", ["none", "jitter + TV"])
def test_a_layer_of_any_name_climbs_as_under_another_one(word: str, preset: str) -> None:
    frames = []
    for conv in (word, "ordinary"):
        network = opened(Named(conv, "dense"))
        layer = next(name for name, one in network.layers.items() if one.kind == "conv")
        *_, last = ascend(network, layer, [0, 3], preset, steps=3)
        frames.append(last)
        if preset == "none":
            maps = network.activations(torch.from_numpy(last.images), [layer])[layer]
            np.testing.assert_allclose(
                last.scores, maps[[0, 1], [0, 3]].mean((1, 2)).numpy(), rtol=1e-4, atol=1e-6
            )
    np.testing.assert_allclose(frames[0].images, frames[1].images, atol=1e-5)
    np.testing.assert_allclose(frames[0].scores, frames[1].scores, rtol=1e-4, atol=1e-6)


def test_an_objective_sees_the_image_and_a_layer_of_that_name() -> None:
    network = opened(Named("image", "dense"))
    seen: list[set[object]] = []

    def value(captures: dict[object, Tensor], _rows: slice) -> Tensor:
        seen.append({IMAGE, "image"} & captures.keys())
        return captures[IMAGE].flatten(1).mean(1)

    list(
        ascend(
            network,
            "image",
            [0],
            "none",
            steps=1,
            objective=channel("image", [0]) + Objective(value, frozenset()),
        )
    )
    assert seen[0] == {IMAGE, "image"}


@pytest.mark.parametrize("names", [("logits", "dense"), ("conv", "logits")])
def test_a_layer_called_logits_that_is_not_the_output_is_listed_beside_it(names: tuple[str, str]) -> None:
    module = Named(*names)
    network = opened(module)
    images = torch.rand(2, 1, 10, 10)
    torch.testing.assert_close(network.logits(images), module(images))
    assert network.layer("logits").channels == 3
    assert [one.channels for one in network.layers.values()] == [6, 5, 3]
    conv, dense = list(network.layers)[:2]
    assert "logits (module)" in (conv, dense)
    maps = F.relu(getattr(module, names[0])(images))
    torch.testing.assert_close(
        network.activations(images, [dense])[dense], getattr(module, names[1])(maps.mean((2, 3)))
    )
    torch.testing.assert_close(network.activations(images, [conv])[conv], getattr(module, names[0])(images))
    found = attribute(network, images, Target(2, dense), "Grad-CAM")
    plain = opened(Named("conv", "dense"))
    np.testing.assert_allclose(
        found.values, attribute(plain, images, Target(2, "dense"), "Grad-CAM").values, atol=1e-6
    )


def test_a_block_called_logits_and_the_output_under_another_path() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1)
            self.logits = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU())
            self.again, self.last = self.logits, nn.Linear(6, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(self.logits(self.second(self.first(images))).mean((2, 3)))

    network = opened(Net())
    assert network.layers["logits"].channels == 3
    assert network.layer("last").name == "logits"
    assert network.layer("again").channels == 6
    assert network.layer("again").kind != "logits"


def test_the_module_whose_output_is_the_networks_may_be_called_logits() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.logits = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.logits(self.conv(images).mean((2, 3)))

    assert list(opened(Net()).layers) == ["conv", "logits"]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("a", "b", "c"), ("a", "b", "c")),
        (("crane", "b", "crane"), ("crane (0)", "b", "crane (2)")),
        (("", " ", "b"), ("class 0", "class 1", "b")),
        (("a", "a", "a (1)"), ("a (0)", "a (1)'", "a (1)")),
        (("class 1", "", "b"), ("class 1", "class 1'", "b")),
        (("nothing", "nothing", "b"), ("nothing (0)", "nothing (1)", "b")),
    ],
)
def test_classes_of_one_label_are_told_apart(labels: tuple[str, ...], told: tuple[str, ...]) -> None:
    assert told_apart(labels) == told
    assert told_apart(told) == told
    network = opened(Named("conv", "dense"), labels=labels)
    assert network.labels == told
    assert len({Target(unit).words(network) for unit in range(3)}) == 3


def test_cards_of_one_name_are_told_apart_in_the_menu() -> None:
    groups = {
        "yours": ["a/net.toml", "b/net.toml", "c/b/other.toml", "d/b/other.toml", "e/brain2d.toml"],
        "shipped": ["brain2d"],
    }
    shown = [label for entries in header._labelled(groups).values() for _, label in entries]
    assert shown == ["net (a)", "net (b)", "c/b/other.toml", "d/b/other.toml", "brain2d (e)", "brain2d"]


def test_a_stored_run_finds_the_network_that_it_was_made_with_among_several_of_its_name(
    tmp_path: Path,
) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "brain2d.toml")
        paths[-1].write_text(
            f'factory = "small_networks:{"working" if folder == "a" else "no_head"}"\ninput = [1, 24, 24]\n'
        )
    offered = Options(networks=tuple(map(str, paths)), store=tmp_path / "runs.sqlite", device="cpu")
    prints = {}
    for name in (*map(str, paths), "brain2d"):
        shared = Services(offered)
        prints[name] = shared.network(name).fingerprint
        shared.close()
    for name, fingerprint in prints.items():
        shared = Services(offered)  # one that has loaded none of them yet
        assert (
            shared.network_of({"network": "brain2d", "fingerprint": fingerprint}).fingerprint == fingerprint
        ), name
        shared.close()
    shared = Services(offered)
    with pytest.raises(CardError, match="other weights of brain2d"):
        shared.network_of({"network": "brain2d", "fingerprint": "0" * 16})
    shared.close()
