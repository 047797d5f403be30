"""Cards: a person's own network, and one clear sentence for everything that can be wrong with one."""

import sys

import pytest
import torch
from torch import nn

import models
from models.cards import KEYS, read_card
from models.states import fit, read_state
from vislib.errors import CardError

OWN = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

def wrong():
    return "a string"

def broken():
    raise ValueError("no disk")

def pictures():
    return torch.full((5, 1, 12, 12), 0.5)

def solid():
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))
"""
CARD = {"factory": '"own_network:build"', "input": "[1, 12, 12]", "labels": '["cat", "dog"]'}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a person's module on the import path; gives a function that writes a card."""
    (tmp_path / "own_network.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "explodes.py").write_text("raise RuntimeError('licence missing')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_network", raising=False)

    def write(**changed):
        said = {key: value for key, value in (CARD | changed).items() if value is not None}
        path = tmp_path / "mine.toml"
        path.write_text("\n".join(f"{key} = {value}" for key, value in said.items()), encoding="utf-8")
        return path

    yield write
    sys.modules.pop("own_network", None)


def sentence(call, *args, **kwargs):
    """The error's text, which must be one sentence (a hint in a second one is allowed)."""
    with pytest.raises(CardError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert text[-1] in ".?"
    assert len(text) < 700
    return text


def test_an_own_network_is_loaded_from_its_card(own):
    network = models.load(
        own(mean="[0.1]", std="[0.5]", spacing="[1.5, 2]", source='"made up"', opening='"0"'), device="cpu"
    )
    assert (network.name, network.labels, network.source) == ("mine", ("cat", "dog"), "made up")
    assert (network.input_shape, network.mean, network.std) == ((1, 12, 12), (0.1,), (0.5,))
    assert (network.spacing, network.opening) == ((1.5, 2.0), "0")
    module = sys.modules["own_network"].build()
    image = torch.rand(2, 1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(network.logits(image), module((image - 0.1) / 0.5))


def test_a_card_may_name_what_gives_images_of_the_networks_domain(own):
    assert models.load(own(), device="cpu").domain is None
    network = models.load(own(domain='"own_network:pictures"'), device="cpu")
    assert network.domain().shape == network.twin().domain().shape == (5, 1, 12, 12)
    slices = models.load("brain2d", device="cpu").domain()
    assert slices.shape == (300, 1, 128, 128)
    assert 0 <= slices.min() < slices.max() <= 1
    assert models.load("brain2d-robust", device="cpu").domain() is slices


def test_a_volume_network_is_loaded_the_same_way(own):
    network = models.load(str(own(factory='"own_network:solid"', input="[1, 8, 9, 10]")), device="cpu")
    assert network.input_shape == (1, 8, 9, 10)


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_read_however_they_were_saved(own, tmp_path, wrap, prefix):
    card = own(weights='"w/mine.pt"')
    state = {key: torch.randn_like(value) for key, value in models.load(own()).module.state_dict().items()}
    (tmp_path / "w").mkdir()
    torch.save(wrap({prefix + key: value for key, value in state.items()}), tmp_path / "w" / "mine.pt")
    card = own(weights='"w/mine.pt"')
    loaded = models.load(card, device="cpu").module.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    torch.save({key: value + 1 for key, value in state.items()}, tmp_path / "other.pt")
    other = models.load(card, weights=tmp_path / "other.pt", device="cpu").module.state_dict()
    assert all(torch.equal(other[key], state[key] + 1) for key in state)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"factory": None}, ["lacks 'factory'", "package.module:function"]),
        ({"input": None}, ["lacks 'input'"]),
        ({"colour": "3"}, ["unknown key 'colour'", *KEYS]),
        ({"factory": '"own_network"'}, ["factory = 'own_network'", "package.module:function"]),
        ({"input": "[1, 12]"}, ["input = [1, 12]", "3 or 4 whole numbers"]),
        ({"input": "[1, 0, 12]"}, ["input = [1, 0, 12]"]),
        ({"input": "[true, 12, 12]"}, ["input ="]),
        ({"mean": '"0.5"'}, ["mean = '0.5'", "list of numbers"]),
        ({"labels": "[1, 2]"}, ["labels = [1, 2]", "list of texts"]),
        ({"mean": "[0.5, 0.5]"}, ["mine", "mean"]),
        ({"std": "[0.0]"}, ["mine", "std"]),
        ({"labels": '["one"]'}, ["mine", "label"]),
        ({"spacing": "[1.5]"}, ["mine", "spacing"]),
        ({"opening": '"conv9"'}, ["conv9", "its layers are"]),
        ({"input": "[3, 12, 12]"}, ["mine"]),
        ({"factory": '"no_such_package:build"'}, ["no_such_package", "cannot be imported", "install"]),
        ({"factory": '"explodes:build"'}, ["cannot be imported", "licence missing"]),
        ({"factory": '"own_network:absent"'}, ["absent"]),
        ({"factory": '"own_network:wrong"'}, ["gave a str", "nn.Module"]),
        ({"factory": '"own_network:broken"'}, ["failed", "no disk"]),
        ({"factory": '"torchvision:vit_b_16"'}, ["vit_b_16", "torchvision_names"]),
        ({"domain": '"pictures"'}, ["domain = 'pictures'", "package.module:function"]),
        ({"domain": '"own_network:absent"'}, ["the domain 'own_network:absent'", "absent"]),
        ({"weights": '"DEFAULT"'}, ["DEFAULT", "torchvision"]),
        ({"weights": '"absent.pt"'}, ["no weights at", "absent.pt"]),
        ({"input": "[1, 12"}, ["no TOML"]),
    ],
)
def test_a_bad_card_gives_one_sentence(own, changed, words):
    text = sentence(models.load, own(**changed), device="cpu")
    for word in words:
        assert word in text


