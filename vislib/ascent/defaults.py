"""Defaults: the preset and the image size with which a layer's units are first looked at."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import nn

from vislib.ascent.presets import PRESETS, Preset
from vislib.errors import NetworkError
from vislib.network import Network
from vislib.probe import LOGITS
from vislib.receptive import sees_little

# Units that see at most this many pixels an axis, and this share of one, are looked at as single neurons.
SMALL_FIELD, SMALL_SHARE = 16, 4
# Pictures whose shorter side is longer are made smaller, so that a page of units takes seconds and not minutes.
LARGE_SIDE, QUICK_SIDE = 160, 128

_quick: WeakKeyDictionary[nn.Module, dict[str, bool]] = WeakKeyDictionary()


def default_preset(network: Network, layer: str | None = None) -> Preset:
    """The preset that looks best on this kind of data and layer (default: deep layers), chosen by eye.

    Contact sheets of all that was compared are in docs/. Colour pictures of two axes: "Fourier, quick", because
    steps on pixels leave ImageNet's classes nearly grey. Everything else: "smooth steps", because a sigmoid
    saturates slices of one channel to black and white. Where a unit sees no more than SMALL_FIELD pixels and a
    quarter of an axis, as in first layers, "centre neuron": the mean of a whole map of edge detectors follows
    brightness alone.
    """
    limit = min(SMALL_FIELD, min(network.input_shape[1:]) // SMALL_SHARE)
    if layer is not None and sees_little(network, layer, limit):
        return PRESETS["centre neuron"]
    colour = network.input_shape[0] == 3 and len(network.input_shape) == 3
    return PRESETS["Fourier, quick" if colour else "smooth steps"]


def default_size(network: Network, layer: str, preset: Preset) -> tuple[int, ...]:
    """The image size, in pixels an axis, that shows a layer's units soonest: the network's own or a smaller one.

    Smaller where pictures of two axes have shorter sides of more than LARGE_SIDE pixels, if the network runs that
    size up to the layer. Single neurons see only a part of the image and keep its own size.
    """
    own = tuple(network.input_shape[1:])
    if len(own) != 2 or min(own) <= LARGE_SIDE or preset.objective == "neuron":
        return own
    smaller = _smaller(own)
    # What the whole network runs, each of its layers does: mostly one look is enough.
    fits = any(_runs(network, name, smaller) for name in (LOGITS, network.layer(layer).name))
    return smaller if fits else own


def find_defaults(network: Network) -> None:
    """Make the passes now that the defaults of every layer take, so that nobody waits for them later."""
    for layer in network.layers:
        default_size(network, layer, default_preset(network, layer))


def _smaller(own: Sequence[int]) -> tuple[int, ...]:
    """The shorter side at QUICK_SIDE, the other in proportion, both multiples of 32."""
    return tuple(round(side / min(own) * QUICK_SIDE / 32) * 32 for side in own)


def _runs(network: Network, layer: str, size: tuple[int, ...]) -> bool:
    """Whether the layer can be read of images of this size; looked at once."""
    known = _quick.setdefault(network.module, {})
    if layer not in known:
        try:
            with torch.no_grad():
                output = network.activations(torch.zeros(1, network.input_shape[0], *size), (layer,))[layer]
            known[layer] = bool(output.numel())
        except NetworkError:
            known[layer] = False
    return known[layer]
