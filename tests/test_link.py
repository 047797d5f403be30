"""A link shows what it was made of, or says what is missing: never another picture in its place."""

import io
from collections.abc import Iterator
from urllib.parse import parse_qs

import numpy as np
import pytest
from dashboards import card
from pages import HandPage, page, shared
from PIL import Image
from volume_making import SAMPLES

from dashboard.services import Services
from vislib.attribution import Target

CLASSES = 'labels = ["cat", "dog", "cow"]\nopening = "2"'


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("link")
    with shared(folder, card(folder, "cats", "working", CLASSES)) as one:
        yield one


def picture(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 60), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def send(one: HandPage, name: str, data: bytes) -> None:
    """Upload a file as the browser does."""
    one.page.input_bar._uploaded(name, io.BytesIO(data))
    now = one.page.workspace.now
    one.until(
        lambda: now.uploaded != "" and now.input is not None and now.input.choice.name == now.uploaded,
        "the upload",
    )


def said(one: HandPage) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(one.query()).items()}


def explained(one: HandPage) -> Target | None:
    return one.page.workspace.now.target


def link_of_an_upload(services: Services, name: str, data: bytes, *, unit: int) -> str:
    """The address of a page on which this was uploaded and a class that is not the first was chosen."""
    with page(services, "tab=Attribution") as sender:
        sender.settle()
        send(sender, name, data)
        sender.settle()
        sender.page.attribution.classes.choose(Target(unit))
        sender.turn()
        return sender.query()


@pytest.mark.parametrize("kind", ["picture", "volume"])
def test_a_link_to_an_upload_names_the_file_asks_for_it_and_goes_on(services: Services, kind: str) -> None:
    name = "scan.nii.gz" if kind == "volume" else "cat.png"
    data = SAMPLES["brain_dark"].path.read_bytes() if kind == "volume" else picture()
    query = link_of_an_upload(services, name, data, unit=2)
    assert f"upload={name}" in query
    assert "target=2" in query
    assert "input=" not in query
    with page(services, query) as receiver:
        receiver.until(lambda: receiver.page.workspace.now.network is not None)
        for _ in range(5):
            receiver.turn()
        assert name in receiver.text("notice")
        assert "upload it" in receiver.text("notice")
        assert name in receiver.text("input-caption")
        assert name in receiver.get("input-overlay").placeholder
        assert name in receiver.get("method-1-overlay").placeholder
        assert receiver.get("input-select").value == name
        assert receiver.page.workspace.now.input is None
        assert explained(receiver) is None
        assert receiver.get("class-list").labels == []
        assert said(receiver) == {
            key: ones[-1] for key, ones in parse_qs(query).items()
        }  # shared on, it is the same
        receiver.tab("Volume")
        assert name in receiver.get("volume-view").placeholder
        receiver.tab("Attribution")
        send(receiver, name, data)
        receiver.settle()
        assert explained(receiver) == Target(2)
        assert "other contents" not in receiver.text("notice")
        assert receiver.query() == query


def test_a_file_of_another_name_is_the_one_where_its_contents_are(services: Services) -> None:
    query = link_of_an_upload(services, "cat.png", picture(), unit=1)
    with page(services, query) as receiver:
        receiver.until(lambda: receiver.page.workspace.now.network is not None)
        send(receiver, "renamed.png", picture())
        receiver.settle()
        assert explained(receiver) == Target(1)


def test_a_file_of_that_name_with_other_contents_is_told(services: Services) -> None:
    query = link_of_an_upload(services, "cat.png", picture(), unit=1)
    with page(services, query) as receiver:
        receiver.until(lambda: receiver.page.workspace.now.network is not None)
        send(receiver, "cat.png", picture(1))
        receiver.settle()
        assert explained(receiver) == Target(1)
        assert "cat.png has other contents" in receiver.text("notice")


