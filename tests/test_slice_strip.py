"""The strip of a volume's slices in a real browser: thumbnails, bars of the map's strength, the marker and jumps."""

import base64
import io
from contextlib import contextmanager

import numpy as np
import pytest
from bokeh.models import Column
from browsing import FRAME, chromium
from PIL import Image
from volume_views import GREY, told

from dashboard import palettes
from dashboard.slice_strip import SliceStrip
from dashboard.volume_view import VolumeView

STRIP, VIEW = "view_of('strip')", "view_of('volume')"
SHAPE = (30, 40, 24)
AFFINE = np.diag([2.0, 1.5, 3.0, 1.0])
AFFINE[:3, 3] = [-30, -29, -36]
SETTLED = f"{STRIP}.timer == null && {STRIP}.work == null && !{STRIP}.dirty && {STRIP}.drawn != ''"
SIDE, HEIGHT = 18, 69  # the letters beside the thumbnails, and their height


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


def ramp() -> np.ndarray:
    """Empty but for a box; each axial slice of it has a value of its own, brighter on the patient's left."""
    data = np.zeros(SHAPE, np.float32)
    data[5:25, 8:32, 4:20] = 100 + 5 * np.arange(16)
    data[5:15, 8:32, 4:20] += 50
    return data


@contextmanager
def opened(browser, data, width=600, plane="", **settings):
    """A page with a viewer above a strip, and a volume shown from 0 to 255."""

    def build(document):
        view = VolumeView(name="volume", width=600, height=400)
        document.add_root(Column(view, SliceStrip(name="strip", view=view, width=width, plane=plane)))
        return view

    with browser.open(build) as (page, served):
        try:
            view = served.made[-1]
            if data is not None:
                served.do(lambda: (view.show(data, AFFINE, (0.0, 255.0)), view.update(**settings)))
                page.wait_for_function(f"{VIEW}.model.ack == 1")
                page.wait_for_function(SETTLED)
            yield page, served, view
        finally:
            page.evaluate("localStorage.clear()")


def change(page, served, action) -> None:
    """Change the viewer in Python and wait until the strip has answered."""
    page.evaluate(f"{STRIP}.drawn = ''")
    served.do(action)
    page.wait_for_function(SETTLED)


