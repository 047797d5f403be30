"""Ask a method: `attribute` for the whole answer, `attribution_steps` for coarse-to-fine partial ones."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.attribution import (  # noqa: F401 - fill METHODS
    cam,
    gradients,
    integrated,
    occlusion,
    prediction_difference,
    smoothgrad,
)
from vislib.attribution.method import METHODS, Method
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution
from vislib.attribution.target import Target
from vislib.errors import AttributionError, NetworkError
from vislib.network import Network
from vislib.parameters import Value
from vislib.probe import LOGITS


def find_method(name: str) -> Method:
    """The method of that name; raises AttributionError."""
    if name not in METHODS:
        raise AttributionError(f"There is no method {name!r}; the methods are {', '.join(METHODS)}.")
    return METHODS[name]


def default_layer(network: Network, target: Target | None = None) -> str:
    """The last layer with more than one position that is not the class scores' own map, before the target's layer.

    Raises AttributionError where there is none.
    """
    names = list(network.layers)
    end = names.index(network.layer(target.layer).name) if target is not None else len(names)
    classes = network.layers[LOGITS].channels
    maps = [layer for layer in list(network.layers.values())[:end] if max(layer.spatial, default=1) > 1]
    telling = [layer for layer in maps if layer.channels != classes] or maps
    if not telling:
        before = f" before {target.layer}" if target is not None else ""
        raise AttributionError(
            f"{network.name} has no layer with spatial positions{before}, and a class activation map needs "
            "one; choose a gradient or perturbation method."
        )
    return telling[-1].name


def attribution_steps(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | int,
    method: str | Method = "Grad-CAM",
    *,
    layer: str | None = None,
    seed: int = 0,
    **parameters: Value,
) -> Iterator[Attribution]:
    """Yield partial answers of a method, coarse first; the last one is whole. Close the generator to cancel.

    `layer` is the one whose maps a class activation map takes (default: `default_layer`). All is checked
    before this returns: raises AttributionError or NetworkError.
    """
    chosen = find_method(method) if isinstance(method, str) else method
    values = chosen.values(parameters)
    problem = chosen.check(network)
    if problem:
        raise AttributionError(problem)
    if images.ndim != len(network.input_shape) + 1 or images.shape[1] != network.input_shape[0]:
        raise NetworkError(
            f"{network.name} was given images of shape {tuple(images.shape)}; it takes (n, "
            f"{str(network.input_shape)[1:]}."
        )
    if len(images) == 0 or not bool(torch.isfinite(images).all()):
        given = "no image" if len(images) == 0 else "an image with NaN or infinite values"
        raise AttributionError(f"{chosen.name} was given {given}; give one or more images of finite numbers.")
    asked = (Target(target) if isinstance(target, int) else target).checked(network, len(images))
    query = Query(
        method=chosen.name,
        signed=chosen.signed,
        network=network,
        images=images.detach().to(network.device, network.dtype),
        target=asked,
        layer=_map_layer(network, layer, asked) if "layer" in chosen.needs else "",
        values=values,
        seed=seed,
    )
    return chosen.compute(query)


def attribute(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | int,
    method: str | Method = "Grad-CAM",
    *,
    layer: str | None = None,
    seed: int = 0,
    **parameters: Value,
) -> Attribution:
    """The whole answer of a method for a class (or any Target) of each image; as `attribution_steps`."""
    steps = attribution_steps(network, images, target, method, layer=layer, seed=seed, **parameters)
    *_, whole = steps
    return whole


def _map_layer(network: Network, name: str | None, target: Target) -> str:
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
