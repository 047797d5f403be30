"""What a run's pictures show, in words: the whole image or a neuron's receptive field, and how large."""

from collections.abc import Mapping, Sequence
from typing import Any

from vislib.ascent import Preset
from vislib.network import Network

QUICK = 1.0  # seconds that opening a network takes, above which the page does not ask what its units see


def times(sizes: Sequence[int]) -> str:
    """Sizes as "9 x 9"."""
    return " x ".join(map(str, sizes))


def about_size(network: Network, layer: str, preset: Preset, size: Sequence[int]) -> str:
    """A sentence on the pictures' size where it is not simply the network's own; else nothing."""
    own = tuple(network.input_shape[1:])
    unit = "voxels" if len(own) == 3 else "px"
    if preset.objective == "neuron" and network.layer(layer).spatial:
        if tuple(size) != own:
            return f"Images of {short(size)} {unit}."
        if network.probe_seconds > QUICK:
            return "Of the image, its receptive field."
        seen = network.receptive_field(layer).size
        return f"Its receptive field is {times(seen)} {unit}."
    if tuple(size) == own:
        return ""
    if max(size) < max(own):
        return (
            f"{short(size)} {unit}, smaller than the network's {short(own)} {unit} "
            "so that pictures come sooner."
        )
    return f"{short(size)} {unit}; the network's own size is {short(own)} {unit}."


def objective_of(network: Network, spec: Mapping[str, Any], shown: Sequence[int]) -> str:
    """What is climbed where it is a single neuron, with what it sees; nothing for a whole channel.

    `shown` is the size of the run's pictures.
    """
    presets = spec["preset"]
    preset = presets[0] if isinstance(presets, list) else presets
    if preset.get("objective") != "neuron" or not network.layer(spec["layer"]).spatial:
        return ""
    whole = tuple(spec["size"] or network.input_shape[1:])
    if tuple(shown) == whole:
        return "centre neuron"
    unit = "voxels" if len(whole) == 3 else "pixels"
    return (
        f"centre neuron, its receptive field of {times(network.receptive_field(spec['layer']).size)} {unit}"
    )


def short(sizes: Sequence[int]) -> str:
    """Sizes as "128" where they are all the same, else as "96 x 128"."""
    return str(sizes[0]) if len(set(sizes)) == 1 else times(sizes)
