"""A widget for any Parameter: a number or a choice, with its description, range and unit as a tooltip."""

from collections.abc import Callable
from html import escape
from typing import Any

from bokeh.models import NumericInput, Select, Tooltip
from bokeh.models.dom import HTML

from dashboard import styles
from vislib.parameters import Parameter


def parameter_input(
    parameter: Parameter, value: Any, changed: Callable[[Parameter, Any], None], prefix: str = "parameter"
) -> NumericInput | Select:
    """The widget, named PREFIX-NAME; `changed(parameter, new value)` is called when a person changes it."""
    shared: dict[str, Any] = {
        "name": f"{prefix}-{parameter.name}",
        "title": parameter.name.replace("_", " "),
        "description": Tooltip(content=HTML(html=explain(parameter)), position="left"),
        "sizing_mode": "stretch_width",
        "stylesheets": [styles.FIELD],
        "margin": 0,
    }
    widget: NumericInput | Select
    if parameter.kind == "choice":
        widget = Select(value=value, options=[*parameter.choices], **shared)
    else:
        widget = NumericInput(
            value=value, low=parameter.low, high=parameter.high, mode=parameter.kind, **shared
        )
    widget.on_change("value", lambda _attr, _old, new: changed(parameter, new))
    return widget


def explain(parameter: Parameter) -> str:
    """What a parameter does and what it may be, as HTML."""
    unit = f" in {escape(parameter.unit)}" if parameter.unit else ""
    span = "" if parameter.kind == "choice" else f"<br>from {parameter.low:g} to {parameter.high:g}{unit}"
    return f"{escape(parameter.description)}{span}"
