"""The check of the maps: what deserves trust and why, curves of removal, and maps of ever more random weights."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import torch
from bokeh.models import Column, ColumnDataSource, HoverTool, Range1d, Row
from bokeh.palettes import Colorblind
from bokeh.plotting import figure

from dashboard import palettes, styles
from dashboard.answers import Answers
from dashboard.live_button import LiveButton
from dashboard.live_text import LiveText
from dashboard.method_card import MethodCard
from dashboard.orientation import SIDES, as_drawn, letters
from dashboard.overlay import Lens
from dashboard.workspace import Workspace
from vislib import display
from vislib.attribution import Target
from vislib.evaluation import Check, CheckProgress, Curve, Verdict, check, verdict
from vislib.jobs import Job
from vislib.network import Network
from vislib.parameters import Value
from vislib.volumes import PLANES

Settings = tuple[str, str | None, dict[str, Value]]  # name, layer and parameters of a method

_COLOURS = tuple(Colorblind[8][at] for at in (0, 1, 3, 6, 5, 4))  # no yellow, which white swallows
_GREY = "#8a94a1"
_TITLES = {  # by whether what is followed is a probability
    True: {
        "deletion": "Deletion: what the map marks is removed, the strongest first. Good maps fall early.",
        "insertion": "Insertion: it is put back into a blurred input. Good maps rise early.",
    },
    False: {
        "deletion": "Deletion: what the map marks is removed, the strongest first. Good maps move the value early.",
        "insertion": "Insertion: it is put back into a blurred input. Good maps bring the value back early.",
    },
}
_NAN = "; not measured where removing everything moves nothing"
_THUMBNAIL = 72  # CSS pixels
_INVITATION = (
    "Measures every map shown: where it lies, what removing it does, whether it depends on the weights."
)


class CheckView:
    """Runs one check of the methods that are shown, and draws what is known of it by now."""

    def __init__(self, answers: Answers, workspace: Workspace, lens: Lens) -> None:
        self._answers, self._workspace, self._lens = answers, workspace, lens
        self._job: Job | None = None
        self._shown: CheckProgress | None = None
        self._of: tuple[Network, str, Target] | None = None  # the input's key: planes of a volume share it
        self._plane = ""  # of the slices that its maps are drawn as; "" where they are none
        self._methods: list[Settings] = []  # of what was found
        self._thumbnails: dict[int, tuple[np.ndarray, str]] = {}  # by the map's identity
        self.start = LiveButton(name="check-start", label="Check again", width=104, margin=0)
        self.stop = LiveButton(name="check-stop", label="Stop", width=70, margin=(0, 0, 0, 6), disabled=True)
        self.state = LiveText(
            name="check-state",
            text="",
            stylesheets=[styles.QUIET],
            margin=(6, 0, 0, 14),
            sizing_mode="stretch_width",
        )
        self.table = LiveText(
            name="check-table",
            text="",
            stylesheets=[styles.CHECK],
            sizing_mode="stretch_width",
            margin=(10, 8, 0, 0),
        )
        self.strips = LiveText(
            name="check-strips",
            text="",
            stylesheets=[styles.CHECK],
            sizing_mode="stretch_width",
            margin=(10, 8, 12, 0),
        )
        names = ("deletion", "insertion")
        self.sources = {
            name: ColumnDataSource({"xs": [], "ys": [], "color": [], "width": [], "name": [], "area": []})
            for name in names
        }
        self.figures = [self._figure(name) for name in names]
        self.curves = Row(*self.figures, sizing_mode="stretch_width", margin=(6, 8, 0, 0), visible=False)
        self.bar = Row(
            self.start,
            self.stop,
            self.state,
            sizing_mode="stretch_width",
            margin=(14, 0, 0, 0),
            visible=False,
        )
        self.root = Column(
            self.table,
            self.curves,
            self.strips,
            name="check",
            sizing_mode="stretch_both",
            stylesheets=[styles.SCROLL],
            visible=False,
        )

    def _figure(self, name: str) -> Any:
        self.sources[name].name = f"{name}-source"
        plot = figure(
            name=f"{name}-curves",
            height=210,
            sizing_mode="stretch_width",
            toolbar_location=None,
            tools="",
            title=_TITLES[True][name],
            margin=0,
        )
        plot.x_range, plot.y_range = Range1d(0, 1), Range1d(-0.02, 1.02)
        lines = plot.multi_line("xs", "ys", color="color", line_width="width", source=self.sources[name])
        plot.add_tools(HoverTool(renderers=[lines], tooltips=[("", "@name"), ("area", "@area")]))
        plot.title.text_font_size, plot.title.text_font_style = "11px", "normal"
        plot.title.text_color = _GREY
        plot.xaxis.axis_label = "share of the pixels"
        return plot

    @property
    def _current(self) -> bool:
        now = self._workspace.now
        key = now.input.key if now.input is not None else None
        return self._of is not None and self._of == (now.network, key, now.target)

    def forget(self) -> None:
        """The question is another one: what was found is not true of it."""
        if self._of is None or self._current:
            return
        self._answers.stop(self._job)
        self._job = self._of = None
        self._clear()
        self.stop.disabled = True
        self.state.text = _INVITATION

    def _clear(self) -> None:
        self._shown = None
        self.table.text = self.strips.text = ""
        self.curves.visible = False
        for source in self.sources.values():
            source.data = {name: [] for name in source.data}

    def wanted(self, cards: Sequence[MethodCard]) -> bool:
        """Whether somebody looks at it and what the cards ask is not checked nor being checked."""
        return bool(self.root.visible) and not (self._current and self._methods == _settings(cards))

    def begin(self, cards: Sequence[MethodCard]) -> None:
        """Check the methods of these cards on the present input and target."""
        now = self._workspace.now
        if now.network is None or now.input is None or now.target is None:
            self._workspace.notify("There is nothing to check yet: choose an input first.", "warning")
            return
        network, one, target = now.network, now.input, now.target
        self._of, self._methods = (network, one.key, target), _settings(cards)
        asked = [card.chooser.settings for card in cards if not card.chooser.chosen.check(network)]
        self._answers.stop(self._job)
        self._job = None
        self._clear()
        if not asked:
            self._workspace.notify("None of the methods shown can be asked of this network.", "warning")
            return
        image = torch.from_numpy(one.image)
        self._plane = (
            one.plane if one.slice is not None or one.scan is None else PLANES[0]
        )  # as `plane_of` cuts it
        self._job = self._answers.run(
            f"check of {one.words}",
            lambda: check(network, image, target, asked, one.mask),
            interactive=False,
        )
        self._thumbnails.clear()
        self.state.text = "Waiting for its turn …"
        self.stop.disabled = False

    def end(self) -> None:
        """Stop the check; what was measured stays."""
        self._answers.stop(self._job)

    def tick(self) -> None:
        """Draw what has come since the last time."""
        job = self._job
        if job is None:
            return
        found = job.history.result
        ended = job.state in ("done", "cancelled", "failed")
        if found is not None and (ended or found is not self._shown):
            changed = self._shown is None or found.checks != self._shown.checks
            self._shown = found
            if changed or ended:
                self._draw(found, ended)
            self.state.text = f"{found.share:.0%}: {escape(found.doing)}".replace("%", " %", 1)
        if ended:
            self._job = None
            self.stop.disabled = True
            self.state.text = {
                "done": "Done.",
                "cancelled": "Stopped: what was not measured is left empty.",
                "failed": escape(job.error or "The check failed."),
            }[job.state]

    def _draw(self, found: CheckProgress, ended: bool) -> None:
        methods = [one for one in found.checks if not one.baseline]
        colours = {one.name: _COLOURS[at % len(_COLOURS)] for at, one in enumerate(methods)}
        verdicts = {one.name: one for one in verdict(found.checks)} if found.done else {}
        self.table.text = table(found, verdicts, colours, ended)
        self._draw_curves(found.checks, colours)
        said = letters(self._plane, self._workspace.radiological)
        self.strips.text = strips(
            methods, self._thumbnail, "".join(said[side] for side in SIDES if side in said)
        )

    def turn(self) -> None:
        """Draw the maps the way round that is chosen now."""
        self._thumbnails.clear()
        if self._shown is not None:
            self._draw(self._shown, self._job is None)

    def _thumbnail(self, values: np.ndarray) -> str:
        """A map as an image's address; each is drawn once."""
        if id(values) not in self._thumbnails:
            self._thumbnails[id(values)] = (
                values,
                _drawn(values, self._lens, self._plane, self._workspace.radiological),
            )
        return self._thumbnails[id(values)][1]

    def _draw_curves(self, checks: Sequence[Check], colours: dict[str, str]) -> None:
        for plot, (name, source) in zip(self.figures, self.sources.items(), strict=True):
            # Baselines first: what is drawn later lies on top.
            drawn = [
                (one, curve)
                for one in sorted(checks, key=lambda one: not one.baseline)
                if (curve := getattr(one, name)) is not None
            ]
            self.curves.visible = self.curves.visible or bool(drawn)
            heights = [self._heights(curve) for _, curve in drawn]
            if self._of is not None:
                self._name_axis(plot, name, heights)
            source.data = {
                "xs": [curve.fractions.tolist() for _, curve in drawn],
                "ys": [ys.tolist() for ys in heights],
                "color": [colours.get(one.name, _GREY) for one, _ in drawn],
                "name": [one.name for one, _ in drawn],
                "width": [1 if one.baseline else 2 for one, _ in drawn],
                "area": [_number(float(curve.auc[0])) for _, curve in drawn],
            }

    def _heights(self, curve: Curve) -> np.ndarray:
        """What is drawn of a curve: a probability, or the value itself in its unit."""
        if curve.values is None or self._of is None:
            return curve.probabilities[0]
        return -curve.values[0] if self._of[2].opposite else curve.values[0]

    def _name_axis(self, plot: Any, name: str, heights: list[np.ndarray]) -> None:
        assert self._of is not None
        network, _, target = self._of
        plot.title.text = _TITLES[network.head.has_probability][name]
        words = replace(target, opposite=False).words(network)
        if network.head.has_probability:
            plot.yaxis.axis_label = f"probability of {target.words(network)}"
            plot.y_range.update(start=-0.02, end=1.02)
            return
        words, unit = words.removeprefix("what raises "), network.head.unit
        plot.yaxis.axis_label = f"{words} ({unit})" if unit else words
        known = [float(one) for ys in heights for one in ys if np.isfinite(one)]
        if known:
            pad = 0.05 * (max(known) - min(known)) or 1.0
            plot.y_range.update(start=min(known) - pad, end=max(known) + pad)

    def close(self) -> None:
        """The browser has gone."""
        self._answers.stop(self._job)


