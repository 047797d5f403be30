"""A method's menu with its layer and parameters; what a browser says that cannot be meant is not taken."""

from collections.abc import Callable

from bokeh.models import GridBox, Select, Toggle, UIElement

from dashboard import styles
from dashboard.parameter_input import parameter_input
from dashboard.workspace import Workspace
from vislib.attribution import FAMILIES, METHODS, Method, Target, default_layer, map_layers
from vislib.errors import VislibError
from vislib.network import Network
from vislib.parameters import Parameter, Value

_LAST = ""  # the layer menu's entry for the method's own choice


class MethodChooser:
    """Which method with which layer and parameters; `changed` is called when a person chooses otherwise.

    `method` and `gear` belong in one row, `grid`, which the gear shows, below it.
    """

    def __init__(self, name: str, method: str, workspace: Workspace, changed: Callable[[], None]) -> None:
        self._workspace, self._tell = workspace, changed
        self._showing = False
        self._values: dict[str, Value] = {}
        self._inputs: dict[str, list[UIElement]] = {}  # a method's parameters, made when it is first chosen
        groups = {
            family: [one.name for one in METHODS.values() if one.family == family] for family in FAMILIES
        }
        self.method = Select(
            name=name,
            options={family: names for family, names in groups.items() if names},
            value=method,
            sizing_mode="stretch_width",
            stylesheets=[styles.FIELD],
            margin=(0, 4, 0, 0),
        )
        self.layer = Select(
            name=f"{name}-layer",
            options=[(_LAST, "last layer")],
            value=_LAST,
            title="layer whose maps are taken",
            sizing_mode="stretch_width",
            stylesheets=[styles.FIELD],
            margin=0,
        )
        self.gear = Toggle(
            name=f"{name}-settings",
            label="⚙",
            html_attributes={"title": "Parameters"},
            margin=0,
            stylesheets=[styles.PLAIN_BUTTON],
        )
        self.grid = GridBox(
            children=[],
            spacing=(4, 6),
            sizing_mode="stretch_width",
            margin=(6, 0, 2, 0),
            visible=False,
            stylesheets=[
                styles.BASE + ":host { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }"
            ],
        )
        self.method.on_change("value", lambda _attr, _old, _new: self._method_chosen())
        self.layer.on_change("value", lambda _attr, _old, _new: self._layer_chosen())
        self.gear.on_change("active", lambda _attr, _old, new: self.grid.update(visible=new))
        self._method_chosen(tell=False)

    @property
    def chosen(self) -> Method:
        """The method; the first one where a browser says something else."""
        name = self.method.value
        return METHODS[name] if isinstance(name, str) and name in METHODS else next(iter(METHODS.values()))

    @property
    def chosen_layer(self) -> str | None:
        """The layer, where the method takes one and a person chose one that the network has."""
        network = self._workspace.now.network
        name = self.layer.value
        if "layer" not in self.chosen.needs or network is None or not isinstance(name, str):
            return None
        return name if name in network.layers else None

    @property
    def values(self) -> dict[str, Value]:
        """The method's parameters."""
        return dict(self._values)

    @property
    def settings(self) -> tuple[str, str | None, dict[str, Value]]:
        """Name, layer and parameters, as a check asks them again."""
        return self.chosen.name, self.chosen_layer, self.values

    def offer(self, network: Network, target: Target | None) -> None:
        """Offer the layers whose maps can explain the target, and name the one that is taken where none is chosen."""
        asked = target or Target(0)
        names = map_layers(network, asked)
        try:
            last = f"{default_layer(network, asked)} (last)"
        except VislibError:
            last = "no layer"
        options = [(_LAST, last), *((name, name) for name in names)]
        if options == self.layer.options:
            return
        # Whoever changes the network or the target asks anew by themselves.
        self._showing = True
        try:
            self.layer.options = options
            if self.layer.value not in names:
                self.layer.value = _LAST
        finally:
            self._showing = False

    def _method_chosen(self, *, tell: bool = True) -> None:
        method = self.chosen
        self._values = method.defaults()
        if method.name not in self._inputs:
            prefix = f"{self.method.name}-{method.name.replace(' ', '-')}"
            self._inputs[method.name] = [
                parameter_input(one, one.default, self._changed, prefix) for one in method.parameters
            ]
        self._showing = True
        for one, widget in zip(method.parameters, self._inputs[method.name], strict=True):
            widget.value = self._values[one.name]
        self._showing = False
        shown = [*([self.layer] if "layer" in method.needs else []), *self._inputs[method.name]]
        self.grid.children = [(one, at // 2, at % 2) for at, one in enumerate(shown)]
        self.gear.visible = bool(shown)
        self.method.html_attributes = {"title": f"{method.description} ({method.source})"}
        if tell:
            self._tell()

    def _layer_chosen(self) -> None:
        if not self._showing:
            self._tell()

    def _changed(self, parameter: Parameter, value: object) -> None:
        if self._showing:
            return
        try:
            if value is None:
                raise VislibError(
                    f"{parameter.name} was left empty; it stays at {self._values[parameter.name]}."
                )
            self._values[parameter.name] = parameter.check(value)
        except VislibError as error:
            self._workspace.notify(str(error), "warning")
            return
        self._tell()
