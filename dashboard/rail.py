"""The rail: the network's layers in execution order, and what must be known of the network."""

from html import escape

from bokeh.models import Column, Div, RadioButtonGroup

from dashboard import styles
from dashboard.live_text import LiveText
from dashboard.workspace import Workspace
from vislib.network import Layer, Network

_NAME_WIDTH = 18


def _label(layer: Layer) -> str:
    name = layer.name
    if len(name) > _NAME_WIDTH:
        name = "…" + name[-_NAME_WIDTH + 1 :]
    return f"{name:<{_NAME_WIDTH}}{layer.channels:>5}"


class Rail:
    """Layer list, one line a layer with its number of units, and below it the network's notes."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.heading = Div(text="Layers · units", stylesheets=[styles.HEADING], margin=(12, 14, 6, 14))
        self.list = RadioButtonGroup(
            name="layer-list",
            labels=[],
            orientation="vertical",
            sizing_mode="stretch_both",
            stylesheets=[styles.RAIL],
            margin=0,
        )
        self.notes = LiveText(
            name="network-notes",
            text="",
            visible=False,
            sizing_mode="stretch_width",
            stylesheets=[styles.NETWORK_NOTES],
            margin=0,
        )
        self.root = Column(self.heading, self.list, self.notes, name="rail", sizing_mode="stretch_both")
        self._names: list[str] = []
        self._showing = False
        self.list.on_change("active", self._chosen)
        workspace.listen("network layer", self._show)

    def _chosen(self, _attr: str, _old: int | None, new: int | None) -> None:
        if not self._showing and new is not None and new < len(self._names):
            self._workspace.change(layer=self._names[new], unit=0, page=0, opened=None)

    def _show(self) -> None:
        now = self._workspace.now
        if now.network is None:
            return
        self._note(now.network)
        self._showing = True
        try:
            self._names = list(now.network.layers)
            labels = [_label(layer) for layer in now.network.layers.values()]
            if labels != self.list.labels:
                self.list.active = None
                self.list.labels = labels
            self.list.active = self._names.index(now.layer) if now.layer in self._names else None
        finally:
            self._showing = False

    def _note(self, network: Network) -> None:
        """Say what the page must say of the network; a caution, which every answer shares, in amber."""
        lines = [
            f"<p{' class=caution' if note in network.cautions else ''}>{escape(note).replace(' %', '&nbsp;%')}</p>"
            for note in network.notes
        ]
        self.notes.text = "".join(lines)
        self.notes.visible = bool(lines)