def _settings(cards: Sequence[MethodCard]) -> list[Settings]:
    return [card.chooser.settings for card in cards]


def table(found: CheckProgress, verdicts: dict[str, Verdict], colours: dict[str, str], ended: bool) -> str:
    """Verdicts and numbers as an HTML table; baselines stand below, for comparison."""
    head = ["", "verdict", "inside", "hit", "deletion", "insertion", "ROAD", "similarity"]
    tips = [
        "",
        "",
        "share of |map| inside the lesion's outline",
        "whether the strongest place lies at the lesion",
        f"area under the curve; lower is better{_NAN}",
        f"area under the curve; higher is better{_NAN}",
        "(least relevant first - most relevant first) / 2; higher is better",
        "likeness (SSIM) to the maps when the upper half of the layers becomes random; lower is better",
    ]
    rows = []
    for one in found.checks:
        if one.baseline:
            words = '<span class="quiet">knows nothing of the network</span>'
            dot = f'<i style="background:{_GREY}"></i>'
        else:
            words = _judged(verdicts.get(one.name), ended)
            dot = f'<i style="background:{colours[one.name]}"></i>'
        numbers = [
            _percent(one.mass),
            "" if one.pointing is None else "yes" if one.pointing > 0.5 else "no",
            _number(None if one.deletion is None else float(one.deletion.auc[0])),
            _number(None if one.insertion is None else float(one.insertion.auc[0])),
            _number(None if one.road is None else float(one.road.score[0])),
            _number(one.similarity),
        ]
        cells = "".join(f"<td class=number>{number}</td>" for number in numbers)
        rows.append(f"<tr><th>{dot}{escape(one.name)}</th><td>{words}</td>{cells}</tr>")
    heads = "".join(f'<th title="{escape(tip)}">{name}</th>' for name, tip in zip(head, tips, strict=True))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _judged(said: Verdict | None, ended: bool) -> str:
    if said is None:
        return f'<span class="quiet">{"not measured to the end" if ended else "being measured …"}</span>'
    return f'<b class="{said.level.replace(" ", "-")}">{said.level}</b> {escape(said.sentence)}'


