"""The Features panel in a real browser: live without a click, choosing, scrubbing, starting, pausing, exporting."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import COUNT_LAYOUTS
from dashboards import ROOT, Dashboard, Visit, card, serve, visit
from PIL import Image
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
LONG = 50_000  # steps: no test waits for the end of such a run


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("page")
    small = card(folder, "small", "working", 'labels = ["cat", "dog", "cow"]\nopening = "2"')
    with serve(folder, "--network", str(small), "--store", str(folder / "runs.sqlite")) as one:
        yield one


@pytest.fixture
def opened(browser: Browser, dashboard: Dashboard) -> Iterator[Visit]:
    with visit(browser, dashboard.url()) as one:
        one.live()
        yield one


def seed(number: int) -> int:
    """A seed that no other test uses, so that its run is a new one."""
    return 1000 + number


def climb(page: Visit, number: int, steps: int = LONG) -> None:
    """Start a new run of the shown layer that lasts."""
    page.set("parameter-steps", "value", steps)
    page.set("seed", "value", seed(number))
    page.until("m('settings-hint').text")
    page.press("start")
    page.until("!m('settings-hint').text")
    page.state(f"/ {steps}")
    page.until("m('feature-source').get_array('step')[0] > 3")


def canvas(page: Visit, name: str) -> bytes:
    """The pixels of a model's canvas."""
    return bytes(
        page.page.evaluate(
            """(name) => {
              const of = (views) => views.map(look).find((v) => v)
              const look = (view) => view.model.name === name ? view : of([...view.children_views()])
              const canvas = [...Bokeh.index].map(look).find((v) => v).shadow_el.querySelector("canvas")
              return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data)
            }""",
            name,
        )
    )


def test_every_listed_name_is_there(opened: Visit) -> None:
    listed = re.findall(r"^\| (`.*?) \|", (ROOT / "dashboard" / "README.md").read_text(), re.MULTILINE)
    names = [name for row in listed for name in re.findall(r"`([a-z-]+)`", row)]
    assert {"network-select", "layer-list", "tabs", "feature-mosaic", "runs-table"} <= set(names)
    missing = [
        name
        for name in names
        if opened.page.evaluate("(name) => Bokeh.documents[0].get_model_by_name(name) == null", name)
    ]
    assert not missing, missing


def test_filters_take_shape_without_a_click(opened: Visit) -> None:
    assert opened.column("feature-source", "unit") == list(range(16))
    assert set(
        opened.page.evaluate("Object.keys(Bokeh.documents[0].get_model_by_name('feature-source').data)")
    ) >= {
        "unit",
        "score",
        "step",
    }
    opened.state("16 units of 2")
    opened.until("m('feature-source').get_array('step').every((step) => step > 0)")
    pixels = np.frombuffer(canvas(opened, "feature-mosaic"), np.uint8)
    assert pixels.std() > 20


def test_the_address_follows_and_brings_the_same_view_back(
    browser: Browser, dashboard: Dashboard, opened: Visit
) -> None:
    opened.set("layer-list", "active", 2)
    opened.until(
        "m('feature-source').get_array('unit').length == 16 && m('address').query.includes('layer=5')"
    )
    opened.until("m('feature-source').get_array('step')[0] >= 0")
    opened.element("feature-mosaic", "#cell-5").click()
    opened.until("/unit=[1-9]/.test(location.search)")
    with visit(browser, opened.page.url) as again:
        again.live()
        for name, attribute in (
            ("layer-list", "active"),
            ("feature-mosaic", "selected"),
            ("network-select", "value"),
        ):
            assert again.get(name, attribute) == opened.get(name, attribute)
    with visit(browser, dashboard.url("?tab=Runs&preset=L2&layer=logits&unit=2")) as other:
        other.on_tab("Runs")
        other.until("m('preset-select').value == 'L2'")
        other.tab("Features")
        other.live()
        other.until("m('unit-title').text.startsWith('<b>logits, unit 2 (cow)')")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?layer=conv9", "has no layer 'conv9'"),
        ("?unit=7000", "unit"),
        ("?unit=-3", "no whole number"),
        ("?network=../../etc/passwd", "There is no network '../../etc/passwd'"),
        ("?tab=Nothing", "There is no tab 'Nothing'"),
        ("?preset=best", "There is no preset 'best'"),
        ("?preset=%3Cscript%3Ealert(1)%3C/script%3E", "There is no preset '&lt;script&gt;"),
    ],
)
def test_a_bad_address_is_told_and_ignored(
    browser: Browser, dashboard: Dashboard, query: str, said: str
) -> None:
    with visit(browser, dashboard.url(query)) as page:
        page.live()
        page.until("document.readyState == 'complete' && m('notice').text != ''")
        assert said in page.get("notice", "text").replace("&#x27;", "'")
        page.press("notice-close")
        page.until("m('notice').text == ''")