def thumbnails(page) -> list[np.ndarray]:
    """What is on the canvas, without gaps: (h, w, 3) for each thumbnail."""
    url = page.evaluate(f"{STRIP}.canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        rgba = np.asarray(image.convert("RGBA")).astype(int)
    assert rgba.shape[0] == HEIGHT
    gaps = np.flatnonzero((rgba[..., 3] < 255).any(0))
    return [one[..., :3] for one in np.split(rgba, gaps, 1) if one.shape[1] > 10]


def span(page) -> list[int]:
    return page.evaluate(f"[{STRIP}.span.first, {STRIP}.span.last]")


def bars(page) -> dict[int, tuple[float, bool]]:
    """Height, 0 to 1, of each slice's bar, and whether it is pale."""
    found = {}
    for n, path in enumerate(page.evaluate(f"{STRIP}.paths.map((path) => path.getAttribute('d'))")):
        for one in path.split("M")[1:]:
            left, rest = one.split(" ")
            found[int(left) + span(page)[0]] = 1 - float(rest.partition("V")[2].partition("H")[0]), n == 1
    return found


def where(page, share: float) -> tuple[float, float]:
    box = page.evaluate(f"{STRIP}.inner.getBoundingClientRect().toJSON()")
    return box["x"] + share * box["width"], box["y"] + box["height"] / 2


@pytest.mark.browser
def test_thumbnails_are_of_evenly_spaced_slices_that_are_not_empty_seen_as_the_view_has_them(browser):
    data = ramp()
    with opened(browser, data) as (page, served, view):
        assert span(page) == [4, 19]
        seen = thumbnails(page)
        count = len(seen)
        assert 56 <= (600 - 2 * SIDE) / count <= 72
        slices = [int(4 + (n + 0.5) / count * 16) for n in range(count)]
        assert page.evaluate(f"{STRIP}.letters.map((one) => one.textContent)") == ["I", "S"]
        for picture, k in zip(seen, slices, strict=True):
            middle = picture[20]
            columns = np.flatnonzero(middle[:, 0] > 80)
            wide, high = len(columns), (picture[:, columns[3], 0] > 80).sum()
            assert wide / high == pytest.approx(20 * 2 / (24 * 1.5), rel=0.1)  # mm, cropped to the box
            assert max(wide / picture.shape[1], high / HEIGHT) > 0.9  # as large as there is room
            left, right = middle[columns[5]], middle[columns[-6]]
            assert left == pytest.approx(GREY[int(data[20, 10, k])], abs=1)  # the patient's right
            assert right == pytest.approx(GREY[int(data[6, 10, k])], abs=1)
        change(page, served, lambda: setattr(view, "radiological", False))
        first = thumbnails(page)[0][20]
        columns = np.flatnonzero(first[:, 0] > 80)
        assert first[columns[5], 0] > first[columns[-6], 0]
        change(page, served, lambda: setattr(view, "plane", "sagittal"))
        assert span(page) == [5, 24]
        assert page.evaluate(f"{STRIP}.letters.map((one) => one.textContent)") == ["L", "R"]


@pytest.mark.browser
def test_bars_tell_the_largest_value_of_the_map_in_every_slice(browser):
    random = np.random.default_rng(0)
    values = (random.normal(size=SHAPE) * np.linspace(0, 1, 24)).astype(np.float32)
    values[3, 4, 10:12] = [np.nan, np.inf]
    with opened(browser, ramp()) as (page, served, view):
        assert bars(page) == {}
        for signed in (True, False):
            change(
                page, served, lambda signed=signed: (view.set_map(values, signed), view.update(threshold=0.3))
            )
            finite = np.where(np.isnan(values), 0, np.clip(values, -view.map_high, view.map_high))
            wanted = (np.abs(finite) if signed else finite).max((0, 1)).clip(0)
            assert span(page) == [4, 23]  # the map is strong beyond the box
            found = bars(page)
            assert sorted(found) == [k for k in range(4, 24) if wanted[k] > 0]
            for k, (height, pale) in found.items():
                assert height == pytest.approx(wanted[k] / wanted.max(), abs=1e-3), (signed, k)
                assert pale == (wanted[k] < 0.3 * view.limit)
            label = page.evaluate(f"{STRIP}.stage.getAttribute('aria-label')")
            most = int(wanted.argmax())
            place = f"z {3.0 * most - 36:.1f} mm".replace("-", "−")
            assert label == f"Strip of axial slices: the map is strongest in k {most}, {place}"
        change(page, served, lambda: view.set_map(2 * values))  # the same codes, of another meaning
        strong = page.evaluate(
            f"""(() => {{ const {{found}} = {STRIP}.parts.get('strengths'); return found.map((one) => [...one]) }})()"""
        )
        for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
            assert strong[axis] == pytest.approx(2 * finite.max(others).clip(0), abs=view.map_high / 32000)
        change(page, served, lambda: setattr(view, "show_map", False))
        assert bars(page) == {}
        change(page, served, lambda: view.set_map(-np.abs(values)))
        assert bars(page) == {}


@pytest.mark.browser
def test_thumbnails_have_the_maps_colours_and_are_recoloured_without_hurry(browser):
    values = np.zeros(SHAPE, np.float32)
    values[:, :, 10:] = 1
    with opened(browser, ramp(), alpha_by_value=False, opacity=1.0) as (page, served, view):
        change(page, served, lambda: view.set_map(values))
        bright = [
            int((np.abs(one - palettes.table("inferno")[255]) <= 1).all(-1).sum()) for one in thumbnails(page)
        ]
        assert bright[0] == 0 < bright[-1]
        change(page, served, lambda: setattr(view, "opacity", 0.0))
        assert all((one[10] == one[10, :, :1]).all() for one in thumbnails(page))
        before = page.evaluate(f"{STRIP}.model.draws")
        seconds = page.evaluate(
            f"""async () => {{ const start = performance.now()
              for (let n = 0; n < 40; n++) {{
                {VIEW}.model.window_high = 200 - n
                await new Promise((done) => setTimeout(done, 15))
              }}
              return (performance.now() - start) / 1000 }}"""
        )
        page.wait_for_function(SETTLED)
        draws = page.evaluate(f"{STRIP}.model.draws") - before
        assert 2 <= draws <= 2 + seconds / 0.2, (draws, seconds)
        one = thumbnails(page)[0][20]  # of slice 5
        assert one.max() == pytest.approx(155 / 161 * 255, abs=2)
        page.evaluate(f"{VIEW}.model.move({{0: 3, 1: 3, 2: 3}})")
        page.evaluate(FRAME)
        assert page.evaluate(f"[{STRIP}.model.draws, {STRIP}.timer, {STRIP}.work]") == [
            before + draws,
            None,
            None,
        ]


@pytest.mark.browser
def test_click_drag_and_keys_jump_and_the_marker_goes_with_the_crosshair(browser):
    with opened(browser, ramp()) as (page, served, view):
        state = f"[{VIEW}.model.k, new DOMMatrix({STRIP}.mark.style.transform).e / {STRIP}.room]"
        page.mouse.click(*where(page, (7 - 4 + 0.5) / 16))
        page.evaluate(FRAME)
        assert page.evaluate(state) == [7, pytest.approx(3.5 / 16, abs=1e-3)]
        told(served, lambda: view.k, 7)
        page.mouse.move(*where(page, 0.2))
        page.mouse.down()
        page.mouse.move(*where(page, 0.99), steps=5)
        page.mouse.move(598, 20)  # beyond the strip
        page.mouse.up()
        page.evaluate(FRAME)
        assert page.evaluate(state)[0] == 19
        told(served, lambda: view.k, 19)
        page.mouse.move(*where(page, 0.01))
        assert page.evaluate(f"{STRIP}.tip.textContent") == "k 4, z −24.0 mm"
        page.evaluate(f"{STRIP}.stage.focus()")
        for key, wanted in (
            ("ArrowLeft", 18),
            ("ArrowUp", 19),
            ("PageDown", 9),
            ("Home", 4),
            ("ArrowDown", 3),
            ("End", 19),
        ):
            page.keyboard.press(key)
            assert page.evaluate(f"{VIEW}.model.k") == wanted
        page.evaluate(f"{VIEW}.model.move({{2: 0}})")
        page.evaluate(FRAME)
        assert page.evaluate(state) == [0, 0]  # below what is shown
        names = ["role", "aria-valuemin", "aria-valuemax", "aria-valuenow", "aria-valuetext", "aria-label"]
        assert page.evaluate(f"{names}.map((name) => {STRIP}.stage.getAttribute(name))") == [
            "slider",
            "0",
            "23",
            "0",
            "k 0, z −36.0 mm",
            "Strip of axial slices",
        ]


@pytest.mark.browser
def test_words_stand_where_there_is_no_volume(browser):
    with opened(browser, None, plane="coronal") as (page, served, view):
        served.do(
            lambda: view.document.get_model_by_name("strip").update(
                placeholder="No volume yet.", description="Slices"
            )
        )
        page.wait_for_function(f"{STRIP}.placeholder.textContent == 'No volume yet.'")
        page.wait_for_function(f"{STRIP}.stage.getAttribute('aria-label') == 'Slices: No volume yet.'")
        page.mouse.click(300, 450)
        change(page, served, lambda: view.show(np.full((9, 1, 1), 7, np.float32), AFFINE, (0.0, 255.0)))
        page.wait_for_function(f"{STRIP}.stage.classList.contains('filled')")
        assert len(thumbnails(page)) == 1
        served.do(view.clear)
        page.wait_for_function(f"!{STRIP}.stage.classList.contains('filled')")
        page.wait_for_function(f"{STRIP}.parts.size == 0")  # the bytes are let go
        assert page.locator(".placeholder").last.is_visible()


def test_only_planes_of_a_volume_can_be_chosen():
    strip = SliceStrip(view=VolumeView(), plane="coronal")
    with pytest.raises(ValueError, match="matching"):
        strip.plane = "oblique"
