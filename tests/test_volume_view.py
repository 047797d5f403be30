"""A volume's three planes in a real browser: sides, slices, window, map colours, outline, crosshair and facts."""

import base64
import io
import time
from contextlib import contextmanager

import numpy as np
import pytest
from bokeh.models import Slider
from browsing import chromium
from PIL import Image

from dashboard import palettes
from dashboard.volume_view import VolumeView

PLANES = ("coronal", "sagittal", "axial")
FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
VIEW = "view_of('volume')"
SHAPE = (9, 12, 7)
SPACING = (2.0, 1.0, 3.0)
AFFINE = np.diag([*SPACING, 1.0])
AFFINE[:3, 3] = [-8, -6, -9]
DATA = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.float32)
GREY = palettes.table("grey").astype(int)


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@contextmanager
def opened(browser, data=DATA, affine=AFFINE, window=(0.0, 255.0), mask=None, show=True, **settings):
    """A page with a viewer of 600 x 500 pixels, voxels as blocks, and what the browser remembered forgotten."""

    def build(document):
        view = VolumeView(name="volume", width=600, height=500, **{"smooth": False, **settings})
        document.add_root(view)
        return view

    with browser.open(build) as (page, served):
        try:
            view = served.made[-1]
            if show:
                send(page, served, lambda: view.show(data, affine, window, mask))
            yield page, served, view
        finally:
            page.evaluate("localStorage.clear()")


def send(page, served, action) -> None:
    """Update the viewer in Python and wait until it is painted."""
    view = served.made[-1]
    tick = served.do(lambda: action() or view.tick)
    page.wait_for_function(f"{VIEW}.model.ack == {tick}")


def look(page, **settings) -> None:
    """Set properties in the browser, as a widget linked to them does, and wait for the paint."""
    page.evaluate(f"(settings) => {VIEW}.model.setv(settings)", settings)
    page.evaluate(FRAME)


def pane(plane: str) -> str:
    return f"{VIEW}.panes[{PLANES.index(plane)}]"


def pixels(page, plane: str) -> np.ndarray:
    """RGBA of a plane's canvas, (h, w, 4)."""
    url = page.evaluate(f"{pane(plane)}.canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGBA")).astype(int)


def drawn(page, plane: str) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """What is drawn of a plane, and its left, top, width and height on the canvas."""
    rgba = pixels(page, plane)
    rows, columns = (np.flatnonzero((rgba[..., 3] == 255).any(axis)) for axis in (1, 0))
    box = (columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0])
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, :3], box


def blocks(page, plane: str, shape=SHAPE) -> np.ndarray:
    """The colour in the middle of every voxel of a plane, first row uppermost, (rows, columns, 3)."""
    picture, _ = drawn(page, plane)
    n = (
        len(slowly(np.zeros(shape), plane, (0, 0, 0), True)),
        len(slowly(np.zeros(shape), plane, (0, 0, 0), True)[0]),
    )
    middles = [
        ((np.arange(count) + 0.5) * size / count).astype(int)
        for count, size in zip(n, picture.shape, strict=False)
    ]
    return picture[np.ix_(*middles)]


def slowly(data, plane, ijk, radiological) -> np.ndarray:
    """A plane of an array as words say it: front or top up, the patient's left on the right if radiological."""
    i, j, k = ijk
    nx, ny, nz = data.shape[:3]
    across = range(nx - 1, -1, -1) if radiological else range(nx)
    if plane == "axial":
        return np.array([[data[x, y, k] for x in across] for y in range(ny - 1, -1, -1)])
    if plane == "coronal":
        return np.array([[data[x, j, z] for x in across] for z in range(nz - 1, -1, -1)])
    return np.array([[data[i, y, z] for y in range(ny)] for z in range(nz - 1, -1, -1)])


def at(page, plane: str, ijk, shape=SHAPE) -> tuple[float, float]:
    """The page's position of a voxel in a plane, radiological, by what is drawn."""
    left, top = page.evaluate(
        f"(() => {{ const b = {pane(plane)}.el.getBoundingClientRect(); return [b.x, b.y] }})()"
    )
    _, (x, y, width, height) = drawn(page, plane)
    u, v = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
    along = (ijk[u] + 0.5) / shape[u]
    return left + x + width * (along if u == 1 else 1 - along), top + y + height * (
        1 - (ijk[v] + 0.5) / shape[v]
    )


def crosshair(page) -> list[int]:
    return page.evaluate(f"['i', 'j', 'k'].map((name) => {VIEW}.model[name])")


def text(page, part: str) -> str:
    return page.evaluate(f"{VIEW}.facts.{part}.textContent")


