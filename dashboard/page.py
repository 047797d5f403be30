"""The page of one session: its parts put together, its address, its clock and its end."""

import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TypeVar

from bokeh.document import Document
from bokeh.models import Column, TabPanel, Tabs

from dashboard import options, styles
from dashboard.attribution import AttributionPanel
from dashboard.canvas import AddressBar, Keys
from dashboard.features import Features
from dashboard.header import Header, Notice
from dashboard.input_bar import InputBar
from dashboard.later import attempt, later
from dashboard.link import Link
from dashboard.rail import Rail
from dashboard.runs_panel import RunsPanel
from dashboard.services import Services, services
from dashboard.status import Status
from dashboard.theme import THEME
from dashboard.volume_panel import VolumePanel
from dashboard.workspace import PAGE_SIZES, Choices, Workspace
from vislib import memory
from vislib.ascent import Preset, ascend, default_preset, default_size, fast_available
from vislib.errors import VislibError
from vislib.network import Network
from vislib.store import StoredRun

T = TypeVar("T")

log = logging.getLogger(__name__)

_TICK = 33  # ms: no screen shows more, and the browser's credit holds back what it cannot paint
_WARM = 1.0  # seconds: a network that takes longer to be opened climbs no step before the first page
_SLOW_TICKS = 10
_RUNS_TICKS = 60
_TABS = ("Features", "Attribution", "Volume", "Runs")


def _precision(shared: Services) -> str:
    """What a page starts with: twice the steps a second for the same pictures to the eye, where the device can."""
    return "fast" if fast_available(shared.device) else "exact"


def warm_up(arguments: Sequence[str]) -> None:
    """Make the services, load the default network and climb one step, so that the first page is as quick as any.

    What would keep the first page waiting for long is left to the page itself.
    """
    shared = services(options.parse(arguments))
    try:
        network = shared.network(shared.default_network)
        if network.probe_seconds <= _WARM:
            units = range(min(PAGE_SIZES[0], network.layer(network.opening).channels))
            precision = _precision(shared)
            with closing(ascend(network, network.opening, units, steps=1, precision=precision)) as frames:
                for frame in frames:
                    if frame.snapshot is not None:
                        frame.snapshot()
    except VislibError as error:
        log.error("%s", error)
    # What is there now stays: the collector need not look at it again while the page is to answer.
    gc.collect()
    gc.freeze()


def open_page(document: Document, arguments: Sequence[str]) -> None:
    """Fill a new session's document."""
    Page(document, services(options.parse(arguments)))


