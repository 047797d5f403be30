"""The controls of a run: preset and its parameters as widgets made from their description, start, pause, stop."""

from collections.abc import Callable
from html import escape
from typing import Any

from bokeh.models import Button, Column, Div, GridBox, NumericInput, Row, Select, Spinner, UIElement

from dashboard import styles
from dashboard.parameter_input import parameter_input
from dashboard.run import Run
from dashboard.workspace import Workspace
from vislib.ascent import PARAMETERS, PRECISIONS, PRESETS, Parameter, Preset
from vislib.errors import VislibError

_SIZES = ("own", "64", "96", "128", "160", "224", "299")
_ESSENTIAL = ("steps", "lr", "max_lr")  # shown first; the others stand in PARAMETERS' order


class Controls:
    """Widgets of a run's spec. What they say is taken by Start, and until then marked as not yet used."""

    def __init__(
        self, workspace: Workspace, start: Callable[[], None], search: Callable[[int], None]
    ) -> None:
        self._workspace = workspace
        self._showing = False
        self._inputs: dict[str, NumericInput | Select] = {}
        self.preset = Select(
            name="preset-select",
            title="preset",
            options=[*PRESETS],
            stylesheets=[styles.FIELD],
            sizing_mode="stretch_width",
            margin=(0, 8, 0, 0),
        )
        self.seed = Spinner(
            name="seed",
            title="seed",
            value=0,
            low=0,
            high=2**31 - 1,
            step=1,
            mode="int",
            stylesheets=[styles.FIELD],
            width=86,
            margin=(0, 8, 0, 0),
        )
        self.size = Select(
            name="image-size",
            title="image size",
            options=[*_SIZES],
            value="own",
            stylesheets=[styles.FIELD],
            width=82,
            margin=(0, 8, 0, 0),
        )
        self.precision = Select(
            name="precision",
            title="precision",
            options=[*PRECISIONS],
            value=PRECISIONS[0],
            stylesheets=[styles.FIELD],
            width=82,
            margin=0,
        )
        self.about = Div(
            name="preset-about",
            text="",
            stylesheets=[styles.QUIET],
            sizing_mode="stretch_width",
            margin=(6, 0, 6, 0),
        )
        self.grid = GridBox(
            stylesheets=[styles.PARAMETERS],
            children=[],
            spacing=(6, 8),
            sizing_mode="stretch_width",
            margin=(0, 4, 4, 0),
        )
        self.start = Button(name="start", label="Start", button_type="primary", width=92, margin=(0, 6, 0, 0))
        self.pause = Button(name="pause", label="Pause", width=82, margin=(0, 6, 0, 0))
        self.stop = Button(name="stop", label="Stop", width=70, margin=(0, 14, 0, 0))
        self.search = Button(name="random-search", label="Random search", width=120, margin=0)
        self.draws = Spinner(
            name="search-draws", value=16, low=2, high=64, step=1, mode="int", width=60, margin=(0, 0, 0, 6)
        )
        self.hint = Div(
            name="settings-hint",
            text="",
            stylesheets=[styles.QUIET],
            margin=(4, 0, 0, 0),
            sizing_mode="stretch_width",
        )
        self.root = Column(
            Row(self.start, self.pause, self.stop, self.search, self.draws, margin=0),
            self.hint,
            Row(
                self.preset,
                self.seed,
                self.size,
                self.precision,
                sizing_mode="stretch_width",
                margin=(6, 0, 0, 0),
            ),
            self.about,
            self.grid,
            sizing_mode="stretch_width",
            height=252,
            stylesheets=[styles.CONTROLS],
            margin=(10, 0, 0, 0),
        )
        self.preset.on_change("value", self._preset_chosen)
        self.seed.on_change("value", self._plain_changed)
        self.size.on_change("value", self._plain_changed)
        self.precision.on_change("value", self._plain_changed)
        self.start.on_click(start)
        self.search.on_click(lambda: search(int(self.draws.value)))
        workspace.listen("preset", self._show_preset)
        workspace.listen("seed size precision", self._show_plain)

    def _preset_chosen(self, _attr: str, _old: str, new: str) -> None:
        if not self._showing and new in PRESETS:
            self._workspace.change(preset=PRESETS[new])

    def _plain_changed(self, _attr: str, _old: Any, _new: Any) -> None:
        if self._showing:
            return
        size = None if self.size.value not in _SIZES[1:] else int(self.size.value)
        precision = self.precision.value if self.precision.value in PRECISIONS else PRECISIONS[0]
        seed = self.seed.value if isinstance(self.seed.value, int) and 0 <= self.seed.value < 2**31 else 0
        self._workspace.change(seed=seed, size=size, precision=precision)

    def _parameter_changed(self, parameter: Parameter, value: Any) -> None:
        preset = self._workspace.now.preset
        if self._showing or preset is None:
            return
        try:
            if value is None:
                raise VislibError(
                    f"{parameter.name} was left empty; it stays at {getattr(preset, parameter.name)}."
                )
            self._workspace.change(preset=preset.changed(**{parameter.name: value}))
        except VislibError as error:
            self._workspace.notify(str(error), "warning")
            self._show_preset()

    def _show_plain(self) -> None:
        now = self._workspace.now
        self._showing = True
        try:
            self.seed.value = now.seed
            size = "own" if now.size is None else str(now.size)
            if size not in self.size.options:
                self.size.options = [*self.size.options, size]
            self.size.value = size
            self.precision.value = now.precision
        finally:
            self._showing = False

    def _show_preset(self) -> None:
        preset = self._workspace.now.preset
        if preset is None:
            return
        self._showing = True
        try:
            known = preset.name in PRESETS
            self.preset.options = [*PRESETS] if known else [*PRESETS, preset.name]
            self.preset.value = preset.name
            self.about.text = _about(preset)
            self._show_parameters(preset)
        finally:
            self._showing = False

    def _show_parameters(self, preset: Preset) -> None:
        names = preset.relevant()
        names = [name for name in _ESSENTIAL if name in names] + [
            name for name in names if name not in _ESSENTIAL
        ]
        for name in names:
            value = getattr(preset, name)
            if name not in self._inputs:
                self._inputs[name] = parameter_input(PARAMETERS[name], value, self._parameter_changed)
            elif self._inputs[name].value != value:
                self._inputs[name].value = value
        cells: list[tuple[UIElement, int, int]] = [
            (self._inputs[name], place // 3, place % 3) for place, name in enumerate(names)
        ]
        if cells != self.grid.children:
            self.grid.children = cells

    def update(self, run: Run | None, pending: bool) -> None:
        """Show what the buttons would do to `run`; `pending`: the widgets say other than the run shown."""
        state = run.state if run is not None else "new"
        resumable = state in ("paused", "interrupted", "cancelled") and not pending
        self.start.label = (
            "Resume" if resumable else "Try again" if state == "failed" and not pending else "Start"
        )
        waiting = pending or state in ("new", "paused", "interrupted", "cancelled", "failed")
        self.start.button_type = "primary" if waiting else "default"
        self.pause.label = "Resume" if state == "paused" else "Pause"
        self.pause.disabled = state not in ("running", "queued", "paused")
        self.stop.disabled = state not in ("running", "queued", "paused")
        self.hint.text = "<b>Settings changed</b>: Start climbs with them." if pending else ""
        self.hint.visible = pending


def _about(preset: Preset) -> str:
    source = f" <span>({escape(preset.source)})</span>" if preset.source else ""
    return f"{escape(preset.description)}{source}"
