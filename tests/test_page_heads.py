"""What the page says of every kind of head agrees with the probability, or the value, that is known in closed form."""

import gzip
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import nibabel as nib
import numpy as np
import pytest
from dashboards import card
from pages import HandPage, page, shared
from PIL import Image

from dashboard.map_files import build, look_of
from dashboard.services import Services
from vislib.attribution import Target
from vislib.head import NOT_FINITE

LABELS = 'labels = ["a", "b", "c"]'
CARDS = {
    "logit": ("one_logit", 'labels = ["ill"]'),
    "said-logit": ("one_logit", 'labels = ["ill"]\nhead = "sigmoid"'),
    "findings": ("findings", f'{LABELS}\nhead = "sigmoid"'),
    "classes": ("classes", LABELS),
    "said-classes": ("classes", f'{LABELS}\nhead = "softmax"'),
    "odd-names": ("classes", 'labels = ["nothing", "a class", "b"]'),
    "own-softmax": ("own_softmax", LABELS),
    "own-sigmoid": ("own_sigmoid", LABELS),
    "years": ("years", 'labels = ["age"]\nhead = "score"\nunit = "years"'),
    "nameless": ("years", ""),
    "lengths": ("lengths", 'labels = ["length", "width"]\nhead = "score"\nunit = "mm"'),
    "segments": ("segments", LABELS),
    "nan": ("sometimes_nan", LABELS),
}
GREYS = (40, 128, 200)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("heads")
    cards = [card(folder, name, factory, extra) for name, (factory, extra) in CARDS.items()]
    with shared(folder, *cards) as one:
        yield one


@pytest.fixture
def opened(services: Services) -> Iterator[HandPage]:
    with page(services, "tab=Attribution") as one:
        one.settle()
        one.page.features.stop()
        yield one


def show(one: HandPage, name: str, grey: int | np.ndarray = 128) -> None:
    """Open the network of that name on a picture of one grey, or of these."""
    one.open(one.path(name))
    file = io.BytesIO()
    Image.fromarray(np.full((24, 24), grey, np.uint8)).save(file, "PNG")
    file.seek(0)
    before = one.page.workspace.now.input
    one.page.input_bar._uploaded("grey.png", file)
    one.until(lambda: one.page.workspace.now.input not in (before, None), "the picture")
    one.settle()


def z(grey: int) -> float:
    """The standardised grey."""
    return (grey / 255 - 0.5) / 0.25


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def entries(one: HandPage) -> dict[str, str]:
    """What the class list says."""
    return dict((*label.split("\u2003"), "")[:2] for label in one.get("class-list").labels)


def percent(text: str) -> float:
    """The share that a percentage stands for."""
    found = re.fullmatch(r"(\d+\.\d) %", text)
    assert found, text
    return float(found[1]) / 100


def agrees(shown: dict[str, str], wanted: dict[str, float]) -> None:
    assert shown.keys() == wanted.keys()
    for name, share in wanted.items():
        assert percent(shown[name]) == pytest.approx(share, abs=0.0006), name
    assert list(shown) == sorted(wanted, key=lambda name: -wanted[name])


def softmax(scores: dict[str, float]) -> dict[str, float]:
    total = sum(map(math.exp, scores.values()))
    return {name: math.exp(one) / total for name, one in scores.items()}


def logits(grey: int, first: float = 1.0) -> dict[str, float]:
    return {"a": z(grey) + first, "b": 0.5 - 2 * z(grey), "c": 3 * z(grey)}


def foot(one: HandPage) -> str:
    one.until(lambda: one.page.attribution.cards[0].shown is not None, "the map")
    return one.text("method-1-foot")


@pytest.mark.parametrize("grey", GREYS)
@pytest.mark.parametrize("name", ["logit", "said-logit"])
def test_one_logit_says_both_answers(opened: HandPage, name: str, grey: int) -> None:
    show(opened, name, grey)
    ill = sigmoid(2 * z(grey) - 4)
    agrees(entries(opened), {"ill": ill, "not ill": 1 - ill})
    inferred = name == "logit"
    assert opened.get("head-kind").visible == inferred
    assert ("Taken for a logit" in opened.text("head-note")) == inferred
    assert ("assumed" in opened.text("network-about")) == inferred
    assert "1 finding" in opened.text("network-about")
    assert opened.page.workspace.now.target == Target(0, opposite=True)
    assert foot(opened).startswith(f"score {4 - 2 * z(grey):.3g}"[:8])
    assert "target=0" in opened.query()
    assert "opposite=1" in opened.query()
    assert not opened.get("target-against").visible


