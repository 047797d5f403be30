"""Slice weights: the probability of what a map explains in each slice, which makes maps of slices comparable."""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vislib.attribution.target import Target
from vislib.network import Network
from vislib.probe import LOGITS


def no_weights(network: Network, target: Target) -> str:
    """Why slices cannot be weighted by the probability of what is explained, as a sentence; "" where they can."""
    if target.layer != LOGITS:
        return f"A unit of {target.layer} has no probability: the slices' maps are put together unweighted."
    if network.layers[LOGITS].channels < 2:
        return f"{network.name} gives no probability: the slices' maps are put together unweighted."
    return ""


def slice_probabilities(
    network: Network, images: Float[Tensor, "n c h w"], target: Target
) -> Float64[np.ndarray, " n"]:
    """The probability of the class that a target explains (the first of "A rather than B") in each slice."""
    with torch.no_grad():
        every = network.logits(images.to(network.device)).double().softmax(1).cpu().numpy()
    unit = target.unit if isinstance(target.unit, int) else target.unit[0]
    return np.asarray(every[:, unit], np.float64)


def weighted_words(probabilities: Float64[np.ndarray, " slices"], weighted: bool) -> str:
    """How slices were weighted, as a sentence with the range of their probabilities."""
    known = probabilities[np.isfinite(probabilities)]
    span = ""
    if known.size:
        low, high = (share(float(one)) for one in (known.min(), known.max()))
        span = f", {low} to {high}" if low != high else f", {low}"
    if weighted:
        return f"Each slice's map is weighted by the probability of the class in that slice{span}."
    return f"Slices are not weighted by the probability of the class in them{span}: their maps may not be compared."


def share(probability: float) -> str:
    """A probability in percent, as people read it."""
    percent = 100 * probability
    return (
        "< 0.1 %"
        if percent < 0.1
        else f"{percent:.1f} %"
        if percent < 99.95 or percent == 100
        else "> 99.9 %"
    )
