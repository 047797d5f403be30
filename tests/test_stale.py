"""What stands on the page belongs to what is chosen: nothing of another network, layer, unit, input or target stays."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dashboards import card
from pages import HandPage, page, shared

from dashboard.answers import Answers
from dashboard.services import Services
from vislib.attribution import Target
from vislib.errors import NetworkError

SOURCES = ("unit-source", "curve-source", "marks-source", "deletion-source", "insertion-source")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    cats = card(tmp_path, "cats", "working", 'labels = ["cat", "dog", "cow"]\nopening = "2"')
    many = card(tmp_path, "many", "many", 'labels = ["a", "b", "c", "d", "e", "f", "g", "h"]')
    with shared(tmp_path, cats, many) as one:
        yield one


@pytest.fixture
def opened(services: Services) -> Iterator[HandPage]:
    with page(services) as one:
        one.settle()
        yield one


def other(one: HandPage) -> str:
    return one.path("many")


def rows(one: HandPage, source: str) -> int:
    return max((len(column) for column in one.get(source).data.values()), default=0)


def climbed(one: HandPage) -> None:
    one.until(lambda: rows(one, "unit-source") > 2 and rows(one, "curve-source") > 2, "the curve")


@pytest.mark.parametrize("change", ["network", "layer", "page", "seed"])
def test_a_plot_shows_nothing_of_the_run_before(
    opened: HandPage, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Also while the new run waits for its turn, when nothing overwrites what was there."""
    climbed(opened)
    runner = opened.page._services.runner
    monkeypatch.setattr(runner, "submit", lambda job: job)  # it never gets its turn
    before = opened.page.features.run
    if change == "network":
        opened.get("network-select").value = other(opened)
    elif change == "layer":
        opened.get("layer-list").active = 2
    elif change == "page":
        opened.page.workspace.change(page=1, unit=16)
    else:
        opened.page.workspace.change(seed=77)
        opened.page.features.start()
    opened.until(lambda: opened.page.features.run is not before, "another run")
    for _ in range(12):
        opened.turn()
    for source in SOURCES:
        assert rows(opened, source) == 0, source
    assert opened.get("feature-mosaic").frame == b""
    assert "waiting for its first frame" in opened.text("unit-title")
    assert opened.get("unit-image").chunk == b""
    assert opened.get("jump-became-argmax").disabled
    assert set(opened.get("feature-source").data["step"]) == {-1}