def test_one_output_can_be_taken_for_a_value_in_this_session(services: Services, opened: HandPage) -> None:
    show(opened, "logit", 200)
    assert dict(opened.get("head-kind").options) == {"sigmoid": "a logit", "score": "a value"}
    opened.get("head-kind").value = "score"
    opened.settle()
    assert entries(opened) == {"what raises ill": "", "what lowers ill": ""}
    value = 2 * z(200) - 4
    assert opened.text("class-values") == f"ill{opened.page.workspace.network.head.text(value)}"
    assert "%" not in opened.text("class-values")
    assert opened.get("head-kind").visible
    assert parse_qs(opened.query())["head"] == ["score"]
    query = re.sub("upload=[^&]*&data=[^&]*&?", "", opened.query())
    with page(services, query) as again:  # the link takes it for a value as well
        again.settle()
        assert again.page.workspace.network.head.kind == "score"
        assert "what raises ill" in entries(again)
    opened.get("head-kind").value = "sigmoid"
    opened.settle()
    agrees(entries(opened), {"ill": sigmoid(value), "not ill": 1 - sigmoid(value)})
    assert "head" not in parse_qs(opened.query())


@pytest.mark.parametrize("grey", GREYS)
@pytest.mark.parametrize("name", ["findings", "own-sigmoid"])
def test_independent_findings_keep_their_own_percentages(opened: HandPage, name: str, grey: int) -> None:
    show(opened, name, grey)
    agrees(entries(opened), {unit: sigmoid(one) for unit, one in logits(grey, -2.0).items()})
    assert "3 findings" in opened.text("network-about")
    assert ("Probabilities found" in opened.text("head-note")) == (name == "own-sigmoid")
    assert not opened.get("head-kind").visible


@pytest.mark.parametrize("grey", GREYS)
@pytest.mark.parametrize("name", ["classes", "said-classes", "own-softmax", "segments"])
def test_classes_share_one_probability_once(opened: HandPage, name: str, grey: int) -> None:
    show(opened, name, grey)
    agrees(entries(opened), softmax(logits(grey)))
    note = opened.text("head-note")
    assert ("Softmax assumed" in note) == (name in ("classes", "segments"))
    assert ("Probabilities found" in note) == (name == "own-softmax")
    assert ("mean over the 24 x 24 positions" in note) == (name == "segments")
    assert "3 classes" in opened.text("network-about")
    opened.tab("Volume")
    opened.turn()
    assert [words for _, words in opened.get("volume-target").options] == ["a", "b", "c"]


@pytest.mark.parametrize("grey", GREYS)
@pytest.mark.parametrize(
    ("name", "unit", "called"), [("years", " years", "age"), ("nameless", "", "the output")]
)
def test_a_value_is_said_with_its_unit_and_without_a_percentage(
    opened: HandPage, name: str, unit: str, called: str, grey: int
) -> None:
    show(opened, name, grey)
    said = re.fullmatch(rf"{called}(-?[\d.]+){unit}", opened.text("class-values"))
    assert said, opened.text("class-values")
    age = 50 + 10 * z(grey)
    assert float(said[1]) == pytest.approx(age, abs=0.06)
    assert entries(opened) == {f"what raises {called}": "", f"what lowers {called}": ""}
    for opposite in (False, True):
        opened.get("class-list").active = int(opposite)
        assert opened.page.workspace.now.target == Target(0, opposite=opposite)
        assert foot(opened).startswith(f"{said[1]}{unit}")  # the age itself, whichever way is explained
    assert "1 value" in opened.text("network-about")
    opened.tab("Volume")
    opened.turn()
    assert [words for _, words in opened.get("volume-target").options] == [*entries(opened)]
    assert "%" not in opened.text("volume-says")


def test_several_values_each_with_what_raises_and_lowers_it(opened: HandPage) -> None:
    show(opened, "lengths", 200)
    assert opened.text("class-values").startswith("length")
    assert opened.text("class-values").count("mm") == 2
    names = ["length", "width"]
    assert [*entries(opened)] == [f"what {way} {name}" for name in names for way in ("raises", "lowers")]
    opened.get("target-against").value = "width"
    assert opened.page.workspace.now.target == Target(0, against=1)
    assert foot(opened).startswith("difference ")
    assert "mm" in foot(opened)


def test_a_class_called_nothing_can_be_set_against_another(opened: HandPage) -> None:
    show(opened, "odd-names", 255)
    against = opened.get("target-against")
    assert against.value == ""
    chosen = opened.page.workspace.now.target
    assert chosen is not None
    assert chosen.unit != 0
    against.value = "nothing"
    assert opened.page.workspace.now.target == Target(chosen.unit, against=0)
    against.value = ""
    assert opened.page.workspace.now.target == Target(chosen.unit)