@pytest.mark.parametrize("way", ["sample", "upload"])
def test_another_input_is_not_explained_for_the_links_class(services: Services, way: str) -> None:
    for unit in range(3):
        with page(services, f"tab=Attribution&upload=gone.png&target={unit}") as receiver:
            receiver.until(lambda: receiver.page.workspace.now.network is not None)
            if way == "sample":
                receiver.get("input-select").value = "brain_dark"
            else:
                send(receiver, "other.png", picture())
            receiver.settle()
            assert explained(receiver) == receiver.page.attribution.classes._shown.sayings[0].target
            assert "upload=gone.png" not in receiver.query()
            assert receiver.get("input-overlay").placeholder == "no input yet"


def test_what_belongs_to_a_network_that_is_not_here_is_asked_of_no_other(services: Services) -> None:
    query = (
        "tab=Attribution&network=/theirs/lungs.toml&layer=5&unit=3&target=2&run=0123456789abcdef&explain=1:5"
    )
    with page(services, query) as receiver:
        receiver.settle()
        assert "/theirs/lungs.toml" in receiver.text("notice")
        assert "without the link" in receiver.text("notice")
        now = receiver.page.workspace.now
        assert (now.layer, now.unit, now.opened) == ("2", 0, None)
        assert explained(receiver) == receiver.page.attribution.classes._shown.sayings[0].target


def test_a_run_that_is_not_kept_here_is_told(services: Services) -> None:
    with page(services, "run=0123456789abcdef") as receiver:
        receiver.until(lambda: "stored run that is not to be had here" in receiver.text("notice"))
        assert "0123456789abcdef" in receiver.text("notice")
        receiver.until(lambda: receiver.page.features.run is not None, "a run of its own")


def test_a_stored_run_comes_back_by_its_link(services: Services) -> None:
    with page(services, "layer=5&unit=2&seed=21") as sender:
        sender.until(lambda: sender.page.features.run is not None and sender.page.features.run.step > 0)
        sender.page.features.stop()
        run = sender.page.features.run.id
        sender.page.open_run(run, False)
        sender.until(lambda: sender.page.workspace.now.opened == run)
        sender.page.workspace.change(unit=7)
        query = sender.query()
    assert f"run={run}" in query
    with page(services, query) as receiver:
        receiver.until(lambda: receiver.page.workspace.now.opened == run, "the run")
        assert receiver.page.features.run.id == run
        assert receiver.page.workspace.now.unit == 7
        assert receiver.query() == query


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("input=brain_dark&plane=axial&slice=9999", "slices, so none of the number 9999"),
        ("input=brain_dark&time=7", "1 time point, so none of the number 7"),
        ("input=brain_dark&plane=oblique", "no plane 'oblique'"),
        ("input=nothing&target=1", "no sample 'nothing'"),
        ("input=brain_dark&values=percentiles:90:10", "values for the network were not taken"),
        ("preset=L2&changes=decay:7", "changes of L2 were not taken"),
        ("size=100000", "image size 100000 cannot be"),
        ("explain=x:conv1", "must be as 5:conv3"),
        ("fit=origami&input=brain_dark", "cannot be fitted by 'origami'"),
        ("target=1&against=1", "against itself"),
    ],
)
def test_what_a_link_asks_and_cannot_be_is_told(services: Services, query: str, word: str) -> None:
    with page(services, f"tab=Attribution&{query}") as receiver:
        receiver.settle()
        receiver.until(lambda: word in receiver.text("notice").replace("&#x27;", "'"), word)
    if "slice=" in query:
        assert "slice=9999" not in receiver.query()


def test_one_class_rather_than_another_and_a_hidden_unit_come_back(services: Services) -> None:
    for target in (Target(0, against=2), Target(4, layer="2")):
        with page(services, "tab=Attribution") as sender:
            sender.settle()
            if target.layer == "2":
                sender.page.workspace.change(layer="2", unit=4)
            sender.page.attribution.classes.explain(target)
            query = sender.query()
        with page(services, query) as receiver:
            receiver.settle()
            assert explained(receiver) == target
