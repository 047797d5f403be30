"""A strip of thumbnails along one axis of a volume that says where the map over it is strong.

The drawing is plain JavaScript in `dist/slice_strip.js`; what is said of a property here holds there too.
"""

from typing import ClassVar

from bokeh.core.properties import Instance, Override, Regex, Required, String
from bokeh.models import LayoutDOM

from dashboard import volume_view
from dashboard.volume_view import VolumeView


class SliceStrip(LayoutDOM):
    """Slices of the volume that a VolumeView shows, evenly spaced, over bars that tell the map's strength in each.

    From the lowest slice (left, back or bottom of the patient) on the left to the highest on the right; slices at
    both ends that are as good as empty are left out, unless the map is at least half as strong there as anywhere.
    Thumbnails have the view's window, colours and convention, are cropped to what is not empty, and say their
    place in mm; so many are drawn as the width has room for. A bar for every slice is as high as the map's
    largest value in it, its largest |value| if the map is signed, and pale where the map is below the threshold.

    A click or drag moves the view's crosshair to that slice, and so do the arrow keys, PageUp, PageDown, Home and
    End. The marker follows at once; thumbnails are drawn anew when the browser has nothing else to do, at most five
    times a second. Of a volume that is shown coarsely, thumbnails and bars are of that coarse copy.
    """

    __javascript__: ClassVar[list[str]] = [
        *volume_view.SCRIPTS,
        "static/extensions/dashboard/slice_strip.js",
    ]

    view = Required(Instance(VolumeView), help="Whose volume, map and colours it shows; fixed.")
    plane = Regex(
        volume_view.PLANE, default="", help="Which slices; empty: those of `view.plane`, else axial."
    )
    placeholder = String(default="", help="Words shown while there is no volume.")
    description = String(default="", help="Text alternative; `Strip of axial slices` if empty.")

    height = Override(default=96)
