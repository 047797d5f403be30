"""The header: which network, on which device, dark or light; and the line that tells what went wrong."""

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
            options=services.network_options(),
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
            tags=["dark / light"],
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
            options = self._services.network_options(now.network_name)
            if options != self.network.options:
                self.network.options = options
            self.network.value = now.network_name
        finally:
            self._showing = False
        if now.network is not None:
            shape = " x ".join(str(n) for n in now.network.input_shape)
            classes = now.network.layers["logits"].channels
            self.about.text = f"{len(now.network.layers)} layers, {classes} classes, input {shape}"


class Notice:
    """One sentence about what went wrong or deserves a warning, until it is dismissed."""

    def __init__(self, workspace: Workspace) -> None:
        self.text = Div(
            name="notice", text="", sizing_mode="stretch_width", margin=0, stylesheets=[styles.NOTICE]
        )
        self.close = Button(
            label="✕", name="notice-close", width=32, margin=(0, 0, 0, 6), stylesheets=[styles.ICON_BUTTON]
        )
        self.root = Row(
            self.text, self.close, visible=False, sizing_mode="stretch_width", margin=(4, 0, 4, 0)
        )
        self.close.on_click(self.hide)
        workspace.on_notice(self.show)

    def show(self, sentence: str, kind: str) -> None:
        """Show the sentence, below those that are still open."""
        from html import escape

        self.text.text = escape(sentence)
        self.text.css_classes = [kind]
        self.root.visible = True

    def hide(self) -> None:
        """Take the sentence away."""
        self.root.visible = False
        self.text.text = ""
