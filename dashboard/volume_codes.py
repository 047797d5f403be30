"""Codes: how the values of a volume and of a map become the whole numbers that a browser is given."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from dashboard import palettes

_WIDE = 100  # windows that the codes reach on both sides of the window


@dataclass(frozen=True)
class VolumeCodes:
    """Code 0 is `low` and the largest code `high`; all between is linear."""

    low: float
    high: float
    eight_bits: bool

    @classmethod
    def reaching(cls, data: Float32[np.ndarray, "x y z"], window: tuple[float, float]) -> "VolumeCodes":
        """Codes for a volume that is shown from `window[0]` to `window[1]`.

        Whole numbers that span at most 255 get 8 bits and stay what they are; others 16 bits over their whole
        range, but for what lies more than 100 windows outside the window.
        """
        low, high, whole = np.inf, -np.inf, True
        for sheet in data:  # one at a time, here and below: a large volume must not be held twice
            finite = sheet[np.isfinite(sheet)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
                whole = whole and np.array_equal(finite, np.rint(finite))
        if low > high:
            low = high = 0.0
        if whole and high - low <= 255:
            return cls(low, low + 255, eight_bits=True)
        reach = _WIDE * (window[1] - window[0])
        if reach > 0:
            low, high = max(low, window[0] - reach), min(high, window[1] + reach)
        return cls(low, high if high > low else low + 1.0, eight_bits=False)

    def of(self, values: Float32[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."] | UInt16[np.ndarray, "..."]:
        """Values as codes; what is not finite becomes code 0."""
        largest = 255 if self.eight_bits else 65535
        codes = np.empty(values.shape, "u1" if self.eight_bits else "<u2")
        for sheet, part in zip(codes, values, strict=True):
            exact = np.where(np.isfinite(part), part, self.low).astype(float)
            sheet[:] = np.clip((exact - self.low) * (largest / (self.high - self.low)) + 0.5, 0, largest)
        return codes


@dataclass(frozen=True, eq=False)
class LabelCodes:
    """Code 0 is no region (0, and what is not known); code n is the n-th of `values`, exactly."""

    MOST: ClassVar[int] = 65_535
    values: Float32[np.ndarray, " n"]  # the different labels, in order

    @classmethod
    def among(cls, data: Float32[np.ndarray, "x y z"]) -> "LabelCodes | None":
        """Codes for the labels that an array holds; None where they are more than MOST."""
        known = np.empty(0, np.float32)
        for sheet in data:
            known = np.union1d(known, sheet[np.isfinite(sheet) & (sheet != 0)])
            if len(known) > cls.MOST:
                return None
        return cls(known)

    def of(self, values: Float32[np.ndarray, "..."]) -> UInt16[np.ndarray, "..."]:
        """Labels as codes; what is none of them becomes 0."""
        codes = np.zeros(values.shape, "<u2")
        if len(self.values):
            for sheet, part in zip(codes, values, strict=True):
                at = np.minimum(np.searchsorted(self.values, part), len(self.values) - 1)
                sheet[:] = np.where(self.values[at] == part, at + 1, 0)
        return codes


def map_reach(values: Float32[np.ndarray, "x y z"], signed: bool) -> float:
    """The value of a map's strongest colour: its largest finite value above 0, or |value| if it is signed."""
    return max(palettes.largest(sheet, signed) for sheet in values)


def map_codes(values: Float32[np.ndarray, "..."], high: float) -> UInt16[np.ndarray, "..."]:
    """1 to 65535 for -`high` to `high`, so that 0 is 32768; 0 for what is not a number."""
    codes = np.empty(values.shape, "<u2")
    for sheet, part in zip(codes, values, strict=True):
        shares = np.clip(part.astype(float) / high, -1, 1)
        sheet[:] = np.where(np.isnan(shares), 0, shares * 32767 + 32768.5)
    return codes
