"""Placement: what a file says of where its voxels lie, in which unit of length, and which of its words was taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

CODES: Mapping[int, str] = MappingProxyType(
    {0: "unknown", 1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI", 5: "template"}
)


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
