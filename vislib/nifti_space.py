"""Where a NIfTI header says that its voxels lie: which affine is taken, in which unit, and what must be said of it."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from vislib.placement import UNITS, Placement, code_words, converted
from vislib.volume_source import GUESS, is_sound

NAMES = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}  # of xyzt_units, its three lowest bits
CLOSE = 0.1  # of the smallest voxel: how far two affines may lie apart and be the same ...
ROUNDED = 1e-3  # ... or of the volume's diagonal, since a quaternion's fourth number is rounded
ALIKE = 0.01  # share by which two sizes of a voxel may differ


def place(own: Any, pixdim: Float32[np.ndarray, "3"]) -> tuple[Placement, tuple[str, ...]]:
    """How a NIfTI header places its voxels, and the sentences that must be said of it.

    The sform where it has a code, else the qform where it has one, else the voxel sizes alone; one that is flat or not
    finite is passed over. `own`, a NIfTI-1 header, loses what was passed over, so that its best affine is the one that
    was taken. `pixdim` is the sizes of voxels as they stood in the file, before they were mended.
    """
    sform, qform = int(own["sform_code"]), int(own["qform_code"])
    unit, mm = NAMES.get(int(own["xyzt_units"]) & 7, "unknown"), unit_mm(own)
    forms = {"sform": _sform(own) if sform else None, "qform": _qform(own) if qform else None}
    known = {name: form for name, form in forms.items() if form is not None and is_sound(form, mm)}
    source = next(iter(known), "pixdim")
    notes = []
    for name, code in (("sform", sform), ("qform", qform)):
        if code and name not in known and (name == "sform" or source == "pixdim"):
            took = f"the {source} was taken" if known else "only the voxel sizes in pixdim were taken"
            notes.append(f"Its {name}, code {code_words(code)}, is flat or no affine: {took}.")
        if code and name not in known:
            own[f"{name}_code"] = 0
    if source == "pixdim":
        notes.append(GUESS)
    elif len(known) == 2:
        notes += _disagreement(own, known["sform"], known["qform"], mm)
    if source == "sform" and len(known) == 1:
        notes += _sizes(known["sform"], pixdim)
    if source != "sform" and not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
        sizes = " x ".join(f"{size:g}" for size in pixdim.tolist())
        notes.append(
            f"Its voxel sizes, {sizes}, cannot be: 0 was taken as 1, a negative size without its sign."
        )
    notes += _unit(own, unit)
    return Placement(source, _why(source, sform, qform), sform, qform, unit, mm), tuple(notes)


def _sform(own: Any) -> Float64[np.ndarray, "4 4"]:
    return np.asarray(own.get_sform(), np.float64)


def _qform(own: Any) -> Float64[np.ndarray, "4 4"] | None:
    try:
        return np.asarray(own.get_qform(), np.float64)
    except Exception:  # nibabel refuses what is no quaternion in several ways
        return None


def _why(source: str, sform: int, qform: int) -> str:
    if source == "sform":
        return f"The sform, code {code_words(sform)}, was taken: it goes before the qform."
    if source == "qform":
        before = "it has no sform" if sform == 0 else "its sform is flat or no affine"
        return f"The qform, code {code_words(qform)}, was taken: {before}."
    return "Only the voxel sizes (pixdim) were taken: neither the sform nor the qform can be used."


def _disagreement(
    own: Any, sform: Float64[np.ndarray, "4 4"], qform: Float64[np.ndarray, "4 4"], mm: float
) -> list[str]:
    """A sentence where two affines put a corner in places that rounding does not explain."""
    shape = (*own.get_data_shape(), 1, 1)[:3]
    corners = np.array(np.meshgrid(*((0, n - 1) for n in shape), [1.0])).reshape(4, -1)
    apart = float(np.sqrt((((sform - qform) @ corners)[:3] ** 2).sum(0)).max())
    lengths = np.sqrt((sform[:3, :3] ** 2).sum(0))
    diagonal = float(np.sqrt(((lengths * shape) ** 2).sum()))
    if apart <= max(CLOSE * float(lengths.min()), ROUNDED * diagonal):
        return []
    sides = ""
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        sides = " and about which side is left"
    far = apart * mm
    return [
        f"Its sform, code {code_words(int(own['sform_code']))}, and its qform, code "
        f"{code_words(int(own['qform_code']))}, disagree by up to {far:.3g} mm{sides}: the sform was taken."
    ]


def _sizes(sform: Float64[np.ndarray, "4 4"], pixdim: Float32[np.ndarray, "3"]) -> list[str]:
    """A sentence where the sizes of voxels in pixdim are not those of the sform that was taken."""
    lengths = np.sqrt((sform[:3, :3] ** 2).sum(0))
    if not np.isfinite(pixdim).all() or (np.abs(np.abs(pixdim) - lengths) <= ALIKE * lengths).all():
        return []
    said, taken = (" x ".join(f"{size:.3g}" for size in one.tolist()) for one in (pixdim, lengths))
    return [f"Its pixdim says voxels of {said}, its sform of {taken}: the sform was taken."]


def _unit(own: Any, unit: str) -> list[str]:
    if unit == "unknown":
        return ["Its header names no unit of length: mm were assumed."]
    return converted(np.asarray(own.get_best_affine(), np.float64), unit, UNITS[unit])


def unit_mm(own: Any) -> float:
    """How many mm the unit of a NIfTI header is; 1 where it names none."""
    return UNITS.get(NAMES.get(int(own["xyzt_units"]) & 7, ""), 1.0)