def place(page, axis: int) -> list[str]:
    """What is told about an axis: voxel, mm, and mm to a side of the patient."""
    names = "['voxel', 'mm', 'side']"
    return page.evaluate(
        f"{names}.map((name) => {VIEW}.facts.places[{axis}][name].words.parentNode.textContent)"
    )


def told(served, read, wanted) -> None:
    """Wait until Python knows."""
    deadline = time.monotonic() + 5
    while served.do(read) != wanted:
        assert time.monotonic() < deadline, (served.do(read), wanted)
        time.sleep(0.01)


# ---- what is drawn where ---------------------------------------------------------------------------------------


@pytest.mark.browser
def test_every_voxel_is_where_the_convention_has_it(browser):
    with opened(browser) as (page, *_):
        for radiological, ijk in ((True, (4, 6, 3)), (False, (0, 11, 6)), (True, (8, 0, 0))):
            look(page, radiological=radiological, **dict(zip("ijk", ijk, strict=True)))
            for plane in PLANES:
                assert np.array_equal(
                    blocks(page, plane), GREY[slowly(DATA, plane, ijk, radiological).astype(int)]
                )


@pytest.mark.browser
def test_a_bright_voxel_on_the_patients_left_is_on_the_right_of_the_screen_with_letters_that_say_so(browser):
    data = np.full(SHAPE, 20, np.float32)
    data[1, 10, 5] = 255  # far left, in front, high
    with opened(browser, data) as (page, *_):
        look(page, i=1, j=10, k=5)
        for radiological in (True, False):
            look(page, radiological=radiological)
            sides = {}
            for plane in PLANES:
                picture, _ = drawn(page, plane)
                y, x = np.argwhere(picture[..., 0] > 200).mean(0) / picture.shape[:2]
                sides[plane] = x
                assert y < 0.4
                letters = page.evaluate(
                    f"['left', 'right', 'top', 'bottom'].map((s) => {pane(plane)}.letters[s].textContent)"
                )
                assert letters[2:] == (["A", "P"] if plane == "axial" else ["S", "I"])
                assert letters[:2] == (
                    ["P", "A"] if plane == "sagittal" else ["R", "L"] if radiological else ["L", "R"]
                )
                cross = page.evaluate(
                    f"['--x', '--y'].map((key) => parseFloat({pane(plane)}.crosses[0].style.getPropertyValue(key)))"
                )
                _, (left, top, width, height) = drawn(page, plane)
                assert cross == [
                    pytest.approx(left + x * width, abs=1.5),
                    pytest.approx(top + y * height, abs=1.5),
                ]
            assert sides["sagittal"] > 0.8
            assert (sides["axial"] > 0.8) == (sides["coronal"] > 0.8) == radiological


@pytest.mark.browser
def test_a_millimetre_is_as_long_in_every_direction_of_every_plane(browser):
    axes = {"coronal": (0, 2), "sagittal": (1, 2), "axial": (0, 1)}
    for shape, spacing in ((SHAPE, SPACING), ((30, 40, 1), (1, 1, 8)), ((2, 90, 60), (4, 0.5, 1))):
        with opened(browser, np.ones(shape, np.float32), np.diag([*spacing, 1]), (0.0, 1.0)) as (page, *_):
            scales = []
            for plane, (u, v) in axes.items():
                _, (_, _, width, height) = drawn(page, plane)
                scales += [(width, shape[u] * spacing[u]), (height, shape[v] * spacing[v])]
                long = page.evaluate(f"getComputedStyle({pane(plane)}.bar).width")
                scales.append(
                    (float(long[:-2]), float(page.evaluate(f"{pane(plane)}.bar.textContent").split(" mm")[0]))
                )
            largest = max(scales)
            for length, mm in scales:
                assert abs(length - mm * largest[0] / largest[1]) <= 2, (shape, scales)


@pytest.mark.browser
def test_smoothing_lies_between_the_voxels(browser):
    data = np.zeros((4, 4, 4), np.float32)
    data[2:] = 200
    with opened(browser, data, np.eye(4), smooth=True, radiological=False) as (page, *_):
        row = drawn(page, "axial")[0][20, :, 0]
        assert (np.diff(row) >= 0).all()
        assert len({*row}) > 10
        look(page, smooth=False)
        assert {*drawn(page, "axial")[0][20, :, 0]} == {0, 200}


