"""Preparation: how a volume's values become [0, 1] for a network, as one choice that can be kept and said."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float32

from vislib.errors import ImageError
from vislib.volume import Volume, Window

SCALINGS: Mapping[str, str] = MappingProxyType(
    {
        "stored": "8-bit values by 255 where they use that range, others from the least to the 99.8th percentile",
        "percentiles": "from one percentile to another",
        "window": "from one value to another, by hand",
        "z-score": "standardised inside the brain, from so many standard deviations to so many",
    }
)
_USUAL = {"percentiles": (1.0, 99.0), "z-score": (-3.0, 3.0)}


@dataclass(frozen=True)
class Preparation:
    """What becomes 0 and what becomes 1: `low` and `high` are percentiles, values or standard deviations.

    Percentiles default to 1 and 99, standard deviations to -3 and 3; "stored" takes neither. With `brain_only`
    percentiles are taken inside the brain (`Volume.brain`) and all outside it becomes 0. Raises ImageError for an
    unknown scaling and for limits that cannot be.
    """

    scaling: str = "stored"
    low: float | None = None
    high: float | None = None
    brain_only: bool = False

    def __post_init__(self) -> None:
        if self.scaling not in SCALINGS:
            raise ImageError(f"There is no scaling {self.scaling!r}; choose one of {', '.join(SCALINGS)}.")
        if self.scaling == "stored":
            if (self.low, self.high) != (None, None):
                raise ImageError("The scaling 'stored' takes no limits; choose 'window' to set them by hand.")
            return
        low, high = (
            usual if given is None else given
            for given, usual in zip(
                (self.low, self.high), _USUAL.get(self.scaling, (None, None)), strict=True
            )
        )
        least, most = (0.0, 100.0) if self.scaling == "percentiles" else (-math.inf, math.inf)
        if low is None or high is None or not (least <= low < high <= most and math.isfinite(high - low)):
            span = "" if self.scaling != "percentiles" else ", from 0 to 100"
            raise ImageError(
                f"The scaling {self.scaling!r} from {_said(low)} to {_said(high)} cannot be: "
                f"give two numbers, the smaller first{span}."
            )
        object.__setattr__(self, "low", float(low))
        object.__setattr__(self, "high", float(high))

    def window(self, volume: Volume) -> Window:
        """The window of a volume's values; found once a volume."""
        known = _WINDOWS.setdefault(volume, {})
        if self not in known:
            known[self] = self._found(volume)
        return known[self]

    def unit(self, volume: Volume) -> Float32[np.ndarray, "x y z"]:
        """A volume's values in [0, 1]."""
        units = self.window(volume).unit(volume.data)
        if self.brain_only:
            units *= volume.brain
        return units

    def words(self, volume: Volume | None = None) -> str:
        """What is done, as a sentence; of a certain volume with its values."""
        outside = " All outside the brain becomes 0." if self.brain_only else ""
        if self.scaling == "stored":
            usual = (
                "8-bit values that use their range are divided by 255, others stretched from the least to the 99.8th "
                "percentile."
            )
            return (usual if volume is None else volume.scaling) + outside
        low, high = f"{self.low:g}", f"{self.high:g}"
        within = " of the brain" if self.brain_only else ""
        ends = {
            "percentiles": f"percentile {low} to {high}{within}",
            "window": f"{low} to {high}",
            "z-score": f"{low} to {high} standard deviations around the brain's mean",
        }[self.scaling]
        if volume is None or self.scaling == "window":
            return f"Values from {ends} are stretched from 0 to 1.{outside}"
        seen = self.window(volume)
        if seen.width == 0:
            return f"There is nothing to see: {ends} is all one value, {seen.low:g}.{outside}"
        return f"Values from {seen.low:g} to {seen.high:g} ({ends}) are stretched from 0 to 1.{outside}"

    def to_dict(self) -> dict[str, str | float | bool | None]:
        """Every field as JSON-able values; `from_dict` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preparation":
        """The preparation that `to_dict` wrote; fields that are missing get their default. Raises ImageError."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        wrong = sorted(set(values) - set(known))
        if wrong:
            raise ImageError(f"A preparation has no {', '.join(wrong)}; its fields are {', '.join(known)}.")
        if not isinstance(values.get("scaling", ""), str) or not isinstance(
            values.get("brain_only", False), bool
        ):
            raise ImageError(
                "A preparation's scaling is a word and its brain_only true or false; check its fields."
            )
        for end in ("low", "high"):
            number = values.get(end)
            if isinstance(number, bool) or not isinstance(number, int | float | None):
                raise ImageError(
                    f"A preparation's {end} is a number or nothing, not {number!r}; check its fields."
                )
        return cls(**values)

    def _found(self, volume: Volume) -> Window:
        if self.scaling == "stored":
            return volume.window
        assert self.low is not None
        assert self.high is not None
        if self.scaling == "window":
            return Window(self.low, self.high)
        if self.scaling == "percentiles":
            values = volume.data[volume.brain] if self.brain_only else volume.data
            return Window.from_percentiles(values, self.low, self.high)
        values = volume.data[volume.brain]
        mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        return Window(mean + self.low * deviation, mean + self.high * deviation)


def _said(limit: float | None) -> str:
    return "nothing" if limit is None else f"{limit:g}"


STORED = Preparation()
_WINDOWS: WeakKeyDictionary[Volume, dict[Preparation, Window]] = WeakKeyDictionary()
