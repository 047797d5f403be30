"""The parameters that all ascent presets share: names, ranges, units and when each is used."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

from vislib import parameters
from vislib.errors import AscentError
from vislib.parameters import Parameter, Value

__all__ = ["PARAMETERS", "Parameter", "Value"]


def _parameters() -> dict[str, Parameter]:
    Parameter = functools.partial(parameters.Parameter, error=AscentError)  # noqa: N806 - a class with one argument less
    pixels = {"parametrisation": ("pixels",)}
    fourier = {"parametrisation": ("fourier",)}
    rate = {"optimiser": ("normalised", "adam", "gradient")}
    rows = [
        Parameter(
            "parametrisation", "choice", 0, 0, "",
            "what is optimised: the pixels themselves or their Fourier spectrum", ("pixels", "fourier"),
        ),
        Parameter(
            "objective", "choice", 0, 0, "",
            "what is maximised: the mean of the unit's map, or its centre neuron alone",
            ("channel", "neuron"),
        ),
        Parameter(
            "optimiser", "choice", 0, 0, "",
            "how a gradient becomes a step", ("normalised", "adam", "gradient", "progress"),
        ),
        Parameter("steps", "int", 1, 100_000, "steps", "number of updates", scale="log"),
        Parameter(
            "lr", "float", 1e-6, 1e6, "gradient: 0-255 units; adam, normalised: share of the image's range",
            "learning rate", scale="log", used_when=rate,
        ),
        Parameter(
            "final_lr", "float", 1e-3, 1, "share of the learning rate",
            "what the learning rate falls to by the last step, along half a cosine; 1: it stays",
            scale="log", used_when=rate,
        ),
        Parameter(
            "patience", "int", 0, 100_000, "steps",
            "the run ends once no unit's objective has risen noticeably for this long; 0: never",
        ),
        Parameter(
            "max_lr", "float", 1e-3, 1e12, "0-255 units", "largest learning rate that progress may take",
            scale="log", used_when={"optimiser": ("progress",)},
        ),
        Parameter(
            "desired", "float", 1e-3, 1e3, "units of the objective",
            "rise of the objective that one step aims at (to first order)",
            scale="log", used_when={"optimiser": ("progress",)},
        ),
        Parameter(
            "start_sd", "float", 0, 128, "grey levels (0-255)",
            "standard deviation of the start image's noise around the data's mean", used_when=pixels,
        ),
        Parameter(
            "spectrum_sd", "float", 1e-4, 1, "", "standard deviation of the start spectrum's coefficients",
            scale="log", used_when=fourier,
        ),
        Parameter(
            "spectrum_decay", "float", 0, 3, "", "power of 1/frequency by which the spectrum is scaled",
            used_when=fourier,
        ),
        Parameter(
            "spectrum_divisor", "float", 0.1, 100, "",
            "what the image is divided by before its colours are correlated and it is squeezed into [0, 1]",
            scale="log", used_when=fourier,
        ),
        Parameter(
            "l2", "float", 0, 1e3, "objective per squared range of the image",
            "penalty on the mean squared distance from the data's mean, taken off the objective",
            scale="log",
        ),
        Parameter(
            "tv", "float", 0, 1e3, "objective per range of the image",
            "penalty on total variation (mean absolute difference of neighbours), taken off the objective",
            scale="log",
        ),
        Parameter(
            "decay", "float", 0, 0.99, "share per step", "pull of every pixel towards the data's mean",
            scale="log", used_when=pixels,
        ),
        Parameter(
            "blur_sigma", "float", 0, 10, "pixels",
            "Gaussian blur after a step; 0 is none, below 0.3 does nothing useful",
            used_when=pixels,
        ),
        Parameter("blur_every", "int", 1, 100, "steps", "steps from one blur to the next", used_when=pixels),
        Parameter(
            "norm_percentile", "float", 0, 100, "%",
            "pixels whose norm over channels is below this percentile go to the data's mean",
            used_when=pixels,
        ),
        Parameter(
            "contribution_percentile", "float", 0, 100, "%",
            "pixels whose |image x gradient| is below this percentile go to the data's mean",
            used_when=pixels,
        ),
        Parameter(
            "pad", "int", 0, 64, "pixels",
            "grey border around the image in the view that the network gets (the view keeps its size)",
        ),
        Parameter("jitter", "int", 0, 64, "pixels", "range of a random shift at each step"),
        Parameter("scale", "float", 0, 0.5, "share", "random zoom at each step, from 1 - scale to 1 + scale"),
        Parameter(
            "rotate", "float", 0, 180, "degrees",
            "random turn at each step, from -rotate to +rotate (3-D: about each axis)",
        ),
        Parameter("jitter2", "int", 0, 64, "pixels", "range of a second random shift, after zoom and turn"),
        Parameter(
            "redirect", "int", 0, 1000, "steps",
            "first steps in which a ReLU that lets no gradient through passes what would wake it",
        ),
    ]  # fmt: skip
    return {row.name: row for row in rows}


PARAMETERS: Mapping[str, Parameter] = MappingProxyType(_parameters())
