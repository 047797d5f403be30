"""The Runs panel: every stored run, to open, resume, rename or delete."""

import base64
from collections.abc import Callable
from datetime import datetime
from html import escape

from bokeh.models import (
    Column,
    ColumnDataSource,
    DataTable,
    HTMLTemplateFormatter,
    Row,
    StringFormatter,
    TableColumn,
    TextInput,
)

from dashboard import styles
from dashboard.live_button import LiveButton
from dashboard.live_text import LiveText
from dashboard.services import Services
from dashboard.tables import keep_drawn
from dashboard.workspace import Workspace
from vislib import display
from vislib.errors import StoreError
from vislib.store import RunSummary
from vislib.words import counted

_COLUMNS = (
    "thumbnail",
    "title",
    "network",
    "layer",
    "units",
    "preset",
    "state",
    "progress",
    "date",
    "size",
    "id",
)
_EMPTY = "No run is kept yet: every run of the Features tab appears here by itself."


def row(summary: RunSummary, state: str | None = None) -> dict[str, str]:
    """What the table shows of a run; `state` where this process knows better than the store."""
    data = display.viewable(summary.thumbnail) if summary.thumbnail else b""
    picture = f"data:{display.mime(data)};base64,{base64.b64encode(data).decode()}" if data else ""
    return {
        "thumbnail": picture,
        "title": summary.title or f"{summary.layer} of {summary.network}",
        "network": summary.network,
        "layer": summary.layer,
        "units": _span(tuple(summary.units)),
        "preset": summary.preset,
        "state": state or summary.state,
        "progress": f"{max(0, summary.step)} / {summary.steps}",
        "date": datetime.fromtimestamp(summary.created).strftime("%Y-%m-%d %H:%M"),
        "size": _bytes(summary.size),
        "id": summary.id,
    }


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def _span(units: tuple[int, ...]) -> str:
    if len(units) > 2 and units == tuple(range(units[0], units[-1] + 1)):
        return f"{units[0]} - {units[-1]}"
    if len(set(units)) == 1 and len(units) > 1:
        return f"{units[0]} ({len(units)} times)"
    return ", ".join(str(unit) for unit in units[:4]) + (", …" if len(units) > 4 else "")


