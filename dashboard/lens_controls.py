"""How the maps are shown: opacity, threshold, palettes, raw or smooth; all of it drawn by the browser alone."""

from bokeh.models import CustomJS, Row, Select, Slider, Toggle

from dashboard import palettes, styles
from dashboard.live_button import LiveButton
from dashboard.overlay import Lens


class LensControls:
    """A row of widgets that move a lens without asking the server."""

    def __init__(self, lens: Lens) -> None:
        def slider(name: str, title: str, value: float) -> Slider:
            one = Slider(
                name=name,
                title=title,
                start=0,
                end=1,
                step=0.01,
                value=value,
                width=96,
                margin=(0, 14, 0, 0),
                stylesheets=[styles.SLIDER],
            )
            one.js_link("value", lens, name)
            return one

        def select(name: str, title: str, options: tuple[str, ...], value: str, width: int) -> Select:
            one = Select(
                name=name,
                title=title,
                options=[*options],
                value=value,
                width=width,
                stylesheets=[styles.FIELD],
                margin=(0, 8, 0, 0),
            )
            one.js_link("value", lens, name)
            return one

        def toggle(name: str, label: str, tip: str, on: bool) -> Toggle:
            one = Toggle(
                name=name,
                label=label,
                active=on,
                margin=(16, 4, 0, 0),
                stylesheets=[styles.PLAIN_BUTTON],
                html_attributes={"title": tip},
            )
            one.js_link("active", lens, name)
            return one

        self.opacity = slider("opacity", "opacity", lens.opacity)
        self.threshold = slider("threshold", "threshold", lens.threshold)
        self.palette = select("palette", "palette", palettes.SEQUENTIAL, lens.palette, 88)
        self.diverging = select("diverging", "signed", palettes.DIVERGING, lens.diverging, 112)
        self.smooth = toggle("smooth", "smooth", "Interpolated to the input; off: the map's own pixels", True)
        self.by_value = toggle("alpha_by_value", "fade", "Weak values are less opaque", lens.alpha_by_value)
        self.picture = toggle("show_picture", "input", "Show the input under the maps", True)
        self.reset = LiveButton(
            name="lens-reset",
            label="1:1",
            margin=(16, 0, 0, 0),
            stylesheets=[styles.PLAIN_BUTTON],
            html_attributes={"title": "Whole picture again (double click)"},
        )
        code = "lens.setv({zoom: 1, centre_x: 0.5, centre_y: 0.5})"
        self.reset.js_on_click(CustomJS(args={"lens": lens}, code=code))
        self.root = Row(
            self.opacity,
            self.threshold,
            self.palette,
            self.diverging,
            self.smooth,
            self.by_value,
            self.picture,
            self.reset,
            name="lens-controls",
            margin=0,
        )