class Page:
    """All that one browser sees."""

    def __init__(self, document: Document, shared: Services) -> None:
        self._document, self._services = document, shared
        self.workspace = Workspace()
        self.input_bar = InputBar(self.workspace, shared)
        self.header = Header(shared, self.workspace, self.input_bar.root)
        self.notice = Notice(self.workspace)
        self.rail = Rail(self.workspace)
        self.features = Features(shared, self.workspace, document)
        self.attribution = AttributionPanel(shared, self.workspace, document)
        self.volume = VolumePanel(shared, self.workspace, document, self.input_bar, self.attribution.classes)
        self.runs = RunsPanel(shared, self.workspace, self.open_run)
        self.status = Status(shared)
        self.bar = AddressBar(name="address")
        self.keys = Keys(name="keys", mosaic=self.features.grid.mosaic, player=self.features.unit.player)
        self.tabs = Tabs(
            name="tabs",
            tabs=[
                TabPanel(child=self.features.root, title="Features"),
                TabPanel(child=self.attribution.root, title="Attribution"),
                TabPanel(child=self.volume.root, title="Volume"),
                TabPanel(child=self.runs.root, title="Runs"),
            ],
            sizing_mode="stretch_both",
            stylesheets=[styles.TABS],
        )
        self._ticks = 0
        self.link = Link(self.workspace, shared, self.input_bar, self.attribution.classes)
        self.link.read(self._arguments())
        self._wire()
        self._place()
        self.workspace.change(precision=_precision(shared))

    def _arguments(self) -> Mapping[str, Sequence[bytes]]:
        context = self._document.session_context
        request = context.request if context is not None else None
        return request.arguments if request is not None else {}

    def _wire(self) -> None:
        self.workspace.listen("network_name", self._load)
        self.workspace.listen(
            "network_name opened_name network layer unit tab preset seed size opened awaited input target orientation",
            self._write_address,
        )
        self.workspace.listen("uploaded", self._show_upload)
        self.tabs.on_change("active", self._tab_chosen)
        self.keys.on_change("pause_count", lambda _attr, _old, _new: self.features.pause())

    def _place(self) -> None:
        document = self._document
        document.title = "vislib"
        document.theme = THEME
        main = Column(self.notice.root, self.tabs, name="main", sizing_mode="stretch_both")
        headless = Column(
            self.bar,
            self.keys,
            self.features.export.download,
            self.attribution.download,
            self.volume.download,
            name="headless",
        )
        for root in (self.header.root, self.rail.root, main, self.status.root, headless):
            document.add_root(root)
        document.on_event("document_ready", lambda _event: self._begin())
        document.on_session_destroyed(lambda _context: self.close())

    def _begin(self) -> None:
        """The browser is there: open what the address names, start what is to climb, start the clock."""
        name = self.link.begin(self.tabs)
        self._document.add_periodic_callback(self._tick, _TICK)
        self.workspace.change(network_name=name)

    def _load(self) -> None:
        """Fetch the chosen network off the event loop and open it when it has come."""
        name, document = self.workspace.now.network_name, self._document
        if (known := self._services.known_network(name)) is not None:
            self._opened(name, known, "")
            return
        self.status.say(f"Loading {name} …")

        shown = time.monotonic()

        def say(done: int, total: int) -> None:
            nonlocal shown
            if time.monotonic() - shown < 0.2:
                return
            shown = time.monotonic()
            part = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
            later(document, lambda: self.status.say(f"Fetching the weights of {name}: {part}"))

        self._off_loop(
            lambda: attempt(lambda: self._services.network(name, say)),
            lambda found: self._opened(name, *found),
        )

    def _opened(self, name: str, network: Network | None, problem: str) -> None:
        now = self.workspace.now
        if name != now.network_name:
            return  # another one was chosen meanwhile
        if network is None:
            self.workspace.notify(problem or f"{name} could not be loaded.")
            self.link.refused()
            if now.network is None:  # a volume can be looked at all the same
                self.status.say("No network is open.")
                self.attribution.without_network()
            else:
                self.status.say("")
                self.workspace.change(network_name=now.opened_name)
            return
        wanted = self.link.opening(name, network)
        self.workspace.change(opened_name=name, page=wanted["unit"] // now.page_size, opened=None, **wanted)
        run = self.link.opened(self.workspace.network)
        if run is not None:
            self._open_linked(run)
        elif not self.features.ready:
            self.features.begin()

    def _tab_chosen(self, _attr: str, _old: int, new: int) -> None:
        if 0 <= new < len(_TABS):
            self.workspace.change(tab=_TABS[new])
            if _TABS[new] == "Runs":
                self.runs.update()

    def _show_upload(self) -> None:
        """Go where an upload can be seen, unless one is there."""
        now = self.workspace.now
        volume = self.input_bar.inputs.is_volume(now.uploaded)
        seen_on = ("Volume", "Attribution") if volume else ("Attribution",)
        if now.tab not in seen_on:
            self.tabs.active = _TABS.index(seen_on[0])

    def _write_address(self) -> None:
        query = self.link.write()
        if query is not None:
            self.bar.query = query

    def _open_linked(self, run_id: str) -> None:
        """Open the run that the link names, where it is kept here; nothing climbs before that is known."""
        now = self.workspace.now
        tab, unit = now.tab, now.unit

        def opened(found: tuple[StoredRun, Network]) -> None:
            self._run_opened(found, False, tab, unit)
            self.features.begin()

        def missing(sentence: str) -> None:
            self.workspace.notify(
                f"The link is about a stored run that is not to be had here, so these pictures are others: {sentence}",
                "warning",
            )
            self.features.begin()

        self._off_loop(lambda: self._fetch_run(run_id), opened, missing)

    def open_run(self, run_id: str, resume: bool) -> None:
        """Show a stored run in the Features tab, and let it go on where `resume` says so."""
        self.status.say("Opening the run …")
        self._off_loop(
            lambda: self._fetch_run(run_id), lambda found: self._run_opened(found, resume, "Features")
        )

    def _fetch_run(self, run_id: str) -> tuple[StoredRun, Network]:
        stored = self._services.store.open(run_id)
        return stored, self._services.network_of(stored.spec)

    def _run_opened(self, found: tuple[StoredRun, Network], resume: bool, tab: str, unit: int = -1) -> None:
        stored, network = found
        now = self.workspace.now
        assumed = None if network.head.said else network.head
        if now.network is not None and now.network.fingerprint == network.fingerprint:
            network, assumed = now.network, now.assumed  # as this session takes its output
        run = self._services.run(network, stored.spec)
        if resume:
            run.start()
        name = self._services.name_of(found[1])
        preset = stored.spec["preset"]
        # Rows of a random search have a preset each; what is chosen stays, and its size is theirs.
        chosen = self.workspace.now.preset if isinstance(preset, list) else Preset.from_dict(preset)
        first = Preset.from_dict(preset[0] if isinstance(preset, list) else preset)
        size = tuple(stored.spec["size"] or network.input_shape[1:])
        self.workspace.change(
            network_name=name,
            network=network,
            assumed=assumed,
            opened_name=name,
            layer=run.layer,
            unit=unit if unit in run.units else run.units[0],
            opened=run.id,
            preset=None if chosen == default_preset(network, run.layer) else chosen,
            seed=stored.spec["seed"],
            size=None if size == default_size(network, run.layer, first) else size,
            precision=stored.spec["precision"],
        )
        self.tabs.active = _TABS.index(tab)

    def _off_loop(
        self,
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[str], None] | None = None,
    ) -> None:
        """Do `work` on the loader's thread and `done` with its result in the document; errors are told."""
        document, tell = self._document, failed or self.workspace.notify

        def task() -> None:
            result, problem = attempt(work)
            if problem:
                later(document, lambda: tell(problem))
            else:
                later(document, lambda: done(result))

        self._services.loader.submit(task)

    def _tick(self) -> None:
        self._ticks += 1
        if self.workspace.now.tab == "Features":
            self.features.tick()
            if self._ticks % _SLOW_TICKS == 0:
                self.features.slow_tick()
        elif self.workspace.now.tab == "Attribution":
            self.attribution.tick()
        elif self.workspace.now.tab == "Volume":
            self.attribution.classes.tick()
            self.volume.tick()
        elif self._ticks % _RUNS_TICKS == 0:
            self.runs.update()
        if self._ticks % _SLOW_TICKS == 0 and not self.workspace.loading:
            self.status.update(self.features.run)

    def close(self) -> None:
        """The browser has gone: runs go on, nothing of the session stays."""
        self.features.close()
        self.attribution.close()
        self.volume.close()
        self.input_bar.close()
        # The page is a ring of references that is found late; volumes in it are too large to wait for that.
        self.workspace.now = Choices()
        self._services.reader.submit(memory.give_back)