def test_the_slider_follows_until_it_is_dragged_and_then_stays(opened: Visit) -> None:
    climb(opened, 1)
    opened.until("m('history-slider').value > 30")
    track, mouse = opened.box("history-slider", ".noUi-base"), opened.page.mouse
    for _ in range(10):  # the handle follows the newest step, and may have gone when the mouse is there
        handle = opened.element("history-slider", ".noUi-handle").bounding_box()
        assert handle is not None
        mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
        mouse.down()
        mouse.move(track["x"], track["y"] + track["height"] / 2, steps=3)
        mouse.up()
        if not opened.get("player", "following"):
            break
    opened.until("!m('player').following")
    stays = opened.get("history-slider", "value")
    before = opened.column("feature-source", "step")[0]
    opened.until("m('feature-source').get_array('step')[0] > arg + 20", before)
    assert opened.get("history-slider", "value") == stays
    opened.press("jump-last")
    opened.until("m('player').following && m('history-slider').value > arg", before)
    opened.press("stop")
    opened.state("stopped at step")


def test_scrubbing_shows_another_picture_and_moves_the_cursor(opened: Visit) -> None:
    opened.set("layer-list", "active", 1)
    opened.state("done")
    opened.until("m('unit-source').get_array('step').length > 60")
    steps, scores = opened.column("unit-source", "step"), opened.column("unit-source", "score")
    assert steps == sorted(set(steps))
    assert len(steps) <= 128
    assert len(scores) == len(steps)
    opened.set("history-slider", "value", steps[-1])
    opened.page.wait_for_timeout(200)
    last = canvas(opened, "unit-image")
    opened.set("history-slider", "value", 0)
    opened.until("m('curve-cursor').location == 0 && m('unit-image').step == 0")
    opened.page.wait_for_timeout(200)
    assert canvas(opened, "unit-image") != last
    opened.page.keyboard.press("]")
    opened.until("m('history-slider').value == arg", steps[1])
    opened.page.keyboard.press("[")
    opened.until("m('history-slider').value == 0")
    for jump in ("best", "last", "first"):
        opened.press(f"jump-{jump}")
        places = {"best": steps[int(np.argmax(scores))], "last": steps[-1], "first": 0}
        opened.until("m('history-slider').value == arg", places[jump])


def test_play_runs_through_the_history_in_the_browser(opened: Visit) -> None:
    opened.state("done")
    opened.set("history-slider", "value", 0)
    opened.press("play")
    opened.until("m('history-slider').value > 20")
    opened.press("play")
    opened.page.wait_for_timeout(150)
    at = opened.get("history-slider", "value")
    opened.page.wait_for_timeout(400)
    assert opened.get("history-slider", "value") == at


def test_two_steps_side_by_side(opened: Visit) -> None:
    opened.state("done")
    opened.set("history-slider", "value", 10)
    opened.press("compare")
    opened.until("m('unit-image').compare == 10")
    opened.set("history-slider", "value", 60)
    opened.page.wait_for_timeout(200)
    both = canvas(opened, "unit-image")
    opened.press("compare")
    opened.until("m('unit-image').compare == null")
    opened.page.wait_for_timeout(200)
    assert canvas(opened, "unit-image") != both


def test_the_slider_moves_the_whole_mosaic_where_asked(opened: Visit) -> None:
    opened.state("done")
    opened.until("m('feature-source').get_array('step').every((step) => step == 64)")
    opened.press("scrub-mosaic")
    opened.until("m('scrub-mosaic').active")
    opened.set("history-slider", "value", 30)
    opened.until("m('feature-source').get_array('step').every((step) => step <= 30 && step > 20)")
    opened.press("scrub-mosaic")
    opened.until("m('feature-source').get_array('step').every((step) => step == 64)")


