"""What one browser session has chosen, and who wants to know when that changes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dashboard.inputs import Awaited, Choice, Input
from dashboard.orientation import RADIOLOGICAL
from dashboard.scans import Scan
from vislib.ascent import Preset, default_preset, default_size
from vislib.attribution import Target
from vislib.head import Head
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
    assumed: Head | None = (
        None  # what its output was taken for where nobody said; a session may choose otherwise
    )
    layer: str = ""
    unit: int = 0
    page: int = 0
    page_size: int = 16
    sort: str = SORTS[0]
    preset: Preset | None = None  # chosen by hand; None: the layer's default
    seed: int = 0
    size: tuple[int, ...] | None = None  # of the image, in pixels an axis, by hand; None: the layer's default
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

    @property
    def preset(self) -> Preset | None:
        """The preset that Start means: the chosen one, else the layer's default; None where no layer is open."""
        if self.now.preset is not None or self.now.network is None or not self.now.layer:
            return self.now.preset
        return default_preset(self.now.network, self.now.layer)

    def size_for(self, preset: Preset) -> tuple[int, ...]:
        """The image size that Start means with this preset, in pixels an axis."""
        default = default_size(self.network, self.now.layer, preset)
        # First layers show what a neuron sees, whatever size was chosen for others.
        alone = self.now.preset is None and preset.objective == "neuron"
        return default if alone or self.now.size is None else self.now.size

    def choose_preset(self, preset: Preset) -> None:
        """Take a preset for all layers; the layer's default is no choice: other layers keep theirs."""
        known = self.now.network is not None and self.now.layer
        default = default_preset(self.network, self.now.layer) if known else None
        self.change(preset=None if preset == default else preset)

    def choose_size(self, size: tuple[int, ...]) -> None:
        """Take an image size for all layers; the layer's default is no choice."""
        assert self.preset is not None
        default = default_size(self.network, self.now.layer, self.preset)
        self.change(size=None if size == default else size)

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
