"""The chosen unit: its picture, its objective curve, and the slider that scrubs its history in the browser."""

import time
from html import escape
from typing import Any

import numpy as np
from bokeh.models import (
    Checkbox,
    Column,
    ColumnDataSource,
    CustomJS,
    Range1d,
    Row,
    Select,
    Slider,
    Span,
    Toggle,
)
from bokeh.plotting import figure

from dashboard import styles
from dashboard.canvas import Player, UnitFilm
from dashboard.cells import Cell
from dashboard.live_axis import LiveAxis
from dashboard.live_button import LiveButton
from dashboard.live_text import LiveText
from dashboard.numbers import words
from dashboard.pictured import objective_of
from dashboard.run import Run
from dashboard.unit_planes import part_letters
from vislib import display

_CURVE_POINTS = 400
_LEAST, _PLANES = 406, 52  # px that all of it needs, and the sliders of a volume more
_ACCENT, _BEST, _ARGMAX = "#1f9e8c", "#d9921f", "#8d6bd1"
_PATIENCE = 0.1  # seconds that one update may take for cutting volumes; the next one goes on
_AXES = "xyz"
_CUTS = [(plane, _AXES[axis]) for plane, axis in zip(display.PLANES, display.ACROSS, strict=True)]
_LOOKS = (
    "Share of the newest picture's values that are at black or white, and the difference of neighbouring pixels in "
    "standard deviations: 1.41 is noise, 0 is flat."
)
_SPEEDS = {"slow": 0.3, "normal": 1.0, "fast": 2.5}
_JUMPS = {
    "first": ("First", "The start image"),
    "best": ("Best", "The highest objective: the orange mark on the curve"),
    "became-argmax": (
        "Argmax",
        "Where the unit first became its layer's most active one: the purple mark on the curve",
    ),
    "last": ("Last", "The newest image; the slider follows from here"),
}


