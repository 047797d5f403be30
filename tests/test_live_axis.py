"""An axis whose numbers change without moving the page, in a real browser."""

import pytest
from bokeh.models import Column, Div, LinearAxis, Range1d
from bokeh.plotting import figure
from browsing import COUNT_LAYOUTS, FRAME, chromium

from dashboard.live_axis import LiveAxis

pytestmark = pytest.mark.browser
# The largest values of an objective that climbs, falls and climbs again: labels of one to four characters.
VALUES = (9.0, 11.0, 9.0, 0.4, 150.0, 9.0, 1100.0, 9.0)


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


def opened(browser, axis):
    def build(document):
        plot = figure(name="plot", width=400, height=150, toolbar_location=None, y_axis_location=None)
        plot.x_range, plot.y_range = Range1d(0, 1), Range1d(0, 9)
        plot.add_layout(axis(axis_label="objective"), "left")
        plot.line([0, 1], [0, 1])
        document.add_root(Column(plot, Div(text="below"), name="root"))
        return plot

    return browser.open(build)


def layouts(page, served, plot, values) -> int:
    page.evaluate("window.layouts = 0")
    for value in values:
        served.do(lambda value=value: plot.y_range.update(end=value))
        page.evaluate(FRAME)
        page.evaluate(FRAME)
    return page.evaluate("window.layouts")


@pytest.mark.parametrize(("axis", "still"), [(LiveAxis, True), (LinearAxis, False)])
def test_other_numbers_lay_nothing_out(browser, axis, still):
    with opened(browser, axis) as (page, served):
        page.evaluate(FRAME)
        page.evaluate(COUNT_LAYOUTS)
        assert (layouts(page, served, served.made[-1], VALUES) == 0) is still


def test_it_grows_for_wide_numbers_and_keeps_the_room(browser):
    with opened(browser, LiveAxis) as (page, served):
        page.evaluate(FRAME)
        page.evaluate(COUNT_LAYOUTS)
        left = "view_of('plot').frame.bbox.left"
        before, plot = page.evaluate(left), served.made[-1]
        assert layouts(page, served, plot, (1_234_000_000.0,)) == 1
        wide = page.evaluate(left)
        assert wide >= before + 16
        assert (wide - before) % 16 == 0
        assert layouts(page, served, plot, (*VALUES, 1_234_000_000.0)) == 0
        assert page.evaluate(left) == wide
