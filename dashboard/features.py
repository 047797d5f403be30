"""The Features panel: a live mosaic of a layer's units beside the chosen one, and the run that they come from."""

import secrets
from collections.abc import Sequence
from typing import Any

from bokeh.document import Document
from bokeh.models import Column, Row

from dashboard import styles
from dashboard.cells import Cell, ordered
from dashboard.controls import Controls
from dashboard.export_menu import ExportMenu
from dashboard.grid import Grid
from dashboard.numbers import duration
from dashboard.run import QUICK, Run
from dashboard.services import Services
from dashboard.unit import UnitView
from dashboard.workspace import SORTS, Workspace
from vislib.ascent import Preset, ascent_spec, random_search
from vislib.errors import VislibError

_PLACE = "network layer page page_size opened"


class Features:
    """Chooses the runs that the choices of the workspace name, and keeps grid, unit and controls on them."""

    def __init__(self, services: Services, workspace: Workspace, document: Document) -> None:
        self._services, self._workspace = services, workspace
        self._runs: list[Run] = []  # the runs whose cells the mosaic shows; the first is the one Start means
        self.ready = False
        self._said: set[str] = set()
        self.grid = Grid(services, workspace, document)
        self.unit = UnitView()
        self.controls = Controls(workspace, self.start, self.search)
        workspace.listen("orientation", lambda: self.unit.turn(workspace.radiological))
        self.export = ExportMenu(services, workspace, self.exported)
        self.grid.toolbar.children.append(self.export.menu)
        right = Column(
            self.unit.root,
            self.controls.root,
            sizing_mode="stretch_height",
            margin=(6, 0, 0, 16),
            stylesheets=[styles.UNIT],
        )
        self.root = Row(self.grid.root, right, sizing_mode="stretch_both", margin=0)
        self.grid.on_published(self.unit.live)
        self.grid.on_chosen(self._show_unit)
        self.controls.pause.on_click(self.pause)
        self.controls.stop.on_click(self.stop)
        self.unit.slider.on_change("value", lambda _attr, _old, _new: self._scrub())
        self.unit.scrub_mosaic.on_change("active", lambda _attr, _old, _new: self._scrub())
        workspace.listen(_PLACE, self.open)
        workspace.listen("unit", self._show_unit)
        workspace.listen("sort", self._arrange)
        workspace.listen("tab", self._begin_run)

    def begin(self) -> None:
        """The page is in the browser: runs may start from now on."""
        self.ready = True
        self.open()

    @property
    def run(self) -> Run | None:
        """The run that the controls mean: the page's, or the stored one that was opened."""
        return self._runs[0] if self._runs else None

    def spec(self) -> dict[str, Any] | None:
        """The spec that the choices name; None where no network is open."""
        now = self._workspace.now
        return (
            self.spec_of(self._workspace.units_of_page()) if now.network is not None and now.layer else None
        )

    def spec_of(
        self, units: Sequence[int], preset: Preset | Sequence[Preset] | None = None
    ) -> dict[str, Any] | None:
        """The spec that the choices name, for these units of the layer; `preset` in place of the chosen one."""
        now = self._workspace.now
        preset = preset or self._workspace.preset
        if preset is None:
            return None
        return ascent_spec(
            self._workspace.network,
            now.layer,
            units,
            preset,
            seed=now.seed,
            size=self._workspace.size_for(preset if isinstance(preset, Preset) else preset[0]),
            precision=now.precision,
        )

    def open(self) -> None:
        """Show the run of the current choices, from the store where it is there, else climbing where it may."""
        if not self.ready or self._workspace.now.network is None:
            return
        if self._workspace.now.opened is not None:
            run = self._services.in_memory(self._workspace.now.opened)
            self._take([run] if run is not None else [])
            return
        self._open_spec(self.spec())
        self._begin_run()

    def _open_spec(self, spec: dict[str, Any] | None) -> Run | None:
        if spec is None:
            return None
        try:
            run = self._services.run(self._workspace.network, spec)
            self._take([run])
        except VislibError as error:
            self._workspace.notify(str(error))
            self._take([])  # what was shown is another layer's or network's
            return None
        return run

    def _begin_run(self) -> None:
        """Have the page's run climb by itself, if somebody looks at this panel; a stored one waits for its button."""
        now = self._workspace.now
        if self.ready and self.run is not None and now.tab == "Features" and now.opened is None:
            self.run.begin()
            self.tick()

    def _take(self, runs: list[Run]) -> None:
        for run in runs:
            run.watch()
        for run in self._runs:
            run.unwatch()
        self._runs = runs
        self._arrange()
        self.tick()

    def _arrange(self) -> None:
        """Lay the cells out anew; sorted by objective they come from every run of the layer with these settings."""
        if self.run is None:
            self.grid.show([], self._captions)
            self.unit.clear()
            return
        by_score = self._workspace.now.sort == SORTS[1]
        runs = self._siblings() if by_score and self._workspace.now.opened is None else [self.run]
        cells = ordered(runs, by_score)
        if by_score and self._workspace.now.opened is None:
            start = self._workspace.now.page * self._workspace.now.page_size
            cells = (
                cells[start : start + self._workspace.now.page_size] or cells[: self._workspace.now.page_size]
            )
        self.grid.show(cells or ordered([self.run], False), self._captions)
        self._show_unit()

    def _siblings(self) -> list[Run]:
        """All runs of the layer with the settings of the page's run that have frames, whatever their units."""
        assert self.run is not None
        specs = [self.spec_of(units) for units in self._workspace.all_pages()]
        others = [
            self._services.existing(self._workspace.network, spec) for spec in specs if spec is not None
        ]
        return [
            self.run,
            *(run for run in others if run is not None and run is not self.run and run.step >= 0),
        ]

    def _captions(self, cell: Cell) -> str:
        presets = cell.run.spec["preset"]
        return f"#{cell.row}" if isinstance(presets, list) else str(cell.unit)

    def _chosen(self) -> Cell | None:
        now = self._workspace.now
        cells = self.grid.cells
        at = next((place for place, cell in enumerate(cells) if cell.unit == now.unit), 0)
        if self.grid.selected_unit == now.unit:
            at = self.grid.selected
        return cells[at] if cells else None

    def _show_unit(self) -> None:
        cell = self._chosen()
        if cell is None:
            return
        self.grid.select(cell)
        self.unit.show(cell.run, cell.row)

    def start(self) -> None:
        """Start: climb with what the controls say, or go on where that run was paused or ended."""
        run = self.run
        if run is not None and not self.pending():
            if run.state == "done":
                self._workspace.notify(
                    "This run is done and kept: change a setting, the seed for example, to climb anew.",
                    "info",
                )
            elif run.state == "elsewhere":
                self._workspace.notify(
                    "Another server computes this run at the moment; its frames appear here.", "info"
                )
            run.start()
            self.tick()
            return
        self._workspace.change(opened=None)
        run = self._open_spec(self.spec())
        if run is not None:
            run.start()
            self.tick()

    def pause(self) -> None:
        """Pause, or go on where it is paused."""
        if self.run is not None:
            (self.run.start if self.run.state == "paused" else self.run.pause)()

    def stop(self) -> None:
        """End the run that is shown; what it found is kept."""
        if self.run is not None:
            self.run.stop()

    def search(self, draws: int) -> None:
        """Climb `draws` random combinations of the Yosinski regularisers for the chosen unit, as one batch."""
        now = self._workspace.now
        if now.network is None:
            return
        try:
            presets = random_search(draws, seed=secrets.randbelow(2**31))
            spec = self.spec_of([now.unit] * draws, presets)
            assert spec is not None
            run = self._services.run(now.network, spec)
            run.start()
        except VislibError as error:
            self._workspace.notify(str(error))
            return
        self._workspace.change(opened=run.id)

    def pending(self) -> bool:
        """Whether the controls say other than the run that is shown."""
        run, spec = self.run, self.spec()
        if run is None or spec is None:
            return False
        if self._workspace.now.opened is not None:
            spec = {**spec, "units": list(run.units), "layer": run.layer}
            if isinstance(run.spec["preset"], list):
                return False
        return any(run.spec.get(name) != value for name, value in spec.items())

    def exported(self) -> tuple[list[Cell], int]:
        """What the export menu is about: the cells of the mosaic and the chosen one's place among them."""
        return self.grid.cells, self.grid.selected

    def tick(self) -> None:
        """Look for new frames and show them; cheap where there are none."""
        for run in {cell.run for cell in self.grid.cells}:
            run.refresh()
        self.grid.update()
        if (
            self.run is not None
            and self.run.state == "failed"
            and self.run.error
            and self.run.id not in self._said
        ):
            self._said.add(self.run.id)
            self._workspace.notify(self.run.error)

    def slow_tick(self) -> None:
        """What needs no more than a few updates a second: history, curve, buttons."""
        self.unit.update()
        self.controls.update(self.run, self.pending())
        self.grid.say(self._waiting())

    def _waiting(self) -> str:
        """Why there is no picture yet, where that takes more than a moment."""
        run = self.run
        if run is None or run.step >= 0:
            return ""
        if run.measuring:
            return "Measuring what a step takes …"
        if run.offer:
            return f"{run.offer} Press Start to watch it climb."
        seconds = run.step_seconds
        if run.state in ("queued", "running") and seconds is not None and seconds > QUICK:
            return f"The first pictures come after about {duration(seconds)}."
        return ""

    def _scrub(self) -> None:
        follow = self.unit.following or not self.unit.scrub_mosaic.active
        self.grid.scrub(None if follow else int(self.unit.slider.value))

    def close(self) -> None:
        """The session is over: its runs go on without it."""
        for run in self._runs:
            run.unwatch()
        self._runs = []
        self.grid.close()
