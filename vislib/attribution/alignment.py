"""Alignment: whether a layer's maps lie over the image as they are drawn, which is stretched over all of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from vislib.errors import NetworkError
from vislib.network import Network

# Shares of each axis at which the image is changed: no axis has the others' order, nor their order reversed.
_PLACES: dict[int, tuple[tuple[float, ...], ...]] = {
    1: ((0.2,), (0.8,)),
    2: ((0.2, 0.8), (0.8, 0.5), (0.5, 0.2)),
    3: ((0.2, 0.8, 0.5), (0.8, 0.5, 0.2), (0.5, 0.2, 0.8)),
}
_PATCH = 12  # as many of them lie beside each other on an axis
# Of 15 of torchvision's networks no map of many positions follows the image backwards (its slope over the image is 0.03
# or more, as what sees all of it has it), nor is off its middle by more than 0.08, or off a straight line by more than
# 0.05. What is mirrored, turned, permuted or rolled has slopes below -0.4 or is 0.25 and more off a line. Few positions
# tell less; each bound has a share of one position beside it.
_BACKWARDS = -0.1
_OFF_LINE = 0.1
_OFF_MIDDLE = 0.13
# Maps that are drawn larger or smaller than what they see are worth a word.
_WIDER, _NARROWER, _ANYWHERE, _BESIDE = 1.25, 0.72, 0.2, 0.1
_SAME = 0.03  # a slope that fields larger than the image flatten is steeper for the strongest positions alone

_known: WeakKeyDictionary[nn.Module, dict[tuple[str, tuple[int, ...]], "Alignment"]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Alignment:
    """What was found of a layer's maps over images of one size: why no map should be drawn, or what to say of one."""

    refusal: str = ""
    notes: tuple[str, ...] = ()


def alignment(network: Network, layer: str, spatial: Sequence[int]) -> Alignment:
    """Whether the maps of `layer` lie as images of this size do, by changing noise at a few places.

    Where nothing can be told, nothing is said: of random answers, or where every position sees all of the image.
    Costs four passes, once for each layer and size.
    """
    known = _known.setdefault(network.module, {})
    key = (network.layer(layer).name, tuple(spatial))
    if key not in known:
        try:
            known[key] = _measured(network, *key)
        except NetworkError:  # said where the map itself is asked for
            known[key] = Alignment()
    return known[key]


def _measured(network: Network, layer: str, spatial: tuple[int, ...]) -> Alignment:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, network.input_shape[0], *spatial, generator=generator)

    def maps(images: Tensor) -> Tensor:
        with torch.no_grad():
            return network.activations(images, [layer])[layer]

    clean = maps(noise)
    if network.cautions and not torch.equal(clean, maps(noise)):
        return Alignment()
    changed, places = zip(*(_changed(noise, at) for at in _PLACES[len(spatial)]), strict=True)
    strength = [(maps(one) - clean)[0].double().square().sum(0).cpu() for one in changed]
    seen = [bool(one.sum() > 0) for one in strength]
    if not all(bool(torch.isfinite(one).all()) for one in strength):
        return Alignment()
    if not all(seen):
        if not any(seen) and torch.equal(maps(1 - noise), clean):  # it sees nothing at all
            return Alignment()
        return Alignment(refusal=_elsewhere(network.name, layer))
    return _judged(network.name, layer, torch.tensor(places, dtype=torch.float64), strength)


def _judged(
    name: str, layer: str, at: Float64[Tensor, "places axes"], strength: Sequence[Float64[Tensor, "*coarse"]]
) -> Alignment:
    """By where a layer's maps changed, and how strongly, for each place `at` which the image was changed."""
    sizes = torch.tensor(strength[0].shape)
    slope, middle, off = _line(at, torch.stack([_centre(one) for one in strength]))
    beside = (middle.abs() > _OFF_MIDDLE + 0.25 / sizes) | (off > _OFF_LINE + 0.5 / sizes)
    if bool((beside | (slope < _BACKWARDS - 0.3 / sizes)).any()):
        return Alignment(refusal=_elsewhere(name, layer))
    steeper, *_ = _line(at, torch.stack([_centre(one.square()) for one in strength]))
    narrow = (slope < _NARROWER) & (slope > _ANYWHERE) & ((steeper - slope).abs() < _SAME)
    apart = (slope > _WIDER) | narrow | (middle.abs() > _BESIDE + 0.1 / sizes)
    if not bool(apart.any()):
        return Alignment()
    share = max(_drawn_off(float(s), float(m)) for s, m in zip(slope[apart], middle[apart], strict=True))
    return Alignment(
        notes=(
            f"The maps of {layer!r} and the image do not cover each other (a forward may crop or pad, or convolve "
            f"without padding): drawn over all of it, a place may be off by {100 * share:.0f} % of the image's size.",
        )
    )


def _elsewhere(name: str, layer: str) -> str:
    return (
        f"{name}'s layer {layer!r} does not see the places of the image where its maps have them, as where forward "
        "mirrors, turns, permutes, rolls, crops or pads the image: a class activation map would lie in the wrong "
        "place. Choose a gradient or perturbation method."
    )


def _changed(image: Tensor, at: Sequence[float]) -> tuple[Tensor, list[float]]:
    """The image with a patch of it inverted, and where the patch's middle really is."""
    changed, box, places = image.clone(), [slice(None), slice(None)], []
    for share, size in zip(at, image.shape[2:], strict=True):
        wide = max(1, round(size / _PATCH))
        start = max(0, min(size - wide, round(share * size - wide / 2)))
        box.append(slice(start, start + wide))
        places.append((start + wide / 2) / size)
    changed[tuple(box)] = 1 - changed[tuple(box)].round()
    return changed, places


def _centre(strength: Float64[Tensor, "*coarse"]) -> Float64[Tensor, "axes"]:
    """The middle of what changed, as shares of each axis."""
    centres = []
    for axis, size in enumerate(strength.shape):
        along = strength.movedim(axis, 0).reshape(size, -1).sum(1)
        centres.append((along * (torch.arange(size) + 0.5)).sum() / (size * along.sum()))
    return torch.stack(centres)


def _line(
    at: Float64[Tensor, "places axes"], seen: Float64[Tensor, "places axes"]
) -> tuple[Float64[Tensor, "axes"], Float64[Tensor, "axes"], Float64[Tensor, "axes"]]:
    """On each axis the slope of where a change is seen over where it is made, and how far off middle and line it is."""
    x, y = at - at.mean(0), seen - seen.mean(0)
    slope = (x * y).sum(0) / x.square().sum(0)
    return slope, seen.mean(0) - at.mean(0), (y - slope * x).abs().amax(0)


def _drawn_off(slope: float, middle: float) -> float:
    """How far off the ends of a map, or of the image where that is smaller, are drawn, as a share of the image."""
    ends = (-0.5, 0.5)
    if slope > 1:
        return max(abs(end - (end - middle) / slope) for end in ends)
    return max(abs(middle + slope * end - end) for end in ends)
