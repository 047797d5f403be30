"""Slice weights: the probability of what a map explains in each slice, which makes maps of slices comparable."""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vislib.attribution.target import Target
from vislib.head import percent
from vislib.network import Network
from vislib.probe import LOGITS


def no_weights(network: Network, target: Target) -> str:
    """Why slices cannot be weighted by the probability of what is explained, as a sentence; "" where they can."""
    if target.layer != LOGITS:
        return f"A unit of {target.layer} has no probability: the slices' maps are put together unweighted."
    if not network.head.has_probability:
        return f"{network.name} puts out values and no probabilities: the slices' maps are put together unweighted."
    return ""


def slice_probabilities(
    network: Network, images: Float[Tensor, "n c h w"], target: Target
) -> Float64[np.ndarray, " n"]:
    """The probability, as the network's head means it, of what a target explains in each slice.

    Of "A rather than B" that of A, of "not A" what A leaves of 1. Raises NetworkError where there is none.
    """
    with torch.no_grad():
        every = network.head.probabilities(network.logits(images.to(network.device))).cpu().numpy()
    unit = target.unit if isinstance(target.unit, int) else target.unit[0]
    known = np.asarray(every[:, unit], np.float64)
    return 1 - known if target.opposite else known


def weighted_words(probabilities: Float64[np.ndarray, " slices"], weighted: bool) -> str:
    """How slices were weighted, as a sentence with the range of their probabilities."""
    known = probabilities[np.isfinite(probabilities)]
    span = ""
    if known.size:
        low, high = (percent(float(one)) for one in (known.min(), known.max()))
        span = f", {low} to {high}" if low != high else f", {low}"
    if weighted:
        return f"Each slice's map is weighted by the probability of the class in that slice{span}."
    return f"Slices are not weighted by the probability of the class in them{span}: their maps may not be compared."
