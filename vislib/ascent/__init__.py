"""Gradient ascent on the input: the images that drive a network's units most."""

from vislib.ascent.climb import ascend, ascend_spec, ascent_cost, ascent_turns, measure_ascent
from vislib.ascent.defaults import default_preset, default_size, find_defaults
from vislib.ascent.evaluation import PRECISIONS, fast_available
from vislib.ascent.objectives import Objective, channel, l2, neuron, total_variation
from vislib.ascent.parameters import PARAMETERS, Parameter
from vislib.ascent.plan import ascent_spec
from vislib.ascent.presets import PRESETS, Preset, find_preset, random_search

__all__ = [
    "PARAMETERS",
    "PRECISIONS",
    "PRESETS",
    "Objective",
    "Parameter",
    "Preset",
    "ascend",
    "ascend_spec",
    "ascent_cost",
    "ascent_spec",
    "ascent_turns",
    "channel",
    "default_preset",
    "default_size",
    "fast_available",
    "find_defaults",
    "find_preset",
    "l2",
    "measure_ascent",
    "neuron",
    "random_search",
    "total_variation",
]
