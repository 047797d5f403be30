"""What a person must know of a network stands below its layers, and a caution beside every answer too."""

from collections.abc import Iterator

import pytest
from dashboards import card
from pages import HandPage, page, shared

from dashboard.services import Services


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("notes")
    cards = [card(folder, name, name) for name in ("working", "at_random", "quarters")]
    with shared(folder, *cards) as one:
        yield one


@pytest.fixture
def opened(services: Services) -> Iterator[HandPage]:
    with page(services, "tab=Attribution") as one:
        one.settle()
        yield one


def show(one: HandPage, name: str) -> str:
    """Open a network; what stands below its layers."""
    one.open(one.path(name))
    return one.text("network-notes") if one.get("network-notes").visible else ""


def test_a_network_without_layers_says_why(opened: HandPage) -> None:
    said = show(opened, "quarters")
    assert (
        "No layer of quarters but its output is listed: its convolution works on 8 rows for 2 images" in said
    )
    assert len(opened.get("layer-list").labels) == 1
    assert "no layer with spatial positions" in opened.get("method-1-overlay").placeholder
    assert show(opened, "working") == ""  # nothing of the network before


def test_a_network_that_answers_at_random_says_so_beside_every_answer(opened: HandPage) -> None:
    said = show(opened, "at_random")
    network = opened.page.workspace.network
    assert network.cautions
    assert said.replace("&nbsp;", " ") == "".join(network.notes)
    assert "<p class=caution>" in opened.get("network-notes").text
    cards = opened.page.attribution.cards
    opened.until(lambda: all(card.shown is not None for card in cards[:3]), "the answers")
    for number in (1, 2, 3):
        assert network.cautions[0] in opened.get(f"method-{number}-foot").html_attributes["title"]
