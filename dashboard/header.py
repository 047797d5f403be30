"""The header: which network, on which device, dark or light; and the line that tells what went wrong."""

from html import escape
from pathlib import Path

from bokeh.models import Button, CustomJS, Div, Row, Select

from dashboard import styles
from dashboard.services import Services
from dashboard.workspace import Workspace

_JS = Path(__file__).parent / "js"


class Header:
    """Network select, device, theme toggle."""

    def __init__(self, services: Services, workspace: Workspace) -> None:
        self._services, self._workspace = services, workspace
        self.network = Select(
            name="network-select",
            title="network",
            options=_labelled(services.network_options()),
            value="",
            width=330,
            stylesheets=[styles.INLINE],
            margin=(0, 14, 0, 0),
        )
        self.about = Div(
            name="network-about", text="", stylesheets=[styles.QUIET], sizing_mode="stretch_width", margin=0
        )
        self.device = Div(
            name="device", text=services.device_text, stylesheets=[styles.QUIET], margin=(0, 12, 0, 12)
        )
        self.theme = Button(
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
            self.about,
            self.device,
            self.theme,
            name="header",
            sizing_mode="stretch_width",
            align="center",
            stylesheets=[styles.BASE + ":host { align-items: center; }"],
        )
        self._showing = False
        self.network.on_change("value", self._chosen)
        workspace.listen("network network_name", self._show)

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
        if now.network is not None:
            shape = " x ".join(str(n) for n in now.network.input_shape)
            classes = now.network.layers["logits"].channels
            self.about.text = f"{len(now.network.layers)} layers, {classes} classes, input {shape}"


def _labelled(groups: dict[str, list[str]]) -> dict[str, list[tuple[str, str]]]:
    """Menu entries: a person's own network goes by its card's name, torchvision's without the prefix."""
    return {
        group: [
            (name, Path(name).stem if name.endswith(".toml") else name.removeprefix("torchvision:"))
            for name in names
        ]
        for group, names in groups.items()
    }


class Notice:
    """Sentences about what went wrong or deserves a warning, until they are dismissed."""

    _MOST = 3

    def __init__(self, workspace: Workspace) -> None:
        self._sentences: list[str] = []
        self.text = Div(
            name="notice", text="", sizing_mode="stretch_width", margin=0, stylesheets=[styles.NOTICE]
        )
        self.text.html_attributes = {"role": "alert"}
        self.close = Button(
            label="✕", name="notice-close", width=32, margin=(0, 0, 0, 6), stylesheets=[styles.ICON_BUTTON]
        )
        self.close.html_attributes = {"title": "Dismiss"}
        self.root = Row(
            self.text, self.close, visible=False, sizing_mode="stretch_width", margin=(4, 0, 4, 0)
        )
        self.close.on_click(self.hide)
        workspace.on_notice(self.show)

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