# ---- crosshair ---------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_click_drag_wheel_and_keys_move_one_crosshair_in_all_planes(browser):
    with opened(browser) as (page, served, view):
        assert crosshair(page) == [4, 6, 3]
        page.mouse.click(*at(page, "axial", (1, 10, 3)))
        page.evaluate(FRAME)
        assert crosshair(page) == [1, 10, 3]
        told(served, lambda: (view.i, view.j, view.k), (1, 10, 3))
        for plane in PLANES:
            assert np.array_equal(
                blocks(page, plane), GREY[slowly(DATA, plane, (1, 10, 3), True).astype(int)]
            )
        page.mouse.move(*at(page, "sagittal", (1, 2, 6)))
        page.mouse.down()
        page.mouse.move(*at(page, "sagittal", (1, 8, 0)), steps=4)
        page.mouse.move(0, 499)  # beyond the pane: the nearest voxel
        page.mouse.up()
        assert crosshair(page) == [1, 0, 0]
        for plane, wanted in (("coronal", [1, 1, 0]), ("axial", [1, 1, 1]), ("sagittal", [2, 1, 1])):
            page.mouse.move(*at(page, plane, (4, 4, 4)))
            page.mouse.wheel(0, -120)
            page.evaluate(FRAME)
            assert crosshair(page) == wanted
        for _ in range(4):  # a wheel without notches
            page.mouse.wheel(0, 16)
        page.evaluate(FRAME)
        assert crosshair(page) == [0, 1, 1]
        page.mouse.wheel(0, 120)  # there is no slice below the first
        page.evaluate(FRAME)
        assert crosshair(page) == [0, 1, 1]
        page.evaluate(f"{pane('axial')}.el.focus()")
        for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowUp", "PageUp", "PageUp", "PageDown"):
            page.keyboard.press(key)
        assert crosshair(page) == [1, 2, 2]  # left on the screen is the patient's right
        page.keyboard.press("Tab")
        page.evaluate(f"{pane('sagittal')}.el.focus()")
        for key in ("ArrowRight", "ArrowDown", "PageUp"):
            page.keyboard.press(key)
        assert crosshair(page) == [2, 3, 1]
        told(served, lambda: (view.i, view.j, view.k), (2, 3, 1))
        page.mouse.dblclick(*at(page, "axial", (0, 0, 0)))
        page.evaluate(FRAME)
        assert crosshair(page) == [4, 6, 3]
        told(served, lambda: (view.i, view.j, view.k), (4, 6, 3))


@pytest.mark.browser
def test_the_server_hears_of_a_drag_now_and_then_and_of_its_end(browser):
    with opened(browser) as (page, served, view):
        heard = []
        served.do(lambda: view.on_change("i", lambda _name, _old, new: heard.append(new)))
        page.mouse.move(*at(page, "axial", (0, 5, 3)))
        page.mouse.down()
        # Events of a pointer that is faster than Playwright's, from side to side.
        seconds = page.evaluate(
            f"""async ([left, right, y]) => {{ const start = performance.now(), {{el}} = {pane("axial")}
              for (let n = 0; n < 90; n++) {{
                const clientX = n % 2 ? left : right
                el.dispatchEvent(new PointerEvent("pointermove", {{clientX, clientY: y}}))
                await new Promise((done) => setTimeout(done, 4))
              }}
              return (performance.now() - start) / 1000 }}""",
            [at(page, "axial", (7, 5, 3))[0], *at(page, "axial", (2, 5, 3))],
        )
        before = crosshair(page)
        page.mouse.up()
        assert before[0] == 7
        told(served, lambda: view.i, 7)
        assert 1 <= len(heard) <= 3 + seconds / 0.2, (heard, seconds)


@pytest.mark.browser
def test_a_slider_linked_to_a_slice_is_drawn_without_the_server(browser):
    def build(document):
        view, slider = (
            VolumeView(name="volume", width=600, height=400, smooth=False),
            Slider(name="slider", start=0, end=6, value=3),
        )
        slider.js_link("value", view, "k")
        view.js_link("k", slider, "value")
        document.add_root(view)
        document.add_root(slider)
        return view

    with browser.open(build) as (page, served):
        send(page, served, lambda: served.made[-1].show(DATA, AFFINE, (0.0, 255.0)))
        page.evaluate("Bokeh.documents[0].get_model_by_name('slider').value = 5")
        page.evaluate(FRAME)
        assert np.array_equal(blocks(page, "axial"), GREY[slowly(DATA, "axial", (4, 6, 5), True).astype(int)])
        page.mouse.move(*at(page, "axial", (4, 4, 4)))
        page.mouse.wheel(0, 120)
        page.evaluate(FRAME)
        assert page.evaluate("Bokeh.documents[0].get_model_by_name('slider').value") == 4


