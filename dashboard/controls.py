"""The controls of a run: preset and its parameters as widgets made from their description, start, pause, stop."""

from collections.abc import Callable
from html import escape
from typing import Any

from bokeh.models import Column, GridBox, NumericInput, Row, Select, Spinner, UIElement

from dashboard import styles
from dashboard.live_button import LiveButton
from dashboard.live_text import LiveText
from dashboard.parameter_input import parameter_input
from dashboard.pictured import about_size, short
from dashboard.run import Run
from dashboard.workspace import Workspace
from vislib.ascent import PARAMETERS, PRECISIONS, PRESETS, Parameter, Preset
from vislib.errors import VislibError

_OWN = "own"  # the network's own image size
_SIDES = (64, 96, 128, 160, 224, 299)
_ESSENTIAL = ("steps", "lr", "max_lr")  # shown first; the others stand in PARAMETERS' order


class Controls:
    """Widgets of a run's spec. What they say is taken by Start, and until then marked as not yet used."""

    def __init__(
        self, workspace: Workspace, start: Callable[[], None], search: Callable[[int], None]
    ) -> None:
        self._workspace = workspace
        self._showing = False
        self._inputs: dict[str, NumericInput | Select] = {}
        self._sizes: dict[str, tuple[int, ...]] = {}  # what the options of the image size mean
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
            options=[_OWN],
            value=_OWN,
            stylesheets=[styles.FIELD],
            width=106,
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
        self.about = LiveText(
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
        self.start = LiveButton(
            name="start", label="Start", button_type="primary", width=92, margin=(0, 6, 0, 0)
        )
        self.pause = LiveButton(name="pause", label="Pause", width=82, margin=(0, 6, 0, 0))
        self.stop = LiveButton(name="stop", label="Stop", width=70, margin=(0, 14, 0, 0))
        self.search = LiveButton(name="random-search", label="Random search", width=120, margin=0)
        self.draws = Spinner(
            name="search-draws", value=16, low=2, high=64, step=1, mode="int", width=60, margin=(0, 0, 0, 6)
        )
        self.hint = LiveText(
            name="settings-hint",
            text="",
            # Always a line: what is below need not move, which would lay out the page at every Start.
            stylesheets=[styles.QUIET + ":host { min-height: 18px; }"],
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
        workspace.listen("preset size network layer", self._show_preset)
        workspace.listen("preset seed size precision network layer", self._show_plain)

    def _preset_chosen(self, _attr: str, _old: str, new: str) -> None:
        if not self._showing and new in PRESETS:
            self._workspace.choose_preset(PRESETS[new])

    def _plain_changed(self, _attr: str, _old: Any, _new: Any) -> None:
        if self._showing or self._workspace.preset is None:
            return
        precision = self.precision.value if self.precision.value in PRECISIONS else PRECISIONS[0]
        seed = self.seed.value if isinstance(self.seed.value, int) and 0 <= self.seed.value < 2**31 else 0
        size = self._sizes.get(self.size.value)
        self._workspace.change(seed=seed, precision=precision)
        if size is not None:
            self._workspace.choose_size(size)

    def _parameter_changed(self, parameter: Parameter, value: Any) -> None:
        preset = self._workspace.preset
        if self._showing or preset is None:
            return
        try:
            if value is None:
                raise VislibError(
                    f"{parameter.name} was left empty; it stays at {getattr(preset, parameter.name)}."
                )
            self._workspace.choose_preset(preset.changed(**{parameter.name: value}))
        except VislibError as error:
            self._workspace.notify(str(error), "warning")
            self._show_preset()

    def _show_plain(self) -> None:
        now = self._workspace.now
        self._showing = True
        try:
            self.seed.value = now.seed
            self.precision.value = now.precision
            if self._workspace.preset is not None:
                self._show_size(self._workspace.size_for(self._workspace.preset))
        finally:
            self._showing = False

    def _show_size(self, size: tuple[int, ...]) -> None:
        own = tuple(self._workspace.network.input_shape[1:])
        sizes = [own, *((side,) * len(own) for side in _SIDES)]
        self._sizes = {_OWN if one == own else short(one): one for one in (*sizes, size)}
        label = f"{own[0]} (own)" if len(set(own)) == 1 else _OWN
        self.size.options = [(value, label if value == _OWN else value) for value in self._sizes]
        self.size.value = _OWN if size == own else short(size)

    def _show_preset(self) -> None:
        preset = self._workspace.preset
        if preset is None:
            return
        self._showing = True
        try:
            known = PRESETS.get(preset.name)
            # A stored run may have climbed with other values of a preset than are in use now.
            name = preset.name if known in (preset, None) else f"{preset.name} (as stored)"
            self.preset.options = [*PRESETS] if known == preset else [*PRESETS, name]
            self.preset.value = name
            self.about.text = _about(preset, self._workspace)
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
        offer = run.offer if run is not None and not pending else ""
        text = "<b>Settings changed</b>: Start climbs with them." if pending else escape(offer)
        if text != self.hint.text:
            self.hint.text = text


def _about(preset: Preset, workspace: Workspace) -> str:
    source = f" <span>({escape(preset.source)})</span>" if preset.source else ""
    size = about_size(workspace.network, workspace.now.layer, preset, workspace.size_for(preset))
    return f"{escape(preset.description)}{source}{f'. {size}' if size else ''}"
