"""Parameter: one number or choice that a method takes, described for widgets, tables and tests alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vislib.errors import VislibError

Value = float | int | str


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method, described well enough to build a widget, a table row or a test case from it.

    `used_when` names other parameters and the values of theirs with which this one has an effect; `scale` is
    "log" where a slider should run in decades ("log" ranges that start at 0 keep 0 as "off"). A value out of
    range raises `error`.
    """

    name: str
    kind: str  # "float", "int" or "choice"
    low: float
    high: float
    unit: str
    description: str
    choices: tuple[str, ...] = ()
    scale: str = "linear"
    used_when: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    default: Value | None = None
    error: type[VislibError] = VislibError

    def check(self, value: object) -> Value:
        """Return `value` as this parameter's type; raises `error` that says what is allowed."""
        if self.kind == "choice":
            if value not in self.choices:
                raise self.error(f"{self.name} cannot be {value!r}; choose one of {', '.join(self.choices)}.")
            return str(value)
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = float("nan")
        whole = self.kind != "int" or number == round(number, 0)
        if not (self.low <= number <= self.high and whole):
            kind = "a whole number" if self.kind == "int" else "a number"
            raise self.error(
                f"{self.name} cannot be {value!r}; give {kind} from {self.low:g} to {self.high:g}"
                f"{f' ({self.unit})' if self.unit else ''}."
            )
        return int(number) if self.kind == "int" else number