@pytest.mark.browser
def test_a_slider_for_each_plane_moves_the_crosshair_and_goes_with_it(browser):
    with opened(browser) as (page, served, view):
        sliders = page.locator("input[type=range]")
        names = sliders.evaluate_all("(all) => all.map((one) => one.getAttribute('aria-label'))")
        assert names == ["sagittal slice, voxel i", "coronal slice, voxel j", "axial slice, voxel k"]
        box = sliders.nth(1).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2, steps=5)
        page.evaluate(FRAME)
        assert crosshair(page) == [4, 11, 3]
        assert np.array_equal(
            blocks(page, "coronal"), GREY[slowly(DATA, "coronal", (4, 11, 3), True).astype(int)]
        )
        page.mouse.up()
        told(served, lambda: view.j, 11)
        sliders.nth(2).focus()
        for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "End", "ArrowDown"):
            page.keyboard.press(key)
        page.evaluate(FRAME)
        assert crosshair(page) == [4, 11, 5]
        assert sliders.nth(2).get_attribute("aria-valuetext") == "5, z 6.0 mm"
        told(served, lambda: view.k, 5)
        look(page, i=2, j=0, k=1)
        assert sliders.evaluate_all("(all) => all.map((one) => one.valueAsNumber)") == [2, 0, 1]
        assert sliders.evaluate_all("(all) => all.map((one) => one.max)") == ["8", "11", "6"]
        send(page, served, lambda: view.show(DATA[:, :, :1], AFFINE, (0.0, 255.0)))
        assert [sliders.nth(axis).is_visible() for axis in range(3)] == [True, True, False]
        assert place(page, 2) == ["0", "z−9.0", "I9.0"]


@pytest.mark.browser
def test_the_plane_that_is_the_input_of_the_other_tabs_is_marked(browser):
    marks = f"""{VIEW}.panes.map(({{el, input, waiting}}) =>
      [input.textContent, waiting.textContent, el.getAttribute("aria-label")])"""
    with opened(browser, plane="axial", stale=True) as (page, served, view):
        send(page, served, lambda: view.set_map(DATA))
        assert [one[0] for one in page.evaluate(marks)] == ["", "", "input"]
        served.do(lambda: view.update(plane="coronal", stale=True))
        page.wait_for_function(f"{pane('coronal')}.input.textContent == 'input'")
        (both, label), *rest = [(one[:2], one[2]) for one in page.evaluate(marks)]
        assert both == ["input", "updating…"]
        assert label.endswith("; the input of the other tabs")
        assert [one[0] for one in rest] == [["", "updating…"]] * 2
        apart = page.evaluate(
            f"[{pane('coronal')}.waiting, {pane('coronal')}.input].map((el) => el.getBoundingClientRect().toJSON())"
        )
        assert apart[0]["right"] < apart[1]["left"]
        served.do(lambda: setattr(view, "plane", ""))
        page.wait_for_function(f"{pane('coronal')}.input.textContent == ''")
        assert not page.locator(".pane.input").count()
        with pytest.raises(ValueError, match="matching"):
            view.plane = "oblique"


@pytest.mark.browser
def test_ctrl_and_wheel_zoom_about_the_pointer_the_middle_button_moves_and_0_shows_all(browser):
    shape = (60, 80, 70)
    grid = np.mgrid[tuple(slice(0, n) for n in shape)].astype(np.float32)
    with opened(browser, grid[1], np.eye(4)) as (page, *_):
        x, y = at(page, "axial", (12, 60, 35), shape)
        left, top = page.evaluate(
            f"(() => {{ const b = {pane('axial')}.el.getBoundingClientRect(); return [b.x, b.y] }})()"
        )
        place = int(y - top), int(x - left)
        before = pixels(page, "axial")[place][0]
        page.mouse.move(x, y)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -500)
        page.keyboard.up("Control")
        page.evaluate(FRAME)
        zoom = page.evaluate(f"{VIEW}.sight.zoom")
        assert zoom == pytest.approx(np.e)
        assert abs(pixels(page, "axial")[place][0] - before) <= 1
        assert crosshair(page) == [30, 40, 35]
        scale = page.evaluate(f"{VIEW}.fitted") * zoom
        page.mouse.down(button="middle")
        page.mouse.move(x, y + 40, steps=3)
        page.mouse.up(button="middle")
        page.evaluate(FRAME)
        assert pixels(page, "axial")[place][0] - before == pytest.approx(40 / scale, abs=1.5)
        # A crosshair that leaves what is seen takes it along.
        look(page, i=0, j=0, k=0)
        for plane in PLANES:
            x, y, width, height = page.evaluate(
                f"""(() => {{ const pane = {pane(plane)}
                  return [...pane.place_of([0, 0, 0], {VIEW}.frame_of(pane)), pane.width, pane.height] }})()"""
            )
            assert 0 <= x <= width
            assert 0 <= y <= height
        page.evaluate(f"{pane('axial')}.el.focus()")
        page.keyboard.press("0")
        page.evaluate(FRAME)
        assert page.evaluate(f"{VIEW}.sight") == {"zoom": 1, "centre": [29.5, 39.5, 34.5]}
        assert crosshair(page) == [30, 40, 35]


