"""Pictures under maps in a real browser: colours, the shared lens, values under the pointer, and what is stale."""

import base64
import io
import time

import numpy as np
import pytest
from bokeh.layouts import row
from browsing import FRAME, WAIT, chromium
from PIL import Image

from dashboard import palettes
from dashboard.overlay import Lens, Overlay
from vislib import display


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


LENS = "Bokeh.documents[0].get_model_by_name('lens')"
SIDE = 256  # CSS pixels of the square window that every overlay here has
SIGNED = np.linspace(-2, 1, 64, dtype=np.float32).reshape(8, 8)
PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)


def pair(document):
    """Two overlays under one lens, whose windows are as large as the box is but for caption and colour bar."""
    lens = Lens(name="lens", smooth=False)
    pair = [Overlay(name=name, lens=lens, width=SIDE, height=SIDE + 24) for name in "ab"]
    document.add_root(row(*pair, spacing=20))
    return pair


def show(page, served, *args, which: int = 0, **kwargs) -> None:
    """Send an update and wait until it is painted."""
    overlay = served.made[-1][which]
    tick = served.do(lambda: overlay.show(*args, **kwargs) or overlay.tick)
    page.wait_for_function(f"view_of('{'ab'[which]}').model.ack == {tick}")


def look(page, **settings) -> None:
    """Set properties of the lens in the browser, as a widget linked to it does, and wait for the paint."""
    page.evaluate(f"(settings) => {LENS}.setv(settings)", settings)
    page.evaluate(FRAME)


def pixels(page, name: str = "a", canvas: str = "canvas") -> np.ndarray:
    """RGBA of a canvas of an overlay, (h, w, 4)."""
    url = page.evaluate("([name, canvas]) => view_of(name)[canvas].toDataURL()", [name, canvas])
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGBA"))


