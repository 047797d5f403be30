"""Which way round slices are drawn: one choice for the whole page, and the letters that say it in every picture.

Only drawing turns: a network, a script and a file of numbers get arrays as they are, columns to the right.
"""

from collections.abc import Mapping
from types import MappingProxyType

from jaxtyping import Shaped
from numpy import ndarray

from vislib.slices import VIEWS

RADIOLOGICAL, NEUROLOGICAL = "radiological", "neurological"
ORIENTATIONS = (RADIOLOGICAL, NEUROLOGICAL)
CONVENTIONS: Mapping[bool, str] = MappingProxyType(
    {
        True: "Radiological: patient’s left on the right",
        False: "Neurological: patient’s left on the left",
    }
)
IN_SHORT: Mapping[bool, str] = MappingProxyType(
    {True: "Radiological: left on the right", False: "Neurological: left on the left"}
)
LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))  # at the low and the high end of x, y, z
SIDES = ("left", "right", "top", "bottom")


def flipped(plane: str, radiological: bool) -> bool:
    """Whether the columns of a plane are drawn against their axis: where they run left to right, for radiologists.

    "" is the plane of a picture that is no slice of a volume.
    """
    return radiological and plane != "" and VIEWS[plane].columns == 0


def letters(plane: str, radiological: bool) -> dict[str, str]:
    """Directions at the SIDES of a plane as it is drawn; none for a picture that is no slice of a volume."""
    if plane == "":
        return {}
    view = VIEWS[plane]
    left, right = LETTERS[view.columns]
    if flipped(plane, radiological):
        left, right = right, left
    return {"left": left, "right": right, "top": LETTERS[view.rows][1], "bottom": LETTERS[view.rows][0]}


def as_drawn(
    picture: Shaped[ndarray, "h w *channels"], plane: str, radiological: bool
) -> Shaped[ndarray, "h w *channels"]:
    """A view on an upright slice, columns to the right or front, as it is drawn."""
    return picture[:, ::-1] if flipped(plane, radiological) else picture


def axes_of(plane: str) -> str:
    """How the axes of an array run, for the name of a file: of a slice rows and columns, of a volume x, y and z."""
    if plane == "":
        return "-".join(f"{name}-{low}-to-{high}" for name, (low, high) in zip("xyz", LETTERS, strict=True))
    said = letters(plane, radiological=False)
    return f"rows-{said['top']}-to-{said['bottom']}-columns-{said['left']}-to-{said['right']}"
