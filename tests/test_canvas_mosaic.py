"""The mosaic in a real browser: what is painted in each cell, chosen by mouse or keys, told, and coloured."""

import time

import numpy as np
import pytest
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, TextInput
from browsing import WAIT, chromium
from canvas_views import colour_at, flat, model, wait_value

from dashboard.canvas import Keys, Mosaic
from vislib import display

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


def mosaic_frame(values, columns: int, gap: int = 0, cell: int = 32) -> bytes:
    return display.jpeg(display.tile(np.stack([flat(v) for v in values]), columns, cell, gap), quality=95)


def cell_boxes(page, name: str = "mosaic") -> list[dict]:
    return page.evaluate(
        "(name) => view_of(name).boxes.map(({left, top, width, height}) => ({left, top, width, height}))",
        name,
    )


VALUES = [10, 60, 110, 160, 210]


def mosaic_page(document):
    source = ColumnDataSource(
        {"unit": [12, 13, 14, 15, 16], "score": [3.4142, 2, 1, 0, -1], "step": [180] * 5}
    )
    mosaic = Mosaic(name="mosaic", n=5, columns=3, source=source, spacing=4, sizing_mode="stretch_both")
    keys = Keys(name="keys", mosaic=mosaic)
    text = TextInput(name="text")
    document.add_root(column(text, mosaic, keys, width=420, height=330, sizing_mode="fixed", name="all"))
    return mosaic


def test_every_cell_is_painted_where_it_belongs_and_acknowledged(browser):
    with browser.open(mosaic_page) as (page, served):
        mosaic = served.made[-1]
        assert page.evaluate("view_of('mosaic').stage.classList.contains('filled')") is False
        served.do(lambda: mosaic.show(mosaic_frame(VALUES, 3)))
        wait_value(page, f"{model('mosaic')}.ack", 1)
        boxes = cell_boxes(page)
        assert len(boxes) == 5
        for value, box in zip(VALUES, boxes, strict=True):
            for fx, fy in ((0.5, 0.5), (0.06, 0.06), (0.94, 0.94)):
                shown = colour_at(
                    page, "mosaic", box["left"] + fx * box["width"], box["top"] + fy * box["height"]
                )
                assert abs(shown - value) <= 3
        assert colour_at(page, "mosaic", boxes[0]["left"] + boxes[0]["width"] + 2, 20) == -1
        deadline = time.monotonic() + WAIT / 1000
        while served.do(lambda: mosaic.ack) != 1:
            assert time.monotonic() < deadline
        assert served.do(lambda: (mosaic.shown_columns, mosaic.cell_pixels)) == (3, boxes[0]["width"])


def test_the_gap_in_a_frame_is_left_out_and_the_skeleton_comes_back(browser):
    with browser.open(mosaic_page) as (page, served):
        mosaic = served.made[-1]

        def show():
            mosaic.gap = 5
            mosaic.show(mosaic_frame(VALUES, 3, gap=5))

        served.do(show)
        wait_value(page, f"{model('mosaic')}.ack", 1)
        for value, box in zip(VALUES, cell_boxes(page), strict=True):
            for fx in (0.03, 0.97):
                shown = colour_at(
                    page, "mosaic", box["left"] + fx * box["width"], box["top"] + 0.5 * box["height"]
                )
                assert abs(shown - value) <= 12
        served.do(mosaic.clear)
        wait_value(page, f"{model('mosaic')}.ack", 2)
        assert colour_at(page, "mosaic", 30, 30) == -1
        assert page.evaluate("view_of('mosaic').stage.classList.contains('filled')") is False


def test_a_click_and_the_arrow_keys_choose_but_not_while_somebody_types(browser):
    with browser.open(mosaic_page) as (page, served):
        mosaic = served.made[-1]
        page.locator(".cell").nth(1).click()
        wait_value(page, f"{model('mosaic')}.selected", 1)
        assert page.locator(".cell.chosen").get_attribute("id") == "cell-1"
        assert page.locator("[role=listbox]").get_attribute("aria-activedescendant") == "cell-1"
        page.keyboard.press("ArrowRight")
        wait_value(page, f"{model('mosaic')}.selected", 2)
        page.keyboard.press("ArrowDown")  # there is no cell below
        assert page.evaluate(f"{model('mosaic')}.selected") == 2
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowDown")
        wait_value(page, f"{model('mosaic')}.selected", 4)
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("ArrowUp")  # the page's own keys, without a focus
        wait_value(page, f"{model('mosaic')}.selected", 1)
        page.locator("input").click()
        page.keyboard.press("ArrowLeft")
        page.keyboard.type("[ ]")
        assert page.evaluate(f"{model('mosaic')}.selected") == 1
        assert page.evaluate(f"[{model('keys')}.pause_count, {model('keys')}.step_count]") == [0, 0]
        assert page.locator("input").input_value() == "[ ]"
        deadline = time.monotonic() + WAIT / 1000
        while served.do(lambda: mosaic.selected) != 1:
            assert time.monotonic() < deadline


def test_space_and_brackets_are_counted_where_nobody_types(browser):
    with browser.open(mosaic_page) as (page, _):
        for key in (" ", "]", "]", "[", "Control+]"):
            page.keyboard.press(key)
        wait_value(page, f"{model('keys')}.pause_count", 1)
        wait_value(page, f"{model('keys')}.step_count", 1)
        page.evaluate(f"{model('keys')}.active = false")
        page.keyboard.press(" ")
        assert page.evaluate(f"{model('keys')}.pause_count") == 1