def test_a_missing_or_unreadable_card_gives_one_sentence(tmp_path):
    assert "no card at" in sentence(models.load, tmp_path / "none.toml")
    assert "cannot be read" in sentence(read_card, tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in sentence(models.load, tmp_path / "binary.toml")


def test_an_unknown_name_gives_one_sentence_with_a_hint():
    assert "Did you mean brain2d?" in sentence(models.load, "brain2b")
    assert "Did you mean torchvision:resnet18?" in sentence(models.load, "resnet18")
    text = sentence(models.load, "qqqq")
    assert "brain2d, brain2d-robust, brain3d, " in text
    assert "Did you mean" not in text


def saved(tmp_path, value):
    torch.save(value, tmp_path / "w.pt")
    return tmp_path / "w.pt"


def test_unusable_weights_give_one_sentence(tmp_path):
    assert "no weights at" in sentence(read_state, tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("not weights", encoding="utf-8")
    assert "cannot be read" in sentence(read_state, tmp_path / "text.pt")
    whole = saved(tmp_path, {"a": torch.zeros(500)})
    (tmp_path / "half.pt").write_bytes(whole.read_bytes()[:700])
    assert "cannot be read" in sentence(read_state, tmp_path / "half.pt")
    assert "cannot be read" in sentence(read_state, tmp_path)
    assert "hold a list" in sentence(read_state, saved(tmp_path, [1, 2]))
    assert "no state dict" in sentence(read_state, saved(tmp_path, {"a": 3}))
    assert "no state dict" in sentence(read_state, saved(tmp_path, {}))


def test_a_pickled_module_is_never_executed(tmp_path):
    path = tmp_path / "evil.pt"
    torch.save(nn.Linear(2, 2), path)  # a whole module: needs code to read
    assert "cannot be read" in sentence(read_state, path)


def test_weights_of_another_network_give_one_sentence_and_change_nothing():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    good = {key: value.clone() for key, value in module.state_dict().items()}
    missing = {key: value for key, value in good.items() if key != "0.bias"}
    assert "1 missing (0.bias)" in sentence(fit, "mine", module, missing)
    text = sentence(fit, "mine", module, good | {"2.weight": torch.zeros(1), "2.bias": torch.zeros(1)})
    assert "2 unknown (2.weight, …)" in text
    text = sentence(fit, "mine", module, good | {"0.weight": torch.zeros(4, 3, 3, 3)})
    assert "0.weight has shape (4, 3, 3, 3), but the network needs (4, 1, 3, 3)" in text
    assert "NaN" in sentence(fit, "mine", module, good | {"0.bias": torch.full((4,), torch.nan)})
    assert all(torch.equal(value, good[key]) for key, value in module.state_dict().items())
    old = {key: value for key, value in good.items() if not key.endswith("num_batches_tracked")}
    fit("mine", module, old | {"0.bias": torch.ones(4)})
    assert torch.equal(module.state_dict()["0.bias"], torch.ones(4))


def test_shipped_names_come_first_and_load_with_a_source():
    assert models.names() == ("brain2d", "brain2d-robust", "brain3d")
    for name in models.names():
        network = models.load(name, device="cpu")
        assert network.name == name
        assert network.opening in network.layers
        assert "MNI152" in network.source