# ---- window, map, outline ------------------------------------------------------------------------------------------


def windowed(values, low, high) -> np.ndarray:
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.floor(share * 255 + 0.5).astype(int)


@pytest.mark.browser
def test_a_drag_with_shift_or_the_right_button_changes_the_window_by_the_rule(browser):
    data = (DATA * 7.77 - 300).astype(np.float32)  # not whole: 16-bit codes
    low, high = 100.0, 900.0
    with opened(browser, data, window=(low, high)) as (page, served, view):
        seen = slowly(data, "axial", (4, 6, 3), True)
        assert np.abs(blocks(page, "axial")[..., 0] - windowed(seen, low, high)).max() <= 1
        x, y = at(page, "axial", (4, 6, 3))
        for button, keys, (dx, dy) in (
            ("right", [], (60, 0)),
            ("left", ["Shift"], (-45, 30)),
            ("right", [], (0, -50)),
        ):
            for key in keys:
                page.keyboard.down(key)
            page.mouse.move(x, y)
            page.mouse.down(button=button)
            page.mouse.move(x + dx, y + dy, steps=3)
            page.mouse.up(button=button)
            for key in keys:
                page.keyboard.up(key)
            page.evaluate(FRAME)
            width, level = (high - low) * 2 ** (dx / 150), (low + high) / 2 + dy * (high - low) / 300
            low, high = level - width / 2, level + width / 2
            now = page.evaluate(f"[{VIEW}.model.window_low, {VIEW}.model.window_high]")
            assert now == [pytest.approx(low), pytest.approx(high)]
            assert np.abs(blocks(page, "axial")[..., 0] - windowed(seen, low, high)).max() <= 1
            told(served, lambda: [view.window_low, view.window_high], now)
        assert crosshair(page) == [4, 6, 3]
        page.evaluate(f"{pane('axial')}.el.focus()")
        page.keyboard.press("Shift+ArrowRight")
        assert page.evaluate(f"{VIEW}.model.window_high - {VIEW}.model.window_low") == pytest.approx(
            (high - low) * 2**0.1
        )
        look(page, window_low=500, window_high=500)
        assert {*blocks(page, "axial").flat} == {0, 255}
        look(page, window_low=0, window_high=1000, palette="viridis")
        assert (
            np.abs(
                blocks(page, "axial") - palettes.table("viridis").astype(int)[windowed(seen, 0, 1000)]
            ).max()
            <= 3
        )


@pytest.mark.browser
def test_a_map_has_the_colours_of_the_rule(browser):
    values = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    values[4, :4, 3] = [np.nan, np.inf, -np.inf, 0]
    cases = [
        (True, 0.0, {"opacity": 1, "alpha_by_value": False, "diverging": "blue-red", "threshold": 0}),
        (True, 1.3, {"opacity": 0.6, "alpha_by_value": True, "diverging": "purple-green", "threshold": 0.22}),
        (False, 0.0, {"opacity": 1, "alpha_by_value": True, "map_palette": "inferno", "threshold": 0}),
        (False, 0.8, {"opacity": 0.35, "alpha_by_value": False, "map_palette": "turbo", "threshold": 0.41}),
    ]
    with opened(browser) as (page, served, view):
        for signed, limit, settings in cases:
            send(page, served, lambda signed=signed, limit=limit: view.set_map(values, signed, limit=limit))
            look(page, **settings)
            name = settings["diverging" if signed else "map_palette"]
            coloured = palettes.coloured(
                values.reshape(9, -1), signed, name, settings["threshold"], settings["alpha_by_value"], limit
            ).reshape(*SHAPE, 4)
            for plane in PLANES:
                grey = GREY[slowly(DATA, plane, (4, 6, 3), True).astype(int)].astype(np.uint8)
                wanted = palettes.over(grey, slowly(coloured, plane, (4, 6, 3), True), settings["opacity"])
                assert np.abs(blocks(page, plane) - wanted).max() <= 2, (plane, settings)
            assert np.array_equal(blocks(page, "axial")[11, 4], grey_at(DATA[4, 0, 3]))  # the NaN
        look(page, show_map=False)
        assert np.array_equal(blocks(page, "axial"), GREY[slowly(DATA, "axial", (4, 6, 3), True).astype(int)])
        look(page, show_map=True)
        send(page, served, lambda: view.set_map(-np.abs(values)))
        assert np.array_equal(blocks(page, "axial"), GREY[slowly(DATA, "axial", (4, 6, 3), True).astype(int)])
        assert text(page, "note") == "the map is nowhere above 0"
        send(page, served, lambda: view.set_map(0 * DATA, True))
        assert text(page, "note") == "the map is zero everywhere"