def test_arrows_move_the_choice_and_space_pauses(opened: Visit) -> None:
    climb(opened, 2)
    opened.page.mouse.click(30, 24)  # the brand: nothing that takes keys
    opened.page.keyboard.press("ArrowRight")
    opened.until("m('feature-mosaic').selected == 1 && m('unit-title').text.includes('unit 1<')")
    opened.page.keyboard.press("ArrowDown")
    opened.until("m('unit-title').text.includes('unit 5<')")
    opened.page.keyboard.press("Space")
    opened.state("paused at step")
    held = opened.column("feature-source", "step")[0]
    opened.page.wait_for_timeout(500)
    assert opened.column("feature-source", "step")[0] == held
    assert opened.get("pause", "label") == "Resume"
    opened.page.keyboard.press("Space")
    opened.until("m('feature-source').get_array('step')[0] > arg", held)
    opened.press("pause")
    opened.state("paused at step")
    opened.press("start")
    opened.state("steps/s")
    opened.press("stop")
    opened.state("stopped at step")
    assert opened.get("start", "label") == "Resume"


def test_a_changed_parameter_makes_the_preset_custom_and_is_stored(opened: Visit) -> None:
    opened.set("preset-select", "value", "none")
    opened.until("m('preset-about').text.includes('no prior')")
    opened.set("parameter-l2", "value", 0.5)
    opened.until("m('preset-select').value == 'custom'")
    assert opened.get("preset-about", "text") == "changed from none"
    opened.set("parameter-steps", "value", 40)
    opened.press("start")
    opened.state("done, 40 steps")
    opened.tab("Runs")
    opened.until("m('runs-source').get_array('preset').includes('custom')")


def test_a_parameter_out_of_range_is_told_and_taken_back(opened: Visit) -> None:
    opened.until("m('parameter-decay') != null")
    good = opened.get("parameter-decay", "value")
    opened.set("parameter-decay", "value", -3)
    opened.until("m('notice').text.includes('decay cannot be -3')")
    opened.until("m('parameter-decay').value == arg", good)


def test_pages_sizes_and_order(opened: Visit) -> None:
    assert opened.text("page-place").startswith("page 1 of 2")
    opened.press("page-next")
    opened.until("m('feature-source').get_array('unit').length == 4")
    assert opened.column("feature-source", "unit") == [16, 17, 18, 19]
    opened.state("4 units of 2 | done")
    opened.until("m('feature-mosaic').badges[3] == 'never fired'")
    opened.until("m('feature-mosaic').badges.slice(0, 3).every((badge) => badge == '')")
    opened.set("page-size", "value", "32")
    opened.state("20 units of 2 | done")
    opened.until("m('feature-source').get_array('unit').length == 20")
    opened.set("sort", "value", "objective reached")
    opened.until(
        "m('feature-source').get_array('unit')[0] != 0 || m('feature-source').get_array('unit')[1] != 1"
    )
    scores = opened.column("feature-source", "score")
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 20
    assert sorted(opened.column("feature-source", "unit")) == list(range(20))


def test_a_random_search_is_one_batch_of_one_unit(opened: Visit) -> None:
    opened.set("search-draws", "value", 5)
    opened.press("random-search")
    opened.until("m('feature-source').get_array('unit').length == 5")
    opened.until("m('feature-source').get_array('step').every((step) => step > 0)")
    assert len(set(opened.column("feature-source", "unit"))) == 1
    labels = opened.get("feature-mosaic", "labels")
    assert len(set(labels)) == 5
    assert all("decay" in label and "blur sigma" in label for label in labels)
    assert opened.text("page-place") == "5 draws for unit 0"
    film = opened.get("unit-image", "film_id")
    opened.element("feature-mosaic", "#cell-3").click()
    opened.until("m('unit-image').film_id == arg", film.replace("/0", "/3"))


