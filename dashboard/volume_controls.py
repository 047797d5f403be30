"""How a volume and the map over it are shown: window, palettes, opacity, threshold; drawn by the browser alone."""

from math import floor, log10

from bokeh.models import CustomJS, RangeSlider, Row, Select, Slider, Toggle

from dashboard import palettes, styles
from dashboard.volume_view import VolumeView

_ONE_PALETTE = "sequential.visible = !cb_obj.signed; diverging.visible = cb_obj.signed"
# A drag in a plane may leave the slider's range: it then stands at its ends, and must not answer with them.
_ENDS = (
    "const inside = (one) => Math.min(slider.end, Math.max(slider.start, one))\n"
    "const ends = [inside(view.window_low), inside(view.window_high)]\n"
)
_SAME = "const same = ends[0] == slider.value[0] && ends[1] == slider.value[1]\n"
_WINDOW_TO_VIEW = (
    _ENDS + _SAME + "if (!same) view.setv({window_low: slider.value[0], window_high: slider.value[1]})"
)
_VIEW_TO_WINDOW = _ENDS + _SAME + "if (!same) slider.value = ends"


class VolumeControls:
    """A row of widgets that move a VolumeView without asking the server."""

    def __init__(self, view: VolumeView) -> None:
        self._view = view
        self.window = RangeSlider(
            name="volume-window",
            title="window",
            start=0,
            end=255,
            value=(0, 255),
            step=1,
            width=150,
            margin=(0, 14, 0, 0),
            stylesheets=[styles.SLIDER],
        )
        both = {"view": view, "slider": self.window}
        self.window.js_on_change("value", CustomJS(args=both, code=_WINDOW_TO_VIEW))
        back = CustomJS(args=both, code=_VIEW_TO_WINDOW)
        view.js_on_change("window_low", back)
        view.js_on_change("window_high", back)
        self.palette = self._select("palette", "volume", palettes.SEQUENTIAL, 78)
        self.smooth = self._toggle("smooth", "smooth", "Voxels interpolated; off: as blocks")
        self.opacity = self._slider("opacity")
        self.threshold = self._slider("threshold")
        self.map_palette = self._select("map_palette", "map", palettes.SEQUENTIAL, 78)
        self.diverging = self._select("diverging", "map", palettes.DIVERGING, 108)
        self.diverging.visible = False
        palettes_of = {"sequential": self.map_palette, "diverging": self.diverging}
        view.js_on_change("signed", CustomJS(args=palettes_of, code=_ONE_PALETTE))
        self.by_value = self._toggle("alpha_by_value", "fade", "Weak values are less opaque")
        self.show_map = self._toggle("show_map", "map", "Show the map")
        useless = [self.threshold, self.map_palette, self.diverging, self.by_value]
        code = "for (const one of useless) one.disabled = cb_obj.label_values.length > 0"
        view.js_on_change("label_values", CustomJS(args={"useless": useless}, code=code))
        self.root = Row(
            self.window,
            self.palette,
            self.smooth,
            self.opacity,
            self.threshold,
            self.map_palette,
            self.diverging,
            self.by_value,
            self.show_map,
            name="volume-controls",
            sizing_mode="stretch_width",
            margin=(2, 0, 8, 0),
            stylesheets=[styles.WRAP],
        )

    def fit(self, low: float, high: float, window: tuple[float, float]) -> None:
        """Let the window slider run over a volume's values."""
        low, high = min(low, window[0]), max(high, window[1])
        span = high - low if high > low else 1.0
        whole = span >= 20 and float(low).is_integer() and float(high).is_integer()
        self.window.update(
            start=low, end=low + span, step=1 if whole and span <= 4096 else span / 1000, value=window
        )
        decimals = max(0, 2 - floor(log10(span)))
        self.window.format = f"0[.]{'0' * decimals}" if decimals else "0"

    def _slider(self, name: str) -> Slider:
        one = Slider(
            name=f"volume-{name}",
            title=name,
            start=0,
            end=1,
            step=0.01,
            value=getattr(self._view, name),
            width=80,
            margin=(0, 12, 0, 0),
            stylesheets=[styles.SLIDER],
        )
        one.js_link("value", self._view, name)
        return one

    def _select(self, name: str, title: str, options: tuple[str, ...], width: int) -> Select:
        one = Select(
            name=f"volume-{name}",
            title=title,
            options=[*options],
            value=getattr(self._view, name),
            width=width,
            stylesheets=[styles.FIELD],
            margin=(0, 8, 0, 0),
        )
        one.js_link("value", self._view, name)
        return one

    def _toggle(self, name: str, label: str, tip: str) -> Toggle:
        one = Toggle(
            name=f"volume-{name}",
            label=label,
            active=getattr(self._view, name),
            margin=(16, 8 if name == "smooth" else 4, 0, 0),
            stylesheets=[styles.PLAIN_BUTTON],
            html_attributes={"title": tip},
        )
        one.js_link("active", self._view, name)
        return one