def test_a_run_that_cannot_be_made_leaves_no_other_run_on_the_page(
    opened: HandPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    climbed(opened)

    def refuse(*_arguments: object, **_more: object) -> None:
        raise NetworkError("This layer cannot climb.")

    monkeypatch.setattr(opened.page._services, "run", refuse)
    opened.get("layer-list").active = 2
    assert "cannot climb" in opened.text("notice")
    for source in SOURCES:
        assert rows(opened, source) == 0, source
    assert opened.get("feature-mosaic").frame == b""
    assert opened.get("feature-mosaic").n == 0
    assert opened.text("unit-title") == ""
    for _ in range(12):
        opened.turn()
    assert opened.text("status") == "Nothing climbs."


def test_a_class_list_shows_no_class_of_the_network_before(
    opened: HandPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.tab("Attribution")
    opened.settle()
    listed, chosen = opened.get("class-list"), opened.get("target-against")
    assert sorted(label.split("\u2003")[0] for label in listed.labels) == ["cat", "cow", "dog"]
    chosen.value = "cow" if "cow" in chosen.options else "dog"
    monkeypatch.setattr(Answers, "run", lambda *_arguments, **_more: None)  # no answer comes
    opened.get("network-select").value = other(opened)
    opened.until(lambda: not opened.page.workspace.loading, "the network")
    assert listed.labels == []
    assert chosen.options == [("", "nothing")]
    assert opened.page.workspace.now.target is None
    listed.active = 0  # a click that was on its way
    assert opened.page.workspace.now.target is None
    assert "computing" not in opened.text("method-1-foot")


def test_another_networks_class_is_never_asked_of_this_one(opened: HandPage) -> None:
    """Class 7 of the larger network, and a unit of it, on the Volume tab as well."""
    opened.tab("Attribution")
    opened.open(other(opened))
    opened.page.attribution.classes.choose(Target(7))
    opened.tab("Volume")
    opened.turn()
    assert opened.get("volume-target").value == "7"
    opened.open(opened.page._services.default_network)
    assert opened.page.volume.map.target.target in [None, *(Target(unit) for unit in range(3))]
    assert [words for _, words in opened.get("volume-target").options] == ["cat", "dog", "cow"]


def test_an_input_that_cannot_be_prepared_leaves_no_answer_to_the_one_before(
    opened: HandPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.tab("Attribution")
    opened.settle()
    opened.until(lambda: opened.page.attribution.cards[0].shown is not None, "a map")

    def refuse(*_arguments: object) -> None:
        raise NetworkError("This volume cannot be read.")

    monkeypatch.setattr(opened.page.input_bar.inputs, "prepare", refuse)
    opened.get("input-select").value = "brain_dark"
    # What is shown is dimmed from the moment that another input is wanted.
    assert opened.get("input-overlay").stale
    assert opened.get("method-1-overlay").stale
    assert opened.get("method-1-foot").css_classes == ["old"]
    opened.until(lambda: "cannot be read" in opened.text("notice"), "the reason")
    assert opened.get("class-list").labels == []
    assert opened.text("input-caption") == ""
    for number in range(1, 7):
        assert opened.get(f"method-{number}-overlay").map == b""
        assert opened.text(f"method-{number}-foot") == ""


def test_a_check_is_made_anew_when_the_methods_are_others(opened: HandPage) -> None:
    opened.page.features.stop()  # the check goes on in its turns
    opened.tab("Attribution")
    for number in (6, 5, 4, 3):
        opened.page.attribution._remove(opened.page.attribution.cards[number - 1])
    opened.get("method-2").value = "Saliency"
    opened.settle()
    opened.get("attribution-view").active = 1
    opened.until(lambda: opened.text("check-state") == "Done.", "the check")
    assert "Saliency" in opened.text("check-table")
    opened.get("attribution-view").active = 0
    opened.get("method-1-layer").value = "0"
    opened.get("method-2").value = "Input x gradient"
    opened.get("attribution-view").active = 1
    opened.turn()
    assert "Saliency" not in opened.text("check-table")
    opened.until(lambda: opened.text("check-state") == "Done.", "the second check")
    assert re.search("Input x gradient", opened.text("check-table"))
    assert opened.page.attribution.check._methods[0][1] == "0"
    other_class = next(unit for unit in range(3) if Target(unit) != opened.page.workspace.now.target)
    opened.page.attribution.classes.choose(Target(other_class))
    assert opened.text("check-table") == opened.text("check-strips") == ""
    assert rows(opened, "deletion-source") == 0


def test_the_header_tells_of_the_network_that_is_shown(opened: HandPage) -> None:
    """While another one is loaded, and when word of the old one's receptive fields comes late."""
    old = opened.page.workspace.now.network
    opened.page.workspace.change(network_name=other(opened))
    assert "is being loaded" in opened.text("network-about")
    assert "network=" in opened.query()
    assert "many.toml" not in opened.query()
    opened.settle()
    about = opened.text("network-about")
    assert "8 classes" in about
    opened.page.header._saw(old, opened.page.workspace.now.layer, "of the old one")
    assert opened.text("network-about") == about
    assert "many.toml" in opened.query()


def test_a_late_picture_of_other_cells_is_not_painted(opened: HandPage) -> None:
    climbed(opened)
    mosaic, pump = opened.get("feature-mosaic"), opened.page.features.grid.pump
    assert pump.offer(lambda: b"the old cells' picture")
    opened.page._services.painter.submit(lambda: None).result()  # it is made by now
    opened.get("layer-list").active = 2
    for _ in range(4):
        opened.turn()
        assert mosaic.frame != b"the old cells' picture"
    assert np.all(np.asarray(opened.get("feature-source").data["unit"]) == np.arange(16))
