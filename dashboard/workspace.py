"""What one browser session has chosen, and who wants to know when that changes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dashboard.inputs import Awaited, Choice, Input
from dashboard.orientation import RADIOLOGICAL
from dashboard.scans import Scan
from vislib.ascent import Preset
from vislib.attribution import Target
from vislib.network import Network

log = logging.getLogger(__name__)

PAGE_SIZES = (16, 32, 64)
SORTS = ("unit number", "objective reached")


@dataclass
class Choices:
    """The choices themselves; `units` of the layer are shown a page at a time."""

    network_name: str = ""  # the one that is wanted ...
    network: Network | None = None  # ... and the one that is open, ...
    opened_name: str = ""  # ... under its own name
    layer: str = ""
    unit: int = 0
    page: int = 0
    page_size: int = 16
    sort: str = SORTS[0]
    preset: Preset | None = None
    seed: int = 0
    size: int | None = None  # side of the image in pixels; None: the network's own
    precision: str = "exact"
    tab: str = "Features"
    awaited: Awaited | None = None  # the upload that a link names and that is still to come
    choice: Choice | None = None  # which picture or slice is wanted, and ...
    scan: Scan | None = None  # ... the volume that it is or is a slice of, ...
    input: Input | None = None  # ... and the last one that was prepared
    orientation: str = RADIOLOGICAL  # which way round slices are drawn: one of ORIENTATIONS
    reading: str = ""  # what an upload is called while it is being read ...
    uploaded: str = ""  # ... and the newest one that was
    target: Target | None = None  # what attributions explain; None until the classes are known
    opened: str | None = None  # id of a stored run that is shown in place of the layer's page


@dataclass
class Workspace:
    """Choices of one session; `change` tells every listener once which of them are new."""

    now: Choices = field(default_factory=Choices)
    _listeners: list[tuple[frozenset[str], Callable[[], None]]] = field(default_factory=list)
    _notices: list[Callable[[str, str], None]] = field(default_factory=list)

    def listen(self, names: str, callback: Callable[[], None]) -> None:
        """Call `callback` after a change of any of the choices `names` (separated by blanks)."""
        self._listeners.append((frozenset(names.split()), callback))

    def change(self, **values: Any) -> None:
        """Take new choices; only those that differ are told, all together."""
        new = {name for name, value in values.items() if getattr(self.now, name) != value}
        for name in new:
            setattr(self.now, name, values[name])
        for names, callback in self._listeners if new else ():
            if names & new:
                callback()

    def on_notice(self, callback: Callable[[str, str], None]) -> None:
        """Have `callback(sentence, kind)` show what the user must be told."""
        self._notices.append(callback)

    def notify(self, sentence: str, kind: str = "error") -> None:
        """Say one sentence on the page and, unless its kind (error, warning, info) is info, in the log."""
        log.log({"error": logging.ERROR, "warning": logging.WARNING}.get(kind, logging.DEBUG), "%s", sentence)
        for callback in self._notices:
            callback(sentence, kind)

    @property
    def radiological(self) -> bool:
        """Whether slices are drawn with the patient's left on the right."""
        return self.now.orientation == RADIOLOGICAL

    @property
    def loading(self) -> bool:
        """Whether another network is wanted than the one that is open."""
        return self.now.network_name != self.now.opened_name

    @property
    def preparing(self) -> bool:
        """Whether another picture or volume is wanted than the last one that was prepared; its slices go by at once."""
        choice, one = self.now.choice, self.now.input
        return choice is not None and one is not None and choice.subject != one.choice.subject

    @property
    def network(self) -> Network:
        """The network that is open; only asked for when there is one."""
        assert self.now.network is not None
        return self.now.network

    def units_of_page(self) -> tuple[int, ...]:
        """Units of the chosen layer on the chosen page, in their own order."""
        pages = self.all_pages()
        return pages[min(self.now.page, len(pages) - 1)]

    def all_pages(self) -> list[tuple[int, ...]]:
        """The units of the chosen layer, page by page."""
        units = range(self.network.layer(self.now.layer).channels)
        return [
            tuple(units[start : start + self.now.page_size])
            for start in range(0, len(units), self.now.page_size)
        ]
