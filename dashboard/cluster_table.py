"""Where a volume's map is strongest: its maximum and its largest clusters, each a click away."""

from collections.abc import Callable, Sequence

from bokeh.models import (
    Button,
    Column,
    ColumnDataSource,
    DataTable,
    Div,
    NumberFormatter,
    StringFormatter,
    TableColumn,
)

from dashboard import numbers, styles
from dashboard.tables import keep_drawn
from vislib.clusters import Cluster

_COLUMNS = {"size": ("mm³", 72), "peak": ("peak", 56), "x": ("x", 38), "y": ("y", 38), "z": ("z mm", 44)}
_ROW = 24
_TABLE = (
    styles.BASE
    + """
.slick-header-column, .slick-cell, .slick-header { background: var(--surface) !important; color: var(--text); }
.slick-header-column { color: var(--quiet); font-size: 11px; border: 0 !important; padding: 2px 4px !important; }
.slick-cell { border: 0 !important; border-top: 1px solid var(--line) !important; font-size: 12px;
  font-variant-numeric: tabular-nums; padding: 3px 4px !important; cursor: pointer; text-align: right; }
.slick-header-column { text-align: right; }
.slick-row:hover .slick-cell { background: var(--sunken) !important; }
.slick-cell.bk-slick-selected, .slick-row .slick-cell.selected { background: var(--accent-soft) !important; }
.slick-viewport { overflow-x: hidden !important; }
"""
)


def _height(rows: int) -> int:
    return _ROW * (rows + 1) + 12


class ClusterTable:
    """`jump(ijk)` is told where a person wants to go."""

    def __init__(self, jump: Callable[[tuple[int, int, int]], None]) -> None:
        self._jump = jump
        self._maximum: tuple[int, int, int] | None = None
        self._peaks: list[tuple[int, int, int]] = []
        self.maximum = Button(
            name="volume-maximum",
            label="Jump to the maximum",
            sizing_mode="stretch_width",
            disabled=True,
            margin=0,
        )
        self.said = Div(
            name="volume-clusters-said",
            text="",
            stylesheets=[styles.QUIET],
            sizing_mode="stretch_width",
            margin=(6, 0, 3, 0),
        )
        self.source = ColumnDataSource({name: [] for name in _COLUMNS}, name="clusters-source")
        number = {"size": NumberFormatter(format="0,0"), "peak": StringFormatter()}
        self.table = DataTable(
            name="volume-clusters",
            source=self.source,
            columns=[
                TableColumn(
                    field=name,
                    title=title,
                    width=width,
                    sortable=False,
                    formatter=number.get(name, NumberFormatter(format="0")),
                )
                for name, (title, width) in _COLUMNS.items()
            ],
            row_height=_ROW,
            index_position=None,
            reorderable=False,
            autosize_mode="none",
            sizing_mode="stretch_width",
            height=_height(0),
            visible=False,
            margin=0,
            stylesheets=[_TABLE],
        )
        self.root = Column(self.maximum, self.said, self.table, sizing_mode="stretch_width", margin=0)
        keep_drawn(self.table, self.source)
        self.maximum.on_click(self._to_maximum)
        self.source.selected.on_change("indices", lambda _attr, _old, new: self._selected(new))

    def show(
        self, maximum: tuple[int, int, int] | None, found: Sequence[Cluster], threshold: float, unit: str
    ) -> None:
        """Show where a map is strongest, and its clusters of values of at least `threshold`."""
        self._maximum = maximum
        self._peaks = [one.peak_ijk for one in found]
        self.maximum.disabled = maximum is None
        self.source.selected.indices = []
        self.source.data = {
            "size": [round(one.mm3) for one in found],
            "peak": [numbers.words(one.peak) for one in found],
            **{name: [round(one.peak_mm[axis]) for one in found] for axis, name in enumerate("xyz")},
        }
        self.table.update(visible=bool(found), height=_height(len(found)))
        if maximum is None:
            self.said.text = unit
        else:
            count = f"Largest {len(found)} clusters" if len(found) > 1 else "The one cluster"
            self.said.text = f"{count} above {numbers.words(threshold)} {unit}" if found else "No clusters."

    def clear(self, words: str) -> None:
        """Show nothing but a few words."""
        self.show(None, [], 0.0, words)

    def _to_maximum(self) -> None:
        if self._maximum is not None:
            self._jump(self._maximum)

    def _selected(self, indices: Sequence[int]) -> None:
        if indices and 0 <= indices[0] < len(self._peaks):
            self._jump(self._peaks[indices[0]])
