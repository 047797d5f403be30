"""The mosaic of units with its toolbar: paging, order, choice, and frames paced by what the browser paints."""

import time
from collections.abc import Callable, Sequence

from bokeh.document import Document
from bokeh.models import Column, ColumnDataSource, Row, Select

from dashboard import styles
from dashboard.canvas import Mosaic
from dashboard.cells import Cell, called, columns, compose
from dashboard.live_button import LiveButton
from dashboard.live_text import LiveText
from dashboard.pump import FramePump
from dashboard.services import Services
from dashboard.workspace import PAGE_SIZES, SORTS, Workspace
from vislib.words import counted

_NUMBERS_EVERY = 0.15  # seconds: nobody reads faster, and the browser names every cell anew


class Grid:
    """One canvas for all cells; sends the newest picture when the browser has painted the last one."""

    def __init__(self, services: Services, workspace: Workspace, document: Document) -> None:
        self._services, self._workspace = services, workspace
        self.cells: list[Cell] = []
        self._step: int | None = None
        self._seen: tuple[object, ...] = ()
        self._told: tuple[object, ...] = ()
        self._told_at = 0.0
        self._listeners: list[Callable[[], None]] = []
        self._chosen: list[Callable[[], None]] = []
        self._showing = False
        self.source = ColumnDataSource({"unit": [], "score": [], "step": []}, name="feature-source")
        self.mosaic = Mosaic(
            name="feature-mosaic", source=self.source, sizing_mode="stretch_both", margin=(8, 0, 0, 0)
        )
        self.pump = FramePump(document, self.mosaic, services.painter, in_flight=3)
        self.previous = LiveButton(
            name="page-previous", label="‹", width=32, margin=(0, 4, 0, 0), stylesheets=[styles.ICON_BUTTON]
        )
        self.next = LiveButton(
            name="page-next", label="›", width=32, margin=(0, 12, 0, 4), stylesheets=[styles.ICON_BUTTON]
        )
        self.place = LiveText(
            name="page-place", text="", stylesheets=[styles.QUIET], margin=(5, 0, 0, 0), width=172
        )
        self.size = Select(
            name="page-size",
            title="units",
            options=[str(size) for size in PAGE_SIZES],
            value=str(PAGE_SIZES[0]),
            width=96,
            stylesheets=[styles.INLINE],
            margin=(0, 12, 0, 0),
        )
        self.sort = Select(
            name="sort",
            title="sort by",
            options=[*SORTS],
            value=SORTS[0],
            width=190,
            stylesheets=[styles.INLINE],
            margin=(0, 12, 0, 0),
        )
        self.toolbar = Row(
            self.previous,
            self.place,
            self.next,
            self.size,
            self.sort,
            sizing_mode="stretch_width",
            margin=(8, 0, 0, 0),
            stylesheets=[styles.WRAP],
        )
        self.root = Column(self.toolbar, self.mosaic, sizing_mode="stretch_both", margin=0)
        self._wire()

    def _wire(self) -> None:
        change = self._workspace.change
        self.previous.on_click(lambda: self._turn(-1))
        self.next.on_click(lambda: self._turn(1))
        self.size.on_change("value", lambda _attr, _old, new: self._resize(new))
        self.sort.on_change("value", lambda _attr, _old, new: change(sort=new if new in SORTS else SORTS[0]))
        self.mosaic.on_change("selected", lambda _attr, _old, new: self._clicked(new))
        self._workspace.listen("page page_size sort opened layer network", self._show_place)

    def _turn(self, by: int) -> None:
        page = self._workspace.now.page + by
        if 0 <= page < len(self._workspace.all_pages()):
            self._workspace.change(page=page, unit=page * self._workspace.now.page_size, opened=None)

    def _resize(self, new: str) -> None:
        size = int(new) if new in map(str, PAGE_SIZES) else PAGE_SIZES[0]
        if size != self._workspace.now.page_size:
            self._workspace.change(page_size=size, page=self._workspace.now.unit // size, opened=None)

    def _clicked(self, index: int) -> None:
        if not self._showing and 0 <= index < len(self.cells):
            self._workspace.change(unit=self.cells[index].unit)
            # Also where the unit stays the same: a random search has one unit only.
            for listener in self._chosen:
                listener()

    def _show_place(self) -> None:
        now = self._workspace.now
        if now.network is None:
            return
        pages = self._workspace.all_pages()
        count = now.network.layer(now.layer).channels
        self.place.text = (
            self._stored()
            if now.opened
            else f"page <b>{now.page + 1}</b> of {len(pages)} · {counted(count, 'unit')}"
        )
        self.previous.disabled = now.page == 0
        self.next.disabled = now.page >= len(pages) - 1
        self.size.value, self.sort.value = str(now.page_size), now.sort

    def _stored(self) -> str:
        """What the mosaic shows when it is not a page of the layer."""
        run = self._services.in_memory(self._workspace.now.opened or "")
        if run is not None and isinstance(run.spec["preset"], list):
            return f"{len(run.units)} draws for unit {run.units[0]}"
        return "a stored run"

    @property
    def selected(self) -> int:
        """Place of the chosen cell."""
        return self.mosaic.selected

    @property
    def selected_unit(self) -> int | None:
        """Unit of the chosen cell."""
        at = self.mosaic.selected
        return self.cells[at].unit if 0 <= at < len(self.cells) else None

    def on_chosen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the user has chosen a cell."""
        self._chosen.append(listener)

    def on_published(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a picture has been sent to the browser."""
        self._listeners.append(listener)

    def show(self, cells: Sequence[Cell], captions: Callable[[Cell], str]) -> None:
        """Show these cells from now on, captioned by `captions`."""
        others = list(cells) != self.cells
        self.cells, self._seen, self._told = list(cells), (), ()
        across = columns(len(self.cells))
        self.mosaic.update(
            n=len(self.cells),
            columns=across,
            captions=[captions(cell) for cell in self.cells],
            labels=[called(cell) for cell in self.cells],
            badges=[""] * len(self.cells),
        )
        self.source.data = {"unit": [cell.unit for cell in self.cells], **self._numbers()}
        if others:  # the picture of other cells under these captions would be taken for theirs
            self.pump.drop()
            if self.mosaic.frame:
                self.mosaic.clear()
        self.update()

    def say(self, words: str) -> None:
        """Show these words while there is no picture."""
        if words != self.mosaic.placeholder:
            self.mosaic.placeholder = words

    def select(self, cell: Cell) -> None:
        """Outline this cell."""
        self._showing = True
        try:
            self.mosaic.selected = self.cells.index(cell) if cell in self.cells else -1
        finally:
            self._showing = False

    def scrub(self, step: int | None) -> None:
        """Show the whole mosaic as it was at `step`; None: the newest."""
        if step != self._step:
            self._step = step
            self.update()

    def update(self) -> None:
        """Offer a new picture where a frame has come, and now and then the numbers beside it."""
        radiological = self._workspace.radiological
        seen = (self._step, radiological, *((cell.run.id, cell.run.history.version) for cell in self.cells))
        self.pump.advance()
        if all(cell.run.history.latest is None for cell in self.cells):
            return
        if seen != self._seen and self.pump.ready:
            self._seen = seen
            cells, step = list(self.cells), self._step
            self.pump.offer(lambda: compose(cells, step, radiological), self._sent)
        told = (*seen, *(cell.run.state for cell in self.cells))
        if told != self._told and time.monotonic() - self._told_at > _NUMBERS_EVERY:
            self._told, self._told_at = told, time.monotonic()
            self._tell()

    def _sent(self) -> None:
        for listener in self._listeners:
            listener()

    def _tell(self) -> None:
        self.source.data = {"unit": [cell.unit for cell in self.cells], **self._numbers()}
        badges = ["never fired" if cell.silent() else "" for cell in self.cells]
        if badges != self.mosaic.badges:
            self.mosaic.badges = badges

    def _numbers(self) -> dict[str, list[float] | list[int]]:
        shown = [cell.shown(self._step) for cell in self.cells]
        return {"score": [score for score, _ in shown], "step": [step for _, step in shown]}

    def close(self) -> None:
        """Send nothing more."""
        self.pump.close()
