"""The amber line under an input that is unlike what its network was made for."""

from html import escape

from dashboard import styles
from dashboard.familiar import Familiar
from dashboard.live_text import LiveText
from dashboard.workspace import Workspace


class InputWarning:
    """A line that is there only when there is something to say of the present input."""

    def __init__(self, name: str, familiar: Familiar, workspace: Workspace) -> None:
        self._familiar, self._workspace = familiar, workspace
        self.root = LiveText(
            name=name,
            text="",
            visible=False,
            stylesheets=[styles.AMBER],
            sizing_mode="stretch_width",
            margin=(6, 0, 0, 0),
        )

    @property
    def text(self) -> str:
        """What is known at present, "" where that is nothing."""
        now = self._workspace.now
        if now.network is None or now.input is None or self._workspace.preparing:
            return ""
        return self._familiar.says(now.network, now.input)

    def tick(self) -> None:
        """Ask about the present input, and show what is known."""
        now = self._workspace.now
        if now.network is not None and now.input is not None:
            self._familiar.ask(now.network, now.input)
        text = escape(self.text)
        if text != self.root.text:
            self.root.update(text=text, visible=bool(text))
