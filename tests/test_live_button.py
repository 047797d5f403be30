"""Buttons whose change lays out nothing but themselves, in a real browser."""

import pytest
from bokeh.models import Button, Column, Div, Row
from browsing import COUNT_LAYOUTS, FRAME, chromium

from dashboard.live_button import LiveButton

pytestmark = pytest.mark.browser
ELEMENT = "view_of('go').button_el"


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture
def opened(browser):
    clicks = []

    def build(document):
        go = LiveButton(name="go", label="Start", width=90)
        free = LiveButton(name="free", label="a")
        plain = Button(name="plain", label="Other", button_type="success", width=90)
        go.on_click(lambda: clicks.append(go.label))
        document.add_root(Column(Row(go, free, Div(name="beside", text="beside")), plain, name="root"))
        return go, free

    with browser.open(build) as (page, served):
        page.evaluate(FRAME)
        page.evaluate(COUNT_LAYOUTS)
        yield page, served, *served.made[-1], clicks


def put(served, button, **properties) -> None:
    served.do(lambda: button.update(**properties))
    served.page.evaluate(FRAME)
    served.page.evaluate(FRAME)


def test_label_type_and_state_change_in_place(opened):
    page, served, go, _, _ = opened
    page.evaluate(f"window.kept = {ELEMENT}")
    for label, kind, disabled in (
        ("Pause", "default", False),
        ("Resume", "primary", True),
        ("<b>", "danger", False),
    ):
        put(served, go, label=label, button_type=kind, disabled=disabled)
        shown = page.evaluate(f"[{ELEMENT}.textContent, {ELEMENT}.className, {ELEMENT}.disabled]")
        assert shown == [label, f"bk-btn bk-btn-{kind}", disabled]
    assert page.evaluate(f"[kept === {ELEMENT}, layouts]") == [True, 0]


def test_it_looks_as_a_button_of_bokeh_with_that_label(opened):
    page, served, go, _, _ = opened
    put(served, go, label="Other", button_type="success")
    look = """(name) => {
      const one = view_of(name).button_el, {color, backgroundColor, font, padding} = getComputedStyle(one)
      const {width, height} = one.getBoundingClientRect()
      return [one.textContent, color, backgroundColor, font, padding, width, height]
    }"""
    assert page.evaluate(look, "go") == page.evaluate(look, "plain")


def test_a_click_that_is_half_done_and_the_focus_are_kept(opened):
    page, served, go, _, clicks = opened
    box = page.evaluate(
        f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({ELEMENT}.getBoundingClientRect())"
    )
    page.mouse.move(*box)
    page.mouse.down()
    put(served, go, label="Try again", button_type="primary")
    page.mouse.up()
    served.do(lambda: None)
    assert clicks == ["Try again"]
    assert page.evaluate(f"view_of('go').shadow_el.activeElement === {ELEMENT}")
    put(served, go, label="Start")
    page.keyboard.press("Enter")
    served.do(lambda: None)
    assert clicks == ["Try again", "Start"]


def test_a_disabled_one_is_not_clicked(opened):
    page, served, go, _, clicks = opened
    put(served, go, disabled=True)
    page.evaluate(f"{ELEMENT}.click()")
    served.do(lambda: None)
    assert clicks == []
    put(served, go, disabled=False)
    page.evaluate(f"{ELEMENT}.click()")
    served.do(lambda: None)
    assert clicks == ["Start"]


def test_a_box_that_grows_moves_what_is_beside_it(opened):
    page, served, _, free, _ = opened
    place = "view_of('beside').el.getBoundingClientRect().left"
    before = page.evaluate(place)
    put(served, free, label="a much longer label")
    page.wait_for_function(f"{place} > {before} + 40")
