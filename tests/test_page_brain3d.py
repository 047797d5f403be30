"""Features of a 3-D network in a real browser: three named planes through a chosen voxel, with the same history."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browsing import VIEW
from dashboards import Dashboard, Visit, serve, visit
from PIL import Image
from playwright.sync_api import Browser

from models.brain3d import BrainNet3D
from vislib import display

pytestmark = pytest.mark.browser
SIZES = (12, 16, 14)
PAINTED = f"""() => {{
  const canvas = ({VIEW})("unit-image").shadow_el.querySelector("canvas")
  const {{data}} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
  return [canvas.width, canvas.height, Array.from(data).filter((_, k) => k % 4 == 0)]
}}"""


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("page")
    torch.manual_seed(0)
    torch.save(BrainNet3D().state_dict(), folder / "tiny.pt")
    (folder / "tiny.toml").write_text(
        f'factory = "models.brain3d:BrainNet3D"\nweights = "tiny.pt"\ninput = {[1, *SIZES]}\nopening = "conv2"\n'
    )
    words = ("--network", str(folder / "tiny.toml"), "--store", str(folder / "runs.sqlite"))
    with serve(folder, *words) as one:
        yield one


@pytest.fixture(scope="module")
def opened(browser: Browser, dashboard: Dashboard) -> Iterator[Visit]:
    with visit(browser, dashboard.url()) as one:
        one.live()
        yield one


def planes(page: Visit) -> list[np.ndarray]:
    """The three planes that are painted, a grey value for each voxel."""
    page.page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    wide, high, values = page.page.evaluate(PAINTED)
    picture = Image.fromarray(np.array(values, np.uint8).reshape(high, wide))
    x, y, z = SIZES
    strip = np.asarray(picture.resize((2 * x + y + 2 * display.GAP, max(y, z)), Image.Resampling.BOX))
    starts = (0, x + display.GAP, 2 * (x + display.GAP))
    return [strip[:, left : left + width] for left, width in zip(starts, (x, x, y), strict=True)]


def changed(before: list[np.ndarray], after: list[np.ndarray]) -> list[bool]:
    return [bool(np.abs(a.astype(int) - b).mean() > 4) for a, b in zip(before, after, strict=True)]


def whole_film(page: Visit) -> None:
    """Wait until the browser holds every kept frame, cut where the sliders say."""
    page.until("m('unit-source').get_array('step').length > 60")
    page.until("m('unit-image').steps.join() == m('unit-source').get_array('step').join()")


def test_a_3d_unit_is_shown_in_named_planes_through_the_chosen_voxel(opened: Visit) -> None:
    opened.state("done")
    whole_film(opened)
    assert opened.get("unit-planes", "visible")
    chips = opened.page.evaluate(
        f"() => Array.from(({VIEW})('unit-image').shadow_el.querySelectorAll('.part'), (one) => one.textContent)"
    )
    assert chips == ["axial", "coronal", "sagittal"]
    titles = [opened.get(f"unit-{plane}", "title") for plane in chips]
    assert titles == ["axial z", "coronal y", "sagittal x"]
    assert [opened.get(f"unit-{plane}", "value") for plane in chips] == [7, 8, 6]
    assert [opened.get(f"unit-{plane}", "end") for plane in chips] == [13, 15, 11]
    before = planes(opened)
    paints = opened.get("unit-image", "paints")
    opened.set("unit-coronal", "value", 5)
    opened.until("m('unit-image').paints > arg", paints)
    whole_film(opened)
    assert changed(before, planes(opened)) == [False, True, False]


def test_the_history_slider_scrubs_the_film_that_was_cut_anew(opened: Visit) -> None:
    opened.state("done")
    whole_film(opened)
    first = []
    for at in (9, 2):
        opened.set("unit-sagittal", "value", at)
        opened.page.wait_for_timeout(300)
        whole_film(opened)
        opened.set("history-slider", "value", 0)
        opened.until("m('unit-image').step == 0")
        opened.page.wait_for_timeout(200)
        first.append(planes(opened))
        opened.set("history-slider", "value", 64)
        opened.until("m('unit-image').step == 64")
        opened.page.wait_for_timeout(200)
        assert any(changed(first[-1], planes(opened)))
    assert changed(*first) == [False, False, True]


def test_another_unit_is_cut_at_the_same_voxel_and_exports_at_the_centre(opened: Visit) -> None:
    opened.state("done")
    opened.set("unit-axial", "value", 4)
    opened.element("feature-mosaic", "#cell-2").click()
    opened.until("m('unit-title').text.includes('unit 2<')")
    whole_film(opened)
    assert opened.get("unit-axial", "value") == 4
    for item, kind, frames in (("This unit's history, GIF", "GIF", 60), ("The mosaic now, PNG", "PNG", 1)):
        opened.element("export", "button").click()
        with opened.page.expect_download() as waiting:
            opened.page.get_by_text(item, exact=True).click()
        picture = Image.open(io.BytesIO(Path(waiting.value.path()).read_bytes()))
        assert picture.format == kind
        assert getattr(picture, "n_frames", 1) >= frames
        assert picture.width > 2 * picture.height or kind == "PNG"


def test_the_address_opens_brain3d_and_its_units_climb(browser: Browser, dashboard: Dashboard) -> None:
    with visit(browser, dashboard.url("?network=brain3d")) as page:
        page.until(
            "m('status').text.includes('16 units of conv4') && (m('feature-mosaic').ack > 0 ||"
            " m('status').text.includes('One step of'))"
        )
        if "One step of" in page.text("status"):  # a machine on which it takes too long to climb unasked
            page.press("start")
        page.live()
        assert "1 x 64 x 80 x 64" in page.text("network-about")
        page.until("m('feature-source').get_array('step').every((step) => step > 0)")
        page.until("m('unit-planes').visible && m('unit-axial').end == 63")
        page.press("stop")
        page.set("network-select", "value", "brain2d")
        page.until("!m('unit-planes').visible && m('unit-image').parts.length == 0")
