"""Clusters: the connected places of a map above a threshold, its maximum, and an atlas' regions, in voxels and mm."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy import ndimage

from vislib.errors import AttributionError
from vislib.label_tables import label_of, own_number
from vislib.labels import Label

Place = tuple[int, int, int]
Millimetres = tuple[float, float, float]
_NEIGHBOURS = np.ones((3, 3, 3), bool)  # 26: voxels that share a face, an edge or a corner


@dataclass(frozen=True)
class Cluster:
    """One connected place of a map, or one region of an atlas; mm are (right, anterior, superior)."""

    voxels: int
    mm3: float
    peak: float  # the value of the largest |value|
    peak_ijk: Place
    peak_mm: Millimetres
    centre_mm: Millimetres  # of mass, each voxel weighing its |value|
    label: float | None = None  # of a region: the value that all its voxels hold; `peak` is the same
    name: str = ""  # of a region: what a label table calls it


def clusters(
    values: Float32[np.ndarray, "x y z"],
    affine: Float64[np.ndarray, "4 4"],
    threshold: float,
    *,
    signed: bool = False,
    most: int = 10,
) -> list[Cluster]:
    """The largest clusters of voxels of at least `threshold`, at most so many, the largest first.

    Voxels that touch at a face, an edge or a corner are one cluster (26 neighbours, as FSL's `cluster` has them
    by default). Where `signed`, |value| counts, and voxels above and below 0 never share a cluster. What is not
    finite belongs to none. Of clusters of one size the one with the higher peak comes first. Raises
    AttributionError for a threshold that is not above 0.
    """
    if not 0 < threshold < math.inf:
        raise AttributionError(
            f"Clusters were asked for above {threshold:g}, which is no threshold: give a number above 0, such as "
            "half of the map's maximum."
        )
    found = list(_found(values, affine, values >= threshold, most))
    if signed:
        found += _found(values, affine, values <= -threshold, most)
    return sorted(found, key=lambda one: (-one.voxels, -abs(one.peak), one.peak_ijk))[:most]


def regions(
    values: Float32[np.ndarray, "x y z"],
    affine: Float64[np.ndarray, "4 4"],
    labels: Mapping[int, Label] | None = None,
    *,
    most: int | None = None,
) -> list[Cluster]:
    """The regions of a mask or an atlas, one for each value but 0, the largest first; at most so many.

    A region may lie in several pieces. Its `peak_ijk` is the voxel of it that is nearest to its centre, which itself
    may lie outside of it. `labels` names them, and gives each the file's own number where the array holds another.
    """
    named = labels or {}
    known, inverse = np.unique(values, return_inverse=True)
    numbers = np.asarray(inverse, np.int32).reshape(values.shape) + 1
    sizes = np.bincount(numbers.reshape(-1), minlength=len(known) + 1)[1:]
    order = sorted(
        (k for k, value in enumerate(known.tolist()) if value != 0 and math.isfinite(value)),
        key=lambda k: (-int(sizes[k]), float(known[k])),
    )
    boxes = ndimage.find_objects(numbers)
    found = []
    for k in order[:most]:
        label = float(known[k])
        known_label = label_of(label, named)
        name = "" if known_label is None else known_label.name
        inside = numbers[boxes[k]] == k + 1
        found.append(_region(affine, boxes[k], inside, own_number(label, named), name))
    return found


def _region(
    affine: Float64[np.ndarray, "4 4"],
    box: tuple[slice, slice, slice],
    inside: Bool[np.ndarray, "i j k"],
    label: float,
    name: str,
) -> Cluster:
    """The region of the voxels `inside` a box, which all hold `label`."""
    places = np.argwhere(inside) + [side.start for side in box]
    centre = places.mean(0)
    off = (places - centre) @ affine[:3, :3].T
    i, j, k = (int(at) for at in places[int((off**2).sum(1).argmin())])
    return Cluster(
        voxels=len(places),
        mm3=len(places) * abs(float(np.linalg.det(affine[:3, :3]))),
        peak=label,
        peak_ijk=(i, j, k),
        peak_mm=_mm(affine, np.array([i, j, k], np.float64)),
        centre_mm=_mm(affine, centre),
        label=label,
        name=name,
    )


def maximum(values: Float32[np.ndarray, "x y z"], signed: bool) -> Place:
    """The voxel of the largest value, of the largest |value| where `signed`; the first of equals.

    What is not finite does not count. Raises AttributionError where nothing is finite.
    """
    best: tuple[float, Place] | None = None
    for x, part in enumerate(values):
        size = np.where(np.isfinite(part), np.abs(part) if signed else part, -np.inf)
        y, z = divmod(int(size.argmax()), size.shape[1])
        if size[y, z] > (-math.inf if best is None else best[0]):
            best = float(size[y, z]), (x, y, z)
    if best is None:
        raise AttributionError(
            "The map holds no finite number yet, so it has no maximum; wait for its first slices."
        )
    return best[1]


def _found(
    values: Float32[np.ndarray, "x y z"],
    affine: Float64[np.ndarray, "4 4"],
    inside: Bool[np.ndarray, "x y z"],
    most: int,
) -> Iterator[Cluster]:
    """The first `most` clusters of a mask."""
    inside &= np.isfinite(values)
    labels, count = ndimage.label(inside, _NEIGHBOURS)
    own = labels[inside] - 1
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, own, np.abs(values[inside]))
    order = np.lexsort((-peaks, -np.bincount(own, minlength=count)))  # ties in order of the array
    boxes = ndimage.find_objects(labels)
    for number in order[:most].tolist():
        yield _cluster(values, affine, boxes[number], labels[boxes[number]] == number + 1)


def _cluster(
    values: Float32[np.ndarray, "x y z"],
    affine: Float64[np.ndarray, "4 4"],
    box: tuple[slice, slice, slice],
    inside: Bool[np.ndarray, "i j k"],
) -> Cluster:
    """The cluster of the voxels `inside` a box."""
    weights = np.where(inside, np.abs(values[box]), np.float32(0))
    place = np.unravel_index(int(weights.argmax()), weights.shape)
    i, j, k = (side.start + int(at) for side, at in zip(box, place, strict=True))
    total, centre = float(weights.sum(dtype=np.float64)), []
    for axis, side in enumerate(box):
        profile = weights.sum(tuple(other for other in range(3) if other != axis), dtype=np.float64)
        centre.append(side.start + float(profile @ np.arange(len(profile))) / total)
    voxels = int(np.count_nonzero(inside))
    return Cluster(
        voxels=voxels,
        mm3=voxels * abs(float(np.linalg.det(affine[:3, :3]))),
        peak=float(values[i, j, k]),
        peak_ijk=(i, j, k),
        peak_mm=_mm(affine, np.array([i, j, k], np.float64)),
        centre_mm=_mm(affine, np.array(centre)),
    )


def _mm(affine: Float64[np.ndarray, "4 4"], ijk: Float64[np.ndarray, "3"]) -> Millimetres:
    x, y, z = (affine[:3, :3] @ ijk + affine[:3, 3]).tolist()
    return x, y, z
