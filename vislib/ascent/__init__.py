"""Gradient ascent on the input: the images that drive a network's units most."""

from vislib.ascent.parameters import PARAMETERS, Parameter
from vislib.ascent.presets import DEFAULT_PRESET, PRESETS, Preset, default_preset, find_preset, random_search

__all__ = [
    "DEFAULT_PRESET",
    "PARAMETERS",
    "PRESETS",
    "Parameter",
    "Preset",
    "default_preset",
    "find_preset",
    "random_search",
]
