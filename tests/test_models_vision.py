"""torchvision's networks by name: facts, fetching, being offline, and a real ImageNet SqueezeNet."""

import hashlib
import io
import re
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image

import models
from models import vision
from models.states import fit
from models.vision import default_weights, fetch, torchvision_facts, torchvision_module, torchvision_names
from vislib.errors import CardError

FAMILIES = {
    *("alexnet", "vgg16", "squeezenet1_0", "resnet18", "densenet121", "googlenet", "inception_v3"),
    *("mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "shufflenet_v2_x1_0", "mnasnet0_5"),
    *("regnet_y_400mf", "resnext50_32x4d", "wide_resnet50_2"),
}
BODY = b"weights" * 100_000


class Answer(io.BytesIO):
    """What urlopen gives."""

    def __init__(self, body, length):
        super().__init__(body)
        self.headers = {} if length is None else {"Content-Length": str(length)}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty torch hub folder."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


def serve(monkeypatch, body, length=None):
    monkeypatch.setattr(vision.urllib.request, "urlopen", lambda url, timeout: Answer(body, length))


def test_every_family_of_convnets_is_named_and_no_transformer():
    named = torchvision_names()
    assert {f"torchvision:{name}" for name in FAMILIES} <= set(named)
    assert not [name for name in named if re.search(r"vit|swin|quant", name)]


def test_facts_are_torchvisions_own():
    facts = torchvision_facts("inception_v3")
    assert facts["input"] == (3, 299, 299)
    facts = torchvision_facts("resnet18")
    assert facts["input"] == (3, 224, 224)
    assert facts["mean"] == (0.485, 0.456, 0.406)
    assert facts["std"] == (0.229, 0.224, 0.225)
    assert len(facts["labels"]) == 1000
    assert facts["labels"][340] == "zebra"


def test_a_cached_file_is_used_without_a_connection(cache, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("no connection is needed")

    monkeypatch.setattr(vision.urllib.request, "urlopen", never)
    cache.mkdir()
    torch.manual_seed(0)
    module = torchvision_module("squeezenet1_1")
    torch.save(module.state_dict(), cache / "squeezenet1_1-b8a52dc0.pth")
    network = models.load("torchvision:squeezenet1_1", device="cpu")
    assert network.name == "torchvision:squeezenet1_1"
    assert len(network.labels) == 1000
    image = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (network.mean, network.std))
    with torch.no_grad():
        torch.testing.assert_close(network.logits(image), module.eval()((image - mean) / std))


def test_offline_says_which_file_to_place_where(cache, monkeypatch):
    def offline(url, timeout):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(vision.urllib.request, "urlopen", offline)
    with pytest.raises(CardError) as caught:
        models.load("torchvision:resnet18")
    text = str(caught.value)
    for word in ("no route to host", "resnet18-f37072fd.pth", str(cache), "download https://", "--weights"):
        assert word in text
    assert list(cache.iterdir()) == []
    assert models.load("brain2d", device="cpu").name == "brain2d"


def test_fetch_shows_progress_and_writes_the_whole_file(tmp_path, monkeypatch):
    target = tmp_path / "new" / f"net-{hashlib.sha256(BODY).hexdigest()[:8]}.pth"
    serve(monkeypatch, BODY, len(BODY))
    seen = []
    fetch("https://example.org/net.pth", target, lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("body", "length", "words"), [(BODY[:-1], None, "damaged"), (BODY, len(BODY) + 9, "bytes came")]
)
def test_a_damaged_download_leaves_no_file(tmp_path, monkeypatch, body, length, words):
    target = tmp_path / f"net-{hashlib.sha256(BODY).hexdigest()[:8]}.pth"
    serve(monkeypatch, body, length)
    with pytest.raises(OSError, match=words):
        fetch("https://example.org/net.pth", target, lambda done, total: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [len(BODY), None])
def test_progress_goes_to_standard_error_by_default(cache, monkeypatch, capsys, length):
    digest = hashlib.sha256(BODY).hexdigest()[:8]
    serve(monkeypatch, BODY, length)

    class Entry:
        url = f"https://example.org/net-{digest}.pth"

    monkeypatch.setattr(vision, "best_weights", lambda name: Entry)
    assert default_weights("any").read_bytes() == BODY
    said = capsys.readouterr()
    assert f"fetching net-{digest}.pth" in said.err
    assert said.out == ""


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_of_the_published_weights_are_dropped(name):
    module = torchvision_module(name)
    state = dict(module.state_dict())
    head = "aux1.conv.conv.weight" if name == "googlenet" else "AuxLogits.conv0.conv.weight"
    fit(name, module, state | {head: torch.zeros(3)})
    assert module.transform_input
    assert head not in module.state_dict()


def test_densenets_old_names_are_understood():
    module = torchvision_module("densenet121")
    state = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", key): value
        for key, value in module.state_dict().items()
    }
    assert any(".norm.1." in key for key in state)
    fit("densenet121", module, state)


def test_a_real_squeezenet_names_the_photos(shared_data):
    network = models.load(
        "torchvision:squeezenet1_0", weights=shared_data / "squeezenet1_0_imagenet.pt", device="cpu"
    )
    right, photos = [], sorted((shared_data / "photos").glob("*.JPEG"))
    for path in photos:
        picture = Image.open(path).convert("RGB")
        share = 256 / min(picture.size)
        picture = picture.resize((round(picture.width * share), round(picture.height * share)))
        left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
        pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
        with torch.inference_mode():
            answer = network.logits(torch.from_numpy(pixels).permute(2, 0, 1)[None]).argmax()
        name = path.stem.split("_", 1)[1].replace("_", " ").lower()
        right.append(name in network.labels[int(answer)].lower())
    assert len(photos) >= 10
    assert np.mean(right) > 0.6, right
