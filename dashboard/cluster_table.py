"""Where a volume's map is strongest: its maximum and its largest clusters, each a click away."""

import math
from collections.abc import Callable, Sequence

from bokeh.models import (
    Column,
    ColumnDataSource,
    DataTable,
    HTMLTemplateFormatter,
    NumberFormatter,
    StringFormatter,
    TableColumn,
)

from dashboard import numbers, styles
from dashboard.live_button import LiveButton
from dashboard.live_text import LiveText
from dashboard.places import own_voxel
from dashboard.tables import keep_drawn
from vislib.clusters import Cluster, Place
from vislib.head import percent
from vislib.volume import Volume

_COLUMNS = {
    "name": ("region", 96),
    "size": ("mm³", 64),
    "peak": ("peak", 58),
    "p": ("P", 48),
    "where": ("mm / voxel", 80),
}
_DATA = ("name", "size", "peak", "p", "x", "y", "z", "voxel")
_OF_CLUSTERS, _OF_REGIONS = ("size", "peak", "p", "where"), ("name", "size", "where")
_WHERE = (
    "<span style='font-size: 11px'><%= x %> <%= y %> <%= z %><br>"
    "<span style='color: var(--quiet)'><%= voxel %></span></span>"
)
_ROWS = 10  # that are seen at once; more are scrolled to
_ROW, _HEAD = 38, 24
_TABLE = (
    styles.BASE
    + """
.slick-header-column, .slick-cell, .slick-header { background: var(--surface) !important; color: var(--text); }
.slick-header-column { color: var(--quiet); font-size: 11px; border: 0 !important; padding: 2px 4px !important; }
.slick-cell { border: 0 !important; border-top: 1px solid var(--line) !important; font-size: 12px;
  font-variant-numeric: tabular-nums; padding: 3px 4px !important; cursor: pointer; text-align: right;
  line-height: 16px; }
.slick-cell.l0 { text-align: left; text-overflow: ellipsis; white-space: normal; }
.slick-header-column { text-align: right; }
.slick-row:hover .slick-cell { background: var(--sunken) !important; }
.slick-cell.bk-slick-selected, .slick-row .slick-cell.selected { background: var(--accent-soft) !important; }
.slick-viewport { overflow-x: hidden !important; }
"""
)


def _height(rows: int) -> int:
    return _ROW * min(rows, _ROWS) + _HEAD + 12


class ClusterTable:
    """`jump(ijk)` is told where a person wants to go."""

    def __init__(self, jump: Callable[[Place], None]) -> None:
        self._jump = jump
        self._maximum: Place | None = None
        self._peaks: list[Place] = []
        self.maximum = LiveButton(
            name="volume-maximum",
            label="Jump to the maximum",
            sizing_mode="stretch_width",
            disabled=True,
            margin=0,
        )
        self.said = LiveText(
            name="volume-clusters-said",
            text="",
            stylesheets=[styles.QUIET],
            sizing_mode="stretch_width",
            margin=(6, 0, 3, 0),
        )
        self.source = ColumnDataSource({name: [] for name in _DATA}, name="clusters-source")
        formatters = {
            "size": NumberFormatter(format="0,0"),
            "where": HTMLTemplateFormatter(template=_WHERE),
        }
        self._columns = {
            name: TableColumn(
                field="x" if name == "where" else name,
                title=title,
                width=width,
                sortable=False,
                visible=name in _OF_CLUSTERS,
                formatter=formatters.get(name, StringFormatter()),
            )
            for name, (title, width) in _COLUMNS.items()
        }
        self.table = DataTable(
            name="volume-clusters",
            source=self.source,
            columns=[*self._columns.values()],
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
        self,
        maximum: Place | None,
        found: Sequence[Cluster],
        threshold: float,
        unit: str,
        volume: Volume | None = None,
        chance: Callable[[Place], float] = lambda _: math.nan,
    ) -> None:
        """Show where a map is strongest, and its clusters of values of at least `threshold`.

        Places are told in mm and as the volume's file counts; `chance` knows the class's probability at a voxel.
        """
        self._fill(maximum, found, volume, chance, _OF_CLUSTERS)
        if maximum is None:
            self.said.text = unit
        else:
            count = f"Largest {len(found)} clusters" if len(found) > 1 else "The one cluster"
            self.said.text = f"{count} above {numbers.words(threshold)} {unit}" if found else "No clusters."

    def show_regions(self, found: Sequence[Cluster], volume: Volume) -> None:
        """List the regions of a mask or an atlas; a region's place is the voxel of it nearest to its centre."""
        self._fill(None, found, volume, lambda _: math.nan, _OF_REGIONS)
        many = f"{len(found)} regions, the largest first" if len(found) > 1 else "One region"
        self.said.text = f"{many}." if found else "It holds no region here."

    def _fill(
        self,
        maximum: Place | None,
        found: Sequence[Cluster],
        volume: Volume | None,
        chance: Callable[[Place], float],
        columns: Sequence[str],
    ) -> None:
        self._maximum = maximum
        self._peaks = [one.peak_ijk for one in found]
        self.maximum.disabled = maximum is None
        self.source.selected.indices = []
        own = [None if volume is None else own_voxel(volume, one.peak_ijk) for one in found]
        self.source.data = {
            "name": [_called(one) for one in found],
            "size": [round(one.mm3) for one in found],
            "peak": [numbers.words(one.peak) if one.label is None else f"{one.peak:.10g}" for one in found],
            "p": [percent(one) if math.isfinite(one) else "" for one in map(chance, self._peaks)],
            **{name: [round(one.peak_mm[axis]) for one in found] for axis, name in enumerate("xyz")},
            "voxel": ["" if one is None else " ".join(map(str, one)) for one in own],
        }
        known = any(self.source.data["p"])
        for name, column in self._columns.items():
            visible = name in columns and (name != "p" or known)
            if column.visible != visible:
                column.visible = visible
        self.table.update(visible=bool(found), height=_height(len(found)))

    def clear(self, words: str) -> None:
        """Show nothing but a few words."""
        self.show(None, [], 0.0, words)

    def _to_maximum(self) -> None:
        if self._maximum is not None:
            self._jump(self._maximum)

    def _selected(self, indices: Sequence[int]) -> None:
        if indices and 0 <= indices[0] < len(self._peaks):
            self._jump(self._peaks[indices[0]])


def _called(one: Cluster) -> str:
    """A region's number and name."""
    if one.label is None:
        return ""
    return f"{one.label:.10g} {one.name}".strip()
