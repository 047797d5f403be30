"""The export menu: histories as GIF or WebP, the mosaic as PNG, raw float images as .npz."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from math import sqrt

import numpy as np
from bokeh.models import Dropdown

from dashboard.canvas import Download
from dashboard.cells import BACKGROUND, Cell, columns, sizes_of
from dashboard.later import later
from dashboard.services import Services
from dashboard.unit_planes import lettered
from dashboard.workspace import Workspace
from vislib import display, export
from vislib.errors import VislibError

_MENU: Sequence[tuple[str, str]] = (
    ("This unit's history, GIF", "unit-gif"),
    ("This unit's history, WebP", "unit-webp"),
    ("The page's history, GIF", "page-gif"),
    ("The page's history, WebP", "page-webp"),
    ("The mosaic now, PNG", "mosaic-png"),
    ("Raw images and spec, .npz", "raw-npz"),
)
_FRAMES_A_SECOND = 12
_MOST_PAGE_FRAMES = 64
_CELL, _GAP = 128, 2
_TYPES = {"gif": "image/gif", "webp": "image/webp", "png": "image/png", "npz": "application/octet-stream"}


class ExportMenu:
    """Makes files off the event loop and hands them to the browser."""

    def __init__(
        self, services: Services, workspace: Workspace, exported: Callable[[], tuple[list[Cell], int]]
    ) -> None:
        self._services, self._workspace, self._exported = services, workspace, exported
        self.download = Download(name="download")
        self.menu = Dropdown(name="export", label="Export", menu=[*_MENU], width=90, margin=0)
        self.menu.on_click(self._clicked)

    def _clicked(self, event: object) -> None:
        what = str(getattr(event, "item", ""))
        if what not in [item for _, item in _MENU]:
            return
        cells, at = self._exported()
        cells = [cell for cell in cells if cell.run.history.latest is not None]
        if not cells:
            self._workspace.notify("There is nothing to export yet: wait for the first frame.", "warning")
            return
        self.menu.disabled, self.menu.label = True, "Working …"
        document = self.menu.document
        work = self._services.painter.submit(
            build, what, cells, cells[min(max(at, 0), len(cells) - 1)], self._workspace.radiological
        )

        def done(future: "Future[tuple[str, bytes]]") -> None:
            later(document, lambda: self._hand_over(future))

        work.add_done_callback(done)

    def _hand_over(self, future: "Future[tuple[str, bytes]]") -> None:
        self.menu.disabled, self.menu.label = False, "Export"
        try:
            name, data = future.result()
        except (VislibError, MemoryError) as error:
            self._workspace.notify(f"The export failed: {error}")
            return
        self.download.save(data, name, _TYPES[name.rsplit(".", 1)[1]])


def build(what: str, cells: Sequence[Cell], chosen: Cell, radiological: bool = True) -> tuple[str, bytes]:
    """File name and content of one entry of the menu; pictures of volumes are drawn as slices are.

    Every file holds the cautions that belong to all that its network answers.
    """
    sizes, cautions = sizes_of(cells), chosen.run.network.cautions

    def tiled(pictures: Sequence[np.ndarray]) -> np.ndarray:
        return lettered(_tiled(pictures), sizes, len(pictures), columns(len(pictures)), _GAP, radiological)

    run = chosen.run
    stem = f"{run.network.name}-{run.layer}"
    if what.startswith("unit-"):
        film = [display.decode(picture) for _, _, picture in run.history.film(chosen.row)]
        pictures = [_alone(display.plane(one, None, radiological), sizes, radiological) for one in film]
        kind = what.removeprefix("unit-")
        return _file(f"{stem}-unit{chosen.unit}-history", kind), _animate(kind, pictures, cautions)
    if what.startswith("page-"):
        kind = what.removeprefix("page-")
        return _file(f"{stem}-history", kind), _animate(
            kind, _page_history(cells, radiological, tiled), cautions
        )
    if what == "mosaic-png":
        latest = [cell.run.history.latest for cell in cells]
        pictures = [
            display.plane(display.stretch(one.images[cell.row][None])[0], None, radiological)
            for cell, one in zip(cells, latest, strict=True)
            if one
        ]
        return _file(f"{stem}-mosaic", "png"), export.png(tiled(pictures), notes=cautions)
    return _file(f"{stem}-raw", "npz"), export.npz(run.history, run.spec, notes=cautions)


def _animate(kind: str, pictures: Sequence[np.ndarray], notes: Sequence[str]) -> bytes:
    return (export.gif if kind == "gif" else export.webp)(pictures, _FRAMES_A_SECOND, notes=notes)


def _alone(picture: np.ndarray, sizes: Sequence[int], radiological: bool) -> np.ndarray:
    """One picture (d, h, w) with its letters, if it is a volume's."""
    return np.moveaxis(lettered(np.moveaxis(picture, 0, -1), sizes, 1, 1, 0, radiological), -1, 0)


def _page_history(
    cells: Sequence[Cell], radiological: bool, tiled: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> list[np.ndarray]:
    """Mosaics of the page at evenly chosen kept steps, channels first."""
    steps = sorted({step for cell in cells for step in cell.run.history.steps()})
    some = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _MOST_PAGE_FRAMES)).astype(int))
    frames = []
    for place in some:
        pictures = [
            display.plane(
                display.decode(cell.run.history.at(steps[place]).pictures[cell.row]), None, radiological
            )
            for cell in cells
        ]
        frames.append(np.moveaxis(tiled(pictures), -1, 0))
    return frames


def _tiled(pictures: Sequence[np.ndarray]) -> np.ndarray:
    shape = pictures[0].shape
    blank = np.full(shape, BACKGROUND, np.uint8)
    alike = np.stack([picture if picture.shape == shape else blank for picture in pictures])
    long, short = max(shape[1:]), min(shape[1:])
    cell = round(min(_CELL * sqrt(long / short), max(64, long)))  # of the same area, whatever its shape
    return display.tile(alike, columns(len(pictures)), cell, gap=_GAP, background=BACKGROUND)


def _file(stem: str, kind: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem) + "." + kind
