"""A volume in its three planes, with a map over it and an outline, cut and coloured in the browser.

The drawing is plain JavaScript in `dist/planes.js` and `dist/volume*.js`; what is said of a property here
holds there too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import ceil, prod
from typing import Any, ClassVar

import numpy as np
from bokeh.core.properties import Bool, Bytes, Dict, Enum, Float, Int, Interval, List, Regex, String
from bokeh.events import ModelEvent
from bokeh.models import LayoutDOM
from jaxtyping import Float32, Shaped

from dashboard import palettes
from dashboard.places import OwnAxes
from dashboard.volume_codes import LabelCodes, VolumeCodes, map_codes, map_reach
from vislib.label_tables import named, own_number
from vislib.labels import Label

VOXELS = 32_000_000  # that a browser is given at once: 64 MB as 16-bit codes, for as long as it shows them
PLANE = "^(axial|coronal|sagittal|)$"

_ARRAYS = OwnAxes()
_PARTS = ("lens", "planes", "volume_facts", "volume_model", "volume")
SCRIPTS = [f"static/extensions/dashboard/{name}.js" for name in _PARTS]


class PlaneWanted(ModelEvent):
    """The crosshair rests in a volume that the browser holds coarsely; nothing in it is to be believed."""

    event_name = "vislib_plane_wanted"

    def __init__(self, model: "VolumeView | None", tick: Any = 0, axis: Any = 0, index: Any = 0) -> None:
        super().__init__(model)
        self.tick, self.axis, self.index = tick, axis, index


@dataclass(frozen=True)
class _Whole:
    """What is shown coarsely, as it is; only referred to."""

    data: np.ndarray
    codes: VolumeCodes
    mask: np.ndarray | None
    map: np.ndarray | None = None
    map_codes: Callable[[np.ndarray], np.ndarray] | None = None

    def plane(self, axis: int, index: int) -> dict[str, bytes]:
        """One slice's codes of the volume, of the map and of the mask."""
        data, values, mask = (
            None if array is None else np.moveaxis(array, axis, 0)[index]
            for array in (self.data, self.map, self.mask)
        )
        assert data is not None
        return {
            "sharp_volume": self.codes.of(data).tobytes(),
            "sharp_map": b""
            if values is None or self.map_codes is None
            else self.map_codes(values).tobytes(),
            "sharp_mask": b"" if mask is None else (mask != 0).astype(np.uint8).tobytes(),
        }


