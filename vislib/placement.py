"""Placement: what a file says of where its voxels lie, in which unit of length, and which of its words was taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64

CODES: Mapping[int, str] = MappingProxyType(
    {0: "unknown", 1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI", 5: "template"}
)

# Names of units of length, as headers write them, and mm in one of them.
UNITS: Mapping[str, float] = MappingProxyType({"mm": 1.0, "micron": 1e-3, "cm": 10.0, "meter": 1000.0})
_SPELT = {"mm": "mm", "um": "micron", "µm": "micron", "μm": "micron", "cm": "cm", "m": "meter"}
_BEGINS = {"mill": "mm", "micr": "micron", "cent": "cm", "met": "meter"}
_PLURAL = {"micron": "microns", "cm": "centimetres", "meter": "metres"}


@dataclass(frozen=True)
class Placement:
    """Of the file as it is stored; `Volume.affine` is in mm whatever the file's unit is.

    source    what places the voxels: "sform", "qform", "pixdim", "header" or "SPM's .mat file"
    why       why that was taken, as a sentence; "" where the format has one way only
    sform     NIfTI's code of the sform, None in formats without one
    qform     NIfTI's code of the qform, None in formats without one
    unit      the unit of length that the file names: "mm", "micron", "meter", "unknown" (then mm are assumed)
    mm        how many mm one of that unit is
    """

    source: str = "header"
    why: str = ""
    sform: int | None = None
    qform: int | None = None
    unit: str = "mm"
    mm: float = 1.0


def code_words(code: int) -> str:
    """A NIfTI code of an sform or qform with its meaning, such as "4 (MNI)"."""
    return f"{code} ({CODES[code]})" if code in CODES else str(code)


def length_unit(text: bytes) -> tuple[str, float]:
    """The unit of length that a header names in letters, and how many mm it is; mm are assumed where it names none."""
    said = text.split(b"\0")[0].decode("utf-8", "replace").strip().lower()
    unit = _SPELT.get(said) or next(
        (unit for start, unit in _BEGINS.items() if said.startswith(start)), "unknown"
    )
    return unit, UNITS.get(unit, 1.0)


def in_mm(affine: Float64[np.ndarray, "4 4"], mm: float) -> Float64[np.ndarray, "4 4"]:
    """An affine that leads to a unit of length, as one that leads to mm; a unit is so many `mm`."""
    return np.asarray(np.diag([mm, mm, mm, 1.0]) @ affine, np.float64)


def converted(affine: Float64[np.ndarray, "4 4"], unit: str, mm: float) -> list[str]:
    """A sentence where voxels had to be converted from another unit to mm."""
    if mm == 1:
        return []
    lengths = np.sqrt((affine[:3, :3] ** 2).sum(0))
    stored, here = (" x ".join(f"{n:.5g}" for n in sizes.tolist()) for sizes in (lengths, lengths * mm))
    return [f"Its unit of length is {_PLURAL[unit]}: voxels of {stored} were converted to {here} mm."]
