"""Attribution: where in the input a network found what it says; METHODS holds every way to ask."""

from vislib.attribution.ask import attribute, attribution_steps, default_layer, find_method, map_layers
from vislib.attribution.method import FAMILIES, METHODS, Method
from vislib.attribution.result import Attribution
from vislib.attribution.target import Outcome, Target, outcomes, unit_name
from vislib.attribution.volumes import VolumeAttribution, attribute_volume, volume_attribution_steps

__all__ = [
    "FAMILIES",
    "METHODS",
    "Attribution",
    "Method",
    "Outcome",
    "Target",
    "VolumeAttribution",
    "attribute",
    "attribute_volume",
    "attribution_steps",
    "default_layer",
    "find_method",
    "map_layers",
    "outcomes",
    "unit_name",
    "volume_attribution_steps",
]