def grey_at(value) -> np.ndarray:
    return GREY[int(value)]


@pytest.mark.browser
def test_an_outline_runs_along_the_mask_in_every_plane(browser):
    shape = (20, 20, 20)
    mask = np.zeros(shape, bool)
    mask[5:15, 4:16, 6:14] = True
    with opened(browser, np.full(shape, 128, np.float32), np.eye(4), mask=mask) as (page, *_):
        edges = {"axial": ((5, 15), (4, 16)), "coronal": ((5, 15), (6, 14)), "sagittal": ((4, 16), (6, 14))}
        for plane, ((left, right), (low, high)) in edges.items():
            picture, (_, _, width, height) = drawn(page, plane)
            bright = np.argwhere(picture[..., 0] > 200) / [height, width] * 20
            assert bright.min(0) == pytest.approx([20 - high, left], abs=0.6)
            assert bright.max(0) == pytest.approx([20 - low, right], abs=0.6)
            assert (np.abs(bright - 10) < 3).all(1).sum() == 0  # nothing inside
            assert (picture[..., 0] < 80).sum() > 100  # its dark rim
        look(page, i=2, j=2, k=2)
        for plane in PLANES:
            assert {*drawn(page, plane)[0].flat} == {128}


# ---- facts, updates ------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_facts_tell_voxel_millimetres_and_values_at_the_crosshair(browser):
    values = np.zeros(SHAPE, np.float32)
    values[1, 10, 5], values[2, 10, 5] = -0.0625, np.nan
    with opened(browser, (DATA / 3 - 40).astype(np.float32), window=(-40.0, 45.0), title="A map") as (
        page,
        served,
        view,
    ):
        assert page.evaluate(f"{VIEW}.facts.map.hidden && {VIEW}.facts.map_scale.el.hidden")
        send(page, served, lambda: view.set_map(values, signed=True, limit=0.125))
        look(page, i=1, j=10, k=5)
        assert [place(page, axis) for axis in range(3)] == [
            ["1", "x−6.0", "L6.0"],
            ["10", "y4.0", "A4.0"],
            ["5", "z6.0", "S6.0"],
        ]
        value = DATA[1, 10, 5] / 3 - 40
        assert float(text(page, "value").replace("−", "-")) == pytest.approx(value, rel=0.006)
        assert (text(page, "map"), text(page, "title")) == ("−0.0625", "A map")
        ends = f"['window_scale', 'map_scale'].map((one) => {VIEW}.facts[one].ends.map((end) => end.textContent))"
        assert page.evaluate(ends) == [["−40", "2.5", "45"], ["−0.125", "0", "+0.125"]]
        assert text(page, "window_scale.said") == "width 85, level 2.5"
        marks = page.evaluate(
            f"['window_scale', 'map_scale'].map((one) => parseFloat({VIEW}.facts[one].mark.style.left))"
        )
        assert marks == [pytest.approx(100 * (value + 40) / 85, abs=0.1), pytest.approx(25, abs=0.1)]
        look(page, i=2)
        assert text(page, "map") == "not known"
        assert page.evaluate(f"{VIEW}.facts.map_scale.mark.hidden")
        label = page.evaluate(f"{pane('axial')}.el.getAttribute('aria-label')")
        assert label == "Axial plane, k 5 of 0 to 6; the patient's right is on the left"
        assert page.evaluate(f"{VIEW}.stage.getAttribute('aria-label')") == "A map"


