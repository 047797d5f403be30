"""The class, or unit, that the map over a whole volume is for."""

from bokeh.models import Select

from dashboard import styles
from dashboard.class_list import ClassList
from dashboard.workspace import Workspace
from vislib.attribution import Target, outcomes
from vislib.network import Network
from vislib.probe import LOGITS


class TargetMenu:
    """Keeps its target while slices are scrolled, whatever the network takes each of them for.

    The first class that is found for a volume stays; a choice by hand, here or in the class list, takes its place.
    """

    def __init__(self, workspace: Workspace, classes: ClassList) -> None:
        self._workspace, self._classes = workspace, classes
        self.target: Target | None = None
        self._network: Network | None = None  # whose classes and units these are
        self._showing = False
        self._listed: list[Target] = []
        self.menu = Select(
            name="volume-target",
            title="what speaks for",
            options=[],
            value="",
            sizing_mode="stretch_width",
            stylesheets=[styles.FIELD],
            margin=(0, 0, 6, 0),
        )
        self.menu.on_change("value", lambda _attr, _old, new: self._chosen(new))
        workspace.listen("network target", self._follow)

    def volume_opened(self) -> None:
        """What the network says of another volume is still to come; what a person chose stays."""
        target = self._workspace.now.target
        chosen = target is not None and (self._classes.by_hand or target.layer != LOGITS)
        self.target = target if chosen else None

    def _follow(self) -> None:
        target = self._workspace.now.target
        if self._workspace.now.network is not self._network:  # another network has other classes
            self._network, self.target = self._workspace.now.network, None
        if target is not None and (self.target is None or self._classes.by_hand or target.layer != LOGITS):
            self.target = target
        self._show()

    def _show(self) -> None:
        network, target = self._workspace.now.network, self.target
        if network is None:
            return
        self._listed = [target for _, target in outcomes(network)]
        self.menu.title = "what speaks for" if network.head.has_probability else "map of"
        if target is not None and target not in self._listed:
            self._listed.append(target)
        options = [(str(at), one.words(network)) for at, one in enumerate(self._listed)]
        self._showing = True
        try:
            if options != self.menu.options:
                self.menu.options = options
            self.menu.value = str(self._listed.index(target)) if target is not None else ""
        finally:
            self._showing = False

    def _chosen(self, value: str) -> None:
        if self._showing or value not in [str(at) for at in range(len(self._listed))]:
            return
        target = self._listed[int(value)]
        if target.layer == LOGITS and target.against is None:
            self._classes.choose(target)