def test_what_is_not_finite_says_so_everywhere(opened: HandPage) -> None:
    show(opened, "nan", 255)
    assert {NOT_FINITE} == set(entries(opened).values())
    assert "not a finite number" in opened.text("head-note")
    opened.until(lambda: opened.page.attribution.cards[0]._answer is None, "the refusal")
    assert "not finite" in opened.get("method-1-overlay").placeholder
    opened.tab("Volume")
    opened.turn()
    assert "< 0.1" not in opened.text("volume-says")
    opened.tab("Attribution")
    show(opened, "nan", 128)
    agrees(entries(opened), softmax(logits(128)))


@pytest.mark.parametrize("name", ["years", "findings", "logit"])
def test_a_check_measures_on_the_heads_own_scale(opened: HandPage, name: str) -> None:
    ramp = np.tile(np.linspace(90, 250, 24), (24, 1)).astype(np.uint8)
    for number in (6, 5, 4, 3):
        opened.page.attribution._remove(opened.page.attribution.cards[number - 1])
    opened.get("method-1").value, opened.get("method-2").value = "Saliency", "Occlusion"
    show(opened, name, ramp)
    opened.page.features.stop()
    opened.get("attribution-view").active = 1
    opened.until(lambda: opened.text("check-state") == "Done.", "the check")
    network, target = opened.page.workspace.network, opened.page.workspace.now.target
    axis = opened.get("deletion-curves").yaxis[0].axis_label
    mean = float(ramp.mean())
    curves = [np.asarray(ys) for ys in opened.get("deletion-source").data["ys"]]
    if name == "years":
        assert axis == "age (years)"
        clean, gone = 50 + 10 * z(mean), 50.0
    else:
        assert axis == f"probability of {target.words(network)}"
        score = 2 * z(mean) - 4 if name == "logit" else 3 * z(mean)
        away = -4.0 if name == "logit" else 0.0
        sign = -1 if target.opposite else 1
        clean, gone = sigmoid(sign * score), sigmoid(sign * away)
    for ys in curves:
        assert ys[0] == pytest.approx(clean, rel=1e-3, abs=1e-3)
        assert ys[-1] == pytest.approx(gone, rel=1e-3, abs=1e-3)


def test_a_removal_that_moves_nothing_is_not_measured(opened: HandPage) -> None:
    """A grey of the network's own mean: to remove it changes nothing."""
    for number in (6, 5, 4, 3):
        opened.page.attribution._remove(opened.page.attribution.cards[number - 1])
    opened.get("method-1").value, opened.get("method-2").value = "Saliency", "Input x gradient"
    show(opened, "findings", 127)
    opened.page.features.stop()
    opened.get("attribution-view").active = 1
    opened.until(lambda: opened.text("check-state") == "Done.", "the check")
    assert opened.text("check-table").count("not measured") >= 3 * 2
    assert "passes" not in opened.text("check-table")


def test_files_say_the_head_and_what_is_explained(opened: HandPage) -> None:
    show(opened, "years", 200)
    opened.get("input-select").value = "brain_dark"
    opened.until(lambda: opened.page.workspace.now.input.words.startswith("brain_dark"), "the slice")
    opened.settle()
    opened.get("class-list").active = 1
    foot(opened)
    question, found = opened.page.attribution.cards[0].shown
    look = look_of(opened.page.attribution.lens) | {"radiological": True}
    for what in ("map.npy", "overlay.png", "map.png", "map.nii.gz"):
        name, data = build(what, question, found, look)
        assert "what-lowers-age" in name
        if what.endswith(".png"):
            with Image.open(io.BytesIO(data)) as image:
                spec = json.loads(image.text["vislib"])
        elif what.endswith(".gz"):
            header = nib.Nifti1Image.from_bytes(gzip.decompress(data)).header
            spec = json.loads(header.extensions[0].get_content())
        else:
            continue
        assert spec["target"] == "what lowers age"
        assert spec["head"] == {"kind": "score", "unit": "years", "said": True}
        assert spec["layer"] == found.layer


def test_no_number_on_the_page_is_in_the_singular_with_an_s(opened: HandPage, tmp_path: Path) -> None:
    show(opened, "logit")
    words = [
        opened.text(name) for name in ("network-about", "head-note", "status", "page-place", "volume-facts")
    ]
    for one in words:
        assert not re.search(r"\b1 (classes|findings|values|units|slices|voxels)\b", one), one
