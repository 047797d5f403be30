"""Files of a map: overlay and map as PNG, values as .npy, and a slice's map as NIfTI on its volume's own grid."""

import io
import json
import re

import numpy as np
from PIL import Image

from dashboard import palettes
from dashboard.answers import Question, spec_of, warned
from dashboard.orientation import as_drawn, axes_of
from dashboard.overlay import Lens
from dashboard.plane_picture import letter
from dashboard.volume_pictures import under
from vislib import display
from vislib.attribution import Attribution
from vislib.errors import ImageError
from vislib.volumes import write_map

LEAST = 512  # pixels of a PNG's longer side: smaller pictures are enlarged by a whole factor
TYPES = {"png": "image/png", "npy": "application/octet-stream", "gz": "application/gzip"}


def build(
    what: str, question: Question, result: Attribution, look: dict[str, object], warning: str = ""
) -> tuple[str, bytes]:
    """File name and content; `look` is `look_of` the lens, and whether slices are drawn `radiological`.

    `warning` is what is said of an input that is unlike the network's own: it stands under pictures, and in specs.

    Raises ImageError where there is no such file.
    """
    one, target = question.input, question.target.words(question.network)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{one.stem}-{question.method.name}-{target}")
    values = result.values[0]
    if what == "map.npy":  # as a script gets it: never flipped, and its name says how its axes run
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        axes = axes_of(one.plane if one.slice is not None else "")
        return f"{stem}{f'-{axes}' if one.scan is not None else ''}.npy", buffer.getvalue()
    if what == "map.nii.gz":
        if one.scan is None:
            raise ImageError(
                f"{one.words} is no slice of a volume, so there is no grid to put the map on: save it as .npy or PNG."
            )
        return f"{stem}.nii.gz", write_map(
            one.scan.volume,
            one.back(values),
            f"{question.method.name} for {target}",
            spec_of(question, result) | warned(warning),
        )
    if what in ("overlay.png", "map.png"):
        kind = what.removesuffix(".png")
        drawn = _drawn(_painted(kind, question, result, look), one.plane, look)
        return f"{stem}-{kind}.png", display.png(
            under(drawn, warning) if warning else drawn,
            {"vislib": json.dumps(spec_of(question, result) | warned(warning), sort_keys=True)},
        )
    raise ImageError(f"There is no file {what!r} of a map; choose one from the menu.")


def look_of(lens: Lens) -> dict[str, object]:
    """How the maps are shown at present."""
    return {
        name: getattr(lens, name)
        for name in ("opacity", "palette", "diverging", "threshold", "alpha_by_value", "smooth")
    }


def _painted(kind: str, question: Question, result: Attribution, look: dict[str, object]) -> np.ndarray:
    with Image.open(io.BytesIO(question.input.picture)) as image:
        picture = np.asarray(image.convert("RGB"))
    one = question.input
    smooth = one.seen(result.values[0])
    values = smooth if look["smooth"] else _blocks(one.seen(result.raw[0]), picture.shape[:2])
    limit = result.limit(result.values[0])
    factor = max(1, -(-LEAST // max(picture.shape[:2])))
    picture, values = (array.repeat(factor, 0).repeat(factor, 1) for array in (picture, values))
    palette = str(look["diverging"] if result.signed else look["palette"])
    if kind == "map":
        return palettes.coloured(values, result.signed, palette, 0.0, False, limit)[..., :3]
    layer = palettes.coloured(
        values, result.signed, palette, float(look["threshold"]), bool(look["alpha_by_value"]), limit
    )
    return palettes.over(picture, layer, float(look["opacity"]))


def _drawn(pixels: np.ndarray, plane: str, look: dict[str, object]) -> np.ndarray:
    """The picture the way round that slices are drawn, with letters that say it."""
    radiological = bool(look["radiological"])
    sheet = Image.fromarray(np.ascontiguousarray(as_drawn(pixels, plane, radiological)))
    letter(sheet, (0, 0, *sheet.size), plane, radiological, max(13, sheet.height // 32))
    return np.asarray(sheet)


def _blocks(raw: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The map's own values as blocks."""
    rows, columns = (
        np.arange(pixels) * places // pixels for pixels, places in zip(size, raw.shape, strict=True)
    )
    return raw[rows][:, columns]