class RunsPanel:
    """The table of the run store and what can be done with its rows."""

    def __init__(
        self, services: Services, workspace: Workspace, open_run: Callable[[str, bool], None]
    ) -> None:
        self._services, self._workspace, self._open_run = services, workspace, open_run
        self.source = ColumnDataSource({name: [] for name in _COLUMNS}, name="runs-source")
        image = HTMLTemplateFormatter(
            template='<% if (value) { %><img src="<%= value %>" alt="" style="height:44px;display:block"><% } %>'
        )
        text = StringFormatter()
        widths = {
            "title": 236,
            "network": 176,
            "layer": 116,
            "units": 92,
            "preset": 116,
            "state": 90,
            "progress": 92,
            "date": 128,
            "size": 76,
        }
        self.table = DataTable(
            name="runs-table",
            source=self.source,
            columns=[
                TableColumn(field="thumbnail", title="", formatter=image, width=52, sortable=False),
                *(
                    TableColumn(field=name, title=name.capitalize(), formatter=text, width=width)
                    for name, width in widths.items()
                ),
            ],
            row_height=50,
            index_position=None,
            reorderable=False,
            selectable=True,
            autosize_mode="none",
            sizing_mode="stretch_both",
            stylesheets=[_TABLE],
        )
        self.open = LiveButton(name="run-open", label="Open", button_type="primary", width=80)
        self.resume = LiveButton(name="run-resume", label="Resume", width=80)
        self.title = TextInput(name="run-title", placeholder="a new title", width=220)
        self.rename = LiveButton(name="run-rename", label="Rename", width=80)
        self.delete = LiveButton(name="run-delete", label="Delete …", width=80)
        self.question = LiveText(name="run-delete-question", text="", margin=(10, 4, 0, 10))
        self.confirm = LiveButton(
            name="run-delete-confirm", label="Delete for good", button_type="danger", width=120
        )
        self.keep = LiveButton(name="run-delete-keep", label="Keep", width=70)
        self.asking = Row(self.question, self.confirm, self.keep, visible=False)
        # Always a line: the table need not move, which would lay out the page when it is looked at first.
        self.said = LiveText(
            name="runs-said", text=_EMPTY, height=18, stylesheets=[styles.QUIET], margin=(8, 4, 6, 6)
        )
        self.tools = Row(self.open, self.resume, self.title, self.rename, self.delete, self.asking)
        self.root = Column(self.tools, self.said, self.table, sizing_mode="stretch_both", margin=(8, 0, 0, 0))
        self._wire()
        self._selected()

    def _wire(self) -> None:
        keep_drawn(self.table, self.source)
        self.source.selected.on_change("indices", lambda _attr, _old, _new: self._selected())
        self.open.on_click(lambda: self._act(False))
        self.resume.on_click(lambda: self._act(True))
        self.rename.on_click(self._rename)
        self.delete.on_click(self._ask)
        self.keep.on_click(self._selected)
        self.confirm.on_click(self._delete)

    def chosen(self) -> str | None:
        """Id of the run whose row is selected."""
        indices = self.source.selected.indices
        ids = self.source.data["id"]
        return str(ids[indices[0]]) if indices and 0 <= indices[0] < len(ids) else None

    def update(self) -> None:
        """Read the store anew, keeping the selection on its run; sends nothing where nothing changed."""
        kept = self._services.store.list()
        rows = [row(summary, self._state(summary.id)) for summary in kept]
        data = {name: [one[name] for one in rows] for name in _COLUMNS}
        if data != self.source.data:
            chosen = self.chosen()
            self.source.data = data
            self.source.selected.indices = [data["id"].index(chosen)] if chosen in data["id"] else []
        runs = counted(len(rows), "stored run")
        self.said.text = f"{runs}, {_bytes(sum(one.size for one in kept))} in all" if rows else _EMPTY
        self._selected(keep_question=True)

    def _state(self, run_id: str) -> str | None:
        run = self._services.in_memory(run_id)
        return run.state if run is not None and run.active else None

    def _selected(self, keep_question: bool = False) -> None:
        chosen = self.chosen()
        state = self.source.data["state"][self.source.selected.indices[0]] if chosen else ""
        for button in (self.open, self.rename, self.delete, self.title):
            button.disabled = chosen is None
        self.resume.disabled = state not in ("paused", "interrupted", "cancelled", "failed")
        if not (keep_question and chosen):
            self.asking.visible = False

    def _act(self, resume: bool) -> None:
        if (chosen := self.chosen()) is not None:
            self._open_run(chosen, resume)

    def _rename(self) -> None:
        chosen, title = self.chosen(), self.title.value.strip()[:120]
        if chosen is None:
            return
        if not title:
            self._workspace.notify("Type the new title first, then press Rename.", "warning")
            return
        try:
            self._services.store.rename(chosen, title)
        except StoreError as error:
            self._workspace.notify(str(error))
            return
        self.title.value = ""
        self.update()

    def _ask(self) -> None:
        if self.chosen() is None:
            return
        title = self.source.data["title"][self.source.selected.indices[0]]
        self.question.text = f"Delete <b>{escape(title)}</b> and its history?"
        self.asking.visible = True

    def _delete(self) -> None:
        if (chosen := self.chosen()) is not None and self.asking.visible:
            self._services.forget(chosen)
            try:
                self._services.store.delete(chosen)
            except StoreError as error:
                self._workspace.notify(str(error))
            self.asking.visible = False
            self.source.selected.indices = []
            self.update()


_TABLE = (
    styles.BASE
    + """
.slick-header-column {
  background: var(--surface) !important; color: var(--quiet) !important; border-color: var(--line) !important;
  font-weight: 600;
}
.slick-cell { background: var(--surface); color: var(--text); border-color: var(--line) !important; line-height: 44px; }
.slick-row:hover .slick-cell { background: var(--sunken); }
.slick-cell.selected { background: var(--accent-soft) !important; color: var(--text) !important; }
.slick-viewport, .grid-canvas, .bk-data-table { background: var(--surface) !important; }
.slick-cell.active { border-color: var(--accent) !important; }
"""
)
