"""The header: which network, on which device, dark or light; and the line that tells what went wrong."""

import re
from collections import Counter
from html import escape
from pathlib import Path

from bokeh.models import CustomJS, Row, Select, UIElement

from dashboard import sayings, styles
from dashboard.later import later
from dashboard.live_button import LiveButton
from dashboard.live_text import LiveText
from dashboard.pictured import QUICK
from dashboard.services import Services
from dashboard.workspace import Workspace
from vislib.errors import VislibError
from vislib.network import Network
from vislib.words import counted

_JS = Path(__file__).parent / "js"


class Header:
    """Network select, input bar, device, theme toggle."""

    def __init__(self, services: Services, workspace: Workspace, input_bar: UIElement) -> None:
        self._services, self._workspace = services, workspace
        self.network = Select(
            name="network-select",
            title="network",
            options=_labelled(services.network_options()),
            value="",
            width=236,
            stylesheets=[styles.INLINE],
            margin=(0, 14, 0, 0),
        )
        self.about = LiveText(
            name="network-about",
            text="",
            stylesheets=[styles.ONE_LINE],
            sizing_mode="stretch_width",
            margin=0,
        )
        self.device = LiveText(
            name="device", text=services.device_text, stylesheets=[styles.QUIET], margin=(0, 12, 0, 12)
        )
        self.theme = LiveButton(
            name="theme-toggle",
            label="◐",
            width=34,
            margin=0,
            stylesheets=[styles.ICON_BUTTON],
            html_attributes={"title": "Dark or light"},
        )
        self.theme.js_on_click(CustomJS(code=(_JS / "theme.js").read_text()))
        self.root = Row(
            self.network,
            input_bar,
            self.about,
            self.device,
            self.theme,
            name="header",
            sizing_mode="stretch_width",
            align="center",
            stylesheets=[styles.BASE + ":host { align-items: center; min-width: 0; }"],
        )
        self._showing = False
        self.network.on_change("value", self._chosen)
        workspace.listen("network network_name layer", self._show)

    def _chosen(self, _attr: str, _old: str, new: str) -> None:
        if not self._showing and new:
            self._workspace.change(network_name=new)

    def _show(self) -> None:
        now = self._workspace.now
        self._showing = True
        try:
            options = _labelled(self._services.network_options(now.network_name))
            if options != self.network.options:
                self.network.options = options
            self.network.value = now.network_name
        finally:
            self._showing = False
        self._tell()

    def _tell(self) -> None:
        """Say what the network and the layer are; how far a unit sees is probed off the event loop."""
        network, layer = self._workspace.now.network, self._workspace.now.layer
        if network is None or not layer:
            return
        if self._workspace.loading:
            called = escape(Path(self._workspace.now.network_name).stem)
            self._say(f"<b>{called}</b> is being loaded; until then the page shows {escape(network.name)}")
            return
        shape = " x ".join(str(side) for side in network.input_shape)
        known = network.layer(layer)
        about = f"{sayings.called(network)}, input {shape} · <b>{escape(layer)}</b> "
        about += counted(known.channels, "unit")
        self._say(about)
        document = self.about.document
        if not known.spatial or document is None or network.probe_seconds > QUICK:
            return  # finding what a unit sees takes many such passes

        def probe() -> None:
            try:
                seen = network.receptive_field(layer)
            except VislibError:
                return  # then nothing is said of it: the picture does not depend on it
            size, stride = " x ".join(map(str, seen.size)), max(seen.stride)
            text = f"{about}, each sees {size} px, {stride} apart"
            later(document, lambda: self._saw(network, layer, text))

        self._services.painter.submit(probe)

    def _say(self, about: str) -> None:
        self.about.text = about
        self.about.html_attributes = {"title": re.sub("<[^>]*>", "", about)}

    def _saw(self, network: Network, layer: str, text: str) -> None:
        now = self._workspace.now
        if (network, layer) == (now.network, now.layer) and not self._workspace.loading:
            self._say(text)


def _labelled(groups: dict[str, list[str]]) -> dict[str, list[tuple[str, str]]]:
    """Menu entries: a person's own network goes by its card's name, torchvision's without the prefix.

    Cards of one name in several folders, or of a shipped network's name, go by their folder as well.
    """
    shown = {
        name: Path(name).stem if name.endswith(".toml") else name.removeprefix("torchvision:")
        for names in groups.values()
        for name in names
    }
    counts = Counter(shown.values())
    for name, label in shown.items():
        if counts[label] > 1 and name.endswith(".toml"):
            shown[name] = f"{label} ({Path(name).parent.name or Path(name).resolve().parent.name})"
    again = Counter(shown.values())
    for name, label in shown.items():
        if again[label] > 1 and name.endswith(".toml"):
            shown[name] = name  # the same folder's name as well: the whole path
    return {group: [(name, shown[name]) for name in names] for group, names in groups.items()}


class Notice:
    """Sentences about what went wrong or deserves a warning, until they are dismissed."""

    _MOST = 3

    def __init__(self, workspace: Workspace) -> None:
        self._sentences: list[str] = []
        self.text = LiveText(
            name="notice", text="", sizing_mode="stretch_width", margin=0, stylesheets=[styles.NOTICE]
        )
        self.text.html_attributes = {"role": "alert"}
        self.close = LiveButton(
            label="✕", name="notice-close", width=32, margin=(0, 0, 0, 6), stylesheets=[styles.ICON_BUTTON]
        )
        self.close.html_attributes = {"title": "Dismiss"}
        self.root = Row(
            self.text, self.close, visible=False, sizing_mode="stretch_width", margin=(4, 0, 4, 0)
        )
        self.close.on_click(self.hide)
        workspace.on_notice(self.show)
        workspace.listen("uploaded", self.hide)  # what went wrong before is mended

    def show(self, sentence: str, kind: str) -> None:
        """Show the sentence below those that are still open."""
        if sentence not in self._sentences:
            self._sentences = [*self._sentences, sentence][-self._MOST :]
        self.text.text = "<br>".join(escape(one) for one in self._sentences)
        self.text.css_classes = [kind]
        self.root.visible = True

    def hide(self) -> None:
        """Take the sentences away."""
        self._sentences = []
        self.root.visible = False
        self.text.text = ""
