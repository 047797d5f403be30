"""What an overlay shows: the colours of the rule, outlines, colour bars, whole updates, and what is stale."""

import time

import numpy as np
import pytest
from browsing import FRAME, WAIT, chromium
from overlay_views import PICTURE, SIGNED, blocks, chip, look, pair, pixels, show

from dashboard import palettes
from dashboard.overlay import Overlay
from vislib import display


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


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
