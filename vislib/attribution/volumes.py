"""Attribution over a volume: a 2-D network's maps of every slice put together, or a 3-D network's own map, in place."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from vislib.attribution.ask import attribution_steps, find_method
from vislib.attribution.method import Method
from vislib.attribution.result import Attribution, strongest
from vislib.attribution.slice_weights import no_weights, slice_probabilities, weighted_words
from vislib.attribution.target import Target, as_target
from vislib.errors import AttributionError
from vislib.network import Network
from vislib.pace import rows_at_once
from vislib.parameters import Value
from vislib.volumes import (
    STORED,
    VIEWS,
    Preparation,
    Volume,
    back_to_own,
    network_grid,
    slice_grid,
    slice_image,
    slices,
    to_network,
)

SLICES = 8  # at most so many go through a method at once ...
_BUDGET = 192 * 2**20  # ... with activations of so many bytes: a step is then short also for a large network
_COARSEST = 8  # the first round asks about every 8th slice
_NEXT = (
    1.5  # a 3-D network's partial map is put in place when so many times as much is known as for the last one
)
_TINY = 1e-6  # mm
_IMAGES = re.compile(r"(?: in the map)? of image (\d+(?:, \d+)*)")  # of a batch, as sentences name them
_WORST = " (the worst of the {})"
_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")

Ask = Callable[[Tensor], Iterator[Attribution]]


@dataclass(frozen=True, eq=False)
class VolumeAttribution:
    """One method's map on a volume's own grid, in RAS+ order; its arrays are never written to after it was yielded.

    maps           what the method found: larger speaks for the target, below 0 (where `signed`) against it; NaN where
                   nothing is known yet
    signed         whether values below 0 mean something, so that a diverging palette is due
    scores         the target's score of each slice of `plane`, NaN where not known yet; of a 3-D network one score
    step           of `steps`: slices that are known, or a 3-D network's method's own steps; the last one is whole
    notes          sentences that a reader of the map must know, each once, beside `weights_note`
    of_pixels      whether the method's own resolution is the network's input's, as that of gradients is
    plane          the one that was cut; "" for a 3-D network
    probabilities  the target class's probability in each slice of `plane`, NaN where not known yet; None where there is
                   none: of a score, of a hidden unit, of a 3-D network's one map
    weighted       whether `values` are the maps times the probabilities of their slices
    layer          the layer whose maps the method took, or "" for a method that takes none
    """

    method: str
    maps: Float32[np.ndarray, "x y z"]
    signed: bool
    scores: Float32[np.ndarray, " slices"]
    step: int
    steps: int
    notes: tuple[str, ...]
    of_pixels: bool
    plane: str
    probabilities: Float64[np.ndarray, " slices"] | None = None
    weighted: bool = False
    layer: str = ""
    weights_note: str = ""  # why the maps are not weighted although that was asked for

    @property
    def done(self) -> bool:
        """Whether this is the whole answer."""
        return self.step >= self.steps

    @cached_property
    def values(self) -> Float32[np.ndarray, "x y z"]:
        """The map that is shown, searched and saved: `maps`, or these times their slices' probabilities.

        Maps of single slices are not comparable with one another: each explains its own slice's score, however small
        that is. Weighted, a place counts as much as the class is probable in its slice.
        """
        if not self.weighted or self.probabilities is None:
            return self.maps
        shape = [1, 1, 1]
        shape[VIEWS[self.plane].across] = -1
        return self.maps * self.probabilities.astype(np.float32).reshape(shape)

    @cached_property
    def limit(self) -> float:
        """The value that should have the strongest colour; 0 for the largest."""
        return strongest(self.values, self.of_pixels)

    def weigh(self, weighted: bool = True) -> "VolumeAttribution":
        """The same answer weighted by the probabilities of its slices, or not; the same where it has none."""
        if self.probabilities is None or weighted == self.weighted:
            return self
        return replace(self, weighted=weighted)

    @property
    def words(self) -> tuple[str, ...]:
        """All sentences that a reader must know: `notes`, and how slices were weighted."""
        if self.probabilities is not None:
            return (*self.notes, weighted_words(self.probabilities, self.weighted))
        return (*self.notes, self.weights_note) if self.weights_note else self.notes

    @property
    def spec(self) -> dict[str, Any]:
        """What a saved map must say of its weights, as JSON-able values; nothing where no slices were put together."""
        if not self.plane:
            return {}
        if self.probabilities is None:
            return {"weighted": False}
        known = [round(one, 6) if np.isfinite(one) else None for one in self.probabilities.tolist()]
        return {"weighted": self.weighted, "slice_probabilities": known}


def volume_attribution_steps(
    network: Network,
    volume: Volume,
    target: Target | int,
    method: str | Method = "Grad-CAM",
    *,
    plane: str = "axial",
    layer: str | None = None,
    preparation: Preparation = STORED,
    weighted: bool = True,
    seed: int = 0,
    **parameters: Value,
) -> Iterator[VolumeAttribution]:
    """Yield partial maps over a volume, coarse first; the last one is whole. Close the generator to cancel.

    A network over 2 spatial axes is asked about every slice of `plane` by itself: every 8th one first, then those
    between; each slice's map is the one that `attribute` gives for it alone. Between the steps of a slow method the
    same object is yielded again. A network over 3 spatial axes is asked about the volume at once, and `plane` does
    not matter; `values` is the same array again while no map is much better known. Where the network's picture does
    not reach, the map is 0. `preparation` says what becomes 0 and 1. `weighted` multiplies each slice's map by the
    class's probability in that slice (`VolumeAttribution.weigh` changes that of an answer); a target without a
    probability stays as it is, and the answer says so. All is checked before this returns: raises AttributionError,
    NetworkError or ImageError.
    """
    channels, *size = network.input_shape
    if len(size) not in (2, 3) or channels not in (1, 3):
        raise AttributionError(
            f"{network.name} takes images of shape {network.input_shape} (channels, then spatial sizes), which a "
            "volume cannot be made into; choose a network over 1 or 3 channels and 2 or 3 spatial axes."
        )
    chosen = method if isinstance(method, Method) else find_method(method)
    asked = _for_every_slice(as_target(target).checked(network, 1))

    def ask(images: Float[Tensor, "n c *spatial"]) -> Iterator[Attribution]:
        return attribution_steps(network, images, asked, chosen, layer=layer, seed=seed, **parameters)

    ask(torch.zeros(1, *network.input_shape))  # refuses here what it would refuse later
    if len(size) == 3:
        network_grid(volume, (size[0], size[1], size[2]), network.spacing)
        return _at_once(ask, network, volume, preparation)
    slice_grid(volume, plane, network.input_shape, network.spacing)
    return _slice_by_slice(ask, network, volume, chosen, plane, preparation, asked, weighted)


def attribute_volume(
    network: Network,
    volume: Volume,
    target: Target | int,
    method: str | Method = "Grad-CAM",
    *,
    plane: str = "axial",
    layer: str | None = None,
    preparation: Preparation = STORED,
    weighted: bool = True,
    seed: int = 0,
    **parameters: Value,
) -> VolumeAttribution:
    """The whole map of a method over a volume, on the grid of `volume.data` (axes to the right, to the front, up).

    As `volume_attribution_steps`. No picture's left and right ever change its arrays; `write_map` puts them in the
    order of the file's own axes.
    """
    steps = volume_attribution_steps(
        network,
        volume,
        target,
        method,
        plane=plane,
        layer=layer,
        preparation=preparation,
        weighted=weighted,
        seed=seed,
        **parameters,
    )
    for newest in steps:  # noqa: B007 - the last one is the answer, and earlier ones are let go
        pass
    return newest


def coarse_to_fine(count: int) -> list[int]:
    """0 to `count` - 1: every 8th first, then those that lie between in rounds of every 4th, 2nd and 1st."""
    rounds = [range(0, count, _COARSEST)]
    step = _COARSEST
    while step > 1:
        rounds.append(range(step // 2, count, step))
        step //= 2
    return [index for indices in rounds for index in indices]


def _for_every_slice(target: Target) -> Target:
    """A target that was checked for one image, with the same unit for any number of them."""
    unit, against = (
        units[0] if isinstance(units, tuple) else units for units in (target.unit, target.against)
    )
    assert unit is not None
    return replace(target, unit=unit, against=against)


def _slice_by_slice(
    ask: Ask,
    network: Network,
    volume: Volume,
    method: Method,
    plane: str,
    preparation: Preparation,
    target: Target,
    weighted: bool,
) -> Iterator[VolumeAttribution]:
    order, size = coarse_to_fine(slices(volume, plane)), _slices_at_once(network, method)
    values = np.full(volume.data.shape, np.nan, np.float32)
    scores = np.full(len(order), np.nan, np.float32)
    notes, why = _Notes(_beside(network, volume, plane)), no_weights(network, target)
    chances = None if why else np.full(len(order), np.nan)
    newest = VolumeAttribution(
        method=method.name,
        maps=values.copy(),
        signed=method.signed,
        scores=scores.copy(),
        step=0,
        steps=len(order),
        notes=notes.words(),
        of_pixels=False,
        plane=plane,
        probabilities=None if chances is None else chances.copy(),
        weighted=weighted and chances is not None,
        weights_note=why if weighted else "",
    )
    for first in range(0, len(order), size):
        cuts = [
            slice_image(volume, plane, index, network.input_shape, network.spacing, preparation)
            for index in order[first : first + size]
        ]
        images = torch.from_numpy(np.concatenate([cut.image for cut in cuts]))
        for part in ask(images):
            if not part.done:
                yield newest  # nothing new, but whoever computes this can stop it here
        for cut, one, score in zip(cuts, part.values, part.scores, strict=True):
            cut.put(one, values)
            scores[cut.index] = score
        if chances is not None:
            chances[[cut.index for cut in cuts]] = slice_probabilities(network, images, target)
        notes.add(part.notes, len(cuts))
        newest = replace(
            newest,
            method=part.method,
            maps=values.copy(),
            signed=part.signed,
            scores=scores.copy(),
            step=first + len(cuts),
            notes=notes.words(),
            of_pixels=part.of_pixels,
            probabilities=None if chances is None else chances.copy(),
            layer=part.layer,
        )
        yield newest


def _slices_at_once(network: Network, method: Method) -> int:
    """Slices of a batch; one for a slow method, which asks about one image after the other anyway."""
    if not method.quick:
        return 1
    spatial = network.input_shape[1:]
    most = int(max(1, min(SLICES, _BUDGET // network.footprint(spatial))))
    return rows_at_once(network, spatial, most, gradients=True)


def _at_once(
    ask: Ask, network: Network, volume: Volume, preparation: Preparation
) -> Iterator[VolumeAttribution]:
    image, affine = to_network(volume, network.input_shape, network.spacing, preparation)
    newest, due = None, 0.0
    for part in ask(torch.from_numpy(image)):
        if newest is None or part.done or part.step >= due:
            values, due = back_to_own(part.values[0], affine, volume), _NEXT * part.step
        else:
            values = newest.maps
        newest = VolumeAttribution(
            method=part.method,
            maps=values,
            signed=part.signed,
            scores=part.scores,
            step=part.step,
            steps=part.steps,
            notes=(*_beside(network, volume), *part.notes),
            of_pixels=part.of_pixels,
            plane="",
            layer=part.layer,
        )
        yield newest


def _beside(network: Network, volume: Volume, plane: str = "") -> tuple[str, ...]:
    """A sentence where the network's picture does not reach all of the volume."""
    shape, spacing, size = volume.data.shape, network.spacing, network.input_shape[1:]
    if plane:
        axes: Sequence[int] = (VIEWS[plane].rows, VIEWS[plane].columns)
    else:
        axes = range(3)
    if not spacing:
        return ()  # then it is as large as it must be
    seen = [pixels * mm for pixels, mm in zip(size, spacing, strict=True)]
    if all(mm >= shape[axis] * volume.voxel[axis] - _TINY for axis, mm in zip(axes, seen, strict=True)):
        return ()
    what = f"of each {plane} slice" if plane else "of the volume"
    return (
        f"{network.name} sees the middle {' x '.join(f'{mm:g}' for mm in seen)} mm {what}; around it the map is 0.",
    )


class _Notes:
    """Sentences about single slices as sentences about a volume: each once, and for how many slices it holds.

    Of sentences that differ in their numbers alone, the one with the largest is kept.
    """

    def __init__(self, of_all: tuple[str, ...]) -> None:
        self._of_all, self._done = of_all, 0
        self._kept: dict[str, tuple[list[float], str]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, notes: Sequence[str], count: int) -> None:
        """Take the sentences about a batch of so many slices; some name the images for which they hold."""
        self._done += count
        for note in notes:
            named = _IMAGES.search(note)
            text = _IMAGES.sub("", note)
            plain = text.replace(_WORST.format("images"), "")
            key, numbers = _NUMBERS.sub("#", plain), [float(number) for number in _NUMBERS.findall(plain)]
            if key not in self._kept or numbers > self._kept[key][0]:
                self._kept[key] = numbers, text.replace(_WORST.format("images"), _WORST.format("slices"))
            self._counts[key] += len(named[1].split(",")) if named else count

    def words(self) -> tuple[str, ...]:
        """The sentences about the slices taken so far."""
        said = []
        for key, (_, text) in self._kept.items():
            count = self._counts[key]
            said.append(text if count == self._done else f"{count} of {self._done} slices: {text}")
        return (*self._of_all, *said)
