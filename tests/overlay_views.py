"""Two overlays under one lens in a real browser, and what is read off their canvases."""

import base64
import io

import numpy as np
from bokeh.layouts import row
from browsing import FRAME
from PIL import Image

from dashboard.overlay import Lens, Overlay

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


def chip(page, name: str, which: str) -> str:
    """The words of one of an overlay's chips."""
    return page.evaluate(f"view_of('{name}').chips.{which}.textContent")