class UnitView:
    """One unit of a run, large, with its history. While the run climbs the slider follows until it is dragged."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._row = 0
        self._sent: dict[int, int] = {}  # step -> size of the picture that the browser holds
        self._sizes: tuple[int, ...] = ()  # of the pictures, in pixels or voxels
        self._radiological = True
        self._at: tuple[int, ...] | None = None  # the voxel through which a volume is cut
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width"}
        self.title = LiveText(
            name="unit-title", text="", stylesheets=[styles.QUIET], margin=(2, 0, 4, 0), **stretch
        )
        self.film = UnitFilm(name="unit-image", sizing_mode="stretch_both", min_height=180, margin=0)
        self.film.description = "Image of the chosen unit"
        self.planes = {axis: _plane_slider(plane, axis) for plane, axis in _CUTS}
        self.plane_row = Row(*self.planes.values(), name="unit-planes", visible=False, margin=0, **stretch)
        self.source = ColumnDataSource({"step": [], "score": []}, name="unit-source")
        self.curve_source = ColumnDataSource({"step": [], "score": []}, name="curve-source")
        self.marks = ColumnDataSource({"step": [], "score": [], "color": []}, name="marks-source")
        self.cursor = Span(
            location=0, dimension="height", line_color=_ACCENT, line_width=1.5, name="curve-cursor"
        )
        self.curve = self._figure()
        self.slider = Slider(
            name="history-slider", title="step", start=0, end=1, value=0, step=1, bar_color=_ACCENT, **stretch
        )
        self.slider.update(margin=(0, 12, 0, 6), stylesheets=[styles.SLIDER])
        self.play = Toggle(
            name="play", label="▶", width=36, margin=(8, 8, 0, 0), stylesheets=[styles.ICON_BUTTON]
        )
        self.speed = Select(
            name="play-speed", options=[*_SPEEDS], value="normal", width=78, margin=(8, 0, 0, 0)
        )
        self.player = Player(name="player", film=self.film, slider=self.slider, toggle=self.play)
        self.jumps = {
            key: LiveButton(
                name=f"jump-{key}",
                label=label,
                margin=(0, 6, 0, 0),
                html_attributes={"title": hint},
                **stretch,
            )
            for key, (label, hint) in _JUMPS.items()
        }
        self.compare = Toggle(
            name="compare",
            label="Compare",
            width=82,
            margin=0,
            html_attributes={"title": "Pin the present step and show it beside the slider's"},
        )
        self.scrub_mosaic = Checkbox(
            name="scrub-mosaic", label="The slider moves the whole mosaic", active=False, margin=(6, 0, 4, 0)
        )
        self.root = Column(
            self.title,
            self.film,
            self.plane_row,
            self.curve,
            Row(self.play, self.slider, self.speed, margin=0, **stretch),
            Row(*self.jumps.values(), self.compare, margin=(4, 0, 0, 0), **stretch),
            self.scrub_mosaic,
            self.player,
            sizing_mode="stretch_both",
            min_height=_LEAST,
            margin=0,
        )
        self._wire()

    def _figure(self) -> Any:
        plot = figure(
            name="objective-curve",
            height=104,
            sizing_mode="stretch_width",
            toolbar_location=None,
            tools="",
            margin=(4, 0, 0, 0),
            y_axis_location=None,
            min_border_right=8,
        )
        axis = LiveAxis(axis_label="objective")
        axis.ticker.desired_num_ticks = 3
        plot.add_layout(axis, "left")
        plot.ygrid.axis = axis
        plot.x_range, plot.y_range = Range1d(0, 1), Range1d(0, 1)
        plot.line("step", "score", source=self.curve_source, line_width=1.6, color=_ACCENT)
        plot.scatter(
            "step", "score", source=self.source, size=3, color=_ACCENT, line_color=None
        )  # kept frames
        plot.scatter("step", "score", source=self.marks, size=8, color="color", line_color=None)
        plot.add_layout(self.cursor)
        plot.xaxis.ticker.desired_num_ticks = 6
        return plot

    def _wire(self) -> None:
        self.slider.js_link("value", self.cursor, "location")
        speed = CustomJS(
            args={"player": self.player, "speeds": _SPEEDS}, code="player.speed = speeds[cb_obj.value]"
        )
        self.speed.js_on_change("value", speed)
        pin = CustomJS(
            args={"film": self.film, "slider": self.slider},
            code="film.compare = cb_obj.active ? slider.value : null",
        )
        self.compare.js_on_change("active", pin)
        for key, button in self.jumps.items():
            button.on_click(lambda key=key: self._jump(key))
        for slider in self.planes.values():
            slider.on_change("value", lambda _attr, _old, _new: self._cut())

    @property
    def following(self) -> bool:
        """Whether the slider goes with the newest frame."""
        return bool(self.player.following)

    def marks_of(self, run: Run, row: int) -> dict[str, int]:
        """The steps that a user jumps to: first, last, best and, where it ever did, became-argmax."""
        places = {"first": 0, "last": max(0, run.step)}
        best = run.history.best_steps
        if row < len(best):
            places["best"] = int(best[row])
        _, became = run.history.series("became_argmax")
        if len(became) and became[-1][row] >= 0:
            places["became-argmax"] = int(became[-1][row])
        return places

    def _jump(self, key: str) -> None:
        if self._run is None:
            return
        step = self.marks_of(self._run, self._row).get(key)
        if step is not None:
            self.player.following = key == "last"
            self.slider.value = max(0, min(step, int(self.slider.end)))

    def show(self, run: Run, row: int) -> None:
        """Look at another unit, or the same unit of another run; the slider stays where the run is the same."""
        film_id = f"{run.id}/{row}"
        if film_id == self.film.film_id and run is self._run:
            return
        fresh = self._run is None or run.id != self._run.id
        self._run, self._row, self._sent = run, row, {}
        self.compare.active = False
        self.film.open(film_id)
        self.slider.end = max(1, run.steps)
        if fresh:
            self.player.following = True
            self.slider.value = max(0, min(run.step, run.steps))
        self.update()

    def clear(self) -> None:
        """Show nothing: there is no run."""
        self._run, self._row, self._sent = None, 0, {}
        self.compare.active = False
        self.film.open("")
        _put(self.source, {"step": [], "score": []})
        self._empty_plot()
        self.title.text = ""

    def _empty_plot(self) -> None:
        _put(self.curve_source, {"step": [], "score": []})
        _put(self.marks, {"step": [], "score": [], "color": []})
        self.curve.x_range.end = max(1, self._run.steps if self._run is not None else 1)
        self.curve.y_range.update(start=0, end=1)
        self.jumps["became-argmax"].disabled = True

    def update(self) -> None:
        """Send what is new: kept pictures, the curve, the marks."""
        run, row = self._run, self._row
        if run is None or row >= len(run.units):
            return
        self._measure(run)
        self._send_film(run, row)
        self._send_curve(run, row)

    def live(self) -> None:
        """Show the newest image of the unit at once, between kept frames, while the slider follows."""
        if self.following:
            self._send_live()

    def _send_live(self) -> None:
        run, row = self._run, self._row
        latest = run.history.latest if run is not None else None
        if run is None or latest is None or row >= len(latest.images):
            return
        self._measure(run)
        picture = display.plane(
            display.stretch(latest.images[row : row + 1])[0], self._at, self._radiological
        )
        self.film.show_live(latest.step, float(latest.scores[row]), display.encode(picture))

    def _measure(self, run: Run) -> None:
        """Where the pictures are volumes, offer planes through every voxel, beginning with the centre's."""
        latest = run.history.latest
        sizes = tuple(run.network.input_shape[1:] if latest is None else latest.images.shape[2:])
        if sizes == self._sizes:
            return
        self._sizes, self._at, self._sent = sizes, None, {}
        self.plane_row.visible = len(sizes) == 3
        self.root.min_height = _LEAST + (_PLANES if len(sizes) == 3 else 0)
        if len(sizes) != 3:
            self.film.update(parts=[], edges=[], letters=[])
            return
        for slider, size in zip(self._sliders(), sizes, strict=True):
            slider.update(end=max(1, size - 1), disabled=size == 1, value=size // 2)
        self._at = tuple(size // 2 for size in sizes)
        self.film.update(
            parts=[*display.PLANES],
            edges=[*display.plane_edges(sizes)],
            letters=part_letters(self._radiological),
        )

    def turn(self, radiological: bool) -> None:
        """Draw the planes of volumes the way round that slices are."""
        if radiological == self._radiological:
            return
        self._radiological = radiological
        if len(self._sizes) != 3 or self._run is None:
            return
        self.film.letters = part_letters(radiological)
        self._sent = {}
        self._send_live()
        self._send_film(self._run, self._row, patience=0)

    def _sliders(self) -> list[Slider]:
        """By voxel axis."""
        return [self.planes[axis] for axis in _AXES]

    def _cut(self) -> None:
        """Show the planes through the voxel that the sliders say: what is on the screen at once, then the rest."""
        if self._at is None:
            return
        at = tuple(
            int(np.clip(slider.value, 0, size - 1))  # a browser may say anything
            for slider, size in zip(self._sliders(), self._sizes, strict=True)
        )
        if self._run is None or at == self._at:
            return
        self._at, self._sent = at, {}
        self._send_live()
        self._send_film(self._run, self._row, patience=0)

    def _send_film(self, run: Run, row: int, patience: float = _PATIENCE) -> None:
        film = run.history.film(row)
        kept = {step: len(picture) for step, _, picture in film}
        _put(self.source, {"step": [*kept], "score": [score for _, score, _ in film]})
        fresh = [shot for shot in film if self._sent.get(shot[0]) != len(shot[2])]
        if not fresh and self._sent.keys() == kept.keys():
            return
        until, looked_at = time.monotonic() + patience, self._looked_at()
        self._sent = {step: size for step, size in self._sent.items() if step in kept}
        rows = []
        for step, score, picture in sorted(fresh, key=lambda shot: _distance(shot[0], looked_at)):
            if len(rows) >= len(looked_at) and time.monotonic() > until:
                break
            rows.append((step, score, display.viewable(picture, self._at, self._radiological)))
            self._sent[step] = len(picture)
        self.film.add(rows, keep=list(self._sent))

    def _looked_at(self) -> list[int]:
        """The steps that are on the screen."""
        pinned = [] if self.film.compare is None else [self.film.compare]
        return [int(self.slider.value), *pinned]

    def _send_curve(self, run: Run, row: int) -> None:
        steps, scores = run.history.series("score")
        if not len(steps):
            self._empty_plot()
            self.title.text = f"<b>{_called(run, row)}</b> · waiting for its first frame"
            return
        sparse = np.linspace(0, len(steps) - 1, min(len(steps), _CURVE_POINTS))
        some = np.unique(sparse.astype(int))
        curve = {"step": steps[some], "score": scores[some, row]}
        if _put(self.curve_source, curve):
            low, high = float(np.nanmin(curve["score"])), float(np.nanmax(curve["score"]))
            pad = 0.06 * (high - low) or 1.0
            self.curve.x_range.end = max(1, run.steps)
            self.curve.y_range.update(start=low - pad, end=high + pad)
        places = self.marks_of(run, row)
        self.jumps["became-argmax"].disabled = "became-argmax" not in places
        marked = [
            (places[key], color)
            for key, color in (("best", _BEST), ("became-argmax", _ARGMAX))
            if key in places
        ]
        at = [int(np.clip(np.searchsorted(steps, step), 0, len(steps) - 1)) for step, _ in marked]
        marks = {
            "step": [step for step, _ in marked],
            "score": [float(scores[place, row]) for place in at],
            "color": [color for _, color in marked],
        }
        _put(self.marks, marks)
        self.title.text = _describe(Cell(run, row), float(scores[-1, row]), int(steps[-1]))


def _put(source: ColumnDataSource, data: dict[str, Any]) -> bool:
    """Give a source other data, unless it has them: each change is a message. Whether it was changed."""
    others = any(not np.array_equal(data[name], source.data[name]) for name in data)
    if others:
        source.data = data
    return others


def _plane_slider(plane: str, axis: str) -> Slider:
    slider = Slider(
        name=f"unit-{plane}", title=f"{plane} {axis}", start=0, end=1, value=0, step=1, bar_color=_ACCENT
    )
    slider.update(margin=(2, 6, 2, 6), sizing_mode="stretch_width", stylesheets=[styles.SLIDER])
    return slider


def _distance(step: int, looked_at: list[int]) -> tuple[bool, int]:
    """How far a picture is from being shown: the newest one at or before the step that is looked at is."""
    return min((step > at, abs(step - at)) for at in looked_at)


def _describe(cell: Cell, score: float, step: int) -> str:
    silent = " · <b style='color:var(--warm)'>never fired</b>" if cell.silent() else ""
    latest = cell.run.history.latest
    neuron = "" if latest is None else objective_of(cell.run.network, cell.run.spec, latest.images.shape[2:])
    said = [f"<b>{_called(cell.run, cell.row)}</b>", *([neuron] if neuron else [])]
    return f"{' · '.join([*said, f'{words(score)} at step {step}'])}{silent}{_looks(cell)}"


def _looks(cell: Cell) -> str:
    """Saturation and sharpness of the newest picture, where the run noted them."""
    latest = cell.run.history.latest
    if latest is None or "saturated" not in latest.numbers or "sharpness" not in latest.numbers:
        return ""
    share, sharp = float(latest.numbers["saturated"][cell.row]), float(latest.numbers["sharpness"][cell.row])
    return f" <span title='{escape(_LOOKS)}'>· {100 * share:.0f} % saturated · sharpness {sharp:.2f}</span>"


def _called(run: Run, row: int) -> str:
    unit, labels = run.units[row], run.network.labels
    label = f" ({escape(labels[unit])})" if run.layer == "logits" and unit < len(labels) else ""
    return f"{escape(run.layer)}, unit {unit}{label}"
