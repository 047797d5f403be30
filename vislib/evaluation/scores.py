"""The number that falls when what matters is removed: the probability, or the value, that is explained."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vislib.attribution.target import Target, as_target
from vislib.errors import AttributionError
from vislib.network import Network
from vislib.pace import rows_at_once
from vislib.probe import LOGITS

# Bytes of activations of one forward pass: small ones keep every step short, and lie well in the caches.
_BUDGET = 48 * 2**20
_LARGEST = 32


def is_class(network: Network, target: Target) -> bool:
    """Whether a target is what the network says (or one thing rather than another), which alone can be measured."""
    return network.layer(target.layer).name == LOGITS and target.position is None


def class_target(network: Network, target: Target | int, n: int) -> Target:
    """A checked target that is a class; raises AttributionError for others."""
    checked = as_target(target).checked(network, n)
    if not is_class(network, checked):
        raise AttributionError(
            f"{checked.layer} was given as the layer to explain; removal is measured on the probability of a "
            f"class: give a unit of {LOGITS} without a position."
        )
    return checked


def measured(
    network: Network, images: Float[Tensor, "m c *spatial"], target: Target, rows: Sequence[int]
) -> Float[np.ndarray, " m"]:
    """The target's probability as the network's head means it, or its value where the head has none.

    Of a class rather than another: among these two alone. Of the opposite: the rest of 1, or the value's negative.
    `rows` says which image of the target's each of the images stands for.
    """
    head = network.head
    with torch.no_grad():
        scores = network.logits(images).double()
        if not head.has_probability:
            return target.of(scores, rows).cpu().numpy()
        if target.against is not None:
            # exp(a - b) are the odds of a beside b: of two classes, and of two findings of which one is there.
            return target.of(scores, rows).sigmoid().cpu().numpy()
        chosen = replace(target, opposite=False).of(head.probabilities(scores), rows).cpu().numpy()
    return 1 - chosen if target.opposite else chosen


def batch_size(network: Network, images: Float[Tensor, "n c *spatial"]) -> int:
    """Images that go through the network in one short step."""
    spatial = tuple(images.shape[2:])
    return rows_at_once(network, spatial, int(max(1, min(_LARGEST, _BUDGET // network.footprint(spatial)))))
