"""Left and right, and places, on the whole page: one orientation for all tabs, volumes without a network."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dashboards import Dashboard, Visit, card, serve, visit
from PIL import Image
from playwright.sync_api import Browser
from volume_making import nifti

pytestmark = pytest.mark.browser
SHAPE = (20, 24, 18)
BALL = (4, 18, 12)  # in RAS+ order: left, front, top


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("places")


@pytest.fixture(scope="module")
def dashboard(folder: Path) -> Iterator[Dashboard]:
    words = ["--network", str(card(folder, "small", "working", 'opening = "2"'))]
    words += ["--network", str(card(folder, "lost", "working", 'weights = "nowhere.pt"'))]
    with serve(folder, *words, "--store", str(folder / "runs.sqlite")) as one:
        yield one


def ball() -> bytes:
    """A head that is dim but for a ball on the left, in a file whose first axis runs to the left."""
    data = np.full(SHAPE, 40, np.uint8)
    data[tuple(slice(at - 1, at + 2) for at in BALL)] = 250
    affine = np.diag([-2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 19, -23, -17
    return nifti(data[::-1], affine)


def upload(page: Visit, data: bytes, name: str = "ball.nii") -> None:
    page.until("m('upload') != null")
    page.element("upload", "input[type=file]").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": data}
    )
    page.until("m('input-select').value == arg", name)
    page.until("m('volume-view').ack > 0 && m('volume-view').ack == m('volume-view').tick")


def side(page: Visit, canvas: str) -> str:
    """On which side of a canvas the ball is."""
    url = page.page.evaluate(f"{canvas}.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        light = np.asarray(image.convert("L")).astype(float)
    columns = np.flatnonzero((light > 0.8 * light.max()).any(0))
    shown = np.flatnonzero((light > 0).any(0))
    return "left" if columns.mean() < (shown[0] + shown[-1]) / 2 else "right"


VIEW_OF = """(name) => {
  const model = Bokeh.documents[0].get_model_by_name(name)
  const look = (view) => view.model === model ? view : [...view.children_views()].map(look).find((v) => v != null)
  return [...Bokeh.index].map(look).find((v) => v != null)
}"""


def letter(page: Visit, path: str) -> str:
    return str(page.page.evaluate(f"{path}.textContent"))


def in_viewer(page: Visit) -> tuple[str, str]:
    """Where the ball is in the axial plane of the viewer, and the letter that is there."""
    page.tab("Volume")
    pane = f"({VIEW_OF})('volume-view').panes[2]"
    page.until("m('volume-view').ack == m('volume-view').tick")
    page.page.wait_for_function(f"() => {pane}.canvas.width > 100")
    where = side(page, f"{pane}.canvas")
    return where, letter(page, f"{pane}.letters.{where}")


def in_overlay(page: Visit, name: str = "input-overlay") -> tuple[str, str]:
    page.tab("Attribution")
    page.until("m(arg).tick > 0 && m(arg).ack == m(arg).tick", name)
    overlay = f"({VIEW_OF})('{name}')"
    where = side(page, f"{overlay}.canvas")
    return where, letter(page, f"{overlay}.letters[{['left', 'right'].index(where)}]")


def test_all_tabs_show_the_patients_left_on_the_side_that_is_chosen(
    browser: Browser, dashboard: Dashboard
) -> None:
    with visit(browser, dashboard.url("?tab=Volume")) as page:
        upload(page, ball())
        page.set("input-plane", "value", "axial")
        page.set("volume-view", "k", BALL[2])
        page.until("m('input-slice').value == arg", BALL[2])
        page.tab("Attribution")
        page.until("m('input-caption').text.includes('z = 7 mm')")
        assert in_viewer(page) == ("right", "L")
        assert in_overlay(page) == ("right", "L")
        assert "orientation" not in page.page.url
        page.press("orientation")
        page.until("location.search.includes('orientation=neurological')")
        page.until("!m('input-overlay').flipped")
        assert in_overlay(page) == ("left", "L")
        assert in_viewer(page) == ("left", "L")
        assert "left on the left" in page.get("orientation", "label")
        page.page.get_by_role("button", name="Neurological").click()
        page.until("!location.search.includes('orientation')")
        assert in_overlay(page) == ("right", "L")


def test_the_address_says_the_orientation(browser: Browser, dashboard: Dashboard) -> None:
    with visit(browser, dashboard.url("?tab=Volume&orientation=neurological")) as page:
        upload(page, ball())
        page.set("volume-view", "k", BALL[2])
        assert in_viewer(page) == ("left", "L")
        assert "orientation=neurological" in page.page.url
    with visit(browser, dashboard.url("?orientation=sideways")) as page:
        page.until("m('notice').text.includes('radiological or neurological')")
        assert page.get("volume-view", "radiological")


def test_a_volume_is_shown_while_no_network_is_open(
    browser: Browser, dashboard: Dashboard, folder: Path
) -> None:
    with visit(browser, dashboard.url(f"?tab=Volume&network={folder / 'lost.toml'}")) as page:
        page.until("m('notice').text.includes('nowhere.pt')")
        page.state("No network is open.")
        upload(page, ball())
        page.set("volume-view", "k", BALL[2])
        assert in_viewer(page) == ("right", "L")
        assert "No network is open" in page.text("volume-says")
        assert page.get("volume-view", "shape") == list(SHAPE)
        page.tab("Attribution")
        assert "No network is open" in page.text("input-caption")
        assert "no network is open" in page.get("method-1-overlay", "placeholder")
        # A sample, by the menu, and another volume over it.
        sample = next(name for name in page.get("input-select", "options")["brain volumes"])
        page.tab("Volume")
        page.set("input-select", "value", sample)
        page.until("m('volume-view').shape.join() != arg", ",".join(map(str, SHAPE)))
        page.set("volume-overlay", "value", "ball.nii")
        page.until("m('volume-view').title == 'ball.nii' && m('volume-view').map.byteLength > 0")
        # A network that opens later takes what is looked at.
        page.set("network-select", "value", str(folder / "small.toml"))
        page.until("m('input-overlay').tick > 0 && m('input-overlay').picture.byteLength > 0")
        page.until("m('input-select').value == arg", sample)
        page.tab("Attribution")
        page.until("!m('input-caption').text.includes('No network')")
