"""Ask a method: `attribute` for the whole answer, `attribution_steps` for coarse-to-fine partial ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from vislib.attribution import (  # noqa: F401 - fill METHODS
    cam,
    gradients,
    integrated,
    occlusion,
    prediction_difference,
    projection,
    score_cam,
    smoothgrad,
)
from vislib.attribution.map_layers import default_layer, map_layer, map_layers
from vislib.attribution.method import METHODS, Method
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution
from vislib.attribution.target import Target, as_target
from vislib.errors import AttributionError, VislibError, out_of_memory
from vislib.network import Network
from vislib.parameters import Value
from vislib.whole import checked_seed

__all__ = ["attribute", "attribution_steps", "default_layer", "find_method", "map_layers"]


def find_method(name: str) -> Method:
    """The method of that name; raises AttributionError."""
    if not isinstance(name, str) or name not in METHODS:
        raise AttributionError(f"There is no method {name!r}; the methods are {', '.join(METHODS)}.")
    return METHODS[name]


def attribution_steps(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | SupportsIndex,
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
    chosen = method if isinstance(method, Method) else find_method(method)
    values = chosen.values(parameters)
    problem = chosen.check(network)
    if problem:
        raise AttributionError(problem)
    network.check_images(images)
    if len(images) == 0 or not bool(torch.isfinite(images).all()):
        given = "no image" if len(images) == 0 else "an image with NaN or infinite values"
        raise AttributionError(f"{chosen.name} was given {given}; give one or more images of finite numbers.")
    asked = as_target(target).checked(network, len(images))
    query = Query(
        method=chosen.name,
        signed=chosen.signed,
        network=network,
        images=images.detach().to(network.device, network.dtype),
        target=asked,
        layer=_layer_of(chosen, network, layer, asked),
        values=values,
        seed=checked_seed(seed, AttributionError),
    )
    with _in_words(chosen, network):
        steps = chosen.compute(query)  # what it cannot be asked, it says now
    return _told(chosen, network, steps)


def attribute(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | SupportsIndex,
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


def _told(method: Method, network: Network, steps: Iterator[Attribution]) -> Iterator[Attribution]:
    with _in_words(method, network):
        yield from steps


@contextmanager
def _in_words(method: Method, network: Network) -> Iterator[None]:
    """What goes wrong inside torch on the way back becomes one sentence."""
    try:
        yield
    except VislibError:
        raise
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            raise AttributionError(
                f"{method.name} of {network.name} ran out of memory on {network.device}; give fewer or smaller images."
            ) from error
        said = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
        raise AttributionError(
            f"{method.name} cannot be computed of {network.name}: {type(error).__name__} ({said}); choose another "
            "method, such as one that needs no gradient."
        ) from error


def _layer_of(method: Method, network: Network, name: str | None, target: Target) -> str:
    """The layer that a query names: for a method of a fixed layer ("GAP head") only where it was asked for."""
    if "layer" in method.needs or ("GAP head" in method.needs and name is not None):
        return map_layer(network, name, target)
    return ""
