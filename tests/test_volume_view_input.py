"""A person's mouse, wheel, keys and sliders on a volume's planes, in a real browser: crosshair, zoom and window."""

import numpy as np
import pytest
from bokeh.models import Slider
from browsing import FRAME, chromium
from volume_views import (
    AFFINE,
    DATA,
    GREY,
    PLANES,
    VIEW,
    at,
    blocks,
    crosshair,
    look,
    moved,
    opened,
    pane,
    pixels,
    place,
    send,
    slowly,
    told,
    windowed,
)

from dashboard import palettes
from dashboard.volume_view import VolumeView


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.mark.browser
def test_click_drag_wheel_and_keys_move_one_crosshair_in_all_planes(browser):
    with opened(browser) as (page, served, view):
        moved(page, [4, 6, 3])
        page.mouse.click(*at(page, "axial", (1, 10, 3)))
        moved(page, [1, 10, 3])
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
        moved(page, [1, 0, 0])
        for plane, wanted in (("coronal", [1, 1, 0]), ("axial", [1, 1, 1]), ("sagittal", [2, 1, 1])):
            page.mouse.move(*at(page, plane, (4, 4, 4)))
            page.mouse.wheel(0, -120)
            moved(page, wanted)
        for _ in range(4):  # a wheel without notches
            page.mouse.wheel(0, 16)
        moved(page, [0, 1, 1])
        page.mouse.wheel(0, 120)  # there is no slice below the first
        moved(page, [0, 1, 1])
        page.evaluate(f"{pane('axial')}.el.focus()")
        for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowUp", "PageUp", "PageUp", "PageDown"):
            page.keyboard.press(key)
        moved(page, [1, 2, 2])  # left on the screen is the patient's right
        page.keyboard.press("Tab")
        page.evaluate(f"{pane('sagittal')}.el.focus()")
        for key in ("ArrowRight", "ArrowDown", "PageUp"):
            page.keyboard.press(key)
        moved(page, [2, 3, 1])
        told(served, lambda: (view.i, view.j, view.k), (2, 3, 1))
        page.mouse.dblclick(*at(page, "axial", (0, 0, 0)))
        moved(page, [4, 6, 3])
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
        moved(page, [4, 11, 3])
        assert np.array_equal(
            blocks(page, "coronal"), GREY[slowly(DATA, "coronal", (4, 11, 3), True).astype(int)]
        )
        page.mouse.up()
        told(served, lambda: view.j, 11)
        sliders.nth(2).focus()
        for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "End", "ArrowDown"):
            page.keyboard.press(key)
        moved(page, [4, 11, 5])
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
        page.wait_for_function(f"{VIEW}.sight.zoom > 2")
        page.evaluate(FRAME)
        zoom = page.evaluate(f"{VIEW}.sight.zoom")
        assert zoom == pytest.approx(np.e)
        assert abs(pixels(page, "axial")[place][0] - before) <= 1
        moved(page, [30, 40, 35])
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
        moved(page, [30, 40, 35])


# ---- window, map, outline ------------------------------------------------------------------------------------------


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
        moved(page, [4, 6, 3])
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