def strips(methods: Sequence[Check], thumbnail: Callable[[np.ndarray], str], sides: str = "") -> str:
    """For each method its map, then those of ever more random weights with their similarity to the first.

    `sides` are the letters at the left, right, top and bottom of a slice; none for other pictures.
    """
    rows = []
    for one in methods:
        if one.map is None:
            continue
        cells = [_cell(thumbnail(one.map), "trained", "", sides)]
        # The stage's array stays the same object, so that its thumbnail is drawn once.
        cells += [
            _cell(thumbnail(stage.maps), stage.layer, f"{stage.ssim[0]:.2f}", sides) for stage in one.stages
        ]
        rows.append(f"<h4>{escape(one.name)}</h4><div class=strip>{''.join(cells)}</div>")
    if not rows:
        return ""
    return (
        "<h3>Sanity check: weights made random from the class scores down to the layer named; the number is the "
        f"structural similarity to the trained network's map</h3>{''.join(rows)}"
    )


def _cell(picture: str, layer: str, similarity: str, sides: str) -> str:
    said = escape(f"{layer}: similarity {similarity}" if similarity else layer)
    letter = "".join(f"<u>{escape(side)}</u>" for side in sides)
    return (
        f'<figure><span><img src="{picture}" alt="{said}" title="{said}">{letter}</span>'
        f"<figcaption>{escape(layer)}<b>{similarity or '&nbsp;'}</b></figcaption></figure>"
    )


def _drawn(values: np.ndarray, lens: Lens, plane: str, radiological: bool) -> str:
    flat = as_drawn(plane_of(values), plane, radiological)
    signed = bool((flat < 0).any())
    palette = lens.diverging if signed else lens.palette
    pixels = palettes.coloured(flat, signed, palette, 0.0, False)[..., :3]
    step = max(1, min(flat.shape) // (2 * _THUMBNAIL))
    data = base64.b64encode(display.png(np.ascontiguousarray(pixels[::step, ::step]))).decode()
    return f"data:image/png;base64,{data}"


def plane_of(values: np.ndarray) -> np.ndarray:
    """A map (or a batch of one) in two dimensions: of a volume's the middle axial plane."""
    if values.ndim > 2 and len(values) == 1:
        values = values[0]
    return values if values.ndim == 2 else np.rot90(values[:, :, values.shape[2] // 2])


def _number(value: float | None) -> str:
    if value is None:
        return ""
    # + 0.0: no minus before a zero
    return f"{round(value, 2) + 0.0:.2f}" if np.isfinite(value) else "not measured"


def _percent(value: float | None) -> str:
    return (
        "" if value is None else f"{value:.0%}".replace("%", " %") if np.isfinite(value) else "not measured"
    )
