"""Asked: a method with its layer and parameters, and how its map is to be read when pixels are put in order."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vislib.parameters import Value

# The sign of these says whether a pixel had better be lighter or darker, not whether it speaks for or against: a dark
# lesion is all negative. What they mark is where they are large. Samek et al. 2017, arXiv 1509.06321, do likewise.
DIRECTIONS = frozenset({"guided backprop", "deconvnet", "deconvolution", "guided grad-cam"})


class Asked(NamedTuple):
    """A method of METHODS with the layer and parameters to ask it with."""

    name: str
    layer: str | None = None
    parameters: Mapping[str, Value] = MappingProxyType({})


def evidence(asked: Asked | None, maps: Float[np.ndarray, "n *spatial"]) -> Float[np.ndarray, "n *spatial"]:
    """Maps whose largest values are what is marked most: their sizes for DIRECTIONS, else the maps as they are."""
    if asked is None:
        return maps
    kinds = {asked.name.lower(), str(asked.parameters.get("of", "")).lower()}
    return np.abs(maps) if kinds & DIRECTIONS else maps