class VolumeView(LayoutDOM):
    """Coronal, sagittal and axial plane of a volume through one crosshair, all at one scale, and facts about it.

    Nothing of an update is shown before `tick` grows: set it last, or call `show` and `set_map`. Everything else,
    crosshair, window and how the map looks, is drawn by the browser alone, as soon as it changes. Of more than VOXELS
    voxels it holds a coarse copy, and asks for the planes through the crosshair as they are once that rests.

    As FSLeyes shows volumes by default, radiological: the patient's right on the left of the screen in the axial
    and coronal planes; the sagittal plane has the patient's front on the right in both conventions. Axes are those
    of the voxels, so the planes of an oblique volume are oblique, and letters name the nearest direction.

    Click or drag moves the crosshair, the wheel goes through the slices, and so do PageUp and PageDown and a slider
    for each plane; arrows move the crosshair by one voxel of the screen. A drag with Shift or the right button, or
    an arrow with Shift, changes the window: 150 pixels to the right double its width, 300 pixels down raise its
    level by its width. Ctrl and the wheel, or + and -, zoom; the middle button moves what is seen; a double click,
    or 0, shows the middle again.
    """

    __javascript__: ClassVar[list[str]] = SCRIPTS

    volume = Bytes(
        default=b"", help="Codes of the voxels, uint8 or little-endian uint16, z fastest; empty for none."
    )
    step = Int(default=1, help="`volume`, `map` and `mask` hold every so many-th voxel along each axis.")
    shape = List(Int, default=[], help="Voxels along x, y and z, which run right, front and up.")
    affine = List(
        Float,
        default=[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
        help="Voxel (i, j, k, 1) to mm (right, anterior, superior, 1), row by row.",
    )
    own_axes = List(
        Int,
        default=[0, 1, 2],
        help="Of x, y and z: which axis of the file it is, by which slices are told; empty: in mm alone.",
    )
    own_back = List(Bool, default=[False, False, False], help="Whether that axis runs the other way.")
    value_low = Float(default=0.0, help="The value of code 0.")
    value_high = Float(default=255.0, help="The value of the largest code, 255 or 65535.")
    window_low = Float(default=0.0, help="The value shown in the first colour; also set by the browser.")
    window_high = Float(
        default=255.0,
        help="The value shown in the last colour; also set by the browser. All between is linear.",
    )
    palette = Enum(*palettes.SEQUENTIAL, default="grey", help="Colours of the volume.")
    smooth = Bool(default=True, help="Voxels interpolated on the screen; else shown as blocks.")

    map = Bytes(
        default=b"",
        help="Codes of a map on the volume's grid, little-endian uint16: 0 is not a number; empty for none.",
    )
    map_shape = List(Int, default=[], help="Its shape, which must be that of `volume`.")
    map_low = Float(default=-1.0, help="The value of its code 1.")
    map_high = Float(default=1.0, help="The value of its code 65535; 0 is exact where it is -`map_low`.")
    signed = Bool(default=False, help="Diverging colours around 0; else sequential ones from 0 up.")
    limit = Float(default=0.0, help="The value of the strongest colour; at 0 the map has no colours.")
    label_values = List(
        Float,
        default=[],
        help="The map holds labels, never to be interpolated: those of its code 1, 2, ...; of code 0 there is none.",
    )
    label_names = List(String, default=[], help="What each of them is called.")
    label_colours = Bytes(default=b"", help="The colour of each of them, RGB.")
    probabilities = List(
        Float,
        default=[],
        help="Of each slice of `plane`, from the lowest: the probability of what the map explains; empty for none.",
    )
    probability_name = String(default="", help="Whose probability that is.")
    opacity = Interval(Float, 0, 1, default=0.6, help="Of the map over the volume.")
    threshold = Interval(
        Float, 0, 1, default=0.0, help="Share of `limit` below which the map is transparent."
    )
    alpha_by_value = Bool(default=True, help="Whether the map is as opaque as its |value| is large.")
    map_palette = Enum(*palettes.SEQUENTIAL, default="inferno", help="Of maps without a sign.")
    diverging = Enum(*palettes.DIVERGING, default="blue-red", help="Of signed maps; 0 is neutral.")
    show_map = Bool(default=True)

    mask = Bytes(default=b"", help="One byte a voxel, not 0 inside; its contour is drawn in every plane.")

    sharp = List(Int, default=[], help="The plane that follows: tick, axis across, slice; set after it.")
    sharp_volume = Bytes(default=b"", help="Codes of all its voxels where `step` is not 1.")
    sharp_map = Bytes(default=b"", help="Codes of the map in it.")
    sharp_mask = Bytes(default=b"", help="The mask in it.")

    i = Int(
        default=0,
        help="Crosshair, voxel of `volume` along x; set by the browser, which tells it 5 times a second.",
    )
    j = Int(default=0, help="The same along y.")
    k = Int(default=0, help="The same along z.")
    plane = Regex(
        PLANE,
        default="",
        help="The plane whose slice is the input of the other tabs, marked; empty for none.",
    )
    radiological = Bool(
        default=True,
        help="The patient's left on the right of the screen in axial and coronal planes; set by the browser too.",
    )

    tick = Int(default=0, help="Grows with every update; set after everything else of it.")
    ack = Int(default=0, help="The tick of the update painted last; set by the browser.")
    stale = Bool(
        default=False, help="The map answers an older question: faint at once, undone by the next tick."
    )
    progress = Interval(Float, 0, 1, default=1.0, help="A bar along the top while it is below 1.")

    title = String(default="", help="One line above the facts, such as what the map is.")
    placeholder = String(default="", help="Words shown while there is no volume.")
    description = String(default="", help="Text alternative; the title if empty.")

    luts = Dict(String, Bytes, default={}, help="Every palette's 256 RGB colours.")

    def __init__(self, **kwargs: object) -> None:
        # No default: Bokeh does not send those.
        super().__init__(**{"luts": palettes.tables(), **kwargs})
        self._shape: tuple[int, ...] = ()  # as `shape` and `step`, but never set by a browser
        self._step = 1
        self._whole: _Whole | None = None
        self.on_event(PlaneWanted, self._send_plane)

    def show(
        self,
        data: Float32[np.ndarray, "x y z"],
        affine: Shaped[np.ndarray, "4 4"],
        window: tuple[float, float],
        mask: Shaped[np.ndarray, "x y z"] | None = None,
        own: OwnAxes | None = _ARRAYS,
    ) -> None:
        """Send a volume in RAS+ order, shown from `window[0]` to `window[1]`, and forget the map.

        Slices are told as `own` counts them; where it is None, in mm alone.

        Whole numbers that span at most 255 become uint8 codes and stay what they are; others become uint16 codes
        over their whole range, but for what lies more than 100 windows outside the window, which is shown and told
        as that. What is not finite becomes the smallest value. The crosshair goes to the middle of a new grid. Of
        more than VOXELS voxels every second (third ...) along each axis is sent, and `data`, `mask` and the map are
        referred to, until something else is shown, for planes through the crosshair: they must not change.
        Raises ValueError for an array that is no volume, for a mask of another shape and for an affine that is not
        RAS+.
        """
        _check(data, affine, mask)
        codes, step = VolumeCodes.reaching(data, window), _step(data.shape)
        fresh = data.shape != self._shape
        self._shape, self._step = data.shape, step
        self._whole = _Whole(data, codes, mask) if step > 1 else None
        self._forget_plane()
        self.update(
            volume=codes.of(data[::step, ::step, ::step]).tobytes(),
            step=step,
            shape=list(data.shape),
            affine=[float(one) for one in np.asarray(affine, float).flat],
            own_axes=[] if own is None else [*own.axes],
            own_back=[] if own is None else [*own.back],
            value_low=codes.low,
            value_high=codes.high,
            window_low=float(window[0]),
            window_high=float(window[1]),
            mask=b""
            if mask is None
            else (np.asarray(mask)[::step, ::step, ::step] != 0).astype(np.uint8).tobytes(),
        )
        if fresh:
            self.update(**{name: size // 2 for name, size in zip("ijk", data.shape, strict=True)})
        self.set_map(None)

    def set_map(
        self,
        values: Float32[np.ndarray, "x y z"] | None,
        signed: bool = False,
        *,
        limit: float = 0.0,
        progress: float = 1.0,
        probabilities: Sequence[float] = (),
        probability_name: str = "",
    ) -> None:
        """Send a map on the volume's grid, or none; `limit` is the value of the strongest colour, 0 the largest.

        NaN is transparent. `probabilities` are those of what it explains, one for each slice of `plane`.
        Raises ValueError for a map of another shape than the volume.
        """
        if values is not None and values.shape != self._shape:
            raise ValueError(f"The map is of shape {values.shape}, the volume of {self._shape}: resample it.")
        high, peak = 1.0, 0.0
        if values is not None:
            reach = map_reach(values, signed=True)
            high, peak = reach or 1.0, reach if signed else map_reach(values, signed)
        self._send_map(values, lambda part: map_codes(part, high))
        self.update(label_values=[], label_names=[], label_colours=b"")
        self.update(probabilities=[float(one) for one in probabilities], probability_name=probability_name)
        limit = limit if limit > 0 and peak > 0 else peak
        self.update(map_low=-high, map_high=high, signed=signed, limit=limit, progress=progress, stale=False)
        self.tick += 1

    def set_labels(
        self, values: Float32[np.ndarray, "x y z"], codes: LabelCodes, labels: Mapping[int, Label]
    ) -> None:
        """Send regions on the volume's grid: `codes` are those of `values`, `labels` names them and may colour them.

        Raises ValueError for an array of another shape than the volume.
        """
        if values.shape != self._shape:
            raise ValueError(
                f"The labels are of shape {values.shape}, the volume of {self._shape}: resample them."
            )
        self._send_map(values, codes.of)
        self.update(
            label_values=[own_number(one, labels) for one in codes.values.tolist()],
            label_names=[named(one, labels) for one in codes.values.tolist()],
            label_colours=palettes.label_colours(codes.values, labels).tobytes(),
            probabilities=[],
            probability_name="",
        )
        self.update(map_low=-1.0, map_high=1.0, signed=False, limit=0.0, progress=1.0, stale=False)
        self.tick += 1

    def _send_map(
        self, values: Float32[np.ndarray, "x y z"] | None, codes: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        """The map, or none, as the browser holds it: every `step`-th voxel."""
        if self._whole is not None:
            self._whole = replace(self._whole, map=values, map_codes=codes)
        coarse = None if values is None else values[:: self._step, :: self._step, :: self._step]
        self.map = b"" if coarse is None else codes(coarse).tobytes()
        self.map_shape = [] if coarse is None else list(coarse.shape)

    def clear(self) -> None:
        """Go back to the placeholder, and refer to nothing that was shown."""
        self._shape, self._step, self._whole = (), 1, None
        self._forget_plane()
        self.update(volume=b"", step=1, shape=[], mask=b"")
        self.set_map(None)

    @property
    def grid(self) -> tuple[int, ...]:
        """The shape of the volume that was shown last; () for none."""
        return self._shape

    def release(self) -> None:
        """Refer to the arrays that were shown no longer; the browser, if there is one, keeps what it was sent."""
        self._whole = None

    def _forget_plane(self) -> None:
        self.update(sharp=[], sharp_volume=b"", sharp_map=b"", sharp_mask=b"")

    def _send_plane(self, event: PlaneWanted) -> None:
        whole, asked = self._whole, (event.tick, event.axis, event.index)
        if whole is None or not all(type(one) is int for one in asked) or event.tick != self.tick:
            return
        if event.axis in range(3) and event.index in range(whole.data.shape[event.axis]):
            self.update(**whole.plane(event.axis, event.index))
            self.sharp = list(asked)


def place_in(view: VolumeView) -> tuple[int, int, int]:
    """The voxel of the crosshair, inside of the volume whatever a browser says."""
    at = zip((view.i, view.j, view.k), view.grid, strict=False)
    i, j, k = (min(max(0, int(one)), size - 1) for one, size in at)
    return i, j, k


def _check(data: np.ndarray, affine: np.ndarray, mask: np.ndarray | None) -> None:
    if data.ndim != 3 or data.size == 0:
        raise ValueError(
            f"A volume has three axes with voxels along each; this array is of shape {data.shape}."
        )
    if mask is not None and mask.shape != data.shape:
        raise ValueError(f"The mask is of shape {mask.shape}, the volume of {data.shape}: resample it.")
    axes = np.asarray(affine, float)
    if axes.shape != (4, 4) or not np.isfinite(axes).all() or (np.diag(axes)[:3] <= 0).any():
        raise ValueError("The axes of the affine do not run right, front and up (RAS+): reorient the volume.")


def _step(shape: tuple[int, ...]) -> int:
    """The smallest step along all axes that leaves at most VOXELS voxels."""
    return next(step for step in count(1) if prod(ceil(size / step) for size in shape) <= VOXELS)
