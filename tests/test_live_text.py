"""Words whose change lays out nothing but themselves, in a real browser."""

import pytest
from bokeh.models import Column, Div
from browsing import COUNT_LAYOUTS, FRAME, chromium

from dashboard.live_text import LiveText

pytestmark = pytest.mark.browser
WORDS = "view_of('words').markup_el.textContent"


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture
def opened(browser):
    def build(document):
        words = LiveText(name="words", text="step 1", width=300)
        document.add_root(Column(words, Div(name="below", text="below"), name="root"))
        return words

    with browser.open(build) as (page, served):
        page.evaluate(FRAME)
        page.evaluate(COUNT_LAYOUTS)
        yield page, served, served.made[-1]


def put(served, words, **properties) -> None:
    served.do(lambda: words.update(**properties))
    served.page.evaluate(FRAME)
    served.page.evaluate(FRAME)


def test_other_words_in_the_same_box_lay_nothing_out(opened):
    page, served, words = opened
    for step in (2, 3, 4):
        put(served, words, text=f"step <b>{step}</b>")
        assert page.evaluate(f"[{WORDS}.includes('step {step}'), layouts]") == [True, 0]
        assert page.evaluate("view_of('words').shadow_el.querySelector('b').textContent") == str(step)
    page.evaluate("Bokeh.documents[0].get_model_by_name('words').text = 'of the browser'")
    assert page.evaluate(f"[{WORDS}.includes('of the browser'), layouts]") == [True, 0]


def test_a_box_that_grows_moves_what_is_below(opened):
    page, served, words = opened
    place = "view_of('below').bbox.top"
    before = page.evaluate(place)
    put(served, words, text="one<br>two<br>three")
    page.wait_for_function(f"{place} > {before}")
    assert page.evaluate("layouts") == 1
    drawn = "view_of('below').el.getBoundingClientRect().top - view_of('root').el.getBoundingClientRect().top"
    assert page.evaluate(place) == pytest.approx(page.evaluate(drawn), abs=1)


def test_what_is_not_words_acts_as_of_a_div(opened):
    page, served, words = opened
    put(served, words, visible=False)
    assert page.evaluate("view_of('words').el.offsetParent == null")
    put(served, words, visible=True, text="again", styles={"color": "rgb(1, 2, 3)"})
    assert page.evaluate("getComputedStyle(view_of('words').el).color") == "rgb(1, 2, 3)"
    put(served, words, html_attributes={"title": "a hint"}, css_classes=["warm"])
    classes = "view_of('words').el.classList.contains('warm')"
    assert page.evaluate(f"[view_of('words').el.title, {classes}]") == ["a hint", True]
    assert page.evaluate(WORDS) == "again"


def test_dollar_signs_are_no_mathematics(opened):
    page, served, words = opened
    put(served, words, text="$$5$$ and <i>more</i>")
    assert page.evaluate(WORDS) == "$$5$$ and more"
    put(served, words, render_as_text=True, text="a <b>")
    assert page.evaluate(WORDS) == "a <b>"
