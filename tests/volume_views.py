"""A volume's viewer opened in a real browser, and what is read off its canvases."""

import base64
import io
import time
from contextlib import contextmanager

import numpy as np
from browsing import FRAME, WAIT
from PIL import Image

from dashboard import palettes
from dashboard.volume_view import VolumeView

PLANES = ("coronal", "sagittal", "axial")
VIEW = "view_of('volume')"
SHAPE = (9, 12, 7)
SPACING = (2.0, 1.0, 3.0)
AFFINE = np.diag([*SPACING, 1.0])
AFFINE[:3, 3] = [-8, -6, -9]
DATA = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.float32)
GREY = palettes.table("grey").astype(int)


@contextmanager
def opened(browser, data=DATA, affine=AFFINE, window=(0.0, 255.0), mask=None, show=True, **settings):
    """A page with a viewer of 600 x 500 pixels, voxels as blocks, and what the browser remembered forgotten."""

    def build(document):
        view = VolumeView(name="volume", width=600, height=500, **{"smooth": False, **settings})
        document.add_root(view)
        return view

    with browser.open(build) as (page, served):
        try:
            view = served.made[-1]
            if show:
                send(page, served, lambda: view.show(data, affine, window, mask))
            yield page, served, view
        finally:
            page.evaluate("localStorage.clear()")


def send(page, served, action) -> None:
    """Update the viewer in Python and wait until it is painted."""
    view = served.made[-1]
    tick = served.do(lambda: action() or view.tick)
    page.wait_for_function(f"{VIEW}.model.ack == {tick}")


def look(page, **settings) -> None:
    """Set properties in the browser, as a widget linked to them does, and wait for the paint."""
    page.evaluate(f"(settings) => {VIEW}.model.setv(settings)", settings)
    page.evaluate(FRAME)


def pane(plane: str) -> str:
    return f"{VIEW}.panes[{PLANES.index(plane)}]"


def pixels(page, plane: str) -> np.ndarray:
    """RGBA of a plane's canvas, (h, w, 4)."""
    url = page.evaluate(f"{pane(plane)}.canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGBA")).astype(int)


def drawn(page, plane: str) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """What is drawn of a plane, and its left, top, width and height on the canvas."""
    rgba = pixels(page, plane)
    rows, columns = (np.flatnonzero((rgba[..., 3] == 255).any(axis)) for axis in (1, 0))
    box = (columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0])
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, :3], box


def blocks(page, plane: str, shape=SHAPE) -> np.ndarray:
    """The colour in the middle of every voxel of a plane, first row uppermost, (rows, columns, 3)."""
    picture, _ = drawn(page, plane)
    n = (
        len(slowly(np.zeros(shape), plane, (0, 0, 0), True)),
        len(slowly(np.zeros(shape), plane, (0, 0, 0), True)[0]),
    )
    middles = [
        ((np.arange(count) + 0.5) * size / count).astype(int)
        for count, size in zip(n, picture.shape, strict=False)
    ]
    return picture[np.ix_(*middles)]


def slowly(data, plane, ijk, radiological) -> np.ndarray:
    """A plane of an array as words say it: front or top up, the patient's left on the right if radiological."""
    i, j, k = ijk
    nx, ny, nz = data.shape[:3]
    across = range(nx - 1, -1, -1) if radiological else range(nx)
    if plane == "axial":
        return np.array([[data[x, y, k] for x in across] for y in range(ny - 1, -1, -1)])
    if plane == "coronal":
        return np.array([[data[x, j, z] for x in across] for z in range(nz - 1, -1, -1)])
    return np.array([[data[i, y, z] for y in range(ny)] for z in range(nz - 1, -1, -1)])


def at(page, plane: str, ijk, shape=SHAPE) -> tuple[float, float]:
    """The page's position of a voxel in a plane, radiological, by what is drawn."""
    left, top = page.evaluate(
        f"(() => {{ const b = {pane(plane)}.el.getBoundingClientRect(); return [b.x, b.y] }})()"
    )
    _, (x, y, width, height) = drawn(page, plane)
    u, v = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
    along = (ijk[u] + 0.5) / shape[u]
    return left + x + width * (along if u == 1 else 1 - along), top + y + height * (
        1 - (ijk[v] + 0.5) / shape[v]
    )


def crosshair(page) -> list[int]:
    return page.evaluate(f"['i', 'j', 'k'].map((name) => {VIEW}.model[name])")


def moved(page, wanted) -> None:
    """Wait until the crosshair is there and painted."""
    now = f"['i', 'j', 'k'].map((name) => {VIEW}.model[name]).join()"
    page.wait_for_function(f"(wanted) => {now} == wanted", arg=",".join(map(str, wanted)))
    page.evaluate(FRAME)


def text(page, part: str) -> str:
    return page.evaluate(f"{VIEW}.facts.{part}.textContent")


def place(page, axis: int) -> list[str]:
    """What is told about an axis: voxel, mm, and mm to a side of the patient."""
    names = "['voxel', 'mm', 'side']"
    return page.evaluate(
        f"{names}.map((name) => {VIEW}.facts.places[{axis}][name].words.parentNode.textContent)"
    )


def told(served, read, wanted) -> None:
    """Wait until Python knows."""
    deadline = time.monotonic() + WAIT / 1000
    while served.do(read) != wanted:
        assert time.monotonic() < deadline, (served.do(read), wanted)
        time.sleep(0.01)


def windowed(values, low, high) -> np.ndarray:
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.floor(share * 255 + 0.5).astype(int)
