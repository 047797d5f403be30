"""A picture with a map over it, drawn in the browser, and the lens through which a panel's overlays are seen.

Their drawing is plain JavaScript in `dist/lens.js` and `dist/overlay.js`; what is said of a property here holds
there too.
"""

from typing import ClassVar

import numpy as np
from bokeh.core.properties import (
    Bool,
    Bytes,
    Dict,
    Enum,
    Float,
    Instance,
    InstanceDefault,
    Int,
    Interval,
    List,
    String,
)
from bokeh.model import Model
from bokeh.models import LayoutDOM

from dashboard import palettes
from dashboard.orientation import SIDES, flipped, letters

# Relative to the page's address, beside the extension itself: Bokeh serves the whole folder.
_SCRIPTS = [f"static/extensions/dashboard/{name}.js" for name in ("lens", "overlay")]


class Lens(Model):
    """How all overlays of a panel are seen: what changes here is drawn by the browser without the server."""

    zoom = Interval(
        Float, 1, 64, default=1.0, help="How much larger than fitted into its box; also set by the wheel."
    )
    centre_x = Interval(
        Float, 0, 1, default=0.5, help="What stands in the middle, as a share of the arrays' width."
    )
    centre_y = Interval(Float, 0, 1, default=0.5, help="The same of the height.")

    show_picture = Bool(default=True)
    show_map = Bool(default=True)
    opacity = Interval(Float, 0, 1, default=0.6, help="Of the map over the picture.")
    palette = Enum(*palettes.SEQUENTIAL, default="inferno", help="Of maps without a sign.")
    diverging = Enum(*palettes.DIVERGING, default="blue-red", help="Of signed maps; 0 is neutral.")
    threshold = Interval(
        Float, 0, 1, default=0.0, help="Share of the strongest |value| below which a map is transparent."
    )
    alpha_by_value = Bool(default=True, help="Whether a map is as opaque as its |value| is large.")
    smooth = Bool(default=True, help="The map interpolated to the picture; else its own pixels as blocks.")
    scale = Enum(
        "each", "shared", default="each", help="Strongest colour: of each map's own limit, or of the largest."
    )

    hover_x = Float(
        default=-1.0, help="Where the pointer is, as a share of the width, -1 for none; never sent."
    )
    hover_y = Float(default=-1.0, help="The same of the height.")

    luts = Dict(String, Bytes, default={}, help="Every palette's 256 RGB colours.")

    def __init__(self, **kwargs: object) -> None:
        # No default: Bokeh does not send those.
        super().__init__(**{"luts": palettes.tables(), **kwargs})


class Overlay(LayoutDOM):
    """A picture, a map over it with its colour bar, and an outline; wheel and drag move the lens.

    Nothing of an update is shown before `tick` grows: set it last, or call `show`.
    """

    __javascript__: ClassVar[list[str]] = _SCRIPTS

    lens = Instance(
        Lens, default=InstanceDefault(Lens), help="Shared by overlays that belong together; fixed."
    )

    picture = Bytes(default=b"", help="The input as the network sees it, encoded; empty for none.")
    map = Bytes(default=b"", help="The map interpolated to the picture: float32, little-endian, row by row.")
    map_shape = List(Int, default=[], help="Its height and width.")
    raw = Bytes(default=b"", help="The map as it was computed; where it is empty `map` stands for it.")
    raw_shape = List(Int, default=[], help="Its height and width.")
    signed = Bool(default=False, help="Diverging colours around 0; else sequential ones from 0 up.")
    limit = Float(default=0.0, help="The value of the strongest colour; 0: the largest of `map`.")
    colour = Bytes(default=b"", help="An encoded picture whose colours take the place of the palette's.")
    outline = Bytes(default=b"", help="A mask, one byte a pixel, not 0 inside; its contour is drawn on top.")
    outline_shape = List(Int, default=[], help="Its height and width.")
    flipped = Bool(
        default=False,
        help="All of it is drawn from right to left; places and the lens stay those of the arrays.",
    )
    letters = List(
        String, default=[], help="Directions at the left, right, top and bottom, as drawn; empty for none."
    )

    tick = Int(default=0, help="Grows with every update; set after everything else of it.")
    ack = Int(default=0, help="The tick of the update painted last; set by the browser.")

    stale = Bool(
        default=False,
        help="What is shown answers an older question: dimmed at once, undone by the next tick.",
    )
    progress = Interval(Float, 0, 1, default=1.0, help="A bar along the top while it is below 1.")
    show_overlay = Bool(default=True, help="False: the picture and its outline alone.")

    caption = String(default="", help="One line above the picture.")
    note = String(
        default="", help="A few words in the picture's corner, such as `all values are 0 or below`."
    )
    placeholder = String(default="", help="Words shown while there is neither picture nor map.")
    description = String(default="", help="Text alternative; the caption if empty.")

    def show(
        self,
        picture: bytes | None = None,
        values: np.ndarray | None = None,
        *,
        raw: np.ndarray | None = None,
        signed: bool = False,
        limit: float = 0.0,
        colour: bytes = b"",
        outline: np.ndarray | None = None,
        note: str = "",
        progress: float = 1.0,
        plane: str = "",
        radiological: bool = True,
    ) -> None:
        """Send an update: `values` and `raw` are (h, w) maps, `outline` an (h, w) mask; `None` keeps the picture.

        Of a slice of a volume `plane` says which one, and `radiological` which way round it is drawn: arrays have
        their columns to the patient's right or front all the same.
        """
        if picture is not None:
            self.picture = picture
        self.map, self.map_shape = _floats(values)
        self.raw, self.raw_shape = _floats(raw)
        self.update(signed=signed, limit=limit, colour=colour, note=note, progress=progress)
        self.outline = b"" if outline is None else (np.asarray(outline) != 0).astype(np.uint8).tobytes()
        self.outline_shape = [] if outline is None else list(outline.shape)
        self.stale = False
        self.turn(plane, radiological)

    def turn(self, plane: str, radiological: bool) -> None:
        """Draw what was sent, a slice of that plane, as radiologists see it or the other way round."""
        said = letters(plane, radiological)
        self.update(
            flipped=flipped(plane, radiological), letters=[said[side] for side in SIDES if side in said]
        )
        self.tick += 1

    def clear(self) -> None:
        """Go back to the placeholder."""
        self.show(b"")


def _floats(values: np.ndarray | None) -> tuple[bytes, list[int]]:
    if values is None:
        return b"", []
    return np.ascontiguousarray(values, "<f4").tobytes(), list(values.shape)
