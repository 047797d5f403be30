"""The workspace: listeners hear each change once, and pages cover all units of a layer."""

from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dashboard.workspace import Workspace
from vislib.network import Network


def test_listeners_hear_only_what_is_new_and_only_once() -> None:
    workspace = Workspace()
    heard: list[str] = []
    workspace.listen("layer unit", lambda: heard.append("place"))
    workspace.listen("seed", lambda: heard.append("seed"))
    workspace.change(layer="conv1", unit=3)
    assert heard == ["place"]
    workspace.change(layer="conv1", unit=3)
    assert heard == ["place"]
    workspace.change(unit=4, seed=1)
    assert heard == ["place", "place", "seed"]


@given(channels=st.integers(1, 70), size=st.sampled_from([16, 32, 64]), page=st.integers(0, 6))
def test_pages_cover_the_units_of_a_layer(channels: int, size: int, page: int) -> None:
    module = nn.Sequential(
        nn.Conv2d(1, channels, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2)
    )
    workspace = Workspace()
    workspace.change(network=Network.from_module(module, (1, 4, 4)), layer="0", page_size=size)
    pages = workspace.all_pages()
    assert [unit for units in pages for unit in units] == list(range(channels))
    assert all(len(units) == size for units in pages[:-1])
    workspace.change(page=page)
    assert workspace.units_of_page() == pages[min(page, len(pages) - 1)]
