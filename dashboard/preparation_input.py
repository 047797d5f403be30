"""How a volume's values become [0, 1] for the network: scaling, limits, brain only."""

from collections.abc import Callable

from bokeh.models import Checkbox, Column, NumericInput, Row, Select

from dashboard import styles
from dashboard.live_text import LiveText
from vislib.errors import ImageError
from vislib.preparation import SCALINGS, STORED, Preparation
from vislib.volumes import Volume

_LABELS = {
    "stored": "as stored",
    "percentiles": "percentiles",
    "window": "from … to, by hand",
    "z-score": "z-score in the brain",
}
_UNITS = {"percentiles": "percentile", "window": "value", "z-score": "deviations"}


class PreparationInput:
    """`changed(preparation)` is told what a person chooses; "by hand" begins with the window that is shown."""

    def __init__(
        self,
        changed: Callable[[Preparation], None],
        problem: Callable[[str], None],
        window: Callable[[], tuple[float, float]],
    ) -> None:
        self._tell, self._problem, self._window = changed, problem, window
        self._now = STORED
        self._showing = False
        self.scaling = Select(
            name="preparation-scaling",
            options=[(name, _LABELS[name]) for name in SCALINGS],
            value=STORED.scaling,
            sizing_mode="stretch_width",
            stylesheets=[styles.FIELD],
            margin=0,
        )
        self.low, self.high = (
            NumericInput(
                name=f"preparation-{end}",
                mode="float",
                sizing_mode="stretch_width",
                stylesheets=[styles.FIELD],
                margin=(0, 6 if end == "low" else 0, 0, 0),
            )
            for end in ("low", "high")
        )
        self.limits = Row(
            self.low, self.high, visible=False, sizing_mode="stretch_width", margin=(6, 0, 0, 0)
        )
        self.brain = Checkbox(
            name="preparation-brain", label="only inside the brain", active=False, margin=(7, 0, 0, 0)
        )
        self.words = LiveText(
            name="preparation-words",
            text="",
            stylesheets=[styles.QUIET],
            sizing_mode="stretch_width",
            margin=(5, 0, 0, 0),
        )
        self.root = Column(
            self.scaling, self.limits, self.brain, self.words, sizing_mode="stretch_width", margin=0
        )
        self.scaling.on_change("value", lambda _attr, _old, new: self._scaling_chosen(new))
        for widget in (self.low, self.high):
            widget.on_change("value", lambda _attr, _old, _new: self._changed())
        self.brain.on_change("active", lambda _attr, _old, _new: self._changed())

    def show(self, preparation: Preparation, volume: Volume | None) -> None:
        """Let the widgets say what is chosen, and what that does to a volume."""
        self._now = preparation
        self._showing = True
        try:
            self.scaling.value = preparation.scaling
            self.low.value, self.high.value = preparation.low, preparation.high
            self.brain.active = preparation.brain_only
            self.limits.visible = preparation.scaling != "stored"
            unit = _UNITS.get(preparation.scaling, "")
            self.low.title, self.high.title = f"black, {unit}", f"white, {unit}"
            self.words.text = preparation.words(volume)
        finally:
            self._showing = False

    def _scaling_chosen(self, scaling: str) -> None:
        if self._showing or scaling not in SCALINGS:
            return
        low, high = self._window() if scaling == "window" else (None, None)
        self._try(scaling, low, high)

    def _changed(self) -> None:
        if not self._showing:
            self._try(self._now.scaling, self.low.value, self.high.value)

    def _try(self, scaling: str, low: float | None, high: float | None) -> None:
        try:
            chosen = Preparation(scaling, low, high, bool(self.brain.active))
        except ImageError as error:
            self._problem(str(error))
            self.show(self._now, None)
            return
        self._tell(chosen)
