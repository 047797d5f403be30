"""Files of the Volume panel: the map as NIfTI on the volume's own grid, the three planes and a lightbox as PNG."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from dashboard.answers import spec_of, warned
from dashboard.places import OwnAxes
from dashboard.scans import Scan
from dashboard.volume_pictures import Look, Scene, lightbox, three_planes
from dashboard.volume_questions import FileQuestion, MapQuestion
from dashboard.volume_view import VolumeView, place_in
from vislib.attribution import VolumeAttribution
from vislib.errors import ImageError
from vislib.volumes import write_map

FILES: Mapping[str, str] = MappingProxyType(
    {
        "map.nii.gz": "Map, NIfTI on the volume's own grid",
        "planes.png": "Three planes, PNG",
        "lightbox.png": "Lightbox of slices, PNG",
    }
)
TYPES = {"png": "image/png", "gz": "application/gzip"}


@dataclass(frozen=True)
class Sight:
    """What a VolumeView shows at present, apart from the arrays."""

    look: Look
    ijk: tuple[int, int, int]
    plane: str
    limit: float
    with_map: bool

    @classmethod
    def of(cls, view: VolumeView, plane: str, limit: float) -> "Sight":
        """That of a view with a map whose strongest colour is of `limit`; the lightbox is of slices of `plane`."""
        return cls(Look.of(view), place_in(view), plane, limit, bool(view.show_map))


def build(
    what: str,
    scan: Scan,
    shown: tuple[MapQuestion, VolumeAttribution] | None,
    sight: Sight,
    warning: str = "",
) -> tuple[str, bytes]:
    """File name and content; `warning` is what is said of an input that is unlike the network's own.

    Raises ImageError where there is no such file, or no map to put into it."""
    stem = scan.name.split(".nii")[0]
    if what == "map.nii.gz":
        if shown is None:
            raise ImageError("There is no map to save yet: wait until it has come.")
        question, found = shown
        if question.scan is not scan or not found.done:
            raise ImageError("The map is not whole: wait until it is, or start it again, and save it then.")
        name = _file_name(f"{stem}-{question.name}")
        weights = ", weighted by P(class)" if found.weighted and found.probabilities is not None else ""
        return f"{name}.nii.gz", write_map(
            scan.volume,
            found.values,
            question.caption + weights,
            spec_of(question, found) | warned(warning),
        )
    if what not in FILES:
        raise ImageError(f"There is no file {what!r} of a volume; choose one from the menu.")
    facts = [scan.volume.name, *scan.volume.notes]
    question_of = shown[0] if shown is not None and sight.with_map else None
    scene = Scene(scan.volume.data, scan.volume.affine, mask=scan.mask, own=OwnAxes.of(scan.volume))
    if shown is not None and question_of is not None:
        found = shown[1]
        atlas = question_of if isinstance(question_of, FileQuestion) else None
        scene = replace(
            scene,
            map=found.values,
            signed=found.signed,
            limit=sight.limit,
            labels=atlas.regions if atlas is not None else None,
            names=atlas.names if atlas is not None else {},
        )
        facts += question_of.facts + ([f"layer {found.layer}"] if found.layer else [])
        facts += found.words[len(found.notes) :]  # how slices were weighted
        if not found.done:
            share = f"{found.step / max(1, found.steps):.0%}".replace("%", " %")
            facts.append(f"Not whole: {share} of it is known; what is not is left without colour.")
    facts += [warning] if warning and question_of is not None else []
    title = question_of.caption if question_of is not None else scan.name
    name = _file_name(f"{stem}-{what.removesuffix('.png')}")
    if what == "planes.png":
        return f"{name}.png", three_planes(scene, sight.look, sight.ijk, title=title, facts=facts)
    return f"{name}.png", lightbox(scene, sight.look, sight.plane, title=title, facts=facts)


def _file_name(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words)
