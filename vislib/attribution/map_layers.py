"""The layer whose maps a class activation map takes: the default one, and whether another one may be taken."""

from torch import nn

from vislib.attribution.target import Target
from vislib.errors import AttributionError
from vislib.network import Network
from vislib.probe import LOGITS


def default_layer(network: Network, target: Target | None = None) -> str:
    """The last layer with more than one position that is not the class scores' own map, before the target's layer.

    The parts of the target's layer, where that is a block, come last: what goes into it tells more.

    Raises AttributionError where there is none.
    """
    names = list(network.layers)
    end = names.index(network.layer(target.layer).name) if target is not None else len(names)
    maps = [layer for layer in list(network.layers.values())[:end] if max(layer.spatial, default=1) > 1]
    classes = network.layers[LOGITS].channels
    if not any(
        isinstance(part, nn.Linear) and part.out_features == classes for part in network.module.modules()
    ):
        # As in SqueezeNet: the mean of a class's own map is its score, and no maps follow from which it is mixed.
        maps = [layer for layer in maps if layer.channels != classes] or maps
    if target is not None:
        maps = [layer for layer in maps if not layer.name.startswith(f"{names[end]}.")] or maps
    if not maps:
        before = f" before {target.layer}" if target is not None else ""
        raise AttributionError(
            f"{network.name} has no layer with spatial positions{before}, and a class activation map needs "
            "one; choose a gradient or perturbation method."
        )
    return maps[-1].name


def map_layer(network: Network, name: str | None, target: Target) -> str:
    """The layer of that name, or the default one; raises AttributionError where its maps cannot explain the target."""
    if name is None:
        return default_layer(network, target)
    layer = network.layer(name)
    if max(layer.spatial, default=1) <= 1:
        with_positions = [one.name for one in network.layers.values() if max(one.spatial, default=1) > 1]
        raise AttributionError(
            f"{network.name}'s layer {layer.name!r} has no spatial extent, so its maps show no place; "
            f"choose one of {', '.join(with_positions) or 'another network'}."
        )
    names = list(network.layers)
    if names.index(layer.name) >= names.index(target.layer):
        raise AttributionError(
            f"{layer.name!r} does not come before {target.layer!r}, which is to be explained; "
            f"choose a layer before it, such as {default_layer(network, target)!r}."
        )
    return layer.name


def map_layers(network: Network, target: Target) -> tuple[str, ...]:
    """The layers whose maps can explain the target: with more than one position, before the target's own layer."""
    names = list(network.layers)
    before = names[: names.index(network.layer(target.layer).name)]
    return tuple(name for name in before if max(network.layers[name].spatial, default=1) > 1)


def no_maps(network: Network) -> str:
    """Why a network has no class activation maps, or ""."""
    tokens = network.tokens
    if tokens is not None and tokens.decide:
        stem = ", which see one patch of the image each" if tokens.patches else ""
        return (
            f"{network.name} decides over tokens: {100 * tokens.share:.0f} % of its computation comes after its last "
            f"maps, those of {tokens.after!r}{stem}. A class activation map of them would not show what it made of the "
            "image; choose a gradient or perturbation method."
        )
    try:
        default_layer(network)
    except AttributionError as error:
        return str(error)
    return ""
