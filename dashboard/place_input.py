"""The crosshair's place, typed in: as the file counts voxels, or in millimetres."""

from collections.abc import Callable

from bokeh.models import Row, TextInput

from dashboard import styles
from dashboard.places import own_voxel, typed_mm, typed_voxel
from vislib.errors import ImageError
from vislib.volume import Volume

_VOXEL_TIP = (
    "The file's own index, what get_fdata()[i, j, k] takes: type three whole numbers to move the crosshair"
)
_MM_TIP = "mm to the right, to the front and up: type three numbers to move the crosshair"


class PlaceInput:
    """Two fields that say where the crosshair is and move it; `jump` is told a voxel in RAS+ order."""

    def __init__(self, jump: Callable[[tuple[int, int, int]], None], problem: Callable[[str], None]) -> None:
        self._jump, self._problem = jump, problem
        self._volume: Volume | None = None
        self._at: tuple[int, int, int] = (0, 0, 0)
        self._showing = False
        self.voxel = _field("volume-voxel", "voxel of the file", _VOXEL_TIP, (0, 8, 0, 0))
        self.mm = _field("volume-mm", "mm x, y, z", _MM_TIP, 0)
        self.root = Row(self.voxel, self.mm, sizing_mode="stretch_width", margin=(8, 0, 0, 0))
        self.voxel.on_change("value", lambda _attr, _old, new: self._typed(new, typed_voxel))
        self.mm.on_change("value", lambda _attr, _old, new: self._typed(new, typed_mm))

    def show(self, volume: Volume, ijk: tuple[int, int, int]) -> None:
        """Say where a voxel of a volume in RAS+ order is."""
        if volume is not self._volume:
            self.voxel.title = f"voxel of the file ({volume.axis_codes})"
        self._volume, self._at = volume, ijk
        self._showing = True
        try:
            own = own_voxel(volume, ijk)
            self.voxel.value = "beside the file's" if own is None else ", ".join(str(one) for one in own)
            self.mm.value = ", ".join(f"{round(one, 1) + 0.0:.1f}" for one in volume.mm(ijk))
        finally:
            self._showing = False

    def forget(self) -> None:
        """There is no volume any more."""
        self._volume = None

    def _typed(self, text: object, read: Callable[[str, Volume], tuple[int, int, int]]) -> None:
        volume = self._volume
        if self._showing or volume is None:
            return
        try:
            ijk = read(str(text), volume)
        except ImageError as error:
            self._problem(str(error))
            self.show(volume, self._at)
            return
        self._jump(ijk)
        self.show(volume, ijk)


def _field(name: str, title: str, tip: str, margin: object) -> TextInput:
    return TextInput(
        name=name,
        title=title,
        value="",
        sizing_mode="stretch_width",
        max_length=60,
        margin=margin,
        stylesheets=[styles.FIELD],
        html_attributes={"title": tip},
    )