@pytest.mark.browser
def test_an_update_is_painted_whole_once_a_tick_and_a_stale_map_is_faint(browser):
    values = np.ones(SHAPE, np.float32)
    with opened(browser, show=False, placeholder="Choose a volume.", opacity=1, alpha_by_value=False) as (
        page,
        served,
        view,
    ):
        state = f"[{VIEW}.model.ack, {VIEW}.model.paints, {VIEW}.stage.classList.contains('filled')]"
        assert page.locator(".placeholder").inner_text() == "Choose a volume."
        served.do(lambda: view.update(shape=list(SHAPE), volume=DATA.astype(np.uint8).tobytes()))
        page.wait_for_function(f"{VIEW}.model.volume.byteLength > 0")
        page.evaluate(FRAME)
        assert page.evaluate(state) == [0, 0, False]
        send(page, served, lambda: view.show(DATA, AFFINE, (0.0, 255.0)))
        assert page.evaluate(state) == [1, 1, True]
        assert not page.locator(".placeholder").is_visible()
        told(served, lambda: view.ack, 1)
        send(page, served, lambda: view.set_map(values))
        bright = palettes.table("inferno")[255].astype(int)
        assert (blocks(page, "axial") == bright).all()
        served.do(lambda: view.update(stale=True, progress=0.25))
        page.wait_for_function(f"{pane('axial')}.waiting.textContent == 'updating…'")
        faint = 0.35 * bright + 0.65 * slowly(DATA, "axial", (4, 6, 3), True)[..., None]
        assert np.abs(blocks(page, "axial") - faint).max() <= 1
        assert page.evaluate(f"{VIEW}.progress.firstChild.style.width") == "25%"
        assert page.locator(".progress").is_visible()
        served.do(lambda: setattr(view, "stale", False))  # said to be fresh before it is there
        page.wait_for_function(f"!{VIEW}.model.stale")
        page.evaluate(FRAME)
        assert page.evaluate(f"{pane('axial')}.waiting.textContent") == "updating…"
        served.do(lambda: setattr(view, "visible", False))
        page.wait_for_function(f"{VIEW}.box.width == 0")
        served.do(lambda: view.set_map(values))
        page.wait_for_function(f"{VIEW}.held.tick == 3")
        page.evaluate(FRAME)
        assert page.evaluate(f"{VIEW}.model.ack") == 2
        served.do(lambda: setattr(view, "visible", True))
        page.wait_for_function(f"{VIEW}.model.ack == 3")
        assert (blocks(page, "axial") == bright).all()
        assert not page.locator(".progress").is_visible()
        send(page, served, view.clear)
        assert page.locator(".placeholder").is_visible()


@pytest.mark.browser
def test_only_planes_whose_slice_or_colours_changed_are_cut_anew(browser):
    with opened(browser) as (page, *_):
        page.evaluate(
            f"""() => {{ window.cuts = []
              for (const pane of {VIEW}.panes) {{
                const cut = pane.cut.bind(pane)
                pane.cut = (...all) => {{ window.cuts.push(pane.plane.name); cut(...all) }}
              }} }}"""
        )
        for change, wanted in (
            ({"k": 5}, ["axial"]),
            ({"i": 5, "j": 5}, ["coronal", "sagittal"]),
            ({"window_high": 99}, [*PLANES]),
            ({"opacity": 0.3}, []),
        ):
            page.evaluate("window.cuts.length = 0")
            look(page, **change)
            assert page.evaluate("window.cuts") == wanted
        page.wait_for_function(f"{VIEW}.model.timings.length >= 4")


@pytest.mark.browser
def test_axial_slices_that_were_copied_ahead_are_what_they_are_in_the_volume(browser):
    shape, random = (6, 5, 27), np.random.default_rng(3)
    data = random.integers(0, 256, shape).astype(np.float32)
    values, mask = random.normal(size=shape).astype(np.float32), random.random(shape) > 0.9
    with opened(browser, data, np.eye(4), mask=mask, alpha_by_value=False, opacity=1) as (page, served, view):
        send(page, served, lambda: view.set_map(values, signed=True))
        coloured = palettes.coloured(values.reshape(6, -1), True, "blue-red", alpha_by_value=False)
        copies = f"[...{VIEW}.model.nearby.blocks.keys()].sort().join()"
        for k, blocks_there in ((13, "0,1,2"), (2, "0,1"), (26, "2,3"), (0, "0,1")):
            look(page, k=k)
            page.wait_for_function(f"{copies} == '{blocks_there}'")
            for near in {k, max(0, k - 1), min(26, k + 1)}:
                copied, plain = page.evaluate(
                    f"""(() => {{ const {{model, panes}} = {VIEW}, plane = panes[2].plane
                      const all = ({{codes, map, mask, from, column, row, width, height}}) =>
                        [codes, map, mask].map((one) => Array.from({{length: width * height}}, (_, n) =>
                          one[from + Math.floor(n / height) * column + n % height * row]))
                      return [all(model.layer(plane, {near})), all(model.coarse_layer(plane, {near}))] }})()"""
                )
                assert copied == plain
                assert copied[0] == data[:, :, near].ravel().astype(int).tolist()
        wanted = slowly(coloured.reshape(*shape, 4), "axial", (3, 2, 0), True)[..., :3].astype(int)
        plain = ~slowly(mask, "axial", (3, 2, 0), True)
        assert np.median(np.abs(blocks(page, "axial", shape) - wanted)[plain]) <= 1