def blocks(page, n: int = 8, name: str = "a") -> np.ndarray:
    """The colours in the middle of each of n x n blocks of a window, (n, n, 3)."""
    middles = (np.arange(n) * SIDE // n) + SIDE // (2 * n)
    return pixels(page, name)[np.ix_(middles, middles)][..., :3].astype(int)


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


def chip(page, name: str, which: str) -> str:
    return page.evaluate(f"view_of('{name}').chips.{which}.textContent")


CASES = [
    (False, {"opacity": 1, "palette": palette, "threshold": threshold, "alpha_by_value": alpha})
    for palette, threshold, alpha in (("inferno", 0, True), ("viridis", 0.3, False), ("turbo", 0.5, True))
] + [
    (True, {"opacity": opacity, "diverging": palette, "threshold": threshold, "alpha_by_value": alpha})
    for palette, threshold, alpha, opacity in (
        ("blue-red", 0, True, 1),
        ("purple-green", 0.25, False, 0.6),
        ("purple-orange", 0, False, 1),
    )
]


@pytest.mark.browser
def test_the_browser_shows_the_colours_of_the_rule(browser):
    values = SIGNED.copy()
    values[0, :4] = [np.nan, np.inf, -np.inf, 0]
    with browser.open(pair) as (page, served):
        for signed in (False, True):
            for limit in (0.0, 0.8):
                show(page, served, display.png(PICTURE), values, signed=signed, limit=limit)
                for _, settings in (case for case in CASES if case[0] == signed):
                    look(page, **settings)
                    rgba = palettes.coloured(
                        values,
                        signed,
                        settings["diverging" if signed else "palette"],
                        settings["threshold"],
                        settings["alpha_by_value"],
                        limit,
                    )
                    wanted = palettes.over(PICTURE, rgba, settings["opacity"]).astype(int)
                    assert np.abs(blocks(page) - wanted).max() <= 2, (signed, limit, settings)


@pytest.mark.browser
def test_a_map_is_shown_smooth_or_in_its_own_pixels_alone_or_not_at_all(browser):
    raw = np.array([[0, 1], [0, 0]], np.float32)
    smooth = np.repeat(np.repeat(raw, 4, 0), 4, 1)
    grey = np.full((8, 8, 3), 128, np.uint8)
    with browser.open(pair) as (page, served):
        show(page, served, display.png(grey), smooth, raw=raw)
        look(page, opacity=1, palette="grey")
        assert np.abs(blocks(page, 2)[..., 0] - [[128, 255], [128, 128]]).max() <= 2
        row_of = pixels(page)[64, :, 0].astype(int)
        assert sorted({*row_of}) == [128, 255]
        look(page, smooth=True)
        row_of = pixels(page)[64, :, 0].astype(int)
        assert len({*row_of}) > 10
        assert (np.diff(row_of) >= -1).all()
        # Interpolated between the pixels of the map for the picture, not of the small one.
        assert row_of[127 - 18] <= 129
        assert row_of[127 + 18] >= 253
        look(page, show_map=False)
        assert {*pixels(page)[..., 0].flat} == {128}
        look(page, show_map=True, show_picture=False)
        assert {*pixels(page)[200, :, 3]} == {0}
        look(page, show_picture=True)
        served.do(lambda: setattr(served.made[-1][0], "show_overlay", False))
        page.wait_for_function("!view_of('a').model.show_overlay")
        page.evaluate(FRAME)
        assert {*pixels(page)[..., 0].flat} == {128}
        assert page.evaluate("view_of('a').scale.hidden")


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


@pytest.mark.browser
def test_an_update_is_painted_whole_once_a_tick_and_not_while_nobody_sees_it(browser):
    with browser.open(pair) as (page, served):
        overlay = served.made[-1][0]
        state = "[view_of('a').model.ack, view_of('a').model.paints]"

        def send():
            overlay.picture = display.png(PICTURE)
            overlay.map, overlay.map_shape = SIGNED.tobytes(), [8, 8]

        served.do(send)
        page.wait_for_function("view_of('a').model.map_shape.length == 2")
        page.evaluate(FRAME)
        assert page.evaluate(state) == [0, 0]
        assert not page.evaluate("view_of('a').stage.classList.contains('filled')")
        served.do(lambda: setattr(overlay, "tick", 1))
        page.wait_for_function("view_of('a').model.ack == 1")
        look(page, opacity=0.3)
        assert page.evaluate(state) == [1, 1]
        deadline = time.monotonic() + WAIT / 1000
        while served.do(lambda: overlay.ack) != 1:
            assert time.monotonic() < deadline
        served.do(lambda: setattr(overlay, "visible", False))
        page.wait_for_function("view_of('a').box.width == 0")
        served.do(lambda: [overlay.show(None, k * SIGNED) for k in (1, 2)])
        page.wait_for_function("view_of('a').held.tick == 3")
        page.evaluate(FRAME)
        assert page.evaluate(state) == [1, 1]
        served.do(lambda: setattr(overlay, "visible", True))
        page.wait_for_function("view_of('a').model.ack == 3")
        assert page.evaluate(state) == [3, 2]
        served.do(overlay.clear)
        page.wait_for_function("view_of('a').model.ack == 4")
        assert (pixels(page)[..., 3] == 0).all()
        assert not page.evaluate("view_of('a').stage.classList.contains('filled')")


@pytest.mark.browser
def test_what_is_stale_is_dimmed_at_once_and_until_the_next_update(browser):
    with browser.open(pair) as (page, served):
        overlay = served.made[-1][0]
        look_of = "getComputedStyle(view_of('a').canvas).filter"
        served.do(lambda: overlay.update(caption="Grad-CAM", placeholder="Press Explain.", stale=True))
        page.wait_for_function("view_of('a').caption.textContent == 'Grad-CAM'")
        assert page.locator(".placeholder").first.inner_text() == "Press Explain."
        assert chip(page, "a", "waiting") == ""  # there is nothing yet that could be wrong
        show(page, served, display.png(PICTURE), SIGNED, note="a note")
        assert not page.locator(".placeholder").first.is_visible()
        assert page.evaluate(look_of) == "none"
        assert chip(page, "a", "note") == "a note"
        label = page.evaluate("view_of('a').stage.getAttribute('aria-label')")
        assert label == "Grad-CAM: a note"
        served.do(lambda: overlay.update(stale=True, progress=0.25))
        page.wait_for_function("view_of('a').chips.waiting.textContent == 'updating…'")
        assert page.evaluate(look_of) == "grayscale(1) opacity(0.45)"
        assert page.evaluate("view_of('a').progress.firstChild.style.width") == "25%"
        assert page.locator(".progress").first.is_visible()
        assert page.evaluate("view_of('a').stage.getAttribute('aria-label')").endswith("updating")
        # Said to be fresh before it is there: still what it was.
        served.do(lambda: setattr(overlay, "stale", False))
        page.wait_for_function("!view_of('a').model.stale")
        page.evaluate(FRAME)
        assert chip(page, "a", "waiting") == "updating…"
        show(page, served, None, SIGNED)
        assert page.evaluate(look_of) == "none"
        assert chip(page, "a", "waiting") == ""
        assert chip(page, "a", "note") == ""
        assert not page.locator(".progress").first.is_visible()
        served.do(lambda: setattr(overlay, "description", "Where the cat is"))
        page.wait_for_function("view_of('a').stage.getAttribute('aria-label') == 'Where the cat is'")
        # A partial answer to an older question stays dimmed.
        served.do(lambda: overlay.update(stale=True, tick=3))
        page.wait_for_function("view_of('a').model.ack == 3")
        assert chip(page, "a", "waiting") == "updating…"


@pytest.mark.browser
def test_a_map_without_colours_says_why(browser):
    zero = np.zeros((8, 8), np.float32)
    picture = display.png(PICTURE)
    with browser.open(pair) as (page, served):
        look(page, opacity=1, alpha_by_value=False)
        for values, signed, note, words in (
            (zero, False, "", "the map is zero everywhere"),
            (zero, True, "the unit never fired", "the map is zero everywhere · the unit never fired"),
            (zero - 1, False, "", "all values are 0 or below"),
            (zero - 1, False, "all-negative map", "all-negative map"),
            (zero * np.nan, False, "", "the map holds no numbers"),
        ):
            show(page, served, picture, values, signed=signed, note=note, limit=3.0)
            assert chip(page, "a", "note") == words
            assert page.evaluate("view_of('a').scale.hidden")
            assert np.abs(blocks(page) - PICTURE).max() == 0
        # What does not fit together is said, not drawn.
        overlay = served.made[-1][0]

        def mismatch():
            overlay.map, overlay.map_shape, overlay.note = SIGNED.tobytes(), [8, 7], ""
            overlay.picture = b"no picture"
            overlay.tick += 1

        served.do(mismatch)
        page.wait_for_function("view_of('a').model.ack == 6")
        assert chip(page, "a", "note") == "the map cannot be read · the picture cannot be read"
        served.do(lambda: overlay.update(map_shape=[8, 8], tick=7))
        page.wait_for_function("view_of('a').model.ack == 7")
        assert chip(page, "a", "note") == "the picture cannot be read"


@pytest.mark.browser
def test_an_outline_is_drawn_in_two_tones_where_the_mask_ends(browser):
    mask = np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    with browser.open(pair) as (page, served):
        show(page, served, display.png(np.full((8, 8), 128, np.uint8)), SIGNED, outline=mask)
        lines = pixels(page, canvas="lines").astype(int)
        assert (lines[128, [20, 128, 240], 3] == 0).all()
        across = lines[128, 56:72]  # the left edge, at 64
        middle = int(across[:, 0].argmax())
        assert abs(56 + middle - 64) <= 1
        assert across[middle, :3].min() > 180
        bright, dark = across[:, 0] > 150, (across[:, 0] < 60) & (across[:, 3] > 60)
        for tone in (bright, dark):
            assert 1 <= tone.sum() <= 4
        assert np.flatnonzero(dark).min() < np.flatnonzero(bright).min()
        assert np.flatnonzero(dark).max() > np.flatnonzero(bright).max()
        look(page, zoom=2)  # about the middle: edges at 0 and 256 leave the window
        lines = pixels(page, canvas="lines")
        assert (lines[40:-40, 4:-4, 3] == 0).all()


@pytest.mark.browser
def test_the_colour_bar_tells_the_limits_each_or_shared(browser):
    with browser.open(pair) as (page, served):
        picture = display.png(PICTURE)
        show(page, served, picture, SIGNED, signed=True)
        show(page, served, picture, SIGNED, which=1)
        ends = "(name) => view_of(name).ends.map((end) => end.textContent)"
        assert page.evaluate(ends, "a") == ["−2", "0", "+2"]
        assert page.evaluate(ends, "b") == ["0", "", "1"]
        bar = pixels(page, "a", "bar")[0].astype(int)
        table = palettes.table("blue-red").astype(int)
        for at, entry in ((0, 1), (127, 128), (255, 255)):
            assert np.abs(bar[at, :3] - table[entry]).max() <= 3
        before = blocks(page, name="b")
        look(page, scale="shared", threshold=0.5)
        page.evaluate(FRAME)
        assert page.evaluate(ends, "b") == ["0", "", "2"]
        assert (blocks(page, name="b") != before).any()
        bar = pixels(page, "a", "bar")[0]
        assert (bar[[0, 60, 128, 195, 255], 3] == [255, 255, 0, 255, 255]).all()
        show(page, served, picture, 10 * SIGNED, signed=True)
        page.evaluate(FRAME)
        assert page.evaluate(ends, "b") == ["0", "", "20"]
        look(page, scale="each")
        for factor, words in ((1e-6, ["−2.00e−6", "0", "+2.00e−6"]), (1e6, ["−2.00e6", "0", "+2.00e6"])):
            show(page, served, picture, (factor * SIGNED).astype(np.float32), signed=True)
            assert page.evaluate(ends, "a") == words
        box = page.evaluate(
            """() => { const {scale, window: w} = view_of("a")
              const [s, p] = [scale, w].map((el) => el.getBoundingClientRect())
              return [s.left - p.left, s.right - p.right, s.top - p.bottom] }"""
        )
        assert box == [0, 0, 0]


@pytest.mark.browser
def test_a_coloured_picture_takes_the_place_of_the_palette(browser):
    colours = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    with browser.open(pair) as (page, served):
        look(page, opacity=1)
        show(page, served, display.png(PICTURE), colour=display.png(colours))
        assert np.abs(blocks(page) - colours).max() == 0
        assert page.evaluate("view_of('a').scale.hidden")
        show(page, served, display.png(PICTURE), SIGNED, signed=True, colour=display.png(colours))
        rgba = palettes.coloured(SIGNED, True, "blue-red", colour=colours)
        assert np.abs(blocks(page) - palettes.over(PICTURE, rgba, 1)).max() <= 2


def test_palettes_have_256_colours_and_a_neutral_middle():
    assert {name: len(data) for name, data in palettes.tables().items()} == dict.fromkeys(
        (*palettes.SEQUENTIAL, *palettes.DIVERGING), 768
    )
    for name in palettes.DIVERGING:
        table = palettes.table(name).astype(int)
        assert (table[128] == 0xF7).all()
        grey = np.abs(table - table.mean(1, keepdims=True)).max(1)
        assert (grey[[1, 255]] > 40).all()
        assert table[1].tolist() != table[255].tolist()
    low, high = palettes.table("blue-red")[[1, 255]]
    assert low[2] > low[0]
    assert high[0] > high[2]


def slowly(value, signed, palette, threshold, alpha_by_value, limit):
    """One value's RGBA by the words of the rule."""
    if value != value:
        return [0, 0, 0, 0]
    share = min(1.0, value / limit)
    share = max(-1.0 if signed else 0.0, share)
    if abs(share) < threshold:
        return [0, 0, 0, 0]
    table = palettes.table(palette)
    entry = int(np.floor(128 + 127 * share + 0.5)) if signed else int(np.floor(255 * share + 0.5))
    return [*table[entry].tolist(), int(np.floor(255 * abs(share) + 0.5)) if alpha_by_value else 255]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("limit", [0.0, 0.5, 4.0])
@pytest.mark.parametrize(("threshold", "alpha_by_value"), [(0.0, True), (0.4, False), (1.0, True)])
def test_the_rule_against_a_slow_one(signed, limit, threshold, alpha_by_value):
    values = np.random.default_rng(2).normal(size=(6, 7)).astype(np.float32)
    values[0, :3] = [np.nan, np.inf, -np.inf]
    palette = "blue-red" if signed else "magma"
    finite = [float(v) for v in values.flat if np.isfinite(v)]
    peak = max(abs(v) for v in finite) if signed else max(finite)
    assert palettes.largest(values, signed) == pytest.approx(peak)
    got = palettes.coloured(values, signed, palette, threshold, alpha_by_value, limit)
    for place, value in np.ndenumerate(values):
        wanted = slowly(float(value), signed, palette, threshold, alpha_by_value, limit or peak)
        assert got[place].tolist() == wanted, (place, value)


def test_a_map_without_strength_has_no_colours():
    for values, signed in (
        (np.zeros((2, 3)), True),
        (-np.ones((2, 3)), False),
        (np.full((2, 3), np.nan), True),
    ):
        assert palettes.largest(values, signed) == 0
        assert not palettes.coloured(values, signed, "blue-red" if signed else "grey", limit=2.0).any()


def test_an_update_in_python_is_whole():
    overlay = Overlay(stale=True)
    assert overlay.lens.zoom == 1
    values = np.arange(6, dtype=np.float64).reshape(2, 3)[:, ::-1]
    overlay.show(b"picture", values, signed=True, outline=values > 2, progress=0.5)
    assert np.frombuffer(overlay.map, "<f4").reshape(overlay.map_shape).tolist() == values.tolist()
    assert (overlay.raw, overlay.raw_shape, overlay.stale, overlay.tick) == (b"", [], False, 1)
    assert overlay.outline == bytes([0, 0, 0, 1, 1, 1])
    overlay.show(None, None)
    assert (overlay.picture, overlay.map, overlay.outline_shape, overlay.tick) == (b"picture", b"", [], 2)