def test_hovering_tells_unit_score_and_step_as_they_change(browser):
    with browser.open(mosaic_page) as (page, served):
        mosaic = served.made[-1]
        page.locator(".cell").nth(0).hover()
        tip = page.locator(".tip")
        tip.wait_for(state="visible")
        assert tip.text_content() == "unit 12, score 3.41, step 180"
        assert page.locator(".cell").nth(0).get_attribute("aria-label") == "unit 12, score 3.41, step 180"
        assert page.locator(".cell .unit").all_text_contents() == ["12", "13", "14", "15", "16"]

        def change():
            mosaic.source.data = {"unit": [7] * 5, "score": [float("nan")] * 5, "step": [181] * 5}
            mosaic.badges = ["never fired"]

        served.do(change)
        page.wait_for_function(
            "view_of('mosaic').tip.textContent == 'unit 7, score n/a, step 181, never fired'"
        )
        assert page.locator(".cell .badge").nth(0).text_content() == "never fired"
        page.mouse.move(0, 0)
        tip.wait_for(state="hidden")


def test_a_change_of_size_keeps_the_picture_and_fills_the_new_box(browser):
    with browser.open(mosaic_page, device_scale_factor=2) as (page, served):
        mosaic = served.made[-1]
        served.do(lambda: mosaic.show(mosaic_frame(VALUES, 3)))
        wait_value(page, f"{model('mosaic')}.ack", 1)
        before = cell_boxes(page)[0]
        assert page.evaluate("view_of('mosaic').canvas.width") == 2 * page.evaluate(
            "view_of('mosaic').box.width"
        )
        # No animation frame may ever show an empty canvas.
        page.evaluate(
            """() => { window.empty = 0
              const view = view_of("mosaic")
              const look = () => { const {left, top, width} = view.boxes[0], context = view.canvas.getContext("2d")
                if (context.getImageData(2 * left + width, 2 * top + width, 1, 1).data[3] == 0) window.empty++
                requestAnimationFrame(look) }
              requestAnimationFrame(look) }"""
        )
        for width in (500, 640, 800):
            page.evaluate(f"{model('all')}.width = {width}")
            page.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
            )
        page.evaluate(f"{model('all')}.height = 600")
        page.wait_for_function("view_of('mosaic').box.width > 700 && view_of('mosaic').box.height > 500")
        page.evaluate(  # until the layout has settled
            """async () => { let old = "", same = 0
              while (same < 5) {
                await new Promise((done) => requestAnimationFrame(done))
                const now = JSON.stringify([view_of("mosaic").box, view_of("mosaic").boxes])
                same = now == old ? same + 1 : 0
                old = now
              } }"""
        )
        after = cell_boxes(page)[0]
        assert after["width"] > before["width"]
        assert page.evaluate("window.empty") == 0
        for value, box in zip(VALUES, cell_boxes(page), strict=True):
            middle = (box["left"] + box["width"] / 2, box["top"] + box["height"] / 2)
            assert abs(colour_at(page, "mosaic", *middle) - value) <= 3


def test_few_pixels_are_shown_as_pixels_and_a_broken_frame_is_survived(browser):
    def build(document):
        mosaic = Mosaic(name="mosaic", n=1, columns=1, width=200, height=200)
        document.add_root(mosaic)
        return mosaic

    edge = np.concatenate([np.zeros((8, 4)), np.full((8, 4), 255)], 1).astype(np.uint8)
    with browser.open(build) as (page, served):
        mosaic = served.made[-1]
        served.do(lambda: mosaic.show(b"\xff\xd8 no picture"))
        wait_value(page, f"{model('mosaic')}.ack", 1)
        served.do(lambda: mosaic.show(display.png(edge)))
        wait_value(page, f"{model('mosaic')}.ack", 2)
        assert [colour_at(page, "mosaic", x, 100) for x in (90, 98, 101, 110)] == [0, 0, 255, 255]
        served.do(lambda: setattr(mosaic, "smoothing", "smooth"))
        page.wait_for_function(
            "view_of('mosaic').canvas.getContext('2d').getImageData(98, 100, 1, 1).data[0] > 60"
        )


def test_a_hidden_mosaic_asks_for_nothing_and_paints_the_newest_when_it_is_seen(browser):
    with browser.open(mosaic_page) as (page, served):
        mosaic = served.made[-1]
        served.do(lambda: setattr(mosaic, "visible", False))
        page.wait_for_function("view_of('mosaic').box.width == 0")
        served.do(lambda: mosaic.show(mosaic_frame(VALUES, 3)))
        served.do(lambda: mosaic.show(mosaic_frame(VALUES[::-1], 3)))
        page.wait_for_function("view_of('mosaic').shown == 2")
        assert page.evaluate(f"[{model('mosaic')}.ack, {model('mosaic')}.paints]") == [0, 0]
        served.do(lambda: setattr(mosaic, "visible", True))
        wait_value(page, f"{model('mosaic')}.ack", 2)
        box = cell_boxes(page)[0]
        middle = (box["left"] + box["width"] / 2, box["top"] + box["height"] / 2)
        assert abs(colour_at(page, "mosaic", *middle) - VALUES[-1]) <= 3


def test_colours_follow_the_page(browser):
    with browser.open(mosaic_page) as (page, served):
        page.add_style_tag(content=":root { --accent: rgb(1, 2, 3); --surface: rgb(4, 5, 6); }")
        served.do(lambda: setattr(served.made[-1], "selected", 0))
        page.locator(".cell.chosen").wait_for()
        ring = page.evaluate("getComputedStyle(view_of('mosaic').cells[0], '::after').boxShadow")
        assert "rgb(1, 2, 3)" in ring
        assert "rgb(4, 5, 6)" in ring