@pytest.mark.browser
def test_what_does_not_fit_together_is_said_not_drawn(browser):
    with opened(browser) as (page, served, view):
        send(page, served, lambda: view.update(map=bytes(10), map_shape=[5, 1, 1], mask=b"123", tick=2))
        assert text(page, "note") == "the map cannot be read · the outline cannot be read"
        assert np.array_equal(blocks(page, "axial"), GREY[slowly(DATA, "axial", (4, 6, 3), True).astype(int)])
        send(page, served, lambda: view.update(volume=bytes(5), tick=3))
        assert page.locator(".placeholder").inner_text().startswith("the volume cannot be read")
        turn = np.deg2rad(20)
        oblique = np.eye(4)
        oblique[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        send(page, served, lambda: view.show(DATA, oblique @ AFFINE, (0.0, 255.0)))
        assert text(page, "note") == "planes follow the voxels, 20° from the patient’s axes"
        assert page.evaluate(f"{pane('sagittal')}.letters.right.textContent") == "A"


@pytest.mark.browser
def test_the_browser_remembers_the_convention(browser):
    with opened(browser) as (page, served, view):
        assert page.evaluate(f"{VIEW}.model.radiological")
        page.get_by_role("button", name="Radiological").click()
        page.evaluate(FRAME)
        assert np.array_equal(
            blocks(page, "axial"), GREY[slowly(DATA, "axial", (4, 6, 3), False).astype(int)]
        )
        told(served, lambda: view.radiological, False)
        with browser.open(served.build) as (again, served):
            assert not again.evaluate(f"{VIEW}.model.radiological")
            told(served, lambda: served.made[-1].radiological, False)


# ---- in Python -----------------------------------------------------------------------------------------------------


def test_whole_numbers_stay_what_they_are_and_others_are_finely_told():
    view = VolumeView()
    view.show(DATA - 100, AFFINE, (0.0, 100.0))
    assert (np.frombuffer(view.volume, np.uint8).reshape(SHAPE) + view.value_low == DATA - 100).all()
    assert (view.value_low, view.value_high, view.shape) == (-100 + DATA.min(), 155 + DATA.min(), list(SHAPE))
    assert (view.i, view.j, view.k, view.tick) == (4, 6, 3, 1)
    assert view.affine == list(AFFINE.flat)
    data = (DATA * np.pi).astype(np.float32)
    data[0, 0, :3] = [np.nan, np.inf, 1e9]
    view.i = 1
    view.show(data, AFFINE, (0.0, 400.0), DATA > 99)
    assert len(view.volume) == 2 * DATA.size
    values = (
        np.frombuffer(view.volume, "<u2").reshape(SHAPE) / 65535 * (view.value_high - view.value_low)
        + view.value_low
    )
    assert np.abs(values - data)[1:].max() <= 40_400 / 65535 / 2 + 1e-3
    assert values[0, 0, :2].tolist() == pytest.approx([view.value_low] * 2)
    assert values[0, 0, 2] == pytest.approx(40_400)  # 100 windows above the window
    assert (np.frombuffer(view.mask, np.uint8).reshape(SHAPE) == (DATA > 99)).all()
    assert view.i == 1  # the same grid
    view.show(np.full((2, 3, 4), 0.5, np.float32), AFFINE, (0.5, 0.5))
    assert (view.mask, view.i) == (b"", 1)


def test_zero_in_a_map_is_exact_and_what_is_no_number_is_code_0():
    view = VolumeView()
    view.show(DATA, AFFINE, (0.0, 255.0))
    values = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    values[0, 0, :4] = [0, np.nan, np.inf, -np.inf]
    view.stale = True
    view.set_map(values, signed=True, progress=0.5)
    codes = np.frombuffer(view.map, "<u2").reshape(SHAPE)
    assert codes[0, 0, :4].tolist() == [32768, 0, 65535, 1]
    back = view.map_low + (codes - 1.0) / 65534 * (view.map_high - view.map_low)
    assert np.abs(back - values)[1:].max() <= view.map_high / 32767
    assert view.limit == view.map_high == -view.map_low == np.abs(values[np.isfinite(values)]).max()
    assert (view.map_shape, view.stale, view.progress, view.tick) == (list(SHAPE), False, 0.5, 2)
    view.set_map(values)
    assert view.limit == pytest.approx(values[np.isfinite(values)].max())
    view.show(DATA, AFFINE, (0.0, 255.0))
    assert (view.map, view.map_shape, view.limit) == (b"", [], 0)
    view.clear()
    assert (view.volume, view.shape, view.tick) == (b"", [], 5)


def test_what_cannot_be_shown_is_refused():
    view = VolumeView()
    for data, affine, mask, words in (
        (DATA[0], AFFINE, None, "three axes"),
        (DATA[:0], AFFINE, None, "three axes"),
        (DATA, AFFINE, DATA[1:], "mask is of shape"),
        (DATA, np.diag([-1.0, 1, 1, 1]), None, "RAS"),
        (DATA, AFFINE * np.nan, None, "RAS"),
        (DATA, np.eye(3), None, "RAS"),
    ):
        with pytest.raises(ValueError, match=words):
            view.show(data, affine, (0.0, 1.0), mask)
    with pytest.raises(ValueError, match="map is of shape"):
        view.set_map(DATA)
