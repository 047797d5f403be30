"""The lens that overlays share, in a real browser: wheel, drag and keys, and the values under the pointer."""

import time

import numpy as np
import pytest
from browsing import FRAME, WAIT, chromium
from overlay_views import LENS, PICTURE, SIDE, SIGNED, chip, look, pair, pixels, show

from vislib import display


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


def centre(page, name: str) -> tuple[float, float]:
    box = page.evaluate(
        f"(() => {{ const b = view_of('{name}').window.getBoundingClientRect(); return [b.x, b.y] }})()"
    )
    return box[0], box[1]


def move(page, name: str, fx: float, fy: float) -> None:
    """Put the pointer over an overlay, at shares of its window."""
    left, top = centre(page, name)
    page.mouse.move(left + fx * SIDE, top + fy * SIDE)
    page.evaluate(FRAME)


@pytest.mark.browser
def test_wheel_drag_and_double_click_move_all_overlays_at_once(browser):
    coordinates = np.stack([*np.mgrid[0:256, 0:256], np.zeros((256, 256))], -1).astype(np.uint8)
    with browser.open(pair) as (page, served):
        lens = served.made[-1][0].lens
        for which in (0, 1):
            show(page, served, display.png(coordinates), which=which)
        # Which of the two are painted in one animation frame.
        page.evaluate(
            """() => { window.frames_of = []
              for (const name of ["a", "b"]) {
                const view = view_of(name), paint = view.paint.bind(view), {lens} = view.model
                view.paint = (box) => {
                  window.frames_of.push([name, document.timeline.currentTime, lens.zoom])
                  paint(box)
                } } }"""
        )
        move(page, "a", 0.25, 0.75)
        page.mouse.wheel(0, -400)
        page.wait_for_function(f"{LENS}.zoom > 2")
        page.evaluate(FRAME)
        zoom = page.evaluate(f"{LENS}.zoom")
        assert zoom == pytest.approx(np.exp(0.8), rel=1e-3)
        painted = [one for one in page.evaluate("window.frames_of") if one[2] == zoom]
        assert [one[0] for one in painted] == ["a", "b"]
        assert painted[0][1] == painted[1][1]
        for name in "ab":  # what is under the pointer stays there
            y, x = pixels(page, name)[192, 64, :2].astype(int)
            assert abs(x - 64) <= 2
            assert abs(y - 192) <= 2
        before = pixels(page, "b")[128, 128, :2].astype(int)
        page.mouse.down()
        assert page.evaluate("view_of('a').window.classList.contains('held')")
        move(page, "a", 0.25 + 0.2, 0.75 - 0.2)
        page.mouse.up()
        after = pixels(page, "b")[128, 128, :2].astype(int)
        assert np.abs(after - before - np.array([1, -1]) * 0.2 * 256 / zoom).max() <= 2
        move(page, "a", 5, 5)
        deadline = time.monotonic() + WAIT / 1000
        while served.do(lambda: lens.centre_x) != page.evaluate(f"{LENS}.centre_x"):
            assert time.monotonic() < deadline
        assert served.do(lambda: (lens.zoom, lens.hover_x)) == (zoom, -1)
        # Zoomed at a corner and out again, no empty place ever shows.
        move(page, "b", 0.99, 0.99)
        for turns in (-3000, 1200):
            page.mouse.wheel(0, turns)
            page.evaluate(FRAME)
            assert (pixels(page, "a")[..., 3] == 255).all()
        left, top = centre(page, "b")
        page.mouse.dblclick(left + 10, top + 10)
        page.evaluate(FRAME)
        assert page.evaluate(f"[{LENS}.zoom, {LENS}.centre_x, {LENS}.centre_y]") == [1, 0.5, 0.5]
        y, x = pixels(page)[10, 200, :2].astype(int)
        assert (x, y) == (200, 10)


@pytest.mark.browser
def test_keys_zoom_and_pan_while_an_overlay_has_the_focus(browser):
    with browser.open(pair) as (page, served):
        show(page, served, display.png(PICTURE), SIGNED)
        page.evaluate("view_of('a').stage.focus()")
        for key in ("+", "+", "ArrowRight", "ArrowDown"):
            page.keyboard.press(key)
        zoom, x, y = page.evaluate(f"[{LENS}.zoom, {LENS}.centre_x, {LENS}.centre_y]")
        assert (zoom, x, y) == (2.25, pytest.approx(0.5 + 0.1 / 2.25), pytest.approx(0.5 + 0.1 / 2.25))
        for _ in range(20):
            page.keyboard.press("ArrowLeft")
        assert page.evaluate(f"{LENS}.centre_x") == pytest.approx(0.5 / 2.25)
        page.keyboard.press("-")
        assert page.evaluate(f"{LENS}.zoom") == 1.5
        page.keyboard.press("0")
        assert page.evaluate(f"[{LENS}.zoom, {LENS}.centre_x]") == [1, 0.5]


@pytest.mark.browser
def test_the_value_under_the_pointer_is_told_in_every_overlay(browser):
    with browser.open(pair) as (page, served):
        large = np.zeros((16, 16), np.float32)
        large[12, 5] = 0.123456
        small = np.full((8, 8), -4321.5, np.float32)
        show(page, served, display.png(np.zeros((16, 16), np.uint8)), large)
        show(page, served, None, small, which=1, signed=True)
        assert [chip(page, name, "value") for name in "ab"] == ["", ""]
        move(page, "a", 5.5 / 16, 12.5 / 16)
        assert chip(page, "a", "value") == "x 5, y 12 · 0.123"
        assert chip(page, "b", "value") == "x 2, y 6 · −4322"
        for name in "ab":
            assert page.evaluate(
                f"view_of('{name}').crosses.map((one) => one.hidden || getComputedStyle(one).display == 'none')"
            ) == [False, False]
            at = page.evaluate(
                f"['--x', '--y'].map((key) => parseFloat(view_of('{name}').window.style.getPropertyValue(key)))"
            )
            assert at == [pytest.approx(5.5 / 16 * SIDE, abs=1), pytest.approx(12.5 / 16 * SIDE, abs=1)]
        # The chip makes way for the pointer, and the colour bar has a mark.
        assert page.evaluate("view_of('a').chips.value.classList.contains('above')")
        assert page.evaluate("[view_of('a').mark.style.left, view_of('b').mark.style.left]") == ["100%", "0%"]
        look(page, zoom=4, centre_x=0.35, centre_y=0.75)
        move(page, "b", 0.5, 0.5)
        assert chip(page, "a", "value").startswith("x 5, y 12 ·")
        page.mouse.move(900, 700)
        page.evaluate(FRAME)
        assert [chip(page, name, "value") for name in "ab"] == ["", ""]
        assert page.evaluate("view_of('a').crosses[0].hidden && view_of('a').mark.hidden")
        served.do(lambda: setattr(served.made[-1][0], "show_overlay", False))
        page.wait_for_function("!view_of('a').model.show_overlay")
        move(page, "a", 0.5, 0.5)
        assert chip(page, "a", "value") == "x 5, y 12"
