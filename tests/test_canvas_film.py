"""The film of one unit in a real browser: scrubbed, compared, followed live, played, and bounded in memory."""

from itertools import pairwise

import numpy as np
import pytest
from bokeh.layouts import column
from bokeh.models import Slider, Toggle
from browsing import chromium
from canvas_views import colour_at, flat, model, wait_value

from dashboard.canvas import Keys, Player, UnitFilm
from vislib import display

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


def film_page(document):
    film = UnitFilm(name="film", width=300, height=300)
    slider = Slider(name="slider", start=0, end=100, value=0, step=1, width=280)
    toggle = Toggle(name="play", label="play")
    player = Player(name="player", film=film, slider=slider, toggle=toggle, rate=30)
    keys = Keys(name="keys", player=player)
    document.add_root(column(film, slider, toggle, player, keys))
    return film


def rows(steps) -> list[tuple[int, float, bytes]]:
    return [(step, step / 10, display.encode(flat(2 * step))) for step in steps]


def shown(page) -> tuple[int, str]:
    """Brightness and caption of what the film shows once it is painted."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return colour_at(page, "film", 150, 150), page.locator(".caption").first.text_content()


def wait_caption(page, text: str) -> None:
    page.wait_for_function(
        "(text) => view_of('film').shadow_el.querySelector('.caption').textContent == text",
        arg=text,
    )


def test_scrubbing_shows_the_nearest_kept_picture_before_without_the_server(browser):
    with browser.open(film_page) as (page, served):
        film = served.made[-1]

        def fill():
            film.open("run/3")
            film.add(rows(range(0, 101, 10)))

        served.do(fill)
        wait_caption(page, "step 100 · score 10")  # the player follows the newest
        page.wait_for_function(f"{model('film')}.recent.size == 11")
        sent = served.do(lambda: film.step)
        for step, near in ((0, 0), (9, 0), (10, 10), (57, 50), (99, 90), (100, 100)):
            page.evaluate(f"{model('slider')}.value = {step}")
            value, caption = shown(page)
            assert abs(value - 2 * near) <= 2
            assert caption == f"step {near} · score {near / 10:g}"
        assert "step 100" in page.locator("[role=img]").get_attribute("aria-label")
        timings = page.evaluate(f"{model('film')}.timings")
        assert len(timings) >= 6
        assert sent == 100


def test_the_film_is_thinned_replaced_and_emptied(browser):
    with browser.open(film_page) as (page, served):
        film = served.made[-1]

        def fill():
            film.open("run/3")
            film.add(rows([0, 10, 20, 30]))
            film.add([(20, 5.0, display.encode(flat(99)))], keep=[0, 20])

        served.do(fill)
        page.wait_for_function(f"{model('film')}.steps.join() == '0,20'")
        page.evaluate(f"{model('slider')}.value = 25")
        wait_caption(page, "step 20 · score 5")
        assert abs(shown(page)[0] - 99) <= 2
        served.do(lambda: film.open("run/4"))
        wait_caption(page, "")
        assert shown(page)[0] == -1
        assert page.evaluate(f"{model('film')}.decoded_bytes") == 0


def test_two_steps_side_by_side(browser):
    with browser.open(film_page) as (page, served):
        film = served.made[-1]

        def fill():
            film.add(rows([0, 40, 100]))
            film.compare = 40

        served.do(fill)
        page.wait_for_function("view_of('film').shadow_el.querySelectorAll('.caption')[1].textContent != ''")
        wait_caption(page, "step 40 · score 4")
        assert page.locator(".caption").all_text_contents() == ["step 40 · score 4", "step 100 · score 10"]
        served.do(lambda: setattr(film, "compare", None))
        page.locator(".pane").nth(1).wait_for(state="hidden")
        wait_caption(page, "step 100 · score 10")


def test_the_slider_follows_live_pictures_until_it_is_dragged(browser):
    with browser.open(film_page) as (page, served):
        film = served.made[-1]
        served.do(lambda: film.add(rows([0, 10])))
        served.do(lambda: film.show_live(13, 1.3, display.encode(flat(130))))
        wait_caption(page, "step 13 · score 1.3")
        assert abs(shown(page)[0] - 130) <= 2
        wait_value(page, f"{model('slider')}.value", 13)
        page.evaluate(f"{model('slider')}.value = 5")
        served.do(lambda: film.show_live(14, 1.4, display.encode(flat(140))))
        page.wait_for_function(f"{model('film')}.live_frame.step == 14")
        assert shown(page)[1] == "step 0 · score 0"
        assert page.evaluate(f"{model('slider')}.value") == 5
        assert page.evaluate(f"{model('player')}.following") is False
        page.evaluate(f"{model('slider')}.value = 14")  # at the newest again
        served.do(lambda: film.show_live(120, 12.0, display.encode(flat(200))))
        wait_caption(page, "step 120 · score 12")
        assert page.evaluate(f"[{model('slider')}.value, {model('slider')}.end]") == [120, 120]


def test_play_goes_through_the_kept_steps_in_a_loop_and_brackets_step(browser):
    with browser.open(film_page) as (page, served):
        film = served.made[-1]
        steps = [0, 7, 20, 50, 90]
        served.do(lambda: film.add(rows(steps)))
        wait_value(page, f"{model('slider')}.value", 90)
        page.evaluate(
            f"""() => {{ window.seen = []
              {model("slider")}.properties.value.change.connect(() => window.seen.push({model("slider")}.value)) }}"""
        )
        page.evaluate(f"{model('play')}.active = true")
        page.wait_for_function("window.seen.length >= 12")
        page.evaluate(f"{model('play')}.active = false")
        seen = page.evaluate("window.seen")
        assert set(seen) <= set(steps)
        assert seen.count(0) >= 2
        places = [steps.index(step) for step in seen]
        # Forward, never back but for the start of the next round; a slow browser may skip steps.
        assert all(b > a or b < len(steps) - 1 for a, b in pairwise(places))
        page.evaluate(f"{model('slider')}.value = 20")
        page.keyboard.press("]")
        wait_value(page, f"{model('slider')}.value", 50)
        page.keyboard.press("[")
        page.keyboard.press("[")
        wait_value(page, f"{model('slider')}.value", 7)


def test_what_was_decoded_is_bounded_and_comes_back_when_wanted(browser):
    def big(step: int) -> bytes:
        return display.jpeg(np.full((1024, 1024), 2 * step, np.uint8))  # 4 MiB decoded

    with browser.open(film_page) as (page, served):
        film = served.made[-1]
        served.do(lambda: film.add([(step, 0.0, big(step)) for step in range(40)]))
        wait_caption(page, "step 39 · score 0")
        for step in (0, 20, 39, 5):
            page.evaluate(f"{model('slider')}.value = {step}")
            wait_caption(page, f"step {step} · score 0")
            assert abs(shown(page)[0] - 2 * step) <= 2
        assert page.evaluate(f"{model('film')}.decoded_bytes") <= 64 << 20
        assert page.evaluate(f"{model('film')}.recent.size") <= 16
