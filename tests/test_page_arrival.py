"""Inputs that a network was not made for, and what arrives at its first layer, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import WAIT
from dashboards import Dashboard, serve, visit
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("arrival")
    with serve(folder, "--network", "brain2d", "--store", str(folder / "runs.sqlite")) as one:
        yield one


def test_a_photograph_is_told_from_a_brain_and_what_arrives_is_shown(
    browser: Browser, dashboard: Dashboard, tmp_path: Path
) -> None:
    with visit(browser, dashboard.url("?tab=Attribution&input=china")) as page:
        # What was done to the picture is said at once, its distance when the domain has been learned.
        # Learned from the network's domain by a thread of low priority: the last to get a busy machine's time.
        page.until(
            "m('input-warning').visible && m('input-warning').text.includes('its features lie')",
            timeout=4 * WAIT,
        )
        said = page.text("input-warning")
        assert said.startswith("This picture is unlike what the network was made for (its features lie ")
        assert "its colours were turned to grey" in said
        box = page.element("input-warning", ".bk-clearfix").bounding_box()
        left = page.element("class-list", ".bk-btn").bounding_box()
        assert box is not None
        assert left is not None
        assert 0 < box["width"] <= left["width"] + 12  # no wider than what stands under it
        page.set("input-select", "value", "brain_healthy")
        page.until("m('input-caption').text.includes('brain_healthy') && !m('input-warning').visible")
        page.press("arrival-toggle")
        page.until("m('arrival').text.includes('Nothing speaks against it')")
        assert "At layer conv1: 1 channel of 128 x 128" in page.text("arrival")
        assert "mean about 0 and sd about 1 over its kind of images, values from -0.8 to 3.2" in page.text(
            "arrival"
        )