def saved(page: Visit, item: str) -> tuple[str, bytes]:
    """Choose an entry of the export menu; name and content of the file that the browser saves."""
    page.element("export", "button").click()
    with page.page.expect_download() as waiting:
        page.page.get_by_text(item, exact=True).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_exports_hold_what_the_page_shows(opened: Visit) -> None:
    opened.state("done")
    name, data = saved(opened, "This unit's history, GIF")
    gif: Any = Image.open(io.BytesIO(data))
    assert name == "small-2-unit0-history.gif"
    assert gif.format == "GIF"
    assert gif.n_frames > 20
    _, data = saved(opened, "The page's history, WebP")
    webp: Any = Image.open(io.BytesIO(data))
    assert webp.format == "WEBP"
    assert webp.n_frames > 30
    _, data = saved(opened, "The mosaic now, PNG")
    assert Image.open(io.BytesIO(data)).format == "PNG"
    name, data = saved(opened, "Raw images and spec, .npz")
    with np.load(io.BytesIO(data), allow_pickle=False) as raw:
        spec = json.loads(str(raw["spec"]))
        images = [
            raw[key]
            for key in raw.files
            if raw[key].shape[:2] == (16, 1) and raw[key].ndim == 4 and raw[key].dtype == np.float32
        ]
    assert name == "small-2-raw.npz"
    assert spec["layer"] == "2"
    assert spec["units"] == list(range(16))
    assert len(images) >= 2
    assert all(0 <= image.min() < image.max() <= 1 for image in images)


def test_a_hidden_panel_sends_nothing(opened: Visit) -> None:
    climb(opened, 4)
    opened.tab("Runs")
    opened.until("m('address').query.includes('tab=Runs')")
    opened.page.wait_for_timeout(500)
    tick = opened.get("feature-mosaic", "tick")
    opened.page.wait_for_timeout(700)
    assert opened.get("feature-mosaic", "tick") == tick
    opened.tab("Features")
    opened.until("m('feature-mosaic').tick > arg + 3", tick)
    opened.press("stop")


def test_dark_and_light_stay_in_the_browser(browser: Browser, dashboard: Dashboard) -> None:
    with visit(browser, dashboard.url(), color_scheme="light") as page:
        page.live()
        look = "getComputedStyle(document.body).backgroundColor"
        light = page.page.evaluate(look)
        page.press("theme-toggle")
        dark = page.page.evaluate(look)
        assert sum(map(int, re.findall(r"\d+", dark))) < 150 < 600 < sum(map(int, re.findall(r"\d+", light)))
        page.page.reload()
        page.live()
        assert page.page.evaluate(look) == dark


def test_nothing_is_cut_off_at_1440_by_900(opened: Visit) -> None:
    opened.until("m('parameter-steps') != null")
    size = opened.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert size == [1440, 900]
    for name, selector in (("stop", "button"), ("history-slider", ".noUi-target"), ("compare", "button")):
        box = opened.box(name, selector)
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1440
        assert box["y"] + box["height"] <= 900
    _assert_apart(opened, ["start", "pause", "stop", "random-search", "compare", "scrub-mosaic"])


def _assert_apart(page: Visit, names: list[str]) -> None:
    boxes = {name: page.box(name, "button, input") for name in names}
    for one in names:
        for other in names:
            a, b = boxes[one], boxes[other]
            if one < other:
                apart = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
                assert apart or a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"], (one, other)


def test_an_ascent_neither_lays_out_nor_blocks_the_page(opened: Visit) -> None:
    opened.page.evaluate(COUNT_LAYOUTS)
    climb(opened, 5)
    opened.until("!m('pause').disabled && !m('stop').disabled")
    assert opened.page.evaluate("window.layouts") <= 1  # other settings, Start and all buttons beside it
    opened.page.evaluate("window.layouts = 0")
    before = opened.get("feature-mosaic", "ack")
    opened.until("m('feature-mosaic').ack >= arg", before + 20)
    # Words change with every frame; that they grow now and then lays out.
    assert opened.page.evaluate("window.layouts") < 10
    for active in (0, 1, 2, 1, 0):
        opened.set("layer-list", "active", active)
    opened.state("units of 0")
    assert "climbing" in opened.text("jobs")  # nothing waited for the long run's end
    opened.set("layer-list", "active", 1)
    opened.live()
