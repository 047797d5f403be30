"""What can be kept of the page in a real browser: files with their names, and its address."""

import io
import time

import numpy as np
import pytest
from bokeh.layouts import column
from browsing import WAIT, chromium
from PIL import Image

from dashboard.canvas import AddressBar, Download
from vislib import display

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


def test_a_download_is_the_same_bytes_under_its_name(browser):
    def build(document):
        download = Download(name="download")
        document.add_root(column(download))
        return download

    picture = display.png(np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8))
    with browser.open(build) as (page, served):
        download = served.made[-1]
        for name in ("first.png", "second.png"):
            with page.expect_download() as waiting:
                served.do(lambda name=name: download.save(picture, name, "image/png"))
            assert waiting.value.suggested_filename == name
            with open(waiting.value.path(), "rb") as file:
                data = file.read()
            assert data == picture
            assert Image.open(io.BytesIO(data)).size == (50, 40)
        deadline = time.monotonic() + WAIT / 1000
        while served.do(lambda: download.data) != b"":
            assert time.monotonic() < deadline


def test_the_address_changes_without_a_reload(browser):
    def build(document):
        bar = AddressBar(name="bar")
        document.add_root(column(bar))
        return bar

    with browser.open(build) as (page, served):
        page.evaluate("window.still_here = true")
        documents = len(served.documents)
        length = page.evaluate("history.length")
        served.do(lambda: setattr(served.made[-1], "query", "?layer=conv3&unit=4"))
        page.wait_for_function("location.search == '?layer=conv3&unit=4'")
        assert page.evaluate("window.still_here && history.length") == length
        assert len(served.documents) == documents
